package relay

import (
	"testing"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/ring"
)

// A source in wait is gone over to at the key frame it has sent, when the one
// before is dead: viewers get all since then at once, in a timeline that goes on.
func TestStandbyIsRecalled(t *testing.T) {
	s := newStage(t)
	a, b := s.actor("a", codecVP8), s.actor("b", codecVP8)
	b.ts[codec.Video], b.seq[codec.Video] = 1<<31, 99000
	s.g.want(a.src, CauseFirst)
	s.g.await(b.src)
	for i := range 10 { // side by side, both in each frame time
		a.frame(i == 0, 2)
		s.now -= frameTime
		b.frame(i == 2, 3)
	}
	list := s.shows(codec.Video)
	if len(list) != 20 {
		t.Fatalf("%d packets of a", len(list))
	}
	for range 4 { // a is dead, b goes on
		b.frame(false, 3)
	}
	end := s.now
	s.g.mu.Lock()
	s.g.wanted, s.g.cause, s.g.held = b.src, CauseBehind, false
	ok := s.g.recall(b.src, s.now)
	s.g.mu.Unlock()
	if !ok {
		t.Fatal("nothing was kept")
	}
	got := s.shows(codec.Video)
	if len(got) != 12*3 { // the frames 2 to 9, and 4 more
		t.Fatalf("%d packets of b, want those of 12 frames", len(got))
	}
	if got[0].flags&ring.Keyframe == 0 {
		t.Error("it does not begin with the key frame")
	}
	seamless(t, append(list[len(list)-1:], got...))
	last := list[len(list)-1]
	if step := got[0].ts - last.ts; step != 90 {
		t.Errorf("the first picture comes %d ticks after the last, want 1 ms", step)
	}
	if d := got[len(got)-1].ts - last.ts; d != 4*frameTick {
		t.Errorf("the present picture is %d ticks later, want the 4 frame times that passed", d)
	}
	b.frame(false, 3)
	more := s.shows(codec.Video)
	seamless(t, append(got[len(got)-1:], more...))
	if d := more[0].ts - got[len(got)-1].ts; d != frameTick || s.now-end != frameTime {
		t.Errorf("then time runs by %d ticks", d)
	}
}

func TestWhatIsNotRecalled(t *testing.T) {
	for _, c := range []struct {
		name string
		play func(s *stage, b *actor)
	}{
		{"no key frame", func(_ *stage, b *actor) { b.frame(false, 1) }},
		{"an old key frame", func(s *stage, b *actor) { b.frame(true, 1); s.now += int64(keptAge) + 1 }},
		{"more than fits", func(_ *stage, b *actor) {
			b.frame(true, 1)
			for range keptSlots {
				b.frame(false, 1)
				b.s.now -= frameTime
			}
		}},
		{"numbers that start anew", func(_ *stage, b *actor) {
			b.frame(true, 1)
			b.renew(codec.Video, 1<<20, 0)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			a, b := s.actor("a", codecVP8), s.actor("b", codecVP8)
			s.g.want(a.src, CauseFirst)
			s.g.await(b.src)
			a.frame(true, 1)
			c.play(s, b)
			s.g.mu.Lock()
			s.g.wanted = b.src
			ok := s.g.recall(b.src, s.now)
			s.g.mu.Unlock()
			if ok {
				t.Error("it was gone over to")
			}
		})
	}
}

func TestKeepingAllocatesNothing(t *testing.T) {
	s := newStage(t)
	a, b := s.actor("a", codecVP8), s.actor("b", codecVP8)
	s.g.want(a.src, CauseFirst)
	s.g.await(b.src)
	a.frame(true, 1)
	b.frame(true, 1)
	pay := vp8Payload(1, true, false)
	for range keptSlots { // all slabs
		b.next(codec.Video, true, pay)
	}
	if n := testing.AllocsPerRun(1000, func() { b.next(codec.Video, true, pay) }); n > 1 { // the packet of the test itself
		t.Errorf("%.1f allocations for a packet", n)
	}
}
