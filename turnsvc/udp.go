package turnsvc

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const readBuffer = 4 << 20 // the kernel's default loses a burst of 170 packets

// addrPortConn is what *net.UDPConn has beside net.PacketConn; with it no packet allocates.
type addrPortConn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, addr netip.AddrPort) (int, error)
}

// udpPort is one UDP socket with all its clients.
type udpPort struct {
	endpoint *Endpoint
	pc       net.PacketConn
	fast     addrPortConn // nil when pc has no such methods
	live     atomic.Int32

	mu     sync.Mutex // between the end of the last allocation, draining and its end
	closed bool
}

func (u *udpPort) transport() Transport { return UDP }

func (u *udpPort) allocated(_ time.Duration, fresh bool) {
	if fresh {
		u.live.Add(1)
	}
}

func (u *udpPort) released() {
	u.live.Add(-1)
	u.closeIdle()
}

// closeIdle closes the socket if it is draining and has no allocation left.
func (u *udpPort) closeIdle() {
	u.mu.Lock()
	idle := u.live.Load() <= 0 && u.endpoint.draining.Load()
	u.closed = u.closed || idle
	u.mu.Unlock()
	if idle {
		_ = u.pc.Close()
	}
}

// resume ends the draining, unless the socket was closed.
func (u *udpPort) resume() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return false
	}
	u.endpoint.draining.Store(false)
	return true
}

func (u *udpPort) close() {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	_ = u.pc.Close()
}

func (u *udpPort) send(k *packet, to netip.AddrPort, _ bool) bool {
	defer k.free()
	var err error
	if u.fast != nil {
		_, err = u.fast.WriteToUDPAddrPort(k.b(), to)
	} else {
		_, err = u.pc.WriteTo(k.b(), net.UDPAddrFromAddrPort(to))
	}
	return err == nil
}

func (u *udpPort) read(b []byte) (int, netip.AddrPort, error) {
	if u.fast != nil {
		return u.fast.ReadFromUDPAddrPort(b)
	}
	n, addr, err := u.pc.ReadFrom(b)
	if err != nil {
		return 0, netip.AddrPort{}, err
	}
	from, err := addrPort(addr)
	if err != nil {
		return 0, netip.AddrPort{}, nil // nobody to answer: an empty packet is ignored
	}
	return n, from, nil
}

// serve reads the socket until it is closed. Other errors (an ICMP answer to something we sent, a
// deadline somebody else set) are waited out.
func (u *udpPort) serve(g *guard) {
	var b [maxFrame + 1]byte // one more than acceptable, to see truncation
	wait := time.Millisecond
	for {
		n, from, err := u.read(b[:])
		switch {
		case err == nil:
			wait = time.Millisecond
			if n > 0 && n <= maxFrame {
				g.handle(b[:n], from)
			} else {
				g.srv.counts.add(rejectGarbage)
			}
			continue
		case errors.Is(err, net.ErrClosed), u.endpoint.stopping():
			u.close()
			g.endAll(u.endpoint.endReason())
			return
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, time.Second)
		case <-u.endpoint.stop:
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
