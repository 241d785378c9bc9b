package turnsvc_test

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"github.com/talwtn/caddy-wtn/turnsvc"
)

// forbidden is every way to ask for something that is not the media address.
var forbidden = []string{
	"127.0.0.1:80", "0.0.0.0:80", "10.0.0.1:80", "10.255.255.255:22", "169.254.169.254:80", "192.168.1.1:443", "172.16.0.1:22",
	"100.64.0.1:80", "198.18.0.1:80", "224.0.0.1:5353", "239.255.255.250:1900", "255.255.255.255:67", "240.0.0.1:1", "8.8.8.8:53",
	"203.0.113.98:5004", "192.0.2.1:49152", "[::1]:80", "[::]:80", "[::ffff:127.0.0.1]:80", "[::ffff:10.0.0.1]:80", "[::ffff:169.254.169.254]:80",
	"[::127.0.0.1]:80", "[64:ff9b::7f00:1]:80", "[64:ff9b::a9fe:a9fe]:80", "[64:ff9b:1::7f00:1]:80", "[2002:7f00:1::]:80", "[2002:a00:1::1]:80",
	"[2001:0:7f00:1::1]:80", "[fe80::1]:80", "[fc00::1]:80", "[fd00:ec2::254]:80", "[ff02::1]:5353", "[100::1]:49152", "[2001:db8:1::98]:5004",
	"[::ffff:203.0.113.99]:5004", "[2002:cb00:7163::]:5004", "[64:ff9b::cb00:7163]:5004",
}

// TestForbiddenPeers are refused with 403 by permission and by channel, in every spelling, and
// reach nothing by indication either.
func TestForbiddenPeers(t *testing.T) {
	canary, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = canary.Close() }()
	s := newServer(t, config())
	addr, _ := serve(t, s, "udp")
	c := newClient(t, s, "udp", addr, "u")
	c.allocate()
	bad := []string{canary.LocalAddr().String(), addr}
	for _, text := range append(bad, forbidden...) {
		p := netip.MustParseAddrPort(text)
		c.want(403, stun.MethodCreatePermission, peer(p))
		c.want(403, stun.MethodChannelBind, channel(0x4000), peer(p))
		c.want(403, stun.MethodCreatePermission, peer(media4), peer(p))
		c.write(build(t, stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), peer(p), attr(stun.AttrData, 1, 2, 3)).Raw)
	}
	for _, port := range []uint16{1, 22, 443, 5003, 5005} { // other services of the media address
		p := netip.AddrPortFrom(media4.Addr(), port)
		c.want(403, stun.MethodChannelBind, channel(0x4000), peer(p))
		c.want(0, stun.MethodCreatePermission, peer(p)) // a permission has no port
		c.write(build(t, stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), peer(p), attr(stun.AttrData, 1, 2, 3)).Raw)
	}
	c.want(0, stun.MethodRefresh) // all before has been handled
	if got, from := fromMedia(t, s, time.Millisecond); got != nil {
		t.Errorf("%x from %v reached the media side", got, from)
	}
	_ = canary.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, from, err := canary.ReadFrom(make([]byte, 100)); err == nil {
		t.Errorf("%d bytes from %v left the process", n, from)
	}
	st := s.Stats()
	if st.Dropped["not_media"] != 5 || st.Dropped["no_permission"] != uint64(len(bad)+len(forbidden)) || st.Rejected["forbidden_peer"] == 0 {
		t.Errorf("dropped %v, rejected %v", st.Dropped, st.Rejected)
	}
}

// TestMediaAddrsLive takes an address away from a channel that was bound to it.
func TestMediaAddrsLive(t *testing.T) {
	s := newServer(t, config())
	addr, _ := serve(t, s, "udp")
	c := newClient(t, s, "udp", addr, "u")
	c.allocate()
	c.bind(0x4000, media4)
	other := netip.MustParseAddrPort("203.0.113.50:6000")
	if err := s.SetMediaAddrs([]netip.AddrPort{other}); err != nil {
		t.Fatal(err)
	}
	c.write(channelData(0x4000, []byte("stale"), false))
	c.bind(0x4001, other)
	c.write(channelData(0x4001, []byte("fresh"), false))
	if got, _ := fromMedia(t, s, timeout); string(got) != "fresh" {
		t.Fatalf("media side got %q", got)
	}
	if err := s.SetMediaAddrs(nil); err != nil {
		t.Fatal(err)
	}
	newClient(t, s, "udp", addr, "v").want(508, stun.MethodAllocate, transport(17))
}

func TestQuotas(t *testing.T) {
	conf := config()
	conf.MaxPerUser, conf.MaxPerIP, conf.MaxAllocations = 2, 4, 100
	s := newServer(t, conf)
	addr, _ := serve(t, s, "udp")
	client := func(user string) *client { return newClient(t, s, "udp", addr, user) }
	first := client("a")
	first.allocate()
	client("a").allocate()
	over := client("a")
	over.want(486, stun.MethodAllocate, transport(17))
	first.want(0, stun.MethodRefresh, lifetime(0))
	over.allocate()
	client("b").allocate()
	client("b").allocate()
	client("c").want(486, stun.MethodAllocate, transport(17)) // of the address
	conf.MaxAllocations = 4
	if err := s.Apply(conf); err != nil {
		t.Fatal(err)
	}
	client("c").want(508, stun.MethodAllocate, transport(17))
	st := s.Stats()
	if st.Rejected["user_quota"] != 1 || st.Rejected["ip_quota"] != 1 || st.Rejected["capacity"] != 1 || st.Allocations["udp"] != 4 || st.AllocationsTotal != 5 {
		t.Errorf("%+v", st)
	}
}

// TestAmplification sends floods that prove nothing and counts what comes back.
func TestAmplification(t *testing.T) {
	conf := config()
	conf.UnauthReplies = 0 // the default
	for name, m := range map[string]*stun.Message{
		"allocate":  build(t, stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), transport(17)),
		"bare":      build(t, stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest)),
		"binding":   build(t, stun.TransactionID, stun.BindingRequest),
		"unknown":   build(t, stun.TransactionID, stun.BindingRequest, attr(0x7ffe)),
		"method":    build(t, stun.TransactionID, stun.NewType(stun.Method(0xabc), stun.ClassRequest)),
		"integrity": build(t, stun.TransactionID, stun.NewType(stun.MethodRefresh, stun.ClassRequest), attr(stun.AttrMessageIntegrity, make([]byte, 20)...)),
		"stale": build(t, stun.TransactionID, stun.NewType(stun.MethodRefresh, stun.ClassRequest), stun.NewUsername("x"), stun.NewRealm("y"),
			stun.NewNonce("z"), stun.MessageIntegrity("k")),
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, conf)
			addr, _ := serve(t, s, "udp")
			conn := dial(t, "udp", addr)
			sent, received := 0, 0
			for range 1000 {
				n, _ := conn.Write(m.Raw)
				sent += n
			}
			b := make([]byte, 2048)
			for {
				_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
				n, err := conn.Read(b)
				if err != nil {
					break
				}
				received += n
			}
			if received == 0 || float64(received) > 1.5*float64(sent) {
				t.Errorf("sent %d, received %d: x%.2f", sent, received, float64(received)/float64(sent))
			}
			if s.Stats().Rejected["reply_rate"] == 0 {
				t.Error("nothing withheld")
			}
		})
	}
}

// TestGarbageDatagrams are dropped unanswered beside a working allocation.
func TestGarbageDatagrams(t *testing.T) {
	s := newServer(t, config())
	addr, _ := serve(t, s, "udp")
	c := newClient(t, s, "udp", addr, "u")
	c.allocate()
	c.bind(0x4000, media4)
	allocate := build(t, stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest)).Raw
	send := build(t, stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), peer(media4), attr(stun.AttrData, 1)).Raw
	long := append([]byte(nil), send...)
	binary.BigEndian.PutUint16(long[20+2:], 0xfff0)
	wrongPrint := build(t, stun.TransactionID, stun.BindingRequest, stun.Fingerprint).Raw
	wrongPrint[len(wrongPrint)-1] ^= 1
	for _, b := range [][]byte{
		{0}, {0x40}, {0x40, 0, 0}, {0x40, 0, 0xff, 0xff}, {0x40, 0, 0, 5, 1}, {0x40, 1, 0, 1, 1}, {0x80, 0, 0, 0}, {0xff}, make([]byte, 19), make([]byte, 20),
		make([]byte, 2000), allocate[:19], append(allocate, 0), append(allocate, 0, 0, 0, 0), send[:len(send)-4], long, wrongPrint,
	} {
		c.write(b)
	}
	c.write(make([]byte, 5000)) // longer than any frame
	c.write(channelData(0x4000, []byte("alive"), false))
	if got, _ := fromMedia(t, s, timeout); string(got) != "alive" {
		t.Fatalf("media side got %q", got)
	}
	if b := c.read(50 * time.Millisecond); b != nil {
		t.Errorf("answered %x", b)
	}
}

// TestBadFrames end their connection, and only theirs.
func TestBadFrames(t *testing.T) {
	for _, tr := range []string{"tcp", "tls"} {
		t.Run(tr, func(t *testing.T) {
			s := newServer(t, config())
			addr, _ := serve(t, s, tr)
			c := newClient(t, s, tr, addr, "u")
			c.allocate()
			c.bind(0x4000, media4)
			header := func(first, length uint16) []byte {
				b := binary.BigEndian.AppendUint16(nil, first)
				b = binary.BigEndian.AppendUint16(b, length)
				return append(b, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
			}
			frames := [][]byte{{0x50, 0}, {0x80}, []byte("GET / HTTP/1.1\r\n\r\n"), header(3, 1), append([]byte{0, 3, 0, 0}, make([]byte, 16)...)}
			for _, length := range []uint16{0xffec, 0xfff0, 0xfffc, 0xfffd, 0xffff, 0x8000, 2048} {
				frames = append(frames, header(0x0003, length&^3), header(0x4000, length))
			}
			for _, frame := range frames {
				conn := dial(t, tr, addr)
				if _, err := conn.Write(frame); err != nil {
					t.Fatal(err)
				}
				_ = conn.SetReadDeadline(time.Now().Add(timeout))
				if n, err := conn.Read(make([]byte, 100)); n != 0 || isTimeout(err) {
					t.Errorf("frame %x: read %d, %v; want a closed connection", frame[:min(4, len(frame))], n, err)
				}
				c.write(channelData(0x4000, []byte("beside"), true))
				if got, _ := fromMedia(t, s, timeout); string(got) != "beside" {
					t.Fatalf("media side got %q", got)
				}
			}
			if n := s.Stats().Rejected["bad_frame"]; n != uint64(len(frames)) {
				t.Errorf("%d bad frames of %d counted", n, len(frames))
			}
		})
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

// TestIdleConnections are gone in time, silent or dripping, in the middle of a frame or a handshake.
func TestIdleConnections(t *testing.T) {
	conf := config()
	conf.AuthTimeout = 600 * time.Millisecond
	for _, tr := range []string{"tcp", "tls"} {
		t.Run(tr, func(t *testing.T) {
			s := newServer(t, conf)
			addr, _ := serve(t, s, tr)
			c := newClient(t, s, tr, addr, "u")
			c.allocate()
			c.bind(0x4000, media4)
			silent, half := dial(t, "tcp", addr), dial(t, tr, addr)
			if _, err := half.Write([]byte{0, 3}); err != nil {
				t.Fatal(err)
			}
			unauth := newClient(t, s, tr, addr, "v")
			unauth.challenge()
			for _, conn := range []net.Conn{silent, half, unauth.conn} {
				_ = conn.SetReadDeadline(time.Now().Add(timeout))
				if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
					t.Error("idle connection stays")
				}
			}
			eventually(t, "one connection left", func() bool { return s.Stats().Connections == 1 })
			c.write(channelData(0x4000, []byte("alive"), true))
			if got, _ := fromMedia(t, s, timeout); string(got) != "alive" {
				t.Fatalf("media side got %q", got)
			}
			c.want(0, stun.MethodRefresh, lifetime(0)) // without an allocation it is a newcomer again
			eventually(t, "no connection left", func() bool { return s.Stats().Connections == 0 })
			if n := s.Stats().Rejected["connection_timeout"]; n < 3 {
				t.Errorf("%d timeouts counted", n)
			}
		})
	}
}

func TestConnectionCaps(t *testing.T) {
	conf := config()
	conf.MaxConnsPerIP, conf.MaxUnauthConns = 3, 2
	s := newServer(t, conf)
	addr, _ := serve(t, s, "tcp")
	closed := func(c net.Conn) bool {
		_ = c.SetReadDeadline(time.Now().Add(timeout))
		_, err := c.Read(make([]byte, 1))
		return err != nil && !isTimeout(err)
	}
	first := newClient(t, s, "tcp", addr, "u")
	first.challenge()
	second := newClient(t, s, "tcp", addr, "u")
	second.challenge()
	if !closed(dial(t, "tcp", addr)) {
		t.Error("third unauthenticated connection admitted")
	}
	first.allocate()
	third := newClient(t, s, "tcp", addr, "u")
	third.allocate()
	second.allocate()
	if !closed(dial(t, "tcp", addr)) {
		t.Error("fourth connection of one address admitted")
	}
	_ = first.conn.Close()
	eventually(t, "a place is free", func() bool { return s.Stats().Connections == 2 })
	newClient(t, s, "tcp", addr, "u").allocate()
	if n := s.Stats().Rejected["too_many_connections"]; n != 2 {
		t.Errorf("%d refused connections counted", n)
	}
}

// TestBandwidth drops what exceeds the limit of an allocation, each way.
func TestBandwidth(t *testing.T) {
	conf := config()
	conf.Bandwidth = 80_000 // 10 kB/s, burst 5 kB
	var k clock
	frozen := k.now()
	s := newServer(t, conf, turnsvc.WithClock(func() time.Time { return frozen }))
	addr, _ := serve(t, s, "udp")
	c := newClient(t, s, "udp", addr, "u")
	c.allocate()
	c.bind(0x4000, media4)
	for range 20 {
		c.write(channelData(0x4000, make([]byte, 1000), false))
	}
	c.want(0, stun.MethodRefresh)
	n := 0
	var relayed net.Addr
	for got, from := fromMedia(t, s, time.Millisecond); got != nil; got, from = fromMedia(t, s, time.Millisecond) {
		n, relayed = n+1, from
	}
	for range 20 {
		_, _ = s.MediaConn().WriteTo(make([]byte, 1000), relayed)
	}
	back := 0
	for c.read(50*time.Millisecond) != nil {
		back++
	}
	if n != 5 || back != 5 || s.Stats().Dropped["bandwidth"] != 30 {
		t.Errorf("%d in, %d out, dropped %v", n, back, s.Stats().Dropped)
	}
}
