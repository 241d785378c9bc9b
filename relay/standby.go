package relay

import (
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/payload"
	"github.com/talwtn/caddy-wtn/relay/internal/ring"
	"github.com/talwtn/caddy-wtn/relay/internal/rtpx"
)

const (
	// keptSlots is how many packets since its last key frame a source in wait
	// keeps: about 600 KB. A longer group of pictures would take viewers longer
	// to receive than an encoder takes to make a key frame.
	keptSlots = 512
	// keptAge is how old the key frame may be: that much is decoded at once.
	keptAge = 3 * time.Second
	// catchUpStep is the distance of the pictures that viewers decode only to
	// get to the present one.
	catchUpStep = time.Millisecond
)

// kept is what a source that does not have the program sent since its last key
// frame. If the source that has it dies, viewers get this at once, and need not
// wait until an encoder far away has made a key frame. Guarded by the program's
// lock.
type kept struct {
	ring  *ring.Ring
	batch *ring.Batch
	keyTS uint32
	hasTS bool
}

// await makes the source keep what it sends while it waits for the program.
func (g *program) await(s *source) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wanted != s {
		s.firstAt = 0 // how long it takes to its key frame counts from the wish on
	}
	if s.kept == nil && s.tracks[codec.Video] != nil {
		s.kept = &kept{ring: ring.New(keptSlots), batch: ring.NewBatch()}
	}
}

// keep stores a packet of a source in wait. The program's lock is held.
func (t *sourceTrack) keep(p *rtpx.Packet, info payload.Info, ext uint64, arrival int64) {
	k := t.src.kept
	if k == nil || t.lane != codec.Video || len(p.Payload) == 0 {
		return
	}
	m := ring.Meta{Seq: ext, TS: p.TS, Arrival: arrival}
	if p.Marker {
		m.Flags |= ring.Marker
	}
	if info.Keyframe && !(k.hasTS && k.keyTS == p.TS) {
		m.Flags |= ring.Keyframe
		k.keyTS, k.hasTS = p.TS, true
		t.wish.keyframe(arrival)
	}
	if !k.ring.Append(m, p.Payload) {
		k.ring.Forget() // a hole: what follows cannot be decoded
	}
}

// recall goes over to s at the key frame that it kept, if there is one. The
// pictures that viewers have seen from another source follow each other at once;
// those after them have their own time. The program's lock is held.
func (g *program) recall(s *source, now int64) bool {
	t, o := s.tracks[codec.Video], g.tracks[codec.Video]
	if s.kept == nil || t == nil || !o.started {
		return false
	}
	k := s.kept
	from, ok := k.ring.Keyframe()
	head := k.ring.Next()
	if !ok || from == head {
		return false
	}
	k.ring.Read(head-1, head, k.batch)
	newest := k.batch.Packets()[0].Meta
	next, _ := k.ring.Read(from, head, k.batch)
	first := k.batch.Packets()[0].Meta
	if now-first.Arrival > int64(keptAge) {
		return false
	}
	if s.firstAt == 0 {
		s.firstAt = first.Arrival
	}
	since := newest.Arrival - o.lastAt
	g.take(o, t, first.Seq, first.TS, now)
	o.catchUp(newest.TS, since)
	for {
		for i := range k.batch.Packets() {
			b := &k.batch.Packets()[i]
			p := rtpx.Packet{
				Seq: uint16(b.Seq), TS: b.TS, Marker: b.Flags&ring.Marker != 0, Payload: b.Payload(),
			}
			o.write(&p, payload.Parse(t.codec.Name, p.Payload), b.Seq, now)
		}
		if next == head {
			break
		}
		next, _ = k.ring.Read(next, head, k.batch)
	}
	o.caughtUp()
	g.flush()
	return true
}

// forget drops what was kept: it does not continue any more.
func (s *source) forget() {
	if s.kept != nil {
		s.kept.ring.Forget()
		s.kept.hasTS = false
	}
}

// rush is how timestamps run while a track catches up: pictures whose time has
// passed follow each other by catchUpStep.
type rush struct {
	times    map[uint32]uint32 // of the source's frames
	in, last uint32            // newest frame: the source's time and ours
	step     uint32
}

// catchUp begins a rush in which the source's timestamp newest belongs to the
// time since after the last packet, in ns.
func (o *outTrack) catchUp(newest uint32, since int64) {
	rate := o.source.codec.ClockRate
	elapsed := uint32(max(0, since) * int64(rate) / int64(time.Second))
	o.tsOffset = o.lastTS + max(elapsed, o.step(rate)) - newest
	o.rush = &rush{
		times: make(map[uint32]uint32), last: o.lastTS,
		step: rate / uint32(time.Second/catchUpStep),
	}
}

// timestamp is the program's for a source's.
func (o *outTrack) timestamp(in uint32) uint32 {
	out, r := in+o.tsOffset, o.rush
	if r == nil {
		return out
	}
	if known, ok := r.times[in]; ok {
		return known
	}
	if int32(out-r.last-r.step) < 0 {
		out = r.last + r.step
	}
	r.times[in] = out
	r.in, r.last = in, out
	return out
}

// caughtUp ends a rush: what follows has its own time, and never an earlier one.
func (o *outTrack) caughtUp() {
	o.tsOffset = o.rush.last - o.rush.in
	o.rush = nil
}
