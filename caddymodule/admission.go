package caddymodule

import (
	"sync"
	"sync/atomic"

	"github.com/talwtn/caddy-wtn/relay"
)

// admission decides whether one more session may be made through a handler, by
// its quota. It belongs to the state, so that a reload does not forget who is
// there: sessions count by the key of the quota, and a handler of a newer
// configuration that has the same key goes on counting. All sessions count, also
// those of handlers without limits, which may get some later. A nil admission
// admits everybody.
type admission struct {
	refused atomic.Uint64

	mu    sync.Mutex
	slots map[string]*slots // by key of the quota
}

// slots are the sessions of one key. Sessions that have ended are only cleared
// away when their number matters, or there may be as many of them as of the
// living: a session needs no goroutine that waits for its end.
type slots struct {
	taken  []*slot
	counts map[relay.Role]int // of taken
	clear  int                // length of taken at which to clear away
}

// slot is the place of one session.
type slot struct {
	a      *admission
	role   relay.Role
	stream string
	done   <-chan struct{} // nil while the offer is being answered
	freed  bool
}

// leastClear keeps short lists from being gone through all the time.
const leastClear = 64

func newAdmission() *admission { return &admission{slots: make(map[string]*slots)} }

// take reserves a place for a session that is going to be made; free gives it
// back unless keep was called. Error: ErrLimit.
func (a *admission) take(q quota, role relay.Role, stream string) (*slot, error) {
	if a == nil {
		return nil, nil
	}
	limit := q.viewers
	if role == relay.RolePublish {
		limit = q.publishers
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.slots[q.key]
	if s == nil {
		s = &slots{counts: make(map[relay.Role]int), clear: leastClear}
		a.slots[q.key] = s
	}
	full := func() bool { return limit > 0 && s.counts[role] >= limit }
	if full() || len(s.taken) >= s.clear {
		s.clearAway()
	}
	if full() && !(q.replace && role == relay.RolePublish && s.publishes(stream)) {
		a.refused.Add(1)
		return nil, relay.ErrLimit
	}
	x := &slot{a: a, role: role, stream: stream}
	s.taken = append(s.taken, x)
	s.counts[role]++
	return x, nil
}

// clearAway forgets the slots whose sessions have ended.
func (s *slots) clearAway() {
	living := s.taken[:0]
	clear(s.counts)
	for _, x := range s.taken {
		if !x.over() {
			living = append(living, x)
			s.counts[x.role]++
		}
	}
	clear(s.taken[len(living):])
	s.taken = living
	s.clear = max(leastClear, 2*len(living))
}

func (s *slots) publishes(stream string) bool {
	for _, x := range s.taken {
		if x.role == relay.RolePublish && x.stream == stream {
			return true
		}
	}
	return false
}

// over reports whether the place is free again.
func (x *slot) over() bool {
	select {
	case <-x.done:
		return true
	default:
		return x.freed
	}
}

// keep holds the place as long as the session lives.
func (x *slot) keep(s leased) {
	if x != nil {
		x.a.mu.Lock()
		defer x.a.mu.Unlock()
		x.done = s.Done()
	}
}

// free gives the place back if no session came of it.
func (x *slot) free() {
	if x != nil {
		x.a.mu.Lock()
		defer x.a.mu.Unlock()
		x.freed = x.done == nil
	}
}
