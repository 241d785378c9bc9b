package relay

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/ring"
)

// Whatever numbers two sources use, their output is one timeline, and the time
// between them is the time that passed.
func TestTakeoverTimeline(t *testing.T) {
	for _, c := range []struct {
		name       string
		seqA, seqB uint64
		tsA, tsB   uint32
		idA, idB   uint16
		pause      int64
		wantStep   uint32
	}{
		{"far apart", 70000, 99000, 5, 1 << 31, 1, 20000, 0, frameTick},
		{"same numbers", 70000, 70000, 7, 7, 9, 9, 0, frameTick},
		{"backwards", 99000, 66000, 1 << 31, 5, 20000, 1, 100 * ms, frameTick + 9000},
		{"both wrap", 1<<17 - 3, 1<<17 - 2, ^uint32(0) - 2*frameTick, ^uint32(0), 0x7ffe, 0x7fff, 3 * ms, frameTick + 270},
		{"long pause", 70000, 70000, 0, 0, 0, 0, 960 * ms, 90000},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			a, b := s.actor("a", codecVP8), s.actor("b", codecVP8)
			a.seq[codec.Video], a.ts[codec.Video], a.id = c.seqA, c.tsA, c.idA
			b.seq[codec.Video], b.ts[codec.Video], b.id = c.seqB, c.tsB, c.idB
			s.g.want(a.src, CauseReplace)
			for i := range 5 {
				a.frame(i == 0, 2)
			}
			s.now += c.pause
			s.g.want(b.src, CauseReplace)
			before := len(s.shows(codec.Video))
			s.read[codec.Video] = 0
			for i := range 5 {
				b.frame(i == 0, 3)
			}
			list := s.shows(codec.Video)
			if before != 10 || len(list) != 25 {
				t.Fatalf("%d packets, then %d", before, len(list))
			}
			seamless(t, list)
			if step := list[10].ts - list[9].ts; step != c.wantStep {
				t.Errorf("the takeover takes %d ticks, want %d", step, c.wantStep)
			}
			if list[10].flags&ring.Keyframe == 0 || list[11].flags&ring.Keyframe != 0 {
				t.Error("the key frame is not marked at its first packet alone")
			}
			if want := []string{">a", "a>b"}; !slices.Equal(s.taken, want) {
				t.Errorf("%v, want %v", s.taken, want)
			}
		})
	}
}

func TestTheOldSourceGoesOnUntilTheNewOnesKeyframe(t *testing.T) {
	s := newStage(t)
	a, b := s.actor("a", codecVP8), s.actor("b", codecVP8)
	s.g.want(a.src, CauseReplace)
	a.frame(true, 1)
	s.g.want(b.src, CauseReplace)
	if !s.g.awaits(b.src, codec.Video) || s.g.awaits(a.src, codec.Video) {
		t.Error("the program does not wait for b's key frame alone")
	}
	b.frame(false, 2) // not decodable: refused
	a.frame(false, 2)
	if n := len(s.shows(codec.Video)); n != 3 {
		t.Fatalf("%d packets, want a's 3", n)
	}
	late := a.seq[codec.Video]
	a.seq[codec.Video]++
	a.frame(false, 1)
	s.shows(codec.Video)
	b.frame(true, 2)
	if s.g.awaits(b.src, codec.Video) {
		t.Error("the program waits for a key frame it has")
	}
	s.shows(codec.Video)
	a.packet(codec.Video, late, 0, true, vp8Payload(3, true, true))
	a.frame(true, 1)
	if got := s.shows(codec.Video); len(got) != 0 {
		t.Errorf("%d packets of the old source after the takeover", len(got))
	}
}

// Both kinds cross a takeover on the same clock: what belonged together before
// does so after, though b's timestamps have nothing in common with a's.
func TestAudioAndVideoStayTogether(t *testing.T) {
	s := newStage(t)
	a, b := s.actor("a", codecVP8, codecOpus), s.actor("b", codecOpus, codecVP8)
	b.ts[codec.Audio], b.ts[codec.Video] = 1<<31, 12345
	play := func(x *actor, n int) {
		for i := range n {
			x.speak()
			s.now += audioTime
			x.speak()
			s.now -= audioTime // frame moves it
			x.frame(i == 0, 1)
		}
	}
	s.g.want(a.src, CauseReplace)
	play(a, 10)
	s.now += 333 * ms
	s.g.want(b.src, CauseReplace)
	play(b, 10)
	v, au := s.shows(codec.Video), s.shows(codec.Audio)
	seamless(t, v)
	if len(v) != 20 || len(au) < 38 {
		t.Fatalf("%d video and %d audio packets", len(v), len(au))
	}
	videoTime := float64(v[19].ts-v[0].ts) / 90000
	audioTime := float64(au[len(au)-2].ts-au[0].ts) / 48000 // arrived with the last frame
	if d := videoTime - audioTime; d < -0.021 || d > 0.021 {
		t.Errorf("video moved by %.3f s, audio by %.3f s", videoTime, audioTime)
	}
	for i := 1; i < len(au); i++ {
		if au[i].seq != au[i-1].seq+1 || int32(au[i].ts-au[i-1].ts) < audioTick {
			t.Errorf("audio %d: %d/%d after %d/%d", i, au[i].seq, au[i].ts, au[i-1].seq, au[i-1].ts)
		}
	}
}

func TestWhenAudioGoesOver(t *testing.T) {
	for _, c := range []struct {
		name string
		old  func(a *actor) // what a does while b speaks
		gap  int64
		keys bool // b sends a key frame first
		want bool
	}{
		{"waits for the picture", (*actor).speak, 20 * ms, false, false},
		{"goes with the picture", (*actor).speak, 20 * ms, true, true},
		{"does not wait for a source that is silent", func(*actor) {}, 401 * ms, false, true},
		{"waits while it may only pause", func(*actor) {}, 300 * ms, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			a, b := s.actor("a", codecVP8, codecOpus), s.actor("b", codecVP8, codecOpus)
			s.g.want(a.src, CauseReplace)
			a.frame(true, 1)
			a.speak()
			s.g.want(b.src, CauseReplace)
			if c.keys {
				b.frame(true, 1)
				s.now -= frameTime
			}
			s.now += c.gap
			c.old(a)
			b.speak()
			if got := s.g.tracks[codec.Audio].source == b.track[codec.Audio]; got != c.want {
				t.Errorf("audio went over: %v", got)
			}
		})
	}
}

// A wanted source that speaks but never shows a picture gets the program after
// a time: half a publisher is better than one that was replaced.
func TestPatienceEnds(t *testing.T) {
	s := newStage(t)
	a, b := s.actor("a", codecVP8, codecOpus), s.actor("b", codecVP8, codecOpus)
	s.g.want(a.src, CauseReplace)
	a.frame(true, 1)
	a.speak()
	s.g.want(b.src, CauseReplace)
	for range 80 { // 3.2 s
		a.speak()
		b.speak()
		a.frame(false, 1)
	}
	if want := []string{">a", "a>b"}; !slices.Equal(s.taken, want) {
		t.Fatalf("%v, want %v", s.taken, want)
	}
	b.frame(true, 1)
	if len(s.taken) != 2 || s.g.awaits(b.src, codec.Video) {
		t.Error("b's picture came later, and not as a part of the same takeover")
	}
}

func TestSourceWithoutVideoEndsIt(t *testing.T) {
	s := newStage(t)
	a, b := s.actor("a", codecVP8, codecOpus), s.actor("b", codecPCMU)
	s.g.want(a.src, CauseReplace)
	a.frame(true, 1)
	a.speak()
	s.g.want(b.src, CauseReplace)
	s.shows(codec.Audio)
	s.shows(codec.Video)
	b.speak()
	a.frame(true, 1)
	a.speak()
	au := s.shows(codec.Audio)
	if len(au) != 1 || au[0].codec != b.track[codec.Audio].index || len(s.shows(codec.Video)) != 0 {
		t.Errorf("audio %v, or video of a source that was replaced", au)
	}
	if want := []string{">a", "a>b"}; !slices.Equal(s.taken, want) {
		t.Errorf("%v, want %v", s.taken, want)
	}
}

// A source that starts anew (another SSRC, other numbers) goes on in the same
// timeline at its next key frame, also while another one is already wanted.
func TestSourceStartsAnew(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		t.Run(fmt.Sprintf("replaced=%v", replaced), func(t *testing.T) {
			s := newStage(t)
			a, b := s.actor("a", codecVP8), s.actor("b", codecVP8)
			s.g.want(a.src, CauseReplace)
			a.frame(true, 2)
			a.frame(false, 2)
			if replaced {
				s.g.want(b.src, CauseReplace)
			}
			a.renew(codec.Video, 1<<20, 77)
			a.id = 4711
			if !s.g.awaits(a.src, codec.Video) {
				t.Error("no key frame is asked of the source that started anew")
			}
			a.frame(false, 2)
			a.frame(true, 2)
			a.frame(false, 2)
			list := s.shows(codec.Video)
			if len(list) != 8 {
				t.Fatalf("%d packets, want 8", len(list))
			}
			seamless(t, list)
			if want := []string{">a"}; !slices.Equal(s.taken, want) {
				t.Errorf("%v, want %v: nobody took anything over", s.taken, want)
			}
			s.g.want(b.src, CauseReplace)
			b.frame(true, 2)
			seamless(t, append(list, s.shows(codec.Video)...))
			if want := []string{">a", "a>b"}; !slices.Equal(s.taken, want) {
				t.Errorf("%v, want %v", s.taken, want)
			}
		})
	}
}

// A source that was taken off never comes back by itself, even from packets
// that were on their way.
func TestDrop(t *testing.T) {
	s := newStage(t)
	a, b := s.actor("a", codecVP8), s.actor("b", codecVP8)
	s.g.want(a.src, CauseReplace)
	a.frame(true, 1)
	s.g.want(b.src, CauseReplace)
	s.g.drop(b.src) // a candidate that gave up
	a.frame(false, 1)
	if len(s.shows(codec.Video)) != 2 {
		t.Error("the end of a candidate interrupts the program")
	}
	b.frame(true, 1)
	s.g.drop(a.src)
	a.frame(true, 1)
	if n := len(s.shows(codec.Video)); n != 0 {
		t.Errorf("%d packets of sources that were dropped", n)
	}
	s.g.requestKeyframe(codec.Video, s.now) // of nobody
	c := s.actor("c", codecVP8)
	s.g.want(c.src, CauseReplace)
	c.frame(true, 1)
	if want := []string{">a", ">c"}; !slices.Equal(s.taken, want) {
		t.Errorf("%v, want %v", s.taken, want)
	}
}

// A change of codec is a takeover like any other; sinks learn it from the index.
func TestCodecChange(t *testing.T) {
	s := newStage(t)
	a, b, c := s.actor("a", codecVP8), s.actor("b", codecH264), s.actor("c", codecVP8)
	s.g.want(a.src, CauseReplace)
	a.frame(true, 1)
	s.g.want(b.src, CauseReplace)
	b.next(codec.Video, false, []byte{0x78, 0, 4, 0x67, 0x42, 0xe0, 0x1f, 0, 2, 0x68, 0xce})
	b.next(codec.Video, true, []byte{0x65, 0x88, 0x84})
	s.now += frameTime
	s.g.want(c.src, CauseReplace)
	c.frame(true, 1)
	list := s.shows(codec.Video)
	if len(list) != 4 {
		t.Fatalf("%d packets", len(list))
	}
	for i, want := range []uint8{0, 1, 1, 0} {
		if list[i].codec != want || list[i].seq != list[0].seq+uint64(i) {
			t.Errorf("packet %d: codec %d, number %d", i, list[i].codec, list[i].seq-list[0].seq)
		}
	}
	if k := s.g.known(); len(k[codec.Video]) != 2 || len(k[codec.Audio]) != 0 {
		t.Errorf("known codecs: %v", k)
	}
}

func TestCodecsAreBounded(t *testing.T) {
	s := newStage(t)
	for i := range 2 * maxCodecs {
		c := codecVP8
		c.Name, c.FMTP = "VP9", fmt.Sprintf("profile-id=%d", i)
		src := newSource("x", func() bool { return true })
		src.addTrack(c)
		if got := s.g.register(src); got != (i < maxCodecs) {
			t.Fatalf("codec %d: %v", i, got)
		}
		if again := s.g.register(src); again != (i < maxCodecs) {
			t.Errorf("codec %d, again: %v", i, again)
		}
	}
}

func TestCached(t *testing.T) {
	obey := func(a *actor) {
		a.src.obedience.Store(obedient)
	}
	for _, c := range []struct {
		mode   CacheMode
		obeys  bool
		frames int // behind the key frame
		want   bool
	}{
		{CacheAuto, false, 10, true},
		{CacheAuto, false, 200, true},
		{CacheAuto, true, 10, true}, // fresh enough
		{CacheAuto, true, freshKey, false},
		{CacheOn, true, 200, true},
		{CacheOff, false, 10, false},
		{CacheOn, false, videoSlots, false}, // overwritten
	} {
		s := newStage(t)
		s.g.cache.Store(c.mode)
		a := s.actor("a", codecVP8)
		if c.obeys {
			obey(a)
		}
		s.g.want(a.src, CauseReplace)
		if _, ok := s.g.cached(codec.Video); ok {
			t.Error("a key frame before the first")
		}
		a.frame(false, 3)
		a.frame(true, 2)
		for range c.frames {
			a.frame(false, 1)
		}
		key, ok := s.g.cached(codec.Video)
		if ok != c.want || ok && key != 0 {
			t.Errorf("%+v: key frame at %d, %v", c, key, ok)
		}
		s.g.want(s.actor("b", codecVP8).src, CauseReplace)
		a.renew(codec.Video, 1<<20, 0)
		s.g.take(s.g.tracks[codec.Video], a.track[codec.Video], 1<<20, 0, s.now)
		if _, ok := s.g.cached(codec.Video); ok {
			t.Errorf("%+v: a key frame of the source before", c)
		}
	}
}

func TestTakeoverGap(t *testing.T) {
	var gaps []time.Duration
	s := newStage(t)
	s.g.changed = func(c change) { gaps = append(gaps, c.gap) }
	a, b := s.actor("a", codecVP8), s.actor("b", codecVP8)
	s.g.want(a.src, CauseReplace)
	a.frame(true, 1)
	s.g.want(b.src, CauseReplace)
	s.now += 100 * ms
	b.frame(true, 1)
	if want := []time.Duration{0, 140 * time.Millisecond}; !slices.Equal(gaps, want) {
		t.Errorf("gaps %v, want %v", gaps, want)
	}
}
