package leg

import (
	"net/netip"
	"sync"
)

// connLimit bounds connections that belong to no leg yet, in all and per host.
type connLimit struct {
	mu    sync.Mutex
	all   int
	hosts map[netip.Addr]int
}

func (c *connLimit) take(host netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= tcpPending || c.hosts[host] >= tcpPerHost {
		return false
	}
	if c.hosts == nil {
		c.hosts = make(map[netip.Addr]int)
	}
	c.all++
	c.hosts[host]++
	return true
}

func (c *connLimit) give(host netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.hosts[host]--; c.hosts[host] == 0 {
		delete(c.hosts, host)
	}
}

// hostOf is the address, for IPv6 its /64: who has one has them all.
func hostOf(ip netip.Addr) netip.Addr {
	ip = ip.Unmap()
	if ip.Is6() {
		p, _ := ip.Prefix(64)
		return p.Addr()
	}
	return ip
}
