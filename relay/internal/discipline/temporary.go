// TEMPORARY: the API as relay/ uses it already. Whoever writes this package replaces this file with the real thing and keeps these signatures.
package discipline
import "time"
type Backoff struct{}
func (b *Backoff) Next(now int64, ra time.Duration, r float64) time.Duration { return 250*time.Millisecond }
func (b *Backoff) Reset() {}
type Bucket struct{}
func (b *Bucket) Configure(float64,int) {}
func (b *Bucket) Take(int64) time.Duration { return 0 }
type Breaker struct{}
func (b *Breaker) Configure(int, time.Duration) {}
func (b *Breaker) Allow(int64,bool) bool { return true }
func (b *Breaker) Ready(int64) bool { return true }
func (b *Breaker) Failure(int64,string) bool { return false }
func (b *Breaker) Success(int64) {}
type Health struct{}
func (b *Health) Configure(int,int) {}
func (b *Health) Note(bool) (bool,bool) { return true,false }
