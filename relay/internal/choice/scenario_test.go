package choice

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestKillOfOneOfAPair(t *testing.T) {
	// the tick adds up to 25 ms to what relative liveness takes
	for _, tt := range []struct {
		name  string
		fps   time.Duration
		audio bool
		limit time.Duration
	}{
		{"30 fps", 33 * ms, true, 220 * ms},
		{"30 fps without sound", 33 * ms, false, 220 * ms},
		{"60 fps", 16 * ms, true, 210 * ms},
		{"5 fps", 200 * ms, true, 1100 * ms},
		{"1 fps", second, false, 5500 * ms},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var delays []time.Duration
			for shift := range 20 * ms {
				if shift%ms != 0 {
					continue
				}
				p := &publisher{video: every(tt.fps)}
				if tt.audio {
					p.audio = every(20 * ms)
				}
				a, b := pair(p)
				a.deaf = true // SIGSTOP or SIGKILL: nothing but media tells
				kill := 20*second + shift*3
				a.dead = after(kill)
				w := newWorld(t, Settings{}, a, b).run(40 * second)
				w.expect(change{kill + a.delay + tt.limit, 2, CauseRelative})
				delays = append(delays, w.changes[1].at-kill-a.delay)
			}
			slices.Sort(delays)
			t.Logf("from the last packet: median %v, worst %v", delays[len(delays)/2], delays[len(delays)-1])
		})
	}
}

// DR G6: nobody is taken for dead who is only quiet.
func TestNoFalseSwitches(t *testing.T) {
	talk := every(20 * ms)
	// speech for 20 s, then 10 min of silence: comfort noise or nothing
	comfort := func(t time.Duration) time.Duration {
		if t > 20*second && t < 10*minute {
			return 400 * ms
		}
		return 20 * ms
	}
	mixed := func(t time.Duration) time.Duration { // a screen: still, scrolled, still
		if t%(20*second) < 7*second {
			return 33 * ms
		}
		return second
	}
	tests := []struct {
		name string
		pub  *publisher
		loss float64
	}{
		{"camera", camera(), 0},
		{"camera, 5 % loss", camera(), 0.05},
		{"camera at 60 fps, 5 % loss", &publisher{video: every(16 * ms)}, 0.05},
		{"slow screen", &publisher{video: every(second)}, 0},
		{"slow screen with sound, 5 % loss", &publisher{video: every(second), audio: talk}, 0.05},
		{"screen that is scrolled", &publisher{video: mixed}, 0},
		{"camera turns slow", &publisher{video: func(t time.Duration) time.Duration {
			if t > minute {
				return second
			}
			return 33 * ms
		}}, 0},
		{"muted with comfort noise", &publisher{audio: comfort}, 0},
		{"muted with comfort noise, 5 % loss", &publisher{audio: comfort}, 0.05},
		{"muted without a packet", &publisher{audio: but(talk, 20*second, 10*minute)}, 0},
		{"muted beside a slow screen", &publisher{video: every(second), audio: but(talk, 20*second, 10*minute)}, 0},
		{"freeze of 2 s", &publisher{video: but(every(33*ms), 30*second, 32*second), audio: but(talk, 30*second, 32*second)}, 0},
		{"freeze of 2 s each 10 s", &publisher{video: func(t time.Duration) time.Duration {
			if t%(10*second) < 2*second {
				return 0
			}
			return 33 * ms
		}}, 0},
		{"camera off for minutes", &publisher{video: but(every(33*ms), minute, 5*minute), audio: talk}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, order := range []bool{true, false} {
				pub := *tt.pub
				a, b := pair(&pub)
				if a.loss, b.loss = tt.loss, tt.loss; !order {
					a.delay, b.delay = b.delay, a.delay
				}
				newWorld(t, Settings{}, a, b).run(10*minute + 10*second).expect()
			}
		})
	}
}

// A single vendor whose publisher freezes: the cold standby is opened, begins
// with its cache, and nothing is switched.
func TestFreezeWithColdStandby(t *testing.T) {
	for _, setup := range []time.Duration{50 * ms, 300 * ms, 1200 * ms, 1900 * ms} {
		for _, skew := range []time.Duration{0, 60 * ms, 120 * ms} {
			p := camera()
			p.video = but(p.video, 30*second, 32*second)
			p.audio = but(p.audio, 30*second, 32*second)
			a, b := pair(p)
			b.cold, b.delay, a.delay = true, 10*ms, 10*ms+skew
			w := newWorld(t, Settings{}, a, b)
			w.burst, w.setup = true, setup
			w.run(minute).expect()
			if w.starts != 1 {
				t.Errorf("%d standbys started", w.starts)
			}
		}
	}
}

func TestKillWithColdStandby(t *testing.T) {
	for _, deaf := range []bool{true, false} {
		a, b := pair(camera())
		b.cold, a.deaf, a.dead = true, deaf, after(30*second)
		w := newWorld(t, Settings{}, a, b)
		w.burst = true
		w.run(minute)
		// told by the path, or by the standby that goes on
		if cause := w.changes[1].cause; cause != CauseRelative && cause != CauseMediaTimeout {
			t.Errorf("cause %q", cause)
		}
		w.expect(change{30*second + 1500*ms, 2, w.changes[1].cause})
	}
}

func TestPublisherBackup(t *testing.T) {
	alone := func(rank int) *source {
		return &source{pub: camera(), delay: 10 * ms, jitter: 5 * ms, Candidate: Candidate{Rank: rank}}
	}
	t.Run("dies and returns", func(t *testing.T) {
		a, b := alone(0), alone(1)
		a.deaf, a.dead = true, between(30*second, 50*second)
		w := newWorld(t, Settings{}, a, b).run(2 * minute)
		w.expect(change{30*second + 600*ms, 2, CauseMediaTimeout}, change{81 * second, 1, CauseFailback})
		if at := w.changes[2].at; at < 80*second {
			t.Errorf("back at %v, before it was well for 30 s", at)
		}
	})
	t.Run("equal ranks stay", func(t *testing.T) {
		a, b := alone(0), alone(0)
		a.deaf, a.dead = true, between(30*second, 50*second)
		newWorld(t, Settings{}, a, b).run(5 * minute).expect(change{31 * second, 2, CauseMediaTimeout})
	})
	t.Run("path unanswered", func(t *testing.T) {
		a, b := alone(0), alone(1)
		a.dead = after(30 * second)
		newWorld(t, Settings{MediaTimeout: 300 * ms}, a, b).run(minute).expect(change{30*second + 400*ms, 2, CauseMediaTimeout})
	})
	t.Run("slow screen is not left", func(t *testing.T) {
		a, b := alone(0), alone(1)
		a.pub = &publisher{video: every(second)}
		newWorld(t, Settings{}, a, b).run(10 * minute).expect()
	})
	t.Run("only the picture stops", func(t *testing.T) {
		a, b := alone(0), alone(1)
		a.pub.video = but(a.pub.video, 30*second, minute)
		w := newWorld(t, Settings{}, a, b).run(50 * second)
		w.expect(change{30*second + 2200*ms, 2, CauseMediaTimeout})
		if w.changes[1].at < 32*second {
			t.Errorf("left at %v though there was sound", w.changes[1].at)
		}
	})
}

// A host without processors: every step is late, and packets with it.
func TestStarvedHost(t *testing.T) {
	stall := func(r *rand.Rand) time.Duration {
		if r.IntN(3) > 0 {
			return 0
		}
		return 300*ms + time.Duration(r.Int64N(int64(700*ms)))
	}
	t.Run("pair", func(t *testing.T) {
		a, b := pair(camera())
		w := newWorld(t, Settings{}, a, b)
		w.stall = stall
		w.run(10 * minute).expect()
	})
	t.Run("independent", func(t *testing.T) {
		a := &source{pub: camera(), delay: 10 * ms}
		b := &source{pub: camera(), delay: 10 * ms, Candidate: Candidate{Rank: 1}}
		w := newWorld(t, Settings{}, a, b)
		w.stall = stall
		w.run(10 * minute).expect()
	})
	t.Run("each step late", func(t *testing.T) {
		a, b := pair(camera())
		w := newWorld(t, Settings{}, a, b)
		w.stall = func(r *rand.Rand) time.Duration { return 300*ms + time.Duration(r.Int64N(int64(700*ms))) }
		w.run(10 * minute).expect()
	})
	t.Run("death is still found", func(t *testing.T) {
		a, b := pair(camera())
		a.deaf, a.dead = true, after(30*second)
		w := newWorld(t, Settings{}, a, b)
		w.stall = stall
		w.run(minute).expect(change{40 * second, 2, CauseRelative})
	})
}

// DR G9: at most one way back in 30 s, and none to who dies each 5 s.
func TestFlapping(t *testing.T) {
	flap := func(up, down time.Duration) func(time.Duration) bool {
		return func(t time.Duration) bool { return t > 20*second && t%(up+down) >= up }
	}
	for _, tt := range []struct {
		name      string
		up, down  time.Duration
		failbacks int
	}{
		{"5 s up, 5 s down", 5 * second, 5 * second, 0},
		{"5 s up, 300 ms down", 5 * second, 300 * ms, 0},
		{"20 s up, 1 s down", 20 * second, second, 0},
		{"36 s up, 1 s down", 36 * second, second, 8},
	} {
		for _, group := range []int{0, 1} {
			if group == 0 && tt.down < second {
				continue // too short to be noticed
			}
			t.Run(tt.name, func(t *testing.T) {
				a, b := pair(camera())
				a.Group, b.Group = group, group
				if group == 0 {
					b.pub = camera()
				}
				a.deaf, a.dead = true, flap(tt.up, tt.down)
				w := newWorld(t, Settings{}, a, b).run(5 * minute)
				last, n := time.Duration(-1), 0
				for _, c := range w.changes {
					if c.cause != CauseFailback {
						continue
					}
					if n++; last >= 0 && c.at-last < 30*second {
						t.Errorf("back at %v and %v", last, c.at)
					}
					last = c.at
				}
				if n > tt.failbacks || tt.failbacks > 0 && n == 0 {
					t.Errorf("%d ways back: %v", n, w.changes)
				}
			})
		}
	}
}

func TestBothDieAndReturn(t *testing.T) {
	a, b := pair(camera())
	a.deaf, b.deaf = true, true
	a.dead, b.dead = between(30*second, 50*second), between(40*second, 48*second)
	w := newWorld(t, Settings{}, a, b).run(2 * minute)
	w.expect(change{31 * second, 2, CauseRelative}, change{81 * second, 1, CauseFailback})

	// both sessions end, then new ones come
	a, b = pair(camera())
	w = newWorld(t, Settings{}, a, b).run(10 * second)
	a.Lost = true
	w.run(second)
	b.Lost = true
	w.run(second)
	if w.last.Want != 0 || !w.last.Start || w.last.State(0) != Down {
		t.Errorf("all are lost: %+v", w.last)
	}
	b.Lost, b.Key = false, 9
	w.run(10 * second)
	w.expect(change{10*second + 30*ms, 2, CauseTransport}, change{11*second + 30*ms, 0, CauseGone},
		change{12*second + 30*ms, 9, CauseFirst})
}
