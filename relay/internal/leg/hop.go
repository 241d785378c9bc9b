package leg

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

// hop is something that datagrams arrive through: a UDP socket, a packet conn
// in memory or one TCP connection. It knows which leg each peer address talks
// to. Lock order: Leg.mu before hop.mu.
type hop struct {
	network string
	sock    *udpio.Socket
	pc      net.PacketConn
	conn    *tcpConn

	closed  atomic.Bool
	retired atomic.Int64      // number of the last leg that may use the hop; 0: not retired
	waiting map[*Leg]struct{} // legs a retired hop is kept for
	doomed  bool              // retired with nothing to wait for: about to be closed
	owner   int64             // number of the only leg that may use the hop; 0: any

	mu       sync.RWMutex
	peers    map[udpio.Peer]*candidate
	reserved map[netip.AddrPort]reservation
}

func newHop(network string) *hop {
	return &hop{network: network, peers: make(map[udpio.Peer]*candidate)}
}

// lookup returns the candidate bound to an address, nil if there is none.
func (h *hop) lookup(peer udpio.Peer) *candidate {
	h.mu.RLock()
	c := h.peers[peer]
	h.mu.RUnlock()
	return c
}

// bind gives the address to c, unless another leg holds it and has shown that
// it lives there: a session must not be able to take the address of another by
// forging the source of a check. Nor can it take what a controlling leg has
// reserved.
func (h *hop) bind(peer udpio.Peer, c *candidate, now int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.reserved) > 0 {
		if l := h.reserved[unmap(peer.Remote())].leg; l != nil && l != c.leg {
			return false
		}
	}
	if old := h.peers[peer]; old != nil && old.leg != c.leg && old.holds(now) {
		return false
	}
	h.peers[peer] = c
	return true
}

func (h *hop) unbind(peer udpio.Peer, c *candidate) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.peers[peer] == c {
		delete(h.peers, peer)
	}
}

// admits reports whether leg number n may use the hop.
func (h *hop) admits(n int64) bool {
	if h.owner != 0 {
		return n == h.owner
	}
	last := h.retired.Load()
	return last == 0 || n <= last
}

func (h *hop) path(peer udpio.Peer) *Path {
	p := &Path{network: h.network, remote: unmap(peer.Remote())}
	switch {
	case h.sock != nil:
		p.Socket, p.Peer = h.sock, peer
		p.local = h.sock.LocalAddr()
		if ip := peer.Local(); ip.IsValid() {
			p.local = netip.AddrPortFrom(ip.Unmap(), p.local.Port())
		}
	case h.conn != nil:
		p.conn = h.conn
		p.local = addrPort(h.conn.conn.LocalAddr())
	default:
		p.pc, p.addr = h.pc, net.UDPAddrFromAddrPort(p.remote)
		p.local = addrPort(h.pc.LocalAddr())
	}
	return p
}

// close ends the hop; its reader goroutine sees that and returns.
func (h *hop) close() {
	if h.closed.Swap(true) {
		return
	}
	switch {
	case h.sock != nil:
		_ = h.sock.Close()
	case h.pc != nil:
		_ = h.pc.Close()
	case h.conn != nil:
		h.conn.close()
	}
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// addrPort is the zero AddrPort for an address that is not one of IP and port.
func addrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.UDPAddr:
		return unmap(a.AddrPort())
	case *net.TCPAddr:
		return unmap(a.AddrPort())
	case nil:
		return netip.AddrPort{}
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return unmap(ap)
}
