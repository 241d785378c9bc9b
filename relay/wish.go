package relay

import (
	"sync/atomic"
	"time"
)

const (
	// keyframeInterval is the shortest distance of two key frame requests to
	// one source, whatever the number of viewers that ask.
	keyframeInterval = 500 * time.Millisecond
	// hurriedInterval is the same while the program waits for the source and
	// nothing flows.
	hurriedInterval = 150 * time.Millisecond
	// promptKeyframe is how soon a source answers a request if it obeys at all.
	promptKeyframe = 250 * time.Millisecond
	// obedient is how many prompt answers make a source one that obeys.
	obedient = 2
)

// wish is the wish for key frames of one picture of a source, which it has of
// each layer that it sends.
type wish struct {
	// ask sends one key frame request (PLI) to the source; false if it cannot yet.
	ask func() bool

	// Guarded by the program's lock.
	keyAt  int64 // arrival of its newest key frame
	rhythm int64 // the longest of the last distances of key frames, ns

	hurry       atomic.Bool  // viewers wait for a key frame of it
	wantedSince atomic.Int64 // when the open wish for a key frame arose, 0: there is none
	askedAt     atomic.Int64 // when the newest request was sent
	askedFirst  atomic.Int64 // when the first one for the open wish was sent, 0: none was
	obedience   atomic.Int32 // requests answered at once, less those that were not
}

// requestKeyframe asks for a key frame now or as soon as the interval alloww.
// Safe from any goroutine.
func (w *wish) requestKeyframe(now int64) {
	w.wantedSince.CompareAndSwap(0, now)
	w.pursueKeyframe(now)
}

// pursueKeyframe sends the request that is due. The source's own loop calls it
// from time to time, so that a request is repeated until a key frame comes.
func (w *wish) pursueKeyframe(now int64) {
	if w.wantedSince.Load() == 0 {
		return
	}
	last, interval := w.askedAt.Load(), keyframeInterval
	if w.hurry.Load() {
		interval = hurriedInterval
	}
	if last != 0 && now-last < int64(interval) || !w.askedAt.CompareAndSwap(last, now) {
		return
	}
	w.askedFirst.CompareAndSwap(0, now)
	if !w.ask() {
		w.askedFirst.CompareAndSwap(now, 0)
		w.askedAt.CompareAndSwap(now, last)
	}
}

// keyframe notes that a key frame began, and whether it came because it was
// asked for: soon after the request, and ahead of the source's own rhythm.
// Packets of one source come one at a time.
func (w *wish) keyframe(now int64) {
	w.wantedSince.Store(0)
	asked, interval := w.askedFirst.Swap(0), now-w.keyAt
	early := w.keyAt != 0 && interval < w.rhythm*4/5
	if w.keyAt != 0 {
		w.rhythm = max(interval, w.rhythm*9/10)
	}
	w.keyAt = now
	switch {
	case asked == 0:
	case now-asked > int64(promptKeyframe):
		w.obedience.Store(max(-obedient, w.obedience.Load()-1))
	case early:
		w.obedience.Store(min(obedient, w.obedience.Load()+1))
	}
}

// obeys tells that the source answers requests at once. One answer may be chance.
func (w *wish) obeys() bool { return w.obedience.Load() >= obedient }
