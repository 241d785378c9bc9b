package leg

import (
	"bytes"
	"crypto/rand"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

const (
	maxTries   = 5 // of one check of ours: 0, 100, 300, 700, 1500 ms
	retryAfter = 100 * time.Millisecond
	// checkPriority is that of a peer-reflexive candidate (RFC 8445 7.1.1).
	checkPriority = 110<<24 | 65535<<8 | 255
)

// stun handles a datagram that begins like STUN. It reports whether it was an
// authentic check that the leg took.
func (in *inbound) stun(h *hop, peer udpio.Peer, b []byte, now int64) bool {
	var m stunMessage
	if err := m.parse(b); err != nil {
		in.t.stats.malformed.Add(1)
		return false
	}
	in.unlock() // no hash is computed under a leg's lock
	switch m.typ {
	case stunRequest:
		return in.request(h, peer, &m, now)
	case stunSuccess, stunFailure:
		in.response(h, peer, &m, now)
	}
	return false
}

// request handles a check of the peer's. Whatever is wrong with it, there is
// no answer: an answer would tell a scanner that somebody lives here.
func (in *inbound) request(h *hop, peer udpio.Peer, m *stunMessage, now int64) bool {
	local, remote, _ := bytes.Cut(m.username, []byte{':'})
	cred := in.t.credentialsOf(local)
	if cred == nil || !h.admits(cred.leg.number) {
		in.t.stats.unknownUfrag.Add(1)
		return false
	}
	if string(remote) != cred.remoteUfrag || !m.authentic(cred.pwd) {
		in.t.stats.badIntegrity.Add(1)
		return false
	}
	l := cred.leg
	in.lock(l)
	if l.closed {
		return false
	}
	c := l.candidateAt(h, peer, now)
	if c == nil {
		in.t.stats.addressConflicts.Add(1)
		return false
	}
	in.t.stats.checks.Add(1)
	c.rx += len(m.raw)
	c.lastSeen.Store(now)
	l.lastReceived.Store(now)
	if l.conflicts(m) {
		in.t.stats.roleConflicts.Add(1)
		c.send(errorResponse(m.tid, roleConflict, "Role Conflict", cred.pwd))
		return true
	}
	c.send(successResponse(m.tid, c.path.remote, cred.pwd))
	l.checked(c, cred, m, now)
	if l.active && l.ctl == nil {
		l.startDTLS()
	}
	return true
}

// response handles the answer to a check of ours.
func (in *inbound) response(h *hop, peer udpio.Peer, m *stunMessage, now int64) {
	l, c := h.whose(peer)
	switch {
	case l != nil:
		in.answer(l, h, peer, m, now)
	case m.typ == stunFailure:
	case c == nil:
		in.t.stats.unknownAddress.Add(1)
	default:
		in.success(c, m, now)
	}
}

// success handles the answer to a challenge. It counts only if it came from
// where the check went to, with its random transaction id.
func (in *inbound) success(c *candidate, m *stunMessage, now int64) {
	l := c.leg
	in.lock(l)
	if l.closed || c.tries == 0 || c.proven.Load() || !bytes.Equal(m.tid, c.tid[:]) {
		return
	}
	if !m.authentic(c.asked.remotePwd) {
		in.t.stats.badIntegrity.Add(1)
		return
	}
	c.lastSeen.Store(now)
	l.lastReceived.Store(now)
	l.answered(c, now)
}

// challenge sends a check to an address that has not proven itself, and has
// it repeated.
func (l *Leg) challenge(c *candidate, now int64) {
	if c.tries == 0 || c.asked != c.cred {
		_, _ = rand.Read(c.tid[:]) // never fails
		c.asked, c.tries = c.cred, 0
	}
	if c.tries > 0 && c.tries < maxTries {
		return // the timer is at it
	}
	l.ask(c, now)
	if l.retry == nil {
		l.retry = time.AfterFunc(retryAfter, l.retryChecks)
	} else {
		l.retry.Reset(retryAfter)
	}
}

func (l *Leg) ask(c *candidate, now int64) {
	c.nextTry = now + int64(retryAfter)<<c.tries
	c.tries = min(c.tries+1, maxTries)
	c.send(c.asked.check(c.tid[:], attrControlled, false))
}

// retryChecks repeats the checks that are due, as long as there are any.
func (l *Leg) retryChecks() {
	if !l.enter() {
		return
	}
	defer l.wg.Done()
	l.mu.Lock()
	defer l.mu.Unlock()
	now, again := Now(), false
	for _, c := range l.candidates {
		if c.tries == 0 || c.tries >= maxTries || c.proven.Load() {
			continue
		}
		if now >= c.nextTry {
			l.ask(c, now)
		}
		again = true
	}
	if again && !l.closed {
		l.retry.Reset(retryAfter)
	}
}
