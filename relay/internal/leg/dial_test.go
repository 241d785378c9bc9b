package leg

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

func TestControllingOverTCPOnly(t *testing.T) {
	for _, active := range []bool{true, false} {
		client, server := newTransport(t), newTransport(t)
		serveUDP(t, client, loopback)
		l := serveTCP(t, server)
		c, s := offerTo(t, client, server, Params{Active: active, TCPCandidates: []netip.AddrPort{addrPort(l.Addr())}})
		began := Now()
		ready(t, c, s)
		if took := Now() - began; took > dialAfter*9/10 {
			t.Fatalf("waited %d ms for UDP candidates that are not there", took/millisecond)
		}
		talk(t, c, s)
		if _, remote, network := c.Pair(); network != "tcp" || remote != addrPort(l.Addr()) {
			t.Fatalf("pair %v %v", remote, network)
		}
		before := c.LastReceived()
		eventually(t, "probe answered", func() bool {
			c.Probe()
			return c.LastReceived() > before && c.Unanswered(Now()) == 0
		})
		s.Close()
		if err := get(t, c.rec.ended, "HandleEnd"); !errors.Is(err, ErrPeerClosed) && !errors.Is(err, ErrLost) {
			t.Fatal(err)
		}
	}
}

func TestTCPWhenUDPIsBlocked(t *testing.T) {
	client, server := newTransport(t), newTransport(t)
	serveUDP(t, client, loopback)
	blocked := newVendor(t, nil)
	l := serveTCP(t, server)
	c, s := offerTo(t, client, server, Params{
		Active: true, Candidates: []netip.AddrPort{blocked.addr()},
		TCPCandidates: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1"), addrPort(l.Addr())},
	})
	began := Now()
	ready(t, c, s)
	if took := Now() - began; took < dialAfter || took > 3*dialAfter {
		t.Fatalf("connected after %d ms", took/millisecond)
	}
	talk(t, c, s)
}

func TestTCPAtOnceWhenThereIsNoRoute(t *testing.T) {
	client, server := newTransport(t), newTransport(t)
	pc, err := net.ListenPacket("udp6", "[::]:0") // does not take IPv4, which only the system knows
	if err != nil {
		t.Fatal(err)
	}
	sock, err := udpio.New(pc, udpio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client.ServeUDP(sock)
	l := serveTCP(t, server)
	to := addrPort(l.Addr())
	c, s := offerTo(t, client, server, Params{Active: true, Candidates: []netip.AddrPort{to}, TCPCandidates: []netip.AddrPort{to}})
	began := Now()
	ready(t, c, s)
	if took := Now() - began; took > dialAfter*9/10 {
		t.Fatalf("connected after %d ms", took/millisecond)
	}
}

// The end of the connection is the end of its path: there is no need to wait
// for consent.
func TestTCPConnectionLost(t *testing.T) {
	for _, active := range []bool{true, false} {
		client, server := newTransport(t), newTransport(t)
		l := serveTCP(t, server)
		c, s := offerTo(t, client, server, Params{Active: active, TCPCandidates: []netip.AddrPort{addrPort(l.Addr())}})
		ready(t, c, s)
		c.rec.do(nil, c.Close) // allowed
		h := hopOf(server, func(h *hop) bool { return h.conn != nil })
		_ = h.conn.conn.Close() // as the kernel does for a process that dies
		if err := get(t, c.rec.ended, "HandleEnd"); !errors.Is(err, ErrLost) {
			t.Fatal(err)
		}
		eventually(t, "leg gone", func() bool { return client.Stats().Legs == 0 })
	}
}

func TestTCPDialsAreBounded(t *testing.T) {
	tr := newTransport(t)
	l := serveTCP(t, tr)
	other := newTransport(t)
	var list []netip.AddrPort
	for i := range 5 {
		list = append(list, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)}), addrPort(l.Addr()).Port()))
	}
	c, _ := offerTo(t, other, tr, Params{TCPCandidates: list})
	if n := len(c.ctl.tcp); n != maxDials {
		t.Fatalf("%d to dial", n)
	}
}
