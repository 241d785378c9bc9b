package choice

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/liveness"
)

const (
	ms     = time.Millisecond
	second = time.Second
	minute = time.Minute
)

// publisher is where media comes from: video and audio tell the distance to the
// next frame and packet of sound at a time, 0: none for now.
type publisher struct {
	video, audio func(t time.Duration) time.Duration
	nextV, nextA time.Duration
	ts           uint32
	cache        []uint32 // timestamps of the last frames, as vendors keep them
}

func every(d time.Duration) func(time.Duration) time.Duration {
	return func(time.Duration) time.Duration { return d }
}

// but is f without what lies in [from, to).
func but(f func(time.Duration) time.Duration, from, to time.Duration) func(time.Duration) time.Duration {
	return func(t time.Duration) time.Duration {
		if t >= from && t < to {
			return 0
		}
		return f(t)
	}
}

func camera() *publisher { return &publisher{video: every(33 * ms), audio: every(20 * ms)} }

// event is media under way.
type event struct {
	at    time.Duration
	ts    uint32
	audio bool
}

// source is a candidate and the way to it.
type source struct {
	Candidate
	pub    *publisher
	delay  time.Duration
	jitter time.Duration
	loss   float64 // of whole frames and packets
	dead   func(t time.Duration) bool
	queue  []event
	cold   bool          // until asked for
	ready  time.Duration // when a started one will be connected
	silent time.Duration // since when its peer is dead
	deaf   bool          // its path is never checked
}

// world runs a Chooser over simulated time.
type world struct {
	t       *testing.T
	c       *Chooser
	now     time.Duration
	rnd     *rand.Rand
	pubs    []*publisher
	sources []*source
	stall   func(*rand.Rand) time.Duration // extra time to the next step
	setup   time.Duration                  // of a cold source
	burst   bool                           // cold sources begin with their cache
	last    Decision
	changes []change
	starts  int
}

type change struct {
	at    time.Duration
	want  uint64
	cause Cause
}

func newWorld(t *testing.T, s Settings, sources ...*source) *world {
	w := &world{t: t, c: New(s), rnd: rand.New(rand.NewPCG(7, 11)), sources: sources, setup: 300 * ms}
	known := map[*publisher]bool{}
	for i, s := range sources {
		s.Key, s.Usable = uint64(i+1), true
		s.Pulse = &liveness.Meter{}
		s.Connected = !s.cold
		if !known[s.pub] {
			known[s.pub] = true
			w.pubs = append(w.pubs, s.pub)
		}
	}
	return w
}

// base keeps simulated times away from 0, as real ones are.
const base = int64(time.Hour)

func (w *world) mono() int64 { return base + int64(w.now) }

// run goes on for d, a millisecond at a time.
func (w *world) run(d time.Duration) *world {
	end := w.now + d
	step := w.now
	for ; w.now < end; w.now += ms {
		w.publish()
		if w.now < step {
			continue
		}
		// readers and the chooser are woken in any order
		step = w.now + Tick
		if w.stall != nil {
			step += w.stall(w.rnd)
		}
		stalled := step-w.now > Tick
		if !stalled || w.rnd.IntN(2) == 0 {
			w.deliver()
			w.step()
		} else {
			w.step()
			w.deliver()
		}
		if !stalled {
			w.catchUp(step)
		}
	}
	return w
}

// catchUp runs up to the next step with readers that are awake.
func (w *world) catchUp(step time.Duration) {
	for w.now += ms; w.now < step-ms; w.now += ms {
		w.publish()
		w.deliver()
	}
	w.publish()
	w.deliver()
}

func (w *world) publish() {
	for _, p := range w.pubs {
		if w.now >= p.nextV && p.video != nil {
			if d := p.video(w.now); d > 0 {
				p.nextV = w.now + d
				p.ts = uint32(w.now * 90000 / second)
				p.cache = append(p.cache, p.ts)
				p.cache = p.cache[max(0, len(p.cache)-60):]
				w.send(p, event{ts: p.ts})
			}
		}
		if w.now >= p.nextA && p.audio != nil {
			if d := p.audio(w.now); d > 0 {
				p.nextA = w.now + d
				w.send(p, event{audio: true})
			}
		}
	}
}

func (s *source) isDead(t time.Duration) bool { return s.dead != nil && s.dead(t) }

func (w *world) send(p *publisher, e event) {
	for _, s := range w.sources {
		if s.pub != p || !s.Connected || s.Paused || s.isDead(w.now) || w.rnd.Float64() < s.loss {
			continue
		}
		e.at = w.now + s.delay
		if s.jitter > 0 {
			e.at += time.Duration(w.rnd.Int64N(int64(s.jitter)))
		}
		if n := len(s.queue); n > 0 { // in order
			e.at = max(e.at, s.queue[n-1].at)
		}
		s.queue = append(s.queue, e)
	}
}

func (w *world) deliver() {
	for _, s := range w.sources {
		for len(s.queue) > 0 && s.queue[0].at <= w.now {
			if e := s.queue[0]; e.audio {
				s.Pulse.Audio(w.mono())
			} else {
				s.Pulse.Video(w.mono(), e.ts, true)
			}
			s.queue = s.queue[1:]
		}
	}
}

func (w *world) list() []Candidate {
	var list []Candidate
	for _, s := range w.sources {
		if !s.cold {
			list = append(list, s.Candidate)
		}
	}
	return list
}

func (w *world) step() {
	for _, s := range w.sources {
		// a peer that is dead answers no checks, others at once
		if !s.isDead(w.now) {
			s.silent = w.now
		}
		s.Probed = w.last.Probe && s.Key == w.last.Want && s.probe()
		s.Unanswered = w.now - s.silent
		if s.ready != 0 && w.now >= s.ready {
			w.connect(s)
		}
	}
	d := w.c.Step(w.mono(), w.list())
	if d.Want != w.last.Want || d.Cause != "" {
		if (d.Want != w.last.Want) != (d.Cause != "") {
			w.t.Fatalf("at %v: want %d after %d, cause %q", w.now, d.Want, w.last.Want, d.Cause)
		}
		w.changes = append(w.changes, change{w.now, d.Want, d.Cause})
	}
	w.last = d
	if !d.Start {
		return
	}
	for _, s := range w.sources {
		if s.cold && s.ready == 0 {
			w.starts++
			s.ready, s.cold = w.now+w.setup, false
			return
		}
	}
}

// probe: checks are sent only where a test says that they are.
func (s *source) probe() bool { return !s.deaf }

// connect completes a source that was cold.
func (w *world) connect(s *source) {
	s.ready, s.Connected = 0, true
	if !w.burst {
		return
	}
	for i, ts := range s.pub.cache {
		s.queue = append(s.queue, event{at: w.now + time.Duration(i)*2*ms, ts: ts})
	}
}

// expect checks what was switched after the first choice.
func (w *world) expect(want ...change) {
	w.t.Helper()
	got := w.changes
	if len(got) == 0 || got[0].cause != CauseFirst {
		w.t.Fatalf("no first choice: %v", got)
	}
	got = got[1:]
	if len(got) != len(want) {
		w.t.Fatalf("%d switches, want %d: %v", len(got), len(want), got)
	}
	for i, g := range got {
		if g.want != want[i].want || g.cause != want[i].cause || want[i].at != 0 && g.at > want[i].at {
			w.t.Errorf("switch %d is %v, want at most %v", i, g, want[i])
		}
	}
}

func after(t time.Duration) func(time.Duration) bool {
	return func(now time.Duration) bool { return now >= t }
}

func between(from, to time.Duration) func(time.Duration) bool {
	return func(now time.Duration) bool { return now >= from && now < to }
}

// pair is two vendors with the same media, the second a little later.
func pair(p *publisher) (a, b *source) {
	a = &source{pub: p, delay: 20 * ms, jitter: 8 * ms, Candidate: Candidate{Rank: 0, Group: 1}}
	b = &source{pub: p, delay: 45 * ms, jitter: 8 * ms, Candidate: Candidate{Rank: 1, Group: 1}}
	return a, b
}
