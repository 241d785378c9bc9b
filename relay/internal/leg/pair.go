package leg

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net/netip"
	"slices"

	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

// pair is an address of the peer that is checked from one hop.
type pair struct {
	hop       *hop
	remote    netip.AddrPort
	path      *Path
	peer      udpio.Peer // as the answer came from, with our own address
	tid       [stunTIDSize]byte
	tries     int
	sent      int64
	next      int64 // when to repeat
	answered  bool
	nominated bool // the check said so
	failed    bool // the system did not even take the last check: no route
}

// add makes a pair, if there is room and the address is free at the hop.
func (k *controller) add(h *hop, remote netip.AddrPort, peer udpio.Peer, now int64) *pair {
	if len(k.pairs) >= maxAllPairs || !h.reserve(k.leg, now, remote) {
		return nil
	}
	p := &pair{hop: h, remote: remote, peer: peer, path: h.path(peer), next: now}
	_, _ = rand.Read(p.tid[:]) // never fails
	k.pairs = append(k.pairs, p)
	k.uses(h)
	return p
}

// check sends the check that is due for the longest time.
func (k *controller) check(now int64) int64 {
	var due *pair
	for _, p := range k.pairs {
		if !p.answered && !p.path.gone() && (due == nil || p.next < due.next) {
			due = p
		}
	}
	switch {
	case due == nil:
		return never
	case max(due.next, k.paced) > now:
		return max(due.next, k.paced)
	}
	k.ask(due, now)
	return k.paced
}

func (k *controller) ask(p *pair, now int64) {
	k.paced = now + pace
	wait := min(int64(retryAfter)<<min(p.tries, 8), retryMost)
	switch {
	case now-k.began > int64(k.leg.t.handshakeTimeout):
		wait = retrySlow
	case p.hop.conn != nil: // nothing gets lost there
		wait = retryMost
	}
	p.tries++
	p.sent, p.next = now, now+wait
	// With one pair there is nothing to choose from: nominate at once.
	p.nominated = k.leads.Load() && (p.nominated || len(k.pairs) == 1)
	err := p.path.Write(k.leg.current.check(p.tid[:], k.role(), p.nominated))
	p.failed = err != nil && !errors.Is(err, udpio.ErrBufferFull)
}

// hopeless reports whether no pair can be expected to answer.
func (k *controller) hopeless() bool {
	return !slices.ContainsFunc(k.pairs, func(p *pair) bool { return !p.failed })
}

// trigger has an address checked at once from which the peer has checked us
// (RFC 8445 7.3.1.4).
func (k *controller) trigger(c *candidate, now int64) {
	if k.leads.Load() && k.leg.selected != nil || c.proven.Load() && c.hop.conn == nil {
		return
	}
	for _, p := range k.pairs {
		if p.hop == c.hop && p.remote == c.path.remote {
			if !p.answered && now-p.sent >= pace {
				p.next = min(p.next, now)
				k.wake()
			}
			return
		}
	}
	if k.add(c.hop, c.path.remote, c.peer, now) != nil {
		k.wake()
	}
}

// answer handles the response to a check of a controlling leg. It counts only
// if it came from where the check went to, with its random transaction id.
func (in *inbound) answer(l *Leg, h *hop, peer udpio.Peer, m *stunMessage, now int64) {
	in.lock(l)
	if l.closed {
		return
	}
	k, remote := l.ctl, unmap(peer.Remote())
	s := l.selected
	consent := s != nil && s.hop == h && s.path.remote == remote && k.consent.asked(m.tid)
	p := k.asked(h, remote, m.tid)
	if !consent && p == nil {
		return
	}
	if !m.authentic(l.current.remotePwd) {
		in.t.stats.badIntegrity.Add(1)
		return
	}
	l.lastReceived.Store(now)
	switch {
	case m.typ == stunFailure:
		k.refused(m, now)
	case consent:
		s.lastSeen.Store(now)
		k.consent.answered(m.tid, now)
	default:
		k.answered(p, peer, now)
	}
}

// asked returns the pair that waits for the answer to a transaction.
func (k *controller) asked(h *hop, remote netip.AddrPort, tid []byte) *pair {
	for _, p := range k.pairs {
		if !p.answered && p.tries > 0 && p.hop == h && p.remote == remote && bytes.Equal(p.tid[:], tid) {
			return p
		}
	}
	return nil
}

// answered takes note that a pair works.
func (k *controller) answered(p *pair, peer udpio.Peer, now int64) {
	c := k.leg.candidateAt(p.hop, peer, now)
	if c == nil {
		k.leg.t.stats.addressConflicts.Add(1)
		return
	}
	c.proven.Store(true)
	c.lastSeen.Store(now)
	p.answered, p.peer = true, peer
	if k.first == 0 {
		k.first = now
	}
	k.leg.consider(c, now, c.nominatedAt(now))
	k.choose(now)
	k.wake()
}
