package relay

import (
	"net"
	"net/netip"
	"slices"
)

// ServePacketConn takes over a packet conn in memory, such as the media side of
// a TURN server in this process: sessions that came over it are on the network
// "relay". Its addresses are *net.UDPAddr, its Close has to end a ReadFrom that
// waits. No session is told of it: clients find their way through the relay to
// MediaAddresses.
func (h *Hub) ServePacketConn(pc net.PacketConn) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		_ = pc.Close()
		return ErrNotReady
	}
	h.transport.ServePacketConn(pc)
	return nil
}

// RetirePacketConn is RetireUDP for what ServePacketConn was given.
func (h *Hub) RetirePacketConn(pc net.PacketConn) { h.transport.RetirePacketConn(pc) }

// MediaAddresses are the UDP addresses sessions may have been told: those of
// the sockets in use, then those of retired sockets that still carry sessions.
// Loopback addresses are among them, since some sessions are told these.
func (h *Hub) MediaAddresses() []netip.AddrPort {
	h.mu.Lock()
	h.forgetClosed()
	var bound []netip.AddrPort
	for _, s := range slices.Concat(h.udp, h.retired) {
		bound = append(bound, s.sock.LocalAddr())
	}
	h.mu.Unlock()

	c := h.config.Load()
	var list []netip.AddrPort
	for _, b := range bound {
		for _, a := range advertised(c, b.Addr(), true) {
			if ap := netip.AddrPortFrom(a.Unmap(), b.Port()); !slices.Contains(list, ap) {
				list = append(list, ap)
			}
		}
	}
	return list
}

// revive puts a retired socket back to use, if it is still open.
func (h *Hub) revive(pc net.PacketConn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, s := range h.retired {
		if s.given == pc && h.transport.ReviveUDP(s.sock) {
			h.retired = slices.Delete(h.retired, i, i+1)
			h.udp = append(h.udp, s)
			return true
		}
	}
	return false
}

// forgetClosed drops retired sockets that were closed with their last session.
// The hub's lock is held.
func (h *Hub) forgetClosed() {
	h.retired = slices.DeleteFunc(h.retired, func(s *udpSocket) bool { return !h.transport.HoldsUDP(s.sock) })
}
