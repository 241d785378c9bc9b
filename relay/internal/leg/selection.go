package leg

const (
	second      = int64(1e9)
	millisecond = second / 1000

	// nominationAge is how long a nomination is taken to be in force without
	// being repeated.
	nominationAge = 5 * second
	// silence is how long the selected path may be silent before any proven
	// one is better. Peers check about every 2 s to 2.5 s.
	silence = 4 * second
	// mediaHold keeps late packets of the old path from moving us back.
	mediaHold = 250 * millisecond
)

// checked takes note of an authentic check from c.
func (l *Leg) checked(c *candidate, cred *credentials, m *stunMessage, now int64) {
	fresh := m.useCandidate && !c.nominatedAt(now)
	c.nominated = 0
	if m.useCandidate {
		c.nominated = now
	}
	c.priority, c.cred = m.priority, cred
	if l.provisional == nil || m.useCandidate {
		l.provisional = c
	}
	switch {
	case l.ctl != nil:
		l.ctl.trigger(c, now)
	case !c.proven.Load():
		l.challenge(c, now)
	}
	if l.restarts(c, now) {
		return
	}
	l.consider(c, now, fresh)
}

// answered takes note that c answered a check of ours: it receives.
func (l *Leg) answered(c *candidate, now int64) {
	c.proven.Store(true)
	if l.restarts(c, now) {
		return
	}
	if l.moved(c) {
		l.pick(c)
		return
	}
	l.consider(c, now, c.nominatedAt(now))
}

// restarts completes an ICE restart when c is proven and nominated with the
// new credentials (RFC 8445 9): only now the old ones end.
func (l *Leg) restarts(c *candidate, now int64) bool {
	if l.pending == nil || c.cred != l.pending || !c.proven.Load() || !c.nominatedAt(now) {
		return false
	}
	l.t.dropUfrag(l.current)
	l.current, l.pending = l.pending, nil
	l.pick(c)
	return true
}

// moved reports whether c is the selected pair behind a new NAT mapping: same
// socket, same candidate of the peer (its PRIORITY tells them apart), and
// nothing came from the old address since the new one turned up.
func (l *Leg) moved(c *candidate) bool {
	s := l.selected
	return s != nil && s != c && s.hop == c.hop && s.path.local == c.path.local &&
		s.priority == c.priority && s.lastSeen.Load() < c.born
}

// carried takes note that authentic media came from c. A peer sends media on
// the pair it has selected, so this moves us like a nomination.
func (l *Leg) carried(c *candidate, now int64) {
	c.lastMedia = now
	s := l.selected
	if c == s || !c.proven.Load() || l.leads() {
		return
	}
	if s == nil || now-s.lastMedia > mediaHold {
		l.pick(c)
	}
}

// consider selects c if it is proven and better than what is selected. fresh
// says that it was nominated just now and not before. Peers that nominate
// several pairs all the time (RFC 5245 8.1.1.2) end at the highest priority.
func (l *Leg) consider(c *candidate, now int64, fresh bool) {
	s := l.selected
	if c == s || !c.proven.Load() || c.path.gone() || l.leads() {
		return
	}
	nominated := c.nominatedAt(now)
	switch {
	case s == nil:
		if !nominated && !c.dtls {
			return
		}
	case s.path.gone():
	case nominated && (fresh || !s.nominatedAt(now) || c.priority > s.priority):
	case now-s.lastSeen.Load() > silence:
	default:
		return
	}
	l.pick(c)
}

// pick makes c's path the one that everything is sent on.
func (l *Leg) pick(c *candidate) {
	if l.selected == c || l.closed {
		return
	}
	if l.selected != nil {
		l.t.stats.pathChanges.Add(1)
	}
	l.selected, l.provisional = c, c
	l.path.Store(c.path)
	if l.ctl != nil {
		l.ctl.picked(c)
	}
}
