package turnsvc_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"golang.org/x/sys/unix"

	"github.com/talwtn/caddy-wtn/turnsvc"
)

// shared opens a socket that shares its address with any other that does.
func shared(t testing.TB, network, addr string) (net.PacketConn, error) {
	t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		_ = c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return err
	}}
	return lc.ListenPacket(context.Background(), network, addr)
}

// steer makes the kernel give every packet of a group to one of its sockets.
func steer(t *testing.T, pc net.PacketConn, index uint32) {
	t.Helper()
	raw, err := pc.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	program := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: index}}
	_ = raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &unix.SockFprog{Len: 1, Filter: &program[0]})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestClientsMoveBetweenSockets: an allocation belongs to the address, not to the socket it was made
// through. Each step of a client goes to another socket of the group.
func TestClientsMoveBetweenSockets(t *testing.T) {
	s := newServer(t, config())
	addr := "127.0.0.1:0"
	var group []net.PacketConn
	for range 4 {
		pc, err := shared(t, "udp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		addr = pc.LocalAddr().String()
		group = append(group, pc)
	}
	e, err := s.ServeUDP(group...)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, s, "udp", addr, "u")
	socket := uint32(0)
	next := func() { socket = (socket + 1) % 4; steer(t, group[0], socket) }
	next()
	c.challenge()
	next()
	relayed := c.allocate()
	next()
	if got := c.allocateAgain(); got != 437 {
		t.Errorf("a second Allocate was answered %d", got)
	}
	for range 5 {
		next()
		c.bind(0x4000, media4)
		next()
		c.write(channelData(0x4000, []byte("in"), false))
		got, from := fromMedia(t, s, timeout)
		if string(got) != "in" || from.String() != relayed.String() {
			t.Fatalf("socket %d: media side got %q from %v", socket, got, from)
		}
		_, _ = s.MediaConn().WriteTo([]byte("out"), from)
		if b := c.read(timeout); b == nil || string(b[4:]) != "out" {
			t.Fatalf("client got %x", b)
		}
		next()
		c.want(0, stun.MethodRefresh)
	}
	e.Drain()
	next()
	newClient(t, s, "udp", addr, "w").want(508, stun.MethodAllocate, transport(17))
	if !e.Resume() {
		t.Fatal("not resumed")
	}
	other := newClient(t, s, "udp", addr, "v")
	next()
	other.allocate()
	e.Drain()
	next()
	c.want(0, stun.MethodRefresh, lifetime(0))
	next()
	other.want(0, stun.MethodRefresh) // there is one left, so no socket has gone
	next()
	other.write(other.signed(stun.MethodRefresh, lifetime(0)).Raw)
	select {
	case <-e.Done():
	case <-time.After(timeout):
		t.Fatal("the group outlived its last allocation")
	}
	again, err := net.ListenPacket("udp4", addr)
	if err != nil {
		t.Fatalf("a socket was left open: %v", err)
	}
	_ = again.Close()
}

// TestRequestsRaceBetweenSockets: one client's requests are read by several goroutines at a time, as when
// the kernel maps it anew. There is never more than one allocation of it, and nothing is left over.
func TestRequestsRaceBetweenSockets(t *testing.T) {
	conf := config()
	conf.MaxPerUser = 2
	s := newServer(t, conf)
	addr := "127.0.0.1:0"
	var group []net.PacketConn
	for range 4 {
		pc, err := shared(t, "udp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		addr = pc.LocalAddr().String()
		group = append(group, pc)
	}
	if _, err := s.ServeUDP(group...); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, s, "udp", addr, "u")
	c.challenge()
	for i := range 400 {
		steer(t, group[0], uint32(i)%4)
		c.write(c.signed(stun.MethodAllocate, transport(17)).Raw)
		steer(t, group[0], uint32(i+1)%4)
		c.write(c.signed(stun.MethodChannelBind, channel(0x4000), peer(media4)).Raw)
		steer(t, group[0], uint32(i+2)%4)
		c.write(channelData(0x4000, []byte("in"), false))
		if n := len(s.Allocations()); n > 1 {
			t.Fatalf("%d allocations of one client", n)
		}
		steer(t, group[0], uint32(i+3)%4)
		c.write(c.signed(stun.MethodRefresh, lifetime(0)).Raw)
	}
	eventually(t, "all was read and answered", func() bool { return c.read(50*time.Millisecond) == nil })
	if err := s.Revoke("u"); err != nil {
		t.Fatal(err)
	}
	if n := len(s.Allocations()); n != 0 {
		t.Errorf("%d allocations are left", n)
	}
	for i := range uint32(2) { // the quota was given back
		steer(t, group[0], i)
		other := newClient(t, s, "udp", addr, "v")
		other.allocate()
	}
}

func (c *client) allocateAgain() int { return code(c.do(stun.MethodAllocate, transport(17))) }

// TestGroupEndsTogether: a socket that is gone would take its share of the clients with it.
func TestGroupEndsTogether(t *testing.T) {
	s := newServer(t, config())
	one, err := shared(t, "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	two, err := shared(t, "udp4", one.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.ServeUDP(one, two)
	if err != nil {
		t.Fatal(err)
	}
	newClient(t, s, "udp", one.LocalAddr().String(), "u").allocate()
	_ = two.Close()
	select {
	case <-e.Done():
	case <-time.After(timeout):
		t.Fatal("half a group goes on")
	}
	if n := len(s.Allocations()); n != 0 {
		t.Errorf("%d allocations", n)
	}
}

// hostAddress is an address of this machine that is not loopback.
func hostAddress(t testing.TB) netip.Addr {
	t.Helper()
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil && !n.IP.IsLoopback() {
			ip, _ := netip.AddrFromSlice(n.IP)
			return ip.Unmap()
		}
	}
	t.Skip("SKIPPED, NOTHING TESTED: this machine has no IPv4 address but loopback")
	return netip.Addr{}
}

// TestListenUDPSpreads the clients over several sockets, those of this host apart.
func TestListenUDPSpreads(t *testing.T) {
	if runtime.GOMAXPROCS(0) == 1 {
		t.Skip("SKIPPED, NOTHING TESTED: one processor has one socket")
	}
	host := hostAddress(t)
	for _, c := range []struct{ network, addr string }{{"udp", ":0"}, {"udp4", "0.0.0.0:0"}, {"udp4", netip.AddrPortFrom(host, 0).String()}} {
		group, err := turnsvc.ListenUDP(c.network, c.addr)
		if err != nil {
			t.Fatal(err)
		}
		if want := min(runtime.GOMAXPROCS(0), 4) + 1; len(group) != want {
			t.Fatalf("%v: %d sockets, want %d", c, len(group), want)
		}
		port := group[0].LocalAddr().(*net.UDPAddr).Port
		clients := 64
		for i := range clients {
			conn, err := net.Dial("udp4", net.JoinHostPort(host.String(), strconv.Itoa(port)))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if _, err := conn.Write([]byte{byte(i)}); err != nil {
				t.Fatal(err)
			}
		}
		total := 0
		for i, pc := range group {
			n := 0
			b := make([]byte, 10)
			for { // what was sent on this host is there when the sender returns
				_ = pc.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
				if _, _, err := pc.ReadFrom(b); err != nil {
					break
				}
				n++
			}
			if total += n; (n == 0) != (i == 0) { // the first serves loopback
				t.Errorf("%v: socket %d got %d of %d clients", c, i, n, clients)
			}
			_ = pc.Close()
		}
		if total != clients {
			t.Errorf("%v: %d of %d arrived", c, total, clients)
		}
	}
}

// TestListenUDPIsExclusive: neither who takes the port for itself nor who would share it gets in, on
// any address the port covers. The kernel does not tell processes of one user apart, so sockets of
// this one stand for those of another.
func TestListenUDPIsExclusive(t *testing.T) {
	host := hostAddress(t)
	for _, c := range []struct {
		network, addr string
		covers        []string
	}{
		{"udp", ":0", []string{"0.0.0.0", "::", "127.0.0.1", "::1", host.String()}},
		{"udp4", "0.0.0.0:0", []string{"0.0.0.0", "127.0.0.1", host.String()}},
		{"udp6", "[::]:0", []string{"::", "::1"}},
		{"udp4", netip.AddrPortFrom(host, 0).String(), []string{"0.0.0.0", host.String()}},
		{"udp4", "127.0.0.1:0", []string{"0.0.0.0", "127.0.0.1"}},
	} {
		group, err := turnsvc.ListenUDP(c.network, c.addr)
		if err != nil {
			t.Fatal(err)
		}
		port := strconv.Itoa(group[0].LocalAddr().(*net.UDPAddr).Port)
		for _, ip := range c.covers {
			addr := net.JoinHostPort(ip, port)
			network := "udp4"
			if strings.Contains(ip, ":") {
				network = "udp6"
			}
			for name, open := range map[string]func() (net.PacketConn, error){
				"shared": func() (net.PacketConn, error) { return shared(t, network, addr) },
				"plain":  func() (net.PacketConn, error) { return net.ListenPacket(network, addr) },
				"a second gateway": func() (net.PacketConn, error) {
					g, err := turnsvc.ListenUDP(network, addr)
					if err != nil {
						return nil, err
					}
					return g[0], nil
				},
			} {
				if pc, err := open(); !errors.Is(err, syscall.EADDRINUSE) {
					t.Errorf("%v is held and %s at %s gets %v, %v", group[0].LocalAddr(), name, addr, pc, err)
				}
			}
		}
		for _, pc := range group {
			_ = pc.Close()
		}
		first, err := shared(t, c.network, group[0].LocalAddr().String())
		if err != nil {
			t.Fatalf("%v is not free again: %v", c, err)
		}
		if _, err := turnsvc.ListenUDP(c.network, first.LocalAddr().String()); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%v was opened beside one who shares it: %v", c, err)
		}
		_ = first.Close()
	}
}

// towards is an unconnected socket that talks to one address and takes its answers from there only.
type towards struct {
	net.PacketConn
	to *net.UDPAddr
}

func (c towards) Write(b []byte) (int, error) { return c.WriteTo(b, c.to) }
func (c towards) RemoteAddr() net.Addr        { return c.to }
func (c towards) Read(b []byte) (int, error) {
	n, from, err := c.ReadFrom(b)
	if err == nil && from.String() != c.to.String() {
		err = errors.New("answer of " + from.String() + " to a packet to " + c.to.String())
	}
	return n, err
}

// TestAnswersComeFromTheAddressAsked on a host with several: challenges, replies, channels and
// indications. One client that talks to two of them has two allocations (RFC 8656 section 3: a 5-tuple).
func TestAnswersComeFromTheAddressAsked(t *testing.T) {
	host := hostAddress(t).String()
	for name, c := range map[string]struct {
		network, bind string
		asked         []string
	}{
		"IPv4":       {"udp4", "0.0.0.0:0", []string{"127.0.0.2", "127.0.0.3", host}},
		"dual stack": {"udp", ":0", []string{"127.0.0.3", host, "127.9.8.7"}},
	} {
		t.Run(name, func(t *testing.T) { askEach(t, c.network, c.bind, c.asked, "udp4", ":0") })
	}
	t.Run("IPv6", func(t *testing.T) {
		ipv6Addresses(t)
		askEach(t, "udp", ":0", []string{"fd09::1", "fd09::2", "::1", "fe80::77%host0", "fe80::78%host0"}, "udp6", "[::]:0")
		askEach(t, "udp6", ":0", []string{"fd09::2", "fd09::1"}, "udp6", "[::]:0")
	})
}

func askEach(t *testing.T, network, bind string, asked []string, own, ownBind string) {
	t.Helper()
	s := newServer(t, config())
	group, err := turnsvc.ListenUDP(network, bind)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ServeUDP(group...); err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket(own, ownBind)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pc.Close() }()
	cred, _ := s.Mint("u", time.Hour)
	for i, ip := range asked {
		to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), group[0].LocalAddr().(*net.UDPAddr).AddrPort().Port()))
		cl := &client{t: t, conn: connOf(towards{pc, to}), cred: cred, realm: realm}
		cl.allocate()
		if n := len(s.Allocations()); n != i+1 {
			t.Fatalf("%d allocations at %d addresses", n, i+1)
		}
		cl.want(0, stun.MethodCreatePermission, peer(media4))
		for _, bound := range []bool{false, true} {
			send := build(t, stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), peer(media4), attr(stun.AttrData, 1, 2, 3)).Raw
			if bound {
				cl.bind(0x4000, media4)
				send = channelData(0x4000, []byte{1, 2, 3}, false)
			}
			cl.write(send)
			got, from := fromMedia(t, s, timeout)
			if len(got) != 3 {
				t.Fatalf("media side got %x", got)
			}
			_, _ = s.MediaConn().WriteTo([]byte("out"), from)
			if b := cl.read(timeout); b == nil || !strings.Contains(string(b), "out") {
				t.Fatalf("client of %s got %x", ip, b)
			}
		}
	}
}

// connOf makes a net.Conn of it.
func connOf(c towards) net.Conn { return c }

// ipv6Addresses gives the goroutine of the test, and the sockets it opens, a network of its own
// with fd09::1 and fd09::2, and two link-local ones.
func ipv6Addresses(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for ever: the thread, and the network with it, ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("SKIPPED, NOTHING TESTED: a network namespace needs root: %v", err)
	}
	for _, args := range []string{
		"link set lo up", "address add fd09::1/128 dev lo nodad", "address add fd09::2/128 dev lo nodad",
		"link add host0 type veth peer name peer0", "link set peer0 up", "link set host0 up",
		"address add fe80::77/64 dev host0 nodad", "address add fe80::78/64 dev host0 nodad",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED, NOTHING TESTED: ip %s: %v: %s", args, err, out)
		}
	}
}
