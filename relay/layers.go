package relay

import (
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/payload"
	"github.com/talwtn/caddy-wtn/relay/internal/ring"
)

// A viewer of a simulcast stream follows one lane of the program. It goes over
// to another one at a key frame there, and gets the old one until then. What it
// sees is one stream: the numbers go on without a gap, timestamps stay on one
// clock, and picture ids continue. Programs with one lane do nothing of this.

// layerInterval is how often a loop looks at which layers its viewers should get.
const layerInterval = int64(100 * time.Millisecond)

// firstStep is the least time between the last frame of a lane and the first of
// the next: two layers have pictures of the same instant.
const firstStep = time.Millisecond

// move is a down track and the lane it should go to.
type move struct {
	d  *downTrack
	to lane
}

// chooseLayers has viewers go to the lanes that are right for them now.
func (f *fan) chooseLayers(w *worker, now int64) {
	if now-f.choseAt < layerInterval {
		return
	}
	f.choseAt = now
	l := f.prog.ladder(now)
	w.moves = w.moves[:0]
	for i := range f.tracks[codec.Video:] {
		t := &f.tracks[codec.Video+lane(i)]
		for _, list := range [][]*downTrack{t.live, t.behind} {
			for _, d := range list {
				if to := d.pick(&l, now); to != d.heading() {
					w.moves = append(w.moves, move{d, to})
				}
			}
		}
	}
	for _, m := range w.moves {
		f.aim(w, m.d, m.to, now)
	}
}

// heading is where the down track is or will be.
func (d *downTrack) heading() lane {
	if d.next != 0 {
		return d.next
	}
	return d.lane
}

// pick is the lane that is right for the viewer.
func (d *downTrack) pick(l *ladder, now int64) lane {
	if l.n == 0 {
		return d.lane
	}
	want := d.choice.rung(l)
	if !d.choice.exact() {
		want = d.afford(l, want, now)
	}
	to, ok := l.flowing(want)
	here := l.find(d.lane)
	switch {
	case !ok && d.packets > 0:
		return d.lane // nothing flows: the last picture stays
	case here >= 0 && to > here && l.rungs[here].flows && !l.rungs[to].steady && d.packets > 0:
		return d.lane
	}
	return l.rungs[to].lane
}

// aim has d go on in another lane: at once at a key frame that is there, if it
// gets nothing where it is, else at the next one. Its own lane takes that back.
func (f *fan) aim(w *worker, d *downTrack, to lane, now int64) {
	if d.next != 0 {
		t := &f.tracks[d.next]
		t.coming = without(t.coming, d)
		d.next = 0
	}
	if to == d.lane {
		return
	}
	t := &f.tracks[to]
	if key, ok := d.prog.cached(to); ok && key < t.cursor && d.idle(now) {
		d.prog.tracks[to].ring.Read(key, key+1, w.batch)
		if p := &w.batch.Packets()[0]; len(w.batch.Packets()) == 1 && d.later(w, to, p, now) {
			f.leave(d)
			d.enter(w, to, p, now)
			d.cursor = key
			t.behind = append(t.behind, d)
			w.later(now)
			return
		}
	}
	d.next = to
	t.coming = append(t.coming, d)
	d.prog.requestKeyframe(to, now)
}

// welcome takes over who waits for a key frame of the lane, if there is one
// among pkts.
func (f *fan) welcome(w *worker, l lane, pkts []ring.Packet, now int64) {
	t := &f.tracks[l]
	for i := range pkts {
		if pkts[i].Flags&ring.Keyframe == 0 {
			continue
		}
		for _, d := range t.coming {
			f.leave(d)
			d.enter(w, l, &pkts[i], now)
			t.live = append(t.live, d)
			d.send(w, pkts[i:], now)
		}
		t.coming = t.coming[:0]
		return
	}
}

// leave takes d out of the lane it follows.
func (f *fan) leave(d *downTrack) {
	t := &f.tracks[d.lane]
	t.live = without(t.live, d)
	t.behind = without(t.behind, d)
}

// idle tells that the viewer gets no picture where it is.
func (d *downTrack) idle(now int64) bool {
	o := d.prog.tracks[d.lane]
	d.prog.mu.Lock()
	defer d.prog.mu.Unlock()
	return d.waitKey || o.source == nil || now-o.lastAt > orphanSilence
}

// last copies the newest packet that the viewer got into b.
func (d *downTrack) last(b *ring.Batch) (s span, p *ring.Packet, ok bool) {
	s = d.spans[d.newest]
	if s.out == 0 || !d.prog.tracks[s.lane].ring.Get(s.in+d.lastOut-s.out, b) {
		return s, nil, false
	}
	return s, &b.Packets()[0], true
}

// offsetTo is what the timestamps of another lane need to be on the viewer's
// clock: both lanes say which timestamp belongs to now.
func (d *downTrack) offsetTo(to lane, now int64) uint32 {
	if d.packets == 0 {
		return 0
	}
	g := d.prog
	return g.tracks[d.lane].timestampAt(now) + d.offset - g.tracks[to].timestampAt(now)
}

// later tells that p of another lane belongs behind what the viewer got.
func (d *downTrack) later(w *worker, to lane, p *ring.Packet, now int64) bool {
	s, last, ok := d.last(w.spare)
	return !ok || int32(p.TS+d.offsetTo(to, now)-last.TS-s.shift) > 0
}

// enter makes another lane the one that d follows, from p on, which begins a key
// frame. p may be of w.batch.
func (d *downTrack) enter(w *worker, to lane, p *ring.Packet, now int64) {
	offset := d.offsetTo(to, now)
	d.offset, d.shift, d.ids = offset, offset, payload.Shift{}
	if s, last, ok := d.last(w.spare); ok {
		name := d.formats[p.Codec].name
		s.ids.Apply(name, last.Payload())
		d.ids = payload.Follow(name, last.Payload(), p.Payload())
		step := int32(d.prog.tracks[to].clockRate() / uint32(time.Second/firstStep))
		if ahead := int32(p.TS + offset - last.TS - s.shift); ahead < step {
			d.shift += uint32(step - ahead)
		}
	}
	d.follow(to)
	d.next, d.broken, d.waitKey, d.movedAt, d.estimated = 0, true, true, now, 0
}

// follow notes the lane that d is in.
func (d *downTrack) follow(l lane) {
	d.lane = l
	d.at.Store(uint32(l))
}

// clockRate is that of the timestamps. Safe from any goroutine.
func (o *outTrack) clockRate() uint32 {
	o.refMu.Lock()
	defer o.refMu.Unlock()
	return o.rate
}
