package discipline

import "time"

const (
	// BackoffBase is what the first wait is at most; each further one may be
	// twice as long, up to BackoffCap.
	BackoffBase = 250 * time.Millisecond
	BackoffCap  = 15 * time.Second
	// BackoffReset is after how long a failure is the first one again.
	BackoffReset = 30 * time.Second
	// RetryAfterCap bounds what a vendor may ask for.
	RetryAfterCap = 10 * time.Minute

	backoffSteps = 6 // 250 ms << 6 is above the cap
)

// Backoff is how long to wait after each failure in a row: any time between
// nothing and a bound that doubles ("full jitter"), so that those that failed
// together do not come back together.
type Backoff struct {
	failures int
	until    int64 // the end of the last wait
}

// Next is told of a failure and says how long to wait. RetryAfter is what the
// vendor asks for, 0: nothing; it is honoured up to RetryAfterCap. Random is
// from [0, 1). A failure that comes later than BackoffReset after the last wait
// is taken as the first one.
func (b *Backoff) Next(now int64, retryAfter time.Duration, random float64) time.Duration {
	if b.failures > 0 && now-b.until > int64(BackoffReset) {
		b.Reset()
	}
	bound := min(BackoffBase<<b.failures, BackoffCap)
	b.failures = min(b.failures+1, backoffSteps)
	wait := max(time.Duration(random*float64(bound)), min(retryAfter, RetryAfterCap))
	b.until = now + int64(wait)
	return wait
}

// Reset forgives all failures. To be called once it was good for BackoffReset.
func (b *Backoff) Reset() { *b = Backoff{} }
