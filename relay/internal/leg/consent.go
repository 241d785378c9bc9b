package leg

import (
	"bytes"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	consentExpiry = 30 * time.Second // RFC 7675 5.1
	probeDistance = 50 * millisecond // the least between two checks on the selected pair
	maxAsked      = 64               // checks that may wait for an answer: 3 s of probes
)

var errConsent = fmt.Errorf("%w: none of our checks was answered for %v", ErrLost, consentExpiry)

// consent are the checks of a controlling leg on its selected pair (RFC 7675).
// They nominate the pair, keep NAT mappings alive and tell whether the peer
// lives. Its lock may be taken with the leg's held, so that Probe can be called
// from anywhere, a Handler included.
type consent struct {
	leg     *Leg
	waiting atomic.Int64 // when the oldest check without an answer was sent; 0: none

	mu    sync.Mutex
	out   []ask // without an answer, oldest first
	sent  int64 // the last one
	next  int64 // when the timer sends one
	tries int   // to nominate; negative: done
}

type ask struct {
	tid [stunTIDSize]byte
	at  int64
}

// Unanswered is for how long the oldest check on the selected pair has gone
// without an answer to it or to a later one, at the time now of the clock Now. On
// a living pair that is a round trip at most, and 0 between checks, which come
// about once a second. Only a controlling leg that has selected a pair checks:
// else it is 0. It may be called from anywhere.
func (l *Leg) Unanswered(now int64) time.Duration {
	if l.ctl == nil {
		return 0
	}
	at := l.ctl.consent.waiting.Load()
	if at == 0 {
		return 0
	}
	return time.Duration(max(now-at, 0))
}

// Probe sends a check on the selected pair now, so that Unanswered tells within
// a round trip whether the peer lives. At most one check is sent in 50 ms; a leg
// that is not controlling or has no path sends none. It may be called from
// anywhere, also by a Handler.
func (l *Leg) Probe() {
	if l.ctl == nil {
		return
	}
	c := &l.ctl.consent
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := Now(); now-c.sent >= probeDistance {
		c.send(now)
	}
}

// begin starts over on a new pair, or in another role.
func (c *consent) begin(nominated bool, now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out, c.tries, c.next = nil, 0, now
	if nominated {
		c.tries, c.next = -1, now+interval()
	}
	c.waiting.Store(0)
}

// step sends what is due and returns when it wants to be called again.
func (c *consent) step(now int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now < c.next {
		return c.next
	}
	c.send(now)
	if c.tries < 0 {
		c.next = now + interval()
	} else { // the peer waits for it
		c.next = now + min(int64(retryAfter)<<c.tries, second)
		c.tries = min(c.tries+1, 8)
	}
	return c.next
}

// interval is the distance of checks, random so that legs do not march in step.
func interval() int64 { return second*8/10 + mathrand.Int64N(second*4/10) }

func (c *consent) send(now int64) {
	path := c.leg.path.Load()
	if path == nil {
		return
	}
	a := ask{at: now}
	_, _ = rand.Read(a.tid[:]) // never fails
	if len(c.out) == maxAsked {
		c.out = append(c.out[:0], c.out[1:]...)
	}
	c.out = append(c.out, a)
	c.waiting.CompareAndSwap(0, now)
	c.sent = now
	k := c.leg.ctl
	_ = path.Write(c.leg.newest.Load().check(a.tid[:], k.role(), k.leads.Load())) // lost is lost
}

// asked reports whether a transaction waits for its answer.
func (c *consent) asked(tid []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.find(tid) >= 0
}

func (c *consent) find(tid []byte) int {
	for i := range c.out {
		if bytes.Equal(c.out[i].tid[:], tid) {
			return i
		}
	}
	return -1
}

// answered takes note that a transaction succeeded: older ones do not matter.
func (c *consent) answered(tid []byte, now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.find(tid)
	if i < 0 {
		return
	}
	c.out = append(c.out[:0], c.out[i+1:]...)
	oldest := int64(0)
	if len(c.out) > 0 {
		oldest = c.out[0].at
	}
	c.waiting.Store(oldest)
	if c.tries >= 0 {
		c.tries, c.next = -1, now+interval()
	}
}
