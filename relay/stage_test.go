package relay

import (
	"bytes"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/ring"
	"github.com/talwtn/caddy-wtn/relay/internal/rtpx"
)

const (
	ms        = int64(time.Millisecond)
	frameTime = 40 * ms // of an actor's video
	frameTick = 3600
	audioTime = 20 * ms
	audioTick = 960
)

var (
	codecVP8  = codec.Codec{Kind: codec.Video, Name: "VP8", ClockRate: 90000, PT: 96, PLI: true}
	codecH264 = codec.Codec{Kind: codec.Video, Name: "H264", ClockRate: 90000, PT: 102, FMTP: "packetization-mode=1;profile-level-id=42e01f"}
	codecOpus = codec.Codec{Kind: codec.Audio, Name: "opus", ClockRate: 48000, Channels: 2, PT: 111}
	codecPCMU = codec.Codec{Kind: codec.Audio, Name: "PCMU", ClockRate: 8000, Channels: 1, PT: 0}
)

// stage is a program without any network: actors play on it, and what sinks
// would see is laid bare.
type stage struct {
	t     testing.TB
	g     *program
	now   int64
	taken []string // "from>to", in order
	read  [kinds]uint64
}

func newStage(t testing.TB) *stage {
	s := &stage{t: t, now: 1000 * ms}
	s.g = newProgram(func(c change) {
		old := ""
		if c.from != nil {
			old = c.from.id
		}
		s.taken = append(s.taken, old+">"+c.to.id)
	})
	s.g.cache.Store(CacheAuto)
	return s
}

// shown is one packet as sinks see it.
type shown struct {
	seq   uint64
	ts    uint32
	codec uint8
	flags ring.Flags
	pay   []byte
}

// id is the picture id of a VP8 packet with one of 15 bits.
func (p *shown) id() int { return int(p.pay[2]&0x7f)<<8 | int(p.pay[3]) }

// shows returns what was written to a track since the last call.
func (s *stage) shows(kind codec.Kind) (list []shown) {
	s.t.Helper()
	r, b := s.g.tracks[kind].ring, ring.NewBatch()
	for s.read[kind] < r.Next() {
		next, missed := r.Read(s.read[kind], r.Next(), b)
		if s.read[kind] = next; missed {
			s.t.Fatal("the test reads too seldom")
		}
		for i := range b.Packets() {
			p := &b.Packets()[i]
			list = append(list, shown{p.Seq, p.TS, p.Codec, p.Flags, bytes.Clone(p.Payload())})
		}
	}
	return list
}

// actor is a source with hand-made packets.
type actor struct {
	s     *stage
	src   *source
	track [kinds]*sourceTrack
	seq   [kinds]uint64
	ts    [kinds]uint32
	id    uint16 // picture id
	asked int
	odd   bool // packets of uneven sizes
}

func (s *stage) actor(id string, codecs ...codec.Codec) *actor {
	s.t.Helper()
	a := &actor{s: s}
	a.src = newSource(id, func() bool { a.asked++; return true })
	for _, c := range codecs {
		a.track[c.Kind] = a.src.addTrack(c)
		a.seq[c.Kind] = 1 << 16
	}
	if !s.g.register(a.src) {
		s.t.Fatal("the program does not take the codecs")
	}
	return a
}

// renew starts a track anew.
func (a *actor) renew(kind codec.Kind, seq uint64, ts uint32) {
	a.track[kind], a.seq[kind], a.ts[kind] = a.s.g.renew(a.track[kind]), seq, ts
}

// packet writes one packet as it is, without moving anything.
func (a *actor) packet(kind codec.Kind, seq uint64, ts uint32, marker bool, pay []byte) {
	a.s.g.write(a.track[kind], &rtpx.Packet{Seq: uint16(seq), TS: ts, Marker: marker, Payload: pay}, seq, a.s.now)
}

// next writes the next packet of a track.
func (a *actor) next(kind codec.Kind, marker bool, pay []byte) {
	a.packet(kind, a.seq[kind], a.ts[kind], marker, pay)
	a.seq[kind]++
}

// vp8 is a VP8 payload with a picture id of 15 bits.
func vp8Payload(id uint16, start, key bool) []byte {
	p := []byte{0x80, 0x80, 0x80 | byte(id>>8), byte(id), 1, 'x'}
	if start {
		p[0] |= 0x10
	}
	if key {
		p[4] = 0
	}
	return p
}

// frame lets the time of a frame pass and writes one of VP8 in n packets.
func (a *actor) frame(key bool, n int) {
	a.s.now += frameTime
	for i := range n {
		p := vp8Payload(a.id, i == 0, key)
		if a.odd {
			p = append(p, make([]byte, (n-i+int(a.id))%3)...)
		}
		a.next(codec.Video, i == n-1, p)
	}
	a.ts[codec.Video] += frameTick
	a.id = (a.id + 1) & 0x7fff
}

// speak writes one audio packet; no time passes.
func (a *actor) speak() {
	a.next(codec.Audio, false, []byte("sound"))
	a.ts[codec.Audio] += audioTick
}

// seamless fails on anything a player could notice beside the pictures.
func seamless(t testing.TB, list []shown) {
	t.Helper()
	for i := 1; i < len(list); i++ {
		a, b := &list[i-1], &list[i]
		if b.seq != a.seq+1 {
			t.Fatalf("packet %d: number %d after %d", i, b.seq, a.seq)
		}
		step := int32(b.ts - a.ts)
		same := a.flags&ring.Marker == 0 && step == 0
		if step < 0 || !same && step == 0 || step > 90000 {
			t.Fatalf("packet %d: time moves by %d", i, step)
		}
		if d := (b.id() - a.id()) & 0x7fff; step == 0 && d != 0 || step != 0 && d != 1 {
			t.Fatalf("packet %d: picture id %d after %d", i, b.id(), a.id())
		}
	}
}
