package turnsvc

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
)

var errNoPort = errors.New("turnsvc: no free relay port")

// openSocket is the relayed socket of an allocation of the open relay. The library reads it and
// writes what it reads to the client; what the client sends leaves through allocation.toPeer.
type openSocket struct {
	net.PacketConn // udp, for the address and the deadlines
	udp            *net.UDPConn
	a              *allocation
}

// listenOpen opens a relay socket on a random free port of the range, an even one if wanted.
func listenOpen(a *allocation, o *OpenRelay, even bool) (*openSocket, error) {
	network := "udp4"
	if !o.BindAddr.Is4() {
		network = "udp6"
	}
	span := int(o.PortMax) - int(o.PortMin) + 1
	start := rand.IntN(span)
	for i := range min(span, 256) {
		port := uint16(int(o.PortMin) + (start+i)%span)
		if even && port%2 != 0 {
			continue
		}
		udp, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(o.BindAddr, port)))
		if err == nil {
			return &openSocket{PacketConn: udp, udp: udp, a: a}, nil
		}
	}
	return nil, errNoPort
}

// port is the local port of the socket.
func (s *openSocket) port() uint16 { return s.udp.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

// ReadFrom gives the library the next packet of a peer that is within the bandwidth.
func (s *openSocket) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(p)
		if err != nil {
			return 0, nil, err
		}
		set, now := s.a.srv.settings.Load(), s.a.srv.nanos()
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if !set.mayReach(from) { // denied, or the open relay was switched off meanwhile
			s.a.srv.counts.add(dropNotMedia)
			continue
		}
		if set.Bandwidth > 0 && !s.a.down.takeBytes(now, n, set.Bandwidth) {
			s.a.srv.counts.add(dropBandwidth)
			continue
		}
		s.a.packetsOut.Add(1)
		s.a.bytesOut.Add(uint64(n))
		return n, net.UDPAddrFromAddrPort(from), nil
	}
}

// WriteTo sends to a peer the policy allows and silently drops the rest.
func (s *openSocket) WriteTo(p []byte, to net.Addr) (int, error) {
	if u, ok := to.(*net.UDPAddr); ok {
		peer := u.AddrPort()
		s.a.toPeer(p, netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()))
	}
	return len(p), nil
}
