package turnsvc

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

const readBuffer = 4 << 20 // the kernel's default loses a burst of 170 packets

// addrPortConn is what *net.UDPConn has beside net.PacketConn; with it no packet allocates.
type addrPortConn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, addr netip.AddrPort) (int, error)
}

// udpPort is one UDP socket of a group, with the goroutine that reads it. An allocation is sent to by
// the socket it was made through.
type udpPort struct {
	*udpGroup
	pc    net.PacketConn
	fast  addrPortConn // nil when pc has no such methods
	local *localConn   // nil when pc is bound to an address, or does not tell which was used
}

func newUDPPort(u *udpGroup, pc net.PacketConn) *udpPort {
	p := &udpPort{udpGroup: u, pc: pc, local: newLocalConn(pc)}
	p.fast, _ = pc.(addrPortConn)
	if b, ok := pc.(interface{ SetReadBuffer(int) error }); ok {
		_ = b.SetReadBuffer(readBuffer)
	}
	return p
}

func (p *udpPort) transport() Transport { return UDP }

func (p *udpPort) send(k *packet, to fiveTuple, _ bool) bool {
	defer k.free()
	var err error
	switch {
	case p.local != nil:
		err = p.local.write(k.b(), to)
	case p.fast != nil:
		_, err = p.fast.WriteToUDPAddrPort(k.b(), to.AddrPort)
	default:
		_, err = p.pc.WriteTo(k.b(), net.UDPAddrFromAddrPort(to.AddrPort))
	}
	return err == nil
}

func (p *udpPort) read(b []byte) (n int, from fiveTuple, err error) {
	switch {
	case p.local != nil:
		return p.local.read(b)
	case p.fast != nil:
		n, from.AddrPort, err = p.fast.ReadFromUDPAddrPort(b)
		return n, from, err
	}
	n, addr, err := p.pc.ReadFrom(b)
	if err != nil {
		return 0, from, err
	}
	if from.AddrPort, err = addrPort(addr); err != nil {
		return 0, from, nil // nobody to answer: an empty packet is ignored
	}
	return n, from, nil
}

// serve reads the socket until it is closed. Other errors (an ICMP answer to something we sent, a
// deadline somebody else set) are waited out.
func (p *udpPort) serve(g *guard) {
	var b [maxFrame + 1]byte // one more than acceptable, to see truncation
	wait := time.Millisecond
	for {
		n, from, err := p.read(b[:])
		switch {
		case err == nil:
			wait = time.Millisecond
			if n > 0 && n <= maxFrame {
				g.handle(b[:n], from)
			} else {
				g.srv.counts.add(rejectGarbage)
			}
			continue
		case errors.Is(err, net.ErrClosed), p.endpoint.stopping():
			p.close() // the others as well: a socket that is missing would take its share of the clients along
			g.clients.endAll(p.endpoint.endReason())
			return
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, time.Second)
		case <-p.endpoint.stop:
		}
	}
}

// addrPort reads the address of a socket or connection, whatever type it comes in.
func addrPort(a net.Addr) (netip.AddrPort, error) {
	var ap netip.AddrPort
	switch t := a.(type) {
	case *net.UDPAddr:
		ap = t.AddrPort()
	case *net.TCPAddr:
		ap = t.AddrPort()
	case nil:
	default:
		ap, _ = netip.ParseAddrPort(t.String())
	}
	if !ap.IsValid() {
		return netip.AddrPort{}, ErrAddress
	}
	return ap, nil
}
