package relay

import (
	"maps"
	"sync"
	"time"
)

// TakeoverGaps are the upper bounds of TakeoverStats.Gaps.
var TakeoverGaps = [...]time.Duration{
	20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
}

// TakeoverStats counts how often streams went on from another source, and how
// long viewers were without media then.
type TakeoverStats struct {
	Causes map[Cause]uint64
	Count  uint64
	GapSum time.Duration
	// Gaps counts the takeovers whose gap was at most that of TakeoverGaps: the
	// longer bounds count what the shorter ones do.
	Gaps [len(TakeoverGaps)]uint64
}

// takeovers keeps the counters. The zero value is ready.
type takeovers struct {
	mu sync.Mutex
	s  TakeoverStats
}

// note counts one.
func (t *takeovers) note(i TakeoverInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.s.Causes == nil {
		t.s.Causes = make(map[Cause]uint64)
	}
	gap := max(i.Gap, 0)
	t.s.Causes[i.Cause]++
	t.s.Count++
	t.s.GapSum += gap
	for b, bound := range TakeoverGaps {
		if gap <= bound {
			t.s.Gaps[b]++
		}
	}
}

// stats is a snapshot.
func (t *takeovers) stats() TakeoverStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.s
	s.Causes = maps.Clone(s.Causes)
	return s
}
