package turnsvc_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v4"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talwtn/caddy-wtn/turnsvc"
)

// TestDrain keeps what is established, refuses what is new, and ends with the last client.
func TestDrain(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr, func(t *testing.T) {
			s := newServer(t, config())
			addr, e := serve(t, s, tr)
			c := newClient(t, s, tr, addr, "u")
			c.allocate()
			c.bind(0x4000, media4)
			e.Drain()
			e.Drain()
			next, _ := serve(t, s, tr) // the address after a reload
			newClient(t, s, tr, next, "v").allocate()
			if tr == "udp" {
				newClient(t, s, tr, addr, "w").want(508, stun.MethodAllocate, transport(17))
			} else if conn, err := net.Dial("tcp", addr); err == nil {
				_ = conn.Close()
				t.Error("drained listener accepts")
			}
			c.write(channelData(0x4000, []byte("alive"), c.stream))
			if got, _ := fromMedia(t, s, timeout); string(got) != "alive" {
				t.Fatalf("media side got %q", got)
			}
			select {
			case <-e.Done():
				t.Fatal("ended before its client")
			default:
			}
			c.want(0, stun.MethodRefresh)
			if tr == "udp" {
				c.write(c.signed(stun.MethodRefresh, lifetime(0)).Raw)
			} else {
				_ = c.conn.Close()
			}
			select {
			case <-e.Done():
			case <-time.After(timeout):
				t.Fatal("not ended after its last client")
			}
			if n := len(s.Allocations()); n != 1 {
				t.Errorf("%d allocations", n)
			}
		})
	}
}

// TestEndpointClose ends its own clients and nobody else's.
func TestEndpointClose(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr, func(t *testing.T) {
			s := newServer(t, config())
			addr, e := serve(t, s, tr)
			other, _ := serve(t, s, "udp")
			for range 3 {
				newClient(t, s, tr, addr, "u").allocate()
			}
			c := newClient(t, s, "udp", other, "v")
			c.allocate()
			e.Close()
			e.Close()
			if n := len(s.Allocations()); n != 1 {
				t.Errorf("%d allocations after closing an endpoint", n)
			}
			c.want(0, stun.MethodRefresh)
		})
	}
}

func TestClose(t *testing.T) {
	s := newServer(t, config())
	for _, tr := range transports {
		addr, _ := serve(t, s, tr)
		newClient(t, s, tr, addr, "u").allocate()
		newClient(t, s, tr, addr, "v")
	}
	done := make(chan error)
	go func() {
		_, _, err := s.MediaConn().ReadFrom(make([]byte, 100))
		done <- err
	}()
	expired, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Close(expired); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("media side read: %v", err)
	}
	if _, err := s.MediaConn().WriteTo([]byte{1}, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 50000}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("media side write: %v", err)
	}
	st := s.Stats()
	if st.Connections != 0 || len(s.Allocations()) != 0 {
		t.Errorf("%+v", st)
	}
	pc, _ := net.ListenPacket("udp4", "127.0.0.1:0")
	if _, err := s.ServeUDP(pc); !errors.Is(err, turnsvc.ErrClosed) {
		t.Errorf("ServeUDP: %v", err)
	}
	ln, _ := net.Listen("tcp4", "127.0.0.1:0")
	if _, err := s.Serve(ln); !errors.Is(err, turnsvc.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
	a, b := net.Pipe()
	defer func() { _ = b.Close() }()
	if err := s.Inlet().Push(&addressed{Conn: a}); !errors.Is(err, turnsvc.ErrClosed) {
		t.Errorf("Push: %v", err)
	}
	if _, err := b.Write([]byte{0}); err == nil {
		t.Error("a refused connection was left open")
	}
}

// addressed gives a pipe the addresses of a connection, and optionally a TLS state.
type addressed struct {
	net.Conn
	from string
}

func (a *addressed) RemoteAddr() net.Addr {
	if a.from == "" {
		a.from = "198.51.100.7:4000"
	}
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(a.from))
}

type tlsAddressed struct{ addressed }

func (*tlsAddressed) ConnectionState() tls.ConnectionState { return tls.ConnectionState{} }

// TestInlet serves pushed connections, sees TLS by its state, and refuses what has no address.
func TestInlet(t *testing.T) {
	s := newServer(t, config())
	a, b := net.Pipe()
	if err := s.Inlet().Push(&tlsAddressed{addressed{Conn: a}}); err != nil {
		t.Fatal(err)
	}
	cred, _ := s.Mint("u", time.Hour)
	c := &client{t: t, conn: b, stream: true, cred: cred, realm: realm}
	defer func() { _ = b.Close() }()
	m := c.do(stun.MethodAllocate, transport(17))
	var mapped stun.XORMappedAddress
	if err := mapped.GetFrom(m); err != nil || mapped.String() != "198.51.100.7:4000" {
		t.Errorf("mapped %v, %v", mapped, err)
	}
	if all := s.Allocations(); len(all) != 1 || all[0].Transport != turnsvc.TLS || all[0].UserID != "u" || all[0].Client.String() != "198.51.100.7:4000" {
		t.Errorf("%+v", all)
	}
	x, y := net.Pipe()
	defer func() { _ = y.Close() }()
	if err := s.Inlet().Push(x); !errors.Is(err, turnsvc.ErrAddress) {
		t.Errorf("push without address: %v", err)
	}
}

// TestExpiry runs the timers in a bubble of fake time: an allocation that is not refreshed ends, a
// refreshed one stays; permissions and channels end after 5 and 10 minutes; a connection ends
// with its allocation.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := turnsvc.New(config())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close(context.Background()) }()
		connect := func(user, from string) *client {
			a, b := net.Pipe()
			if err := s.Inlet().Push(&addressed{Conn: a, from: from}); err != nil {
				t.Fatal(err)
			}
			cred, _ := s.Mint(user, time.Hour)
			return &client{t: t, conn: b, stream: true, cred: cred, realm: realm}
		}
		c, idle := connect("u", "198.51.100.1:1"), connect("idle", "198.51.100.2:1")
		idle.allocate()
		c.allocate()
		c.bind(0x4000, media4)
		c.want(0, stun.MethodCreatePermission, peer(media4))
		relays := func() bool {
			c.write(channelData(0x4000, []byte{1}, true))
			got, _ := fromMedia(t, s, time.Second)
			return got != nil
		}
		indicates := func() bool {
			c.write(build(t, stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), peer(media4), attr(stun.AttrData, 1)).Raw)
			got, _ := fromMedia(t, s, time.Second)
			return got != nil
		}
		time.Sleep(4 * time.Minute)
		if !relays() || !indicates() {
			t.Error("does not relay after 4 minutes")
		}
		time.Sleep(90 * time.Second)
		if !relays() || indicates() {
			t.Error("after 5.5 minutes the channel should live and the permission not")
		}
		c.want(0, stun.MethodRefresh)
		time.Sleep(5 * time.Minute)
		if relays() {
			t.Error("channel lives after 10.5 minutes")
		}
		if all := s.Allocations(); len(all) != 1 || all[0].UserID != "u" {
			t.Errorf("allocations after 10.5 minutes: %+v", all)
		}
		time.Sleep(15 * time.Second) // the idle connection is a newcomer since its allocation ended
		if n := s.Stats().Connections; n != 1 {
			t.Errorf("%d connections", n)
		}
		c.bind(0x4002, media4)
		if got, _ := s.Mint("u", time.Hour); got.Username == "" {
			t.Error("cannot mint")
		}
		time.Sleep(11 * time.Minute)
		if n := s.Stats(); n.Connections != 0 || n.Allocations["tcp"] != 0 {
			t.Errorf("after the end: %+v", n)
		}
		_ = c.conn.Close()
		_ = idle.conn.Close()
	})
}

// recorder is an Observer that writes down what it is told.
type recorder struct {
	mu    sync.Mutex
	lines []string
}

func (r *recorder) AllocationStarted(i turnsvc.AllocationInfo) { r.add("start " + i.UserID) }
func (r *recorder) AllocationEnded(i turnsvc.AllocationInfo, why turnsvc.EndReason) {
	r.add(fmt.Sprintf("end %s %s in %d/%d out %d/%d", i.UserID, why, i.Traffic.PacketsIn, i.Traffic.BytesIn, i.Traffic.PacketsOut, i.Traffic.BytesOut))
}

func (r *recorder) add(l string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, l)
}

// TestObserver tells each start and end once, with its reason; logs have neither usernames nor
// passwords.
func TestObserver(t *testing.T) {
	var r recorder
	core, logs := observer.New(zap.DebugLevel)
	s := newServer(t, config(), turnsvc.WithObserver(&r), turnsvc.WithLogger(zap.New(core)))
	addr, e := serve(t, s, "udp")
	var secrets []string
	connect := func(user string) *client {
		c := newClient(t, s, "udp", addr, user)
		secrets = append(secrets, c.cred.Username, c.cred.Password)
		return c
	}
	a, b, c, d := connect("a"), connect("b"), connect("c"), connect("d")
	for _, c := range []*client{a, b, c} {
		c.allocate()
	}
	a.bind(0x4000, media4)
	a.write(channelData(0x4000, []byte("1234567"), false))
	_, from := fromMedia(t, s, timeout)
	_, _ = s.MediaConn().WriteTo([]byte("123"), from)
	a.read(timeout)
	a.want(0, stun.MethodRefresh, lifetime(0))
	d.cred.Password = "wrong"
	d.want(401, stun.MethodAllocate, transport(17))
	if err := s.Revoke("b"); err != nil {
		t.Fatal(err)
	}
	e.Close()
	want := "start a|start b|start c|end a deleted in 1/7 out 1/3|end b revoked in 0/0 out 0/0|end c closed in 0/0 out 0/0"
	if got := strings.Join(r.lines, "|"); got != want {
		t.Errorf("observed %s\nwant %s", got, want)
	}
	if st := s.Stats(); st.Traffic != (turnsvc.Traffic{PacketsIn: 1, BytesIn: 7, PacketsOut: 1, BytesOut: 3}) || st.AllocationsTotal != 3 {
		t.Errorf("%+v", st)
	}
	if logs.Len() != 6 {
		t.Errorf("%d log lines, want one for each start and end", logs.Len())
	}
	for _, l := range logs.All() {
		text := fmt.Sprint(l.Message, l.ContextMap())
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("log line tells a credential: %s", text)
			}
		}
	}
}

// TestConcurrentRevocation ends allocations while their clients work on them.
func TestConcurrentRevocation(t *testing.T) {
	conf := config()
	conf.MaxPerUser = 100
	s := newServer(t, conf)
	addr, _ := serve(t, s, "udp")
	var wg sync.WaitGroup
	for i := range 8 {
		c := newClient(t, s, "udp", addr, fmt.Sprintf("u%d", i))
		c.allocate()
		wg.Go(func() {
			for n := range 50 {
				m := c.do(stun.MethodCreatePermission, peer(media4))
				if got := code(m); got != 0 && got != 401 && got != 437 {
					t.Errorf("answered %d", got)
				}
				c.write(channelData(0x4000+uint16(n), []byte{1}, false))
			}
		})
		wg.Go(func() { _ = s.Revoke(fmt.Sprintf("u%d", i)) })
	}
	wg.Wait()
	if n := len(s.Allocations()); n != 0 {
		t.Errorf("%d allocations", n)
	}
}

// TestOpenRelay relays through a real socket to what is allowed, and to nothing private.
func TestOpenRelay(t *testing.T) {
	echo, err := net.ListenPacket("udp4", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = echo.Close() }()
	allowed := echo.LocalAddr().(*net.UDPAddr).AddrPort()
	conf := config()
	conf.MediaAddrs = []netip.AddrPort{allowed} // exempt from the deny list, which loopback is on
	conf.Open = &turnsvc.OpenRelay{
		BindAddr: netip.MustParseAddr("127.0.0.1"), PortMin: 40000, PortMax: 49000,
		Deny: []netip.Prefix{netip.MustParsePrefix("9.9.9.0/24")},
	}
	s := newServer(t, conf)
	for _, tr := range transports {
		addr, _ := serve(t, s, tr)
		c := newClient(t, s, tr, addr, "u")
		relayed := c.allocate(attr(stun.AttrEvenPort, 0))
		if relayed.Addr() != conf.Open.BindAddr || relayed.Port() < 40000 || relayed.Port() > 49000 || relayed.Port()%2 != 0 {
			t.Fatalf("relayed address %v", relayed)
		}
		for _, text := range forbidden {
			p := netip.MustParseAddrPort(text)
			if p.Addr() == netip.MustParseAddr("8.8.8.8") {
				continue
			}
			c.want(403, stun.MethodCreatePermission, peer(p))
			c.want(403, stun.MethodChannelBind, channel(0x4000), peer(p))
		}
		c.want(403, stun.MethodCreatePermission, peer(netip.MustParseAddrPort("9.9.9.9:53")))
		c.want(0, stun.MethodCreatePermission, peer(netip.MustParseAddrPort("8.8.8.8:53")))
		c.want(443, stun.MethodCreatePermission, peer(netip.MustParseAddrPort("[2606:4700::1]:53")))
		c.bind(0x4000, allowed)
		c.write(channelData(0x4000, []byte("out"), c.stream))
		b := make([]byte, 100)
		_ = echo.SetReadDeadline(time.Now().Add(timeout))
		n, from, err := echo.ReadFrom(b)
		if err != nil || string(b[:n]) != "out" || from.String() != relayed.String() {
			t.Fatalf("%q from %v, %v", b[:n], from, err)
		}
		if _, err := echo.WriteTo([]byte("back"), from); err != nil {
			t.Fatal(err)
		}
		if got := c.read(timeout); len(got) < 8 || string(got[4:8]) != "back" {
			t.Fatalf("client got %x", got)
		}
		c.want(0, stun.MethodRefresh, lifetime(0))
		again, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(relayed))
		if err != nil {
			t.Fatalf("relay port is still taken: %v", err)
		}
		_ = again.Close()
	}
}

// A draining UDP socket that is wanted back takes new allocations again, and
// does not end with the old ones; a closed one cannot come back.
func TestResume(t *testing.T) {
	s := newServer(t, config())
	addr, e := serve(t, s, "udp")
	old := newClient(t, s, "udp", addr, "u")
	old.allocate()
	e.Drain()
	if !e.Resume() {
		t.Fatal("a socket with an allocation was not resumed")
	}
	young := newClient(t, s, "udp", addr, "v")
	young.allocate()
	if err := s.Revoke("u"); err != nil {
		t.Fatal(err)
	}
	young.bind(0x4000, media4)
	young.write(channelData(0x4000, []byte("alive"), false))
	if got, _ := fromMedia(t, s, timeout); string(got) != "alive" {
		t.Fatalf("media side got %q", got)
	}
	e.Drain()
	if err := s.Revoke("v"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-e.Done():
	case <-time.After(timeout):
		t.Fatal("the socket outlived its last allocation")
	}
	if e.Resume() {
		t.Fatal("a closed socket was resumed")
	}
}
