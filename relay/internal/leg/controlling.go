package leg

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"
)

const (
	maxPairs    = 16 // that the peer's list makes
	maxAllPairs = 24 // with own sockets, TCP and addresses that only checks of the peer's named
	maxDials    = 2

	pace       = 20 * millisecond   // between checks of different pairs
	retryMost  = 1600 * millisecond // a check is repeated after 100, 200, 400 ms ... this
	retrySlow  = 5 * second         // and this when handshakeTimeout has passed
	betterWait = 50 * millisecond   // for a pair that the peer prefers to the one that answered
	ownAfter   = 500 * millisecond  // without any answer: try from sockets of our own
	dialAfter  = second             // without any answer: try TCP
)

// controller is what a controlling leg has beyond others: it looks for the way
// to its peer by itself. All but the atomics is guarded by the leg's lock.
type controller struct {
	leg      *Leg
	leads    atomic.Bool // in the controlling role, which a conflict may end
	switches int         // of the role

	udp, tcp []netip.AddrPort
	pairs    []*pair // the preferred first
	hops     []*hop  // of the pairs
	began    int64
	paced    int64 // when the next check may be sent
	first    int64 // when the first answer came
	widened  bool  // own sockets were tried
	dialed   bool

	timer  *time.Timer
	ctx    context.Context // of what is dialed
	cancel context.CancelFunc

	consent consent
}

func newController(l *Leg, p Params) *controller {
	k := &controller{leg: l, udp: usable(p.Candidates, maxPairs), tcp: usable(p.TCPCandidates, maxDials)}
	k.consent.leg = l
	k.leads.Store(true)
	k.ctx, k.cancel = context.WithCancel(context.Background())
	return k
}

// leads reports whether the leg is in the controlling role: it selects.
func (l *Leg) leads() bool { return l.ctl != nil && l.ctl.leads.Load() }

func (k *controller) role() uint16 {
	if k.leads.Load() {
		return attrControlling
	}
	return attrControlled
}

// begin makes the pairs and starts the timer. The leg's lock is held, as for
// all that follows.
func (k *controller) begin(now int64) {
	k.began = now
	k.share(now)
	k.timer = time.AfterFunc(0, k.leg.tick)
}

// end stops what runs. Goroutines may still be ending.
func (k *controller) end() {
	k.cancel()
	if k.timer != nil {
		k.timer.Stop()
	}
}

// release gives up all pairs but the one of the selected candidate, if any.
func (k *controller) release(but *candidate) {
	now := Now()
	for _, h := range k.hops {
		switch {
		case but != nil && h == but.hop:
			h.unreserve(k.leg, but.path.remote, now)
		case h.conn != nil:
			h.conn.finish()
		case h.owner != 0:
			h.close()
		default:
			h.unreserve(k.leg, netip.AddrPort{}, now)
		}
	}
	k.pairs = nil
}

// uses keeps a hop in mind that has something of ours to give back.
func (k *controller) uses(h *hop) {
	for _, have := range k.hops {
		if have == h {
			return
		}
	}
	k.hops = append(k.hops, h)
}

// tick is the leg's timer: it does what is due and sets the timer anew.
func (l *Leg) tick() {
	if !l.enter() {
		return
	}
	if !l.proceed() {
		l.wg.Done()
		return
	}
	// HandleEnd may close the leg, so this is not one of its goroutines any more.
	l.t.wg.Add(1)
	defer l.t.wg.Done()
	l.wg.Done()
	l.hangUp(errConsent)
}

// proceed reports whether consent has expired.
func (l *Leg) proceed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.cause != nil {
		return false
	}
	now := Now()
	if wake := l.ctl.step(now); wake != never {
		l.ctl.timer.Reset(time.Duration(max(wake-now, millisecond)))
	}
	return l.Unanswered(now) > l.t.consentExpiry
}

const never = int64(1<<63 - 1)

// step returns when it wants to be called again.
func (k *controller) step(now int64) int64 {
	wake := k.choose(now)
	if k.leg.selected != nil {
		return k.consent.step(now)
	}
	wake = min(wake, k.widen(now))
	return min(wake, k.check(now))
}

func (k *controller) wake() { k.timer.Reset(0) }

// choose selects the best pair that answered, unless a better one may still.
func (k *controller) choose(now int64) int64 {
	if k.leg.selected != nil || !k.leads.Load() || k.first == 0 {
		return never
	}
	for _, p := range k.pairs {
		switch {
		case p.path.gone():
		case !p.answered && !p.failed && now < k.first+betterWait:
			return k.first + betterWait
		case p.answered:
			if c := k.leg.candidateAt(p.hop, p.peer, now); c != nil {
				c.proven.Store(true)
				k.leg.pick(c)
				return now
			}
		}
	}
	return never
}

// picked follows the selection of a path.
func (k *controller) picked(c *candidate) {
	leads, nominated := k.leads.Load(), false
	for _, p := range k.pairs {
		if p.hop == c.hop && p.remote == c.path.remote {
			nominated = p.answered && p.nominated
		}
	}
	k.consent.begin(nominated || !leads, Now())
	if leads {
		k.release(c)
	}
	if k.leg.active {
		k.leg.startDTLS()
	}
	k.wake()
}
