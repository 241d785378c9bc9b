package caddymodule

import (
	"sync"
	"time"

	"github.com/talwtn/caddy-wtn/relay"
)

// leases remembers by what grant a session was made, as long as it lives, and
// ends it when the grant does. It belongs to the state, since sessions outlive
// configurations. Each remembered session costs one waiting goroutine. A nil
// leases remembers nothing.
type leases struct {
	mu      sync.Mutex
	grants  map[string]Grant // by session id
	guarded map[string]int   // streams whose publishers ask viewers for tokens, and by how many
	stopped bool
	stop    chan struct{}
	wait    sync.WaitGroup
}

// leased is what leases needs of a session.
type leased interface {
	ID() string
	Stream() string
	Done() <-chan struct{}
	End(relay.Reason)
}

func newLeases() *leases {
	return &leases{grants: make(map[string]Grant), guarded: make(map[string]int), stop: make(chan struct{})}
}

// hold remembers g until s has ended, and ends s when g expires.
func (l *leases) hold(s leased, g Grant) {
	if l == nil || g.Principal == "" && g.Expires.IsZero() && g.token == (tokenSum{}) && !g.ProtectPlay && g.requested == s.Stream() {
		return // nothing that a later request could be compared with
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return
	}
	l.grants[s.ID()] = g
	if g.ProtectPlay {
		l.guarded[s.Stream()]++
	}
	l.wait.Go(func() { l.watch(s, g) })
}

// watch waits for the end of the session, or brings it about.
func (l *leases) watch(s leased, g Grant) {
	defer l.forget(s, g)
	var expired <-chan time.Time
	if !g.Expires.IsZero() {
		timer := time.NewTimer(time.Until(g.Expires))
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-s.Done():
	case <-l.stop:
	case <-expired:
		s.End(relay.ReasonExpired)
	}
}

func (l *leases) forget(s leased, g Grant) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.grants, s.ID())
	if !g.ProtectPlay {
		return
	}
	if l.guarded[s.Stream()]--; l.guarded[s.Stream()] == 0 {
		delete(l.guarded, s.Stream())
	}
}

// of is the grant s was made by; the zero value if it said nothing.
func (l *leases) of(s leased) Grant {
	if l == nil {
		return Grant{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.grants[s.ID()]
}

// protected reports whether a publisher of the stream asks its viewers for tokens.
func (l *leases) protected(stream string) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.guarded[stream] > 0
}

// close forgets everything and waits for the goroutines. It is called when the
// sessions have ended.
func (l *leases) close() {
	l.mu.Lock()
	if !l.stopped {
		l.stopped = true
		close(l.stop)
	}
	l.mu.Unlock()
	l.wait.Wait()
}
