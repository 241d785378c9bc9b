package turnsvc

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
)

// bucket is a token bucket in one word: the time (ns) at which it will be full again (GCRA).
// Its zero value is full. All methods may be called from any goroutine and never block.
type bucket struct{ tat atomic.Int64 }

// take charges cost nanoseconds against a bucket that holds at most burst of them.
func (b *bucket) take(now, cost, burst int64) bool {
	for {
		old := b.tat.Load()
		next := max(old, now) + cost
		if next-now > burst {
			return false
		}
		if b.tat.CompareAndSwap(old, next) {
			return true
		}
	}
}

// takeBytes charges n bytes at a rate in bits per second, with a burst of half a second.
func (b *bucket) takeBytes(now int64, n int, bps int64) bool {
	const second = 1_000_000_000
	return b.take(now, int64(float64(n)*8*second/float64(bps)), second/2)
}

const limiterSlots = 4096

// replyLimiter bounds the replies to each source address. The table is fixed and addresses share
// slots by a keyed hash: memory does not grow with forged sources, and nobody can aim at the slot
// of somebody else. It takes no lock.
type replyLimiter struct {
	seed  maphash.Seed
	slots [limiterSlots]bucket
}

func newReplyLimiter() *replyLimiter { return &replyLimiter{seed: maphash.MakeSeed()} }

// allow spends one of perSecond replies to ip, with a burst of a quarter of a second or one reply.
func (l *replyLimiter) allow(ip netip.Addr, now int64, perSecond int) bool {
	const second = 1_000_000_000
	cost := int64(second / perSecond)
	slot := &l.slots[maphash.Comparable(l.seed, clientNet(ip))%limiterSlots]
	return slot.take(now, cost, max(second/4, cost))
}
