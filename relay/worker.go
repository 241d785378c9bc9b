package relay

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/leg"
	"github.com/talwtn/caddy-wtn/relay/internal/ring"
	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

const (
	// burstGap is the shortest time between two bursts of one program or one
	// newcomer, so that a key frame does not arrive as one lump at a shallow
	// switch or a radio link. A loop that is late anyway does not wait.
	burstGap = int64(time.Millisecond)
	// idleTick is how often a loop with subscribers looks at its timers when
	// nothing arrives.
	idleTick = 50 * time.Millisecond
)

// worker is one sending loop: it owns the down tracks of its subscribers and
// sends what their programs wrote. There is one per core. Everything but the
// fields marked otherwise belongs to the loop's goroutine; others talk to it
// through post and the wake channel.
//
// A packet that arrives wakes the loop; while the loop is busy more packets
// arrive and are taken together next time. So nothing waits when there is
// nothing to batch, and load makes the batches longer by itself.
type worker struct {
	wakeup chan struct{} // capacity 1; any goroutine
	quit   chan struct{}
	done   chan struct{}
	nacks  chan nackRequest // any goroutine

	mu   sync.Mutex
	cmds []func(now int64) // any goroutine, under mu

	fans     []*fan
	fresh    []*sink // without a sender report so far
	sinks    []*sink // in the order of their sender reports, round robin from nextSink
	nextSink int
	due      int64 // when something is to be done without being woken; 0: nothing

	sender *udpio.Sender
	batch  *ring.Batch
	spare  *ring.Batch // for packets beside those in batch
	moves  []move      // of chooseLayers
	seal   []byte      // scratch for paths that are not batched
	load   loadMeter

	subscribers atomic.Int32 // for the choice of a loop; any goroutine
	stats       workerStats  // read by any goroutine
}

// workerStats are counters that only the loop adds to.
type workerStats struct {
	packets, bytes, retransmitted, nacks, shed atomic.Uint64
}

// newWorker starts a loop.
func newWorker() *worker {
	w := idleWorker()
	go w.run()
	return w
}

// idleWorker is a loop whose steps somebody else takes.
func idleWorker() *worker {
	return &worker{
		wakeup: make(chan struct{}, 1),
		quit:   make(chan struct{}),
		done:   make(chan struct{}),
		nacks:  make(chan nackRequest, 256),
		sender: udpio.NewSender(udpio.SenderOptions{MaxSegments: ring.BatchSize}),
		batch:  ring.NewBatch(),
		spare:  ring.NewBatch(),
		seal:   make([]byte, 0, 2048),
	}
}

// wake makes the loop look at its work. Safe from any goroutine, never blocks.
func (w *worker) wake() {
	select {
	case w.wakeup <- struct{}{}:
	default:
	}
}

// post runs fn on the loop's goroutine. Safe from any goroutine, never blocks.
// It returns false when the loop has ended.
func (w *worker) post(fn func(now int64)) bool {
	select {
	case <-w.done:
		return false
	default:
	}
	w.mu.Lock()
	w.cmds = append(w.cmds, fn)
	w.mu.Unlock()
	w.wake()
	return true
}

// close ends the loop and waits for it.
func (w *worker) close() {
	close(w.quit)
	<-w.done
}

func (w *worker) run() {
	defer close(w.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		w.arm(timer)
		select {
		case <-w.quit:
			w.runCommands(leg.Now())
			return
		case <-w.wakeup:
		case <-timer.C:
		}
		start := leg.Now()
		w.step(start)
		w.load.worked(start, leg.Now())
	}
}

// arm sets the timer to what is due next.
func (w *worker) arm(t *time.Timer) {
	d := time.Hour
	if len(w.sinks)+len(w.fresh) > 0 {
		d = idleTick
	}
	if w.due != 0 {
		d = max(0, min(d, time.Duration(w.due-leg.Now())))
	}
	t.Reset(d)
}

// step does all that can be done now.
func (w *worker) step(now int64) {
	w.due = 0
	w.runCommands(now)
	w.answerNacks(now)
	for _, f := range w.fans {
		f.send(w, now)
	}
	w.report(now)
	_ = w.sender.Flush() // what could not be sent is lost, as on any network
}

func (w *worker) runCommands(now int64) {
	w.mu.Lock()
	cmds := w.cmds
	w.cmds = nil
	w.mu.Unlock()
	for _, fn := range cmds {
		fn(now)
	}
}

// later asks for a step at time t.
func (w *worker) later(t int64) {
	if w.due == 0 || t < w.due {
		w.due = t
	}
}

// add takes a sink over.
func (w *worker) add(k *sink, now int64) {
	f := w.fanOf(k.prog)
	if f == nil {
		f = &fan{prog: k.prog, worker: w}
		w.fans = append(w.fans, f)
		f.start()
	}
	f.users++
	k.reportAt = now
	w.fresh = append(w.fresh, k)
	for _, d := range k.downs {
		d.join(w, f, now)
	}
}

// remove forgets it.
func (w *worker) remove(k *sink) {
	f := w.fanOf(k.prog)
	switch i := slices.Index(w.sinks, k); {
	case i >= 0:
		w.sinks = slices.Delete(w.sinks, i, i+1)
		if i < w.nextSink {
			w.nextSink--
		}
	case slices.Contains(w.fresh, k):
		w.fresh = without(w.fresh, k)
	default:
		return
	}
	for _, d := range k.downs {
		f.remove(d)
	}
	if f.users--; f.users == 0 {
		f.stop()
		w.fans = without(w.fans, f)
	}
}

func (w *worker) fanOf(g *program) *fan {
	for _, f := range w.fans {
		if f.prog == g {
			return f
		}
	}
	return nil
}

// without removes v in place and keeps the order of the rest.
func without[T comparable](list []T, v T) []T {
	if i := slices.Index(list, v); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}
