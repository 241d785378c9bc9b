package leg

import "crypto/rand"

// maxSwitches bounds how often a leg changes its role: a peer that insists on
// both would keep us busy.
const maxSwitches = 4

// conflicts reports whether a check is to be refused with 487 because both
// sides claim one role (RFC 8445 7.3.1.1). The higher tie-breaker gets to
// control. A leg on the server side never does, it is like a lite agent.
func (l *Leg) conflicts(m *stunMessage) bool {
	k := l.ctl
	if k == nil {
		return m.controlled
	}
	wins := l.t.tieBreaker >= m.tieBreaker
	switch leads := k.leads.Load(); {
	case leads && m.controlling:
		return wins || !k.switchRole(Now())
	case !leads && m.controlled:
		return !wins || !k.switchRole(Now())
	}
	return false
}

// refused handles an authentic error response. 487 says that the peer has our
// role and keeps it (RFC 8445 7.2.5.1); all else is for the timer to retry.
func (k *controller) refused(m *stunMessage, now int64) {
	if m.code == roleConflict {
		k.switchRole(now)
	}
}

// switchRole takes the other role and has everything checked again in it.
func (k *controller) switchRole(now int64) bool {
	if k.switches >= maxSwitches {
		return false
	}
	k.switches++
	k.leads.Store(!k.leads.Load())
	for _, p := range k.pairs {
		_, _ = rand.Read(p.tid[:]) // never fails
		p.answered, p.nominated, p.tries, p.next = false, false, 0, now
	}
	k.first = 0
	k.consent.begin(!k.leads.Load(), now)
	k.wake()
	return true
}
