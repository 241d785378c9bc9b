package turnsvc

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// udpGroup is one listening address for UDP: sockets that share it, and the clients they have in
// common. The kernel maps clients to sockets by a hash over those there are, so while sockets come
// and go a client can arrive by another one than before; nothing is kept by socket. They live and end
// together.
type udpGroup struct {
	endpoint *Endpoint
	ports    []*udpPort
	clients  *clients
	live     atomic.Int32

	mu     sync.Mutex // between the end of the last allocation, draining and its end
	closed bool
}

func newUDPGroup(e *Endpoint, sockets []net.PacketConn) *udpGroup {
	u := &udpGroup{endpoint: e, clients: newClients(udpShards)}
	for _, pc := range sockets {
		u.ports = append(u.ports, newUDPPort(u, pc))
	}
	return u
}

// serve reads all sockets and returns when they are closed.
func (u *udpGroup) serve() {
	var wg sync.WaitGroup
	for _, p := range u.ports {
		wg.Go(func() { p.serve(newGuard(u.endpoint, p, u.clients)) })
	}
	wg.Wait()
}

func (u *udpGroup) allocated(_ time.Duration, fresh bool) {
	if fresh {
		u.live.Add(1)
	}
}

func (u *udpGroup) released() {
	u.live.Add(-1)
	u.closeIdle()
}

// closeIdle closes the sockets if they are draining and have no allocation left.
func (u *udpGroup) closeIdle() {
	u.mu.Lock()
	idle := u.live.Load() <= 0 && u.endpoint.draining.Load()
	u.closed = u.closed || idle
	u.mu.Unlock()
	if idle {
		u.closeSockets()
	}
}

// resume ends the draining, unless the sockets were closed.
func (u *udpGroup) resume() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return false
	}
	u.endpoint.draining.Store(false)
	return true
}

func (u *udpGroup) close() {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.closeSockets()
}

func (u *udpGroup) closeSockets() {
	for _, p := range u.ports {
		_ = p.pc.Close()
	}
}

func closeAll(sockets []net.PacketConn) {
	for _, pc := range sockets {
		if pc != nil {
			_ = pc.Close()
		}
	}
}
