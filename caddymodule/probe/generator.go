package probe

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"time"
)

// generator makes the known sequence of one kind of media and keeps what it made.
type generator struct {
	mu      sync.Mutex
	log     *sentLog
	split   func(frame []byte, key bool) [][]byte
	seq     uint16
	first   uint32
	started time.Time
}

func newGenerator(c *codec, run string) *generator {
	return &generator{
		log: &sentLog{codec: c, run: run}, split: c.payloader(),
		seq: uint16(rand.Uint32()), first: rand.Uint32(),
	}
}

// next makes the frame that is due at a time. miss leaves one of its packets
// out. It returns the packets to be sent; the last one has the marker.
func (g *generator) next(due time.Time, key, miss bool) []sentPacket {
	g.mu.Lock()
	defer g.mu.Unlock()
	c, n := g.log.codec, uint32(len(g.log.frames))
	if n == 0 {
		g.started = due
	}
	size := frameBytes
	switch {
	case c.audio:
		size = audioBytes
	case key:
		size = keyBytes
	}
	// Rounded, for sums of rounded steps drift.
	ts := g.first + uint32(due.Sub(g.started).Seconds()*float64(c.clock)+0.5)
	frame := makeFrame(c, g.log.run, n, key, size)
	var list []sentPacket
	for _, b := range g.split(frame, key) {
		list = append(list, sentPacket{seq: g.seq, ts: ts, payload: bytes.Clone(b)})
		g.seq++
	}
	if miss {
		list[len(list)/2].missing = true
	}
	g.log.packets = append(g.log.packets, list...)
	g.log.frames = append(g.log.frames, sentFrame{n: n, ts: ts, unit: frame, at: due, key: key, damaged: miss})
	return list
}

// left notes when the newest frame has left.
func (g *generator) left(at time.Time) {
	g.mu.Lock()
	g.log.frames[len(g.log.frames)-1].at = at
	g.mu.Unlock()
}

// until is what was sent before a moment.
func (g *generator) until(at time.Time) *sentLog {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := *g.log
	n := len(s.frames)
	for n > 0 && s.frames[n-1].at.After(at) {
		n--
	}
	s.frames = s.frames[:n:n]
	s.packets = s.packets[:len(s.packets):len(s.packets)]
	return &s
}
