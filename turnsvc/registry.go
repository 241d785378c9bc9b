package turnsvc

import "sync"

// registry is the set of live allocations, with the totals of those that ended.
type registry struct {
	mu     sync.Mutex
	live   map[*allocation]struct{}
	ended  Traffic
	total  uint64
	closed bool
}

func newRegistry() *registry { return &registry{live: map[*allocation]struct{}{}} }

func (r *registry) add(a *allocation) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.live[a] = struct{}{}
	r.total++
	return true
}

func (r *registry) remove(a *allocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.live[a]; ok {
		delete(r.live, a)
		r.ended.add(a.traffic())
	}
}

func (r *registry) all() []*allocation {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*allocation, 0, len(r.live))
	for a := range r.live {
		out = append(out, a)
	}
	return out
}

func (r *registry) ofUser(user string) []*allocation {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*allocation
	for a := range r.live {
		if a.user == user {
			out = append(out, a)
		}
	}
	return out
}

// close refuses further allocations and returns those there are.
func (r *registry) close() []*allocation {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	return r.all()
}

func (r *registry) snapshot(st *Stats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	st.AllocationsTotal, st.Traffic = r.total, r.ended
	for a := range r.live {
		st.Allocations[a.guard.port.transport().String()]++
		st.Traffic.add(a.traffic())
	}
}
