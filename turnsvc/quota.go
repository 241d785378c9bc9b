package turnsvc

import (
	"net/netip"
	"sync"
)

// tally counts what is held, by key, and forgets a key when nothing is left of it.
type tally[K comparable] map[K]int

func (t tally[K]) drop(k K) {
	if t[k]--; t[k] <= 0 {
		delete(t, k)
	}
}

// quota counts allocations by user id, client network and altogether. It counts by user id and not
// by username: one user may hold many usernames, as each new expiry makes another one.
type quota struct {
	mu    sync.Mutex
	users tally[string]
	nets  tally[netip.Addr]
	total int
}

func newQuota() *quota { return &quota{users: tally[string]{}, nets: tally[netip.Addr]{}} }

// acquire reserves one allocation, or says which limit forbids it.
func (q *quota) acquire(c *settings, user string, client netip.Addr) (reason, bool) {
	client = clientNet(client)
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.total >= c.MaxAllocations:
		return rejectCapacity, false
	case q.users[user] >= c.MaxPerUser:
		return rejectUserQuota, false
	case q.nets[client] >= c.MaxPerIP:
		return rejectIPQuota, false
	}
	q.total++
	q.users[user]++
	q.nets[client]++
	return 0, true
}

func (q *quota) release(user string, client netip.Addr) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total--
	q.users.drop(user)
	q.nets.drop(clientNet(client))
}

// connQuota counts stream connections by client network, and those without an allocation.
type connQuota struct {
	mu     sync.Mutex
	nets   tally[netip.Addr]
	unauth int
	total  int
}

func newConnQuota() *connQuota { return &connQuota{nets: tally[netip.Addr]{}} }

func (q *connQuota) acquire(c *settings, client netip.Addr) bool {
	client = clientNet(client)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.nets[client] >= c.MaxConnsPerIP || q.unauth >= c.MaxUnauthConns {
		return false
	}
	q.nets[client]++
	q.unauth++
	q.total++
	return true
}

// authenticated moves one connection out of (or back into) the unauthenticated ones.
func (q *connQuota) authenticated(yes bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if yes {
		q.unauth--
	} else {
		q.unauth++
	}
}

func (q *connQuota) release(client netip.Addr, wasAuth bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !wasAuth {
		q.unauth--
	}
	q.total--
	q.nets.drop(clientNet(client))
}

func (q *connQuota) count() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total
}
