package turnsvc

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
)

// fiveTuple is what identifies an allocation (RFC 8656 section 3) within its listening address:
// where the client is, and at which of our addresses it reaches us. The latter is the zero Addr
// where there is one only, or the system does not tell.
type fiveTuple struct {
	netip.AddrPort // of the client
	server         netip.Addr
}

// clients are the allocations of one listening address, whichever of its sockets their packets come
// in by. Every packet looks its sender up, from several goroutines and without a lock: the table is
// cut into small maps, each immutable and replaced as a whole.
type clients struct {
	// judging is held while a request that was authenticated is judged and answered, so that two that
	// arrived by different sockets find and leave allocations whole.
	judging sync.Mutex

	mu     sync.Mutex // between writers
	shards []atomic.Pointer[map[fiveTuple]*allocation]
}

const udpShards = 256 // a power of two, like every number of shards

func newClients(shards int) *clients {
	return &clients{shards: make([]atomic.Pointer[map[fiveTuple]*allocation], shards)}
}

func (c *clients) shard(t *fiveTuple) *atomic.Pointer[map[fiveTuple]*allocation] {
	ip := t.Addr().As16()
	h := (binary.LittleEndian.Uint32(ip[12:]) ^ uint32(t.Port())<<8) * 0x9e3779b1
	return &c.shards[int(h>>16)&(len(c.shards)-1)]
}

func (c *clients) get(t fiveTuple) *allocation {
	if m := c.shard(&t).Load(); m != nil {
		return (*m)[t]
	}
	return nil
}

func (c *clients) add(a *allocation) {
	c.replace(a.client, func(m map[fiveTuple]*allocation) { m[a.client] = a })
}

// remove forgets an allocation, unless its client has another one by now.
func (c *clients) remove(a *allocation) {
	c.replace(a.client, func(m map[fiveTuple]*allocation) {
		if m[a.client] == a {
			delete(m, a.client)
		}
	})
}

func (c *clients) replace(t fiveTuple, change func(map[fiveTuple]*allocation)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	shard := c.shard(&t)
	m := map[fiveTuple]*allocation{}
	if old := shard.Load(); old != nil {
		maps.Copy(m, *old)
	}
	change(m)
	shard.Store(&m)
}

func (c *clients) all() []*allocation {
	var out []*allocation
	for i := range c.shards {
		if m := c.shards[i].Load(); m != nil {
			for _, a := range *m {
				out = append(out, a)
			}
		}
	}
	return out
}

// endAll ends what there is; no request is half done meanwhile.
func (c *clients) endAll(why EndReason) {
	c.judging.Lock()
	defer c.judging.Unlock()
	for _, a := range c.all() {
		a.end(why)
	}
}
