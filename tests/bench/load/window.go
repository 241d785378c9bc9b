package load

import (
	"context"
	"math"
	"slices"
	"time"
)

// Window is what was measured while all viewers watched.
type Window struct {
	Length    time.Duration
	Sent      uint64 // RTP packets of the publisher
	Received  uint64 // RTP packets of all viewers
	Expected  uint64 // the same if nothing had been lost, by sequence numbers
	Latencies []time.Duration

	GeneratorDrops uint32 // packets lost in the viewers' own socket
	Undecryptable  uint64
}

// Measure measures for d. It calls mark at the beginning and at the end.
func (l *Load) Measure(ctx context.Context, d time.Duration, mark func()) Window {
	l.sock.mu.Lock()
	for _, v := range l.viewers {
		v.latencies = nil
		for _, s := range v.streams {
			s.restart()
		}
	}
	l.measuring = true
	drops, bad, sent := l.sock.drops.Load(), l.undecryptable.Load(), l.pub.sent.Load()
	begin := time.Now()
	l.sock.mu.Unlock()
	mark()

	sleep(ctx, d)

	mark()
	l.sock.mu.Lock()
	defer l.sock.mu.Unlock()
	l.measuring = false
	w := Window{
		Length: time.Since(begin), Sent: l.pub.sent.Load() - sent,
		GeneratorDrops: l.sock.drops.Load() - drops, Undecryptable: l.undecryptable.Load() - bad,
	}
	for _, v := range l.viewers {
		w.Latencies = append(w.Latencies, v.latencies...)
		for _, s := range v.streams {
			w.Received += s.received
			w.Expected += s.expected()
		}
	}
	return w
}

// Loss is the share of packets that did not come, 0 to 1.
func (w Window) Loss() float64 {
	if w.Expected <= w.Received {
		return 0
	}
	return float64(w.Expected-w.Received) / float64(w.Expected)
}

// Percentile is the smallest value that at least the share p (0 to 1) of all
// values does not exceed; 0 without values. It sorts them.
func Percentile(values []time.Duration, p float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(max(int(math.Ceil(p*float64(len(values))))-1, 0), len(values)-1)]
}
