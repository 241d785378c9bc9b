package discipline

import "time"

// Bucket gives out places at a rate, and as many as burst at once after a pause.
// Every waiter gets a place of its own, in order, so that any number of them is
// spread evenly. Within any time t no more than burst + rate*t are given. It is
// the generic cell rate algorithm with a queue.
type Bucket struct {
	step  int64 // between two places, 0: no limit
	burst int64
	next  int64 // when the next place is due at the rate alone
	used  bool
}

// Configure sets the rate per second and the burst, at least 1. No rate, no
// limit. Places that were given stay.
func (b *Bucket) Configure(rate float64, burst int) {
	b.step, b.burst = 0, int64(max(burst, 1))
	if rate > 0 {
		b.step = max(1, int64(float64(time.Second)/rate))
	}
}

// Take reserves a place and says how long to wait for it.
func (b *Bucket) Take(now int64) time.Duration {
	if b.step == 0 {
		return 0
	}
	if !b.used || b.next < now {
		b.next, b.used = now, true
	}
	at := max(now, b.next-(b.burst-1)*b.step)
	b.next += b.step
	return time.Duration(at - now)
}
