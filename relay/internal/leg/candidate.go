package leg

import (
	"fmt"
	"sync/atomic"

	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

const (
	// amplification is how many bytes an address may get for each byte that
	// came from it, until it has proven that it receives (as RFC 9000 8.1).
	amplification = 3
	// legGrant is what a leg may send beyond that, once and in all: a first
	// DTLS flight to a peer that does not answer checks. The offer that made
	// the leg was longer, so nothing is gained by making legs for it.
	legGrant = 1200
	// maxCandidates bounds the addresses of one leg.
	maxCandidates = 16
	// holdTime is how long a proven address stays with its leg without
	// authentic traffic, against a check of another leg from the same address.
	holdTime = 15 * second
)

// candidate is one address of the peer at one hop, known from an authentic
// check. All but the atomics is guarded by the leg's lock.
type candidate struct {
	leg  *Leg
	hop  *hop
	peer udpio.Peer
	path *Path
	born int64

	proven    atomic.Bool  // receives what we send to it
	lastSeen  atomic.Int64 // last authentic packet
	lastMedia int64        // last authentic SRTP or SRTCP
	rx, tx    int          // bytes, while not proven

	cred      *credentials // of the last check
	priority  uint32       // of the last check: names the peer's own candidate
	nominated int64        // time of the last check when that one nominated, else 0
	dtls      bool         // DTLS came from it

	// Our own check toward the address.
	tid     [stunTIDSize]byte
	asked   *credentials // whose remote password the answer has to be made with
	tries   int
	nextTry int64
}

// holds reports whether the address is the leg's beyond dispute.
func (c *candidate) holds(now int64) bool {
	return c.proven.Load() && now-c.lastSeen.Load() < holdTime && !c.path.gone()
}

func (c *candidate) nominatedAt(now int64) bool {
	return c.nominated != 0 && now-c.nominated < nominationAge
}

// send writes b unless that would exceed what the address may get. The leg's
// lock is held.
func (c *candidate) send(b []byte) {
	if !c.proven.Load() {
		switch {
		case c.tx+len(b) <= amplification*c.rx:
			c.tx += len(b)
		case len(b) <= c.leg.grant:
			c.leg.grant -= len(b)
		default:
			c.leg.t.stats.overBudget.Add(1)
			return
		}
	}
	_ = c.path.Write(b) // lost like any datagram: STUN and DTLS repeat themselves
}

// release ends the candidate's claim on its address.
func (c *candidate) release() {
	c.hop.unbind(c.peer, c)
	if c.hop.conn != nil {
		c.hop.conn.finish()
	}
}

// candidateAt returns the candidate for an address from which an authentic
// check came, making it if needed; nil when another leg lives there.
func (l *Leg) candidateAt(h *hop, peer udpio.Peer, now int64) *candidate {
	for _, c := range l.candidates {
		if c.hop == h && c.peer == peer {
			if h.lookup(peer) != c && !h.bind(peer, c, now) {
				return nil
			}
			return c
		}
	}
	c := &candidate{leg: l, hop: h, peer: peer, path: h.path(peer), born: now, lastMedia: -mediaHold}
	if !h.bind(peer, c, now) {
		return nil
	}
	c.proven.Store(h.conn != nil) // a TCP handshake is the proof
	c.lastSeen.Store(now)
	if len(l.candidates) >= maxCandidates {
		l.dropOldest()
	}
	l.candidates = append(l.candidates, c)
	return c
}

// dropOldest makes room by forgetting the candidate that is longest silent.
func (l *Leg) dropOldest() {
	oldest := -1
	for i, c := range l.candidates {
		if c == l.selected || c == l.provisional {
			continue
		}
		if oldest < 0 || c.lastSeen.Load() < l.candidates[oldest].lastSeen.Load() {
			oldest = i
		}
	}
	l.candidates[oldest].release()
	l.candidates = append(l.candidates[:oldest], l.candidates[oldest+1:]...)
}

// lost tells the leg that a candidate's connection is gone.
func (l *Leg) lost(c *candidate) {
	if l.forsake(c) {
		l.hangUp(fmt.Errorf("%w: its TCP connection is gone", ErrLost))
	}
}

// forsake forgets a candidate. It reports whether the leg has no other way.
func (l *Leg) forsake(c *candidate) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.hop.unbind(c.peer, c)
	for i := range l.candidates {
		if l.candidates[i] == c {
			l.candidates = append(l.candidates[:i], l.candidates[i+1:]...)
			break
		}
	}
	if l.provisional == c {
		l.provisional = nil
	}
	// A selected one stays selected, closed as it is, until another takes over.
	for _, other := range l.candidates {
		l.consider(other, Now(), false)
	}
	return l.ctl != nil && l.selected == c
}
