package discipline

import (
	"math/rand/v2"
	"time"
)

const (
	// FailWindow is within what time failures of different streams belong together.
	FailWindow = 10 * time.Second
	// RowFails is how many failures without a success between them open, too,
	// however long they take.
	RowFails = 5
	// OpenCap bounds for how long a vendor is left alone.
	OpenCap = 10 * time.Minute
	// ProbePatience is for how long the one try of a half-open breaker is waited
	// for before another one is let through.
	ProbePatience = 10 * time.Second
	// A breaker that was closed for calmFactor times the first time of leaving
	// alone begins with that again.
	calmFactor = 10
	// openJitter is by how much of it that time varies to both sides.
	openJitter = 0.2
	// maxStreams is how many failing streams are remembered.
	maxStreams = 64
	maxOpened  = 20 // doublings, far above OpenCap

	defaultMaxFails     = 3
	defaultFailDuration = 30 * time.Second
)

// BreakerState is what a Breaker lets through.
type BreakerState uint8

const (
	Closed   BreakerState = iota // all
	Open                         // none
	HalfOpen                     // one, to see
)

// String is a word for logs.
func (s BreakerState) String() string {
	switch s {
	case Closed:
		return "closed"
	case Open:
		return "open"
	case HalfOpen:
		return "half-open"
	}
	return "unknown"
}

// Breaker leaves a vendor alone after failures of different streams: MaxFails
// of them within FailWindow, or RowFails failures in a row. What fails is for
// the caller to say, a request or media that stopped. One stream alone never
// opens it, for the fault may be the stream's.
type Breaker struct {
	// Random gives numbers from [0, 1). Nil: those of math/rand.
	Random func() float64

	maxFails     int
	failDuration time.Duration

	failed [maxStreams]failure // the last failure of each stream
	n      int
	row    int    // failures since the last success
	first  string // the stream of the first of them
	mixed  bool   // others were among them

	open     bool
	until    int64 // when it is half-open
	opened   int   // times in a row
	closedAt int64
	probing  bool
	probedAt int64
}

type failure struct {
	stream string
	at     int64
}

// Configure sets how many streams have to fail, at least 2, and for how long
// the vendor is left alone first; each further time it is twice as long, up to
// OpenCap. Zero: 3 and 30s. What happened so far stays.
func (b *Breaker) Configure(maxFails int, failDuration time.Duration) {
	if maxFails <= 0 {
		maxFails = defaultMaxFails
	}
	if failDuration <= 0 {
		failDuration = defaultFailDuration
	}
	b.maxFails = min(max(maxFails, 2), maxStreams)
	b.failDuration = min(failDuration, OpenCap)
}

// State is what it lets through now.
func (b *Breaker) State(now int64) BreakerState {
	switch {
	case !b.open:
		return Closed
	case now < b.until:
		return Open
	}
	return HalfOpen
}

// Ready tells whether Allow would let somebody through.
func (b *Breaker) Ready(now int64) bool {
	switch b.State(now) {
	case Closed:
		return true
	case HalfOpen:
		return !b.probing || now-b.probedAt > int64(ProbePatience)
	}
	return false
}

// Allow tells whether the vendor may be asked. Half-open it may once, until the
// outcome is known. Last says that the stream has no other vendor: it is never
// refused, for nothing is worse than nothing.
func (b *Breaker) Allow(now int64, last bool) bool {
	ready := b.Ready(now)
	if ready && b.open {
		b.probing, b.probedAt = true, now
	}
	return ready || last
}

// Success is told that the vendor does what it should, and closes.
func (b *Breaker) Success(now int64) {
	if b.open {
		b.open, b.closedAt = false, now
	}
	b.probing = false
	b.forgive()
}

// forgive forgets the failures so far.
func (b *Breaker) forgive() {
	clear(b.failed[:b.n])
	b.n, b.row, b.first, b.mixed = 0, 0, "", false
}

// Failure is told that the vendor failed a stream. The result is true if it is
// left alone from now on.
func (b *Breaker) Failure(now int64, stream string) bool {
	if b.maxFails == 0 {
		b.Configure(0, 0)
	}
	switch b.State(now) {
	case Open:
		return false // of those that are last, or that were let through before
	case HalfOpen:
		b.trip(now)
		return true
	}
	b.count(now, stream)
	if b.n < b.maxFails && (b.row < RowFails || !b.mixed) {
		return false
	}
	b.trip(now)
	return true
}

// count remembers a failure.
func (b *Breaker) count(now int64, stream string) {
	if b.row++; b.row == 1 {
		b.first = stream
	}
	b.mixed = b.mixed || stream != b.first
	kept := 0
	for _, f := range b.failed[:b.n] {
		if f.stream != stream && now-f.at <= int64(FailWindow) {
			b.failed[kept] = f
			kept++
		}
	}
	clear(b.failed[kept:b.n])
	kept = min(kept, maxStreams-1)
	b.failed[kept] = failure{stream: stream, at: now}
	b.n = kept + 1
}

// trip opens.
func (b *Breaker) trip(now int64) {
	calm := !b.open && now-b.closedAt > calmFactor*int64(b.failDuration)
	if calm {
		b.opened = 0
	}
	d := OpenCap
	if b.opened < maxOpened {
		d = min(b.failDuration<<b.opened, OpenCap)
		b.opened++
	}
	b.open, b.probing = true, false
	b.until = now + int64(float64(d)*(1-openJitter+2*openJitter*b.random()))
	b.forgive()
}

func (b *Breaker) random() float64 {
	if b.Random != nil {
		return b.Random()
	}
	return rand.Float64()
}
