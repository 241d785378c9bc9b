package choice

import (
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/liveness"
)

// off disconnects a source that comes later.
func (w *world) off(s *source) *world {
	s.Connected = false
	return w
}

// alone is an encoder of its own.
func alone(rank int) *source {
	return &source{pub: camera(), delay: 10 * ms, jitter: 5 * ms, Candidate: Candidate{Rank: rank}}
}

func TestTransportOver(t *testing.T) {
	a, b := alone(0), alone(1)
	w := newWorld(t, Settings{}, a, b).run(10 * second)
	a.Lost = true
	w.run(second).expect(change{10*second + 30*ms, 2, CauseTransport})

	// out of the list is over, too; and who has no media yet is better than none
	a, b = alone(0), alone(1)
	w = newWorld(t, Settings{}, a).run(10 * second)
	b.Key, b.Usable, b.Connected, b.Pulse, b.deaf = 2, true, true, &liveness.Meter{}, true
	w.sources = append(w.sources, b)
	w.sources = w.sources[1:]
	w.run(second).expect(change{10*second + 30*ms, 2, CauseTransport})
	if w.last.State(0) != Standby {
		t.Errorf("state %v", w.last.State(0))
	}
	if w.run(2 * second); !w.last.Start || w.last.State(0) != Suspect {
		t.Errorf("nothing comes: %+v", w.last)
	}
}

func TestFirstChoice(t *testing.T) {
	w := newWorld(t, Settings{}).run(second)
	if len(w.changes) != 0 || !w.last.Start {
		t.Errorf("without candidates: %v %+v", w.changes, w.last)
	}
	// connected without media gives way to media, but not at once
	a, b := alone(0), alone(1)
	a.dead = after(0)
	w = newWorld(t, Settings{}, a, b).run(second)
	w.expect(change{firstGraceEnd, 2, CauseFirst})
	// within the first second the better one is taken as it comes
	a, b = alone(0), alone(1)
	w = newWorld(t, Settings{}, a, b).off(a).run(300 * ms)
	a.Connected = true
	w.run(5 * second).expect(change{second, 1, CausePriority})
	// later it is a matter of going back
	a, b = alone(0), alone(1)
	w = newWorld(t, Settings{}, a, b).off(a).run(5 * second)
	a.Connected = true
	w.run(minute).expect(change{36 * second, 1, CauseFailback})
	if at := w.changes[1].at; at < 35*second {
		t.Errorf("went back at %v", at)
	}
}

const firstGraceEnd = time.Duration(firstGrace) + 30*ms

func TestClaim(t *testing.T) {
	a, b := alone(0), alone(1)
	a.Claim, b.Claim = true, true
	w := newWorld(t, Settings{FailbackManual: true}, a, b).off(a).run(10 * second)
	a.Connected = true
	w.run(10 * second).expect(change{10*second + 300*ms, 1, CausePriority})
	// once: who died waits like everybody
	a.dead, a.deaf = between(w.now, w.now+5*second), true
	w.run(2*minute).expect(w.changes[1], change{21 * second, 2, CauseMediaTimeout})
	// a raised rank is a new claim
	a.Rank, b.Rank = 2, 1
	w.run(second)
	a.Rank = 0
	at := w.now
	w.run(5 * second)
	if got := w.changes[len(w.changes)-1]; got.want != 1 || got.cause != CausePriority || got.at > at+50*ms {
		t.Errorf("raised: %v", w.changes)
	}
}

func TestPreferAndManual(t *testing.T) {
	a, b := pair(camera())
	a.deaf, a.dead = true, between(10*second, 20*second)
	w := newWorld(t, Settings{FailbackManual: true}, a, b).run(5 * minute)
	w.expect(change{11 * second, 2, CauseRelative})
	w.c.Prefer(1)
	w.run(second)
	w.expect(change{11 * second, 2, CauseRelative}, change{5*minute + 50*ms, 1, CauseOperator})
	// the preferred one stays though its rank is worse
	w.c.SetSettings(Settings{})
	w.c.Prefer(2)
	w.run(5 * minute)
	if got := w.changes[len(w.changes)-1]; len(w.changes) != 4 || got.want != 2 || w.c.Want() != 2 {
		t.Errorf("%v", w.changes)
	}
	// until told otherwise
	w.c.Prefer(0)
	w.run(second)
	if got := w.changes[len(w.changes)-1]; len(w.changes) != 5 || got.want != 1 || got.cause != CauseFailback {
		t.Errorf("%v", w.changes)
	}
}

func TestHeld(t *testing.T) {
	a, b := pair(camera())
	w := newWorld(t, Settings{}, a, b).run(10 * second)
	a.Held = true
	w.run(10 * second).expect(change{10*second + 50*ms, 2, CauseOperator})
	a.Held = false
	w.run(29 * second)
	w.expect(change{10*second + 50*ms, 2, CauseOperator})
	w.run(2*second).expect(change{10*second + 50*ms, 2, CauseOperator}, change{51 * second, 1, CauseFailback})

	// the only one is wanted although it is held, and stays until another flows
	a, b = pair(camera())
	a.Held = true
	w = newWorld(t, Settings{}, a, b).off(b).run(5 * second)
	w.expect()
	if w.last.Want != 1 || !w.last.Start {
		t.Errorf("%+v", w.last)
	}
	b.Connected = true
	w.run(second).expect(change{5*second + 300*ms, 2, CauseOperator})
}

func TestLoss(t *testing.T) {
	a, b := pair(camera())
	w := newWorld(t, Settings{}, a, b).run(10 * second)
	b.Lossy, a.Lossy = true, true
	w.run(10 * second).expect()
	b.Lossy = false
	w.run(second).expect(change{20*second + 50*ms, 2, CauseLoss})
	// the roles change: not before it stayed for a while
	a.Lossy, b.Lossy = false, true
	w.run(4 * second).expect(change{20*second + 50*ms, 2, CauseLoss})
	w.run(2*second).expect(change{20*second + 50*ms, 2, CauseLoss}, change{25*second + 50*ms, 1, CauseLoss})
}

func TestCodec(t *testing.T) {
	a, b := pair(camera())
	w := newWorld(t, Settings{}, a, b).run(10 * second)
	a.Usable = false
	w.run(2 * minute).expect(change{10*second + 50*ms, 2, CauseCodec})
}

// A warm standby is silent by order.
func TestPausedStandby(t *testing.T) {
	a, b := pair(camera())
	w := newWorld(t, Settings{}, a, b).run(10 * second)
	b.Paused = true
	w.run(10 * second).expect()
	if w.last.State(1) != Standby || w.last.Start {
		t.Errorf("%v, start %v", w.last.State(1), w.last.Start)
	}
	a.deaf, a.dead = true, after(w.now)
	w.run(2 * second).expect()
	if w.last.State(0) != Suspect || !w.last.Start || !w.last.Probe {
		t.Errorf("%+v", w.last)
	}
	b.Paused = false
	w.run(second).expect(change{22*second + 400*ms, 2, CauseRelative})
}

// A source far behind another one is not dead whenever the publisher goes on
// after a pause.
func TestSkew(t *testing.T) {
	for _, behind := range []time.Duration{0, 400 * ms} {
		p := camera()
		p.audio = nil
		p.video = but(p.video, 10*second, 13*second)
		a, b := pair(p)
		a.delay = 420 * ms
		a.Behind = behind
		w := newWorld(t, Settings{}, a, b).off(b).run(5 * second)
		b.Connected = true
		if w.run(15 * second); behind != 0 {
			w.expect()
		} else if len(w.changes) < 2 {
			t.Error("a skew that nobody measured makes no difference: the test says nothing")
		}
	}
}

func TestSoundOnly(t *testing.T) {
	talk := func() *source { s := alone(0); s.pub = &publisher{audio: every(20 * ms)}; return s }
	t.Run("death by path", func(t *testing.T) {
		a, b := talk(), talk()
		b.Rank, a.dead = 1, after(10*second)
		newWorld(t, Settings{}, a, b).run(minute).expect(change{11*second + 400*ms, 2, CauseAudioTimeout})
	})
	t.Run("mute with a path", func(t *testing.T) {
		a := talk()
		a.pub.audio = but(a.pub.audio, 10*second, 10*minute)
		w := newWorld(t, Settings{}, a).run(5 * minute)
		if w.expect(); w.last.Start || !w.last.Probe || w.last.State(0) != Up {
			t.Errorf("%+v", w.last)
		}
	})
	t.Run("one of a pair", func(t *testing.T) {
		p := &publisher{audio: every(20 * ms)}
		a, b := pair(p)
		a.deaf, a.dead = true, after(10*second)
		newWorld(t, Settings{}, a, b).run(minute).expect(change{10*second + 250*ms, 2, CauseRelative})
	})
	t.Run("one of a pair, with the camera off", func(t *testing.T) {
		p := camera()
		p.video = but(p.video, 10*second, minute)
		a, b := pair(p)
		a.deaf, a.dead = true, after(20*second)
		newWorld(t, Settings{}, a, b).run(30 * second).expect(change{20*second + 250*ms, 2, CauseRelative})
	})
}

func TestSettingsDefaults(t *testing.T) {
	got := Settings{MediaTimeout: ms}.filled()
	want := Settings{MediaTimeout: 250 * ms, AudioTimeout: second, RelativeTimeout: 150 * ms, FailbackDelay: 30 * second}
	if got != want {
		t.Errorf("%+v", got)
	}
}

func TestSleeper(t *testing.T) {
	var s sleeper
	at := func(d time.Duration) int64 { return base + int64(d) }
	for _, d := range []time.Duration{0, 25, 50, 550, 575, 675, 1675} {
		s.step(at(d * ms))
	}
	// slept from 75 to 550 and from 700 to 1675
	for _, tt := range []struct{ since, want time.Duration }{
		{0, 225}, {50, 175}, {75, 150}, {300, 150}, {550, 150}, {600, 100}, {1000, 0}, {1675, 0},
	} {
		if got := s.silence(at(1675*ms), at(tt.since*ms)); got != tt.want*ms {
			t.Errorf("since %v: %v, want %v", tt.since, got, tt.want*ms)
		}
	}
}

func TestTooManyCandidates(t *testing.T) {
	var all []*source
	for range MaxCandidates + 3 {
		all = append(all, alone(0))
	}
	w := newWorld(t, Settings{}, all...).run(5 * second)
	w.expect()
	if w.last.State(MaxCandidates) != Standby || w.last.State(-1) != Standby || w.last.State(0) != Up {
		t.Error("states beyond the list")
	}
}

func TestStepAllocatesNothing(t *testing.T) {
	a, b := pair(camera())
	w := newWorld(t, Settings{}, a, b).run(5 * second)
	list := w.list()
	now := w.mono()
	if n := testing.AllocsPerRun(1000, func() {
		now += int64(Tick)
		w.c.Step(now, list)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkStep(b *testing.B) {
	x, y := pair(camera())
	w := newWorld(nil, Settings{}, x, y).run(5 * second)
	list, now := w.list(), w.mono()
	b.ReportAllocs()
	for range b.N {
		w.c.Step(now, list)
	}
}
