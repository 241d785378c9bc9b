package udpio

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen, before it fails.
const patience = 10 * time.Second

func listen(t testing.TB, network, addr string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenPacket(network, addr)
	if err != nil {
		t.Fatalf("listen %s %s: %v", network, addr, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.UDPConn)
}

func open(t testing.TB, network, addr string, opts Options) *Socket {
	t.Helper()
	s, err := New(listen(t, network, addr), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func needIPv6(t testing.TB) {
	t.Helper()
	c, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		skip(t, "this host has no IPv6 loopback: %v", err)
	}
	_ = c.Close()
}

type datagram struct {
	data []byte
	peer Peer
}

// receive reads n datagrams.
func receive(t testing.TB, s *Socket, n int) []datagram {
	t.Helper()
	guard := time.AfterFunc(patience, func() { _ = s.Close() })
	defer guard.Stop()
	b := NewReadBuffer()
	var got []datagram
	for len(got) < n {
		k, err := s.Read(b)
		if err != nil {
			t.Fatalf("read after %d of %d datagrams: %v", len(got), n, err)
		}
		for i := range k {
			got = append(got, datagram{bytes.Clone(b.Packet(i)), b.Peer(i)})
		}
	}
	if len(got) > n {
		t.Fatalf("%d datagrams, want %d", len(got), n)
	}
	return got
}

// ask sends a datagram from client to addr and returns what the server saw.
func ask(t testing.TB, client *net.UDPConn, addr netip.AddrPort, server *Socket) datagram {
	t.Helper()
	if _, err := client.WriteToUDPAddrPort([]byte("question"), addr); err != nil {
		t.Fatal(err)
	}
	got := receive(t, server, 1)[0]
	if string(got.data) != "question" {
		t.Fatalf("got %q", got.data)
	}
	return got
}

// answered reads the client's socket and returns where the datagram came from.
func answered(t testing.TB, client *net.UDPConn, want string) netip.AddrPort {
	t.Helper()
	buf := make([]byte, 2048)
	_ = client.SetReadDeadline(time.Now().Add(patience))
	n, from, err := client.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != want {
		t.Fatalf("client got %q, %v, want %q", buf[:n], err, want)
	}
	return unmapPort(from)
}

func TestQuestionAndAnswer(t *testing.T) {
	for name, c := range map[string]struct{ network, bind, client, to string }{
		"IPv4":                    {"udp4", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1"},
		"IPv4 wildcard":           {"udp4", "0.0.0.0:0", "127.0.0.1:0", "127.0.0.1"},
		"IPv6":                    {"udp6", "[::1]:0", "[::1]:0", "::1"},
		"IPv6 wildcard":           {"udp6", "[::]:0", "[::1]:0", "::1"},
		"dual stack, IPv4 client": {"udp", ":0", "127.0.0.1:0", "127.0.0.1"},
		"dual stack, IPv6 client": {"udp", ":0", "[::1]:0", "::1"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.network != "udp4" {
				needIPv6(t)
			}
			server := open(t, c.network, c.bind, Options{})
			client := listen(t, "udp", c.client)
			to := netip.AddrPortFrom(netip.MustParseAddr(c.to), server.LocalAddr().Port())
			peer := ask(t, client, to, server).peer

			want := unmapPort(client.LocalAddr().(*net.UDPAddr).AddrPort())
			if peer.Remote() != want {
				t.Errorf("remote %v, want %v", peer.Remote(), want)
			}
			if p := PeerFrom(want, peer.Local()); p != peer {
				t.Errorf("PeerFrom gives %+v, Read gave %+v", p, peer)
			}
			if err := server.WriteTo([]byte("one"), peer); err != nil {
				t.Fatal(err)
			}
			if from := answered(t, client, "one"); from != to {
				t.Errorf("answered from %v, want %v", from, to)
			}
			s := NewSender(SenderOptions{})
			s.Begin(server, &peer)
			s.Commit(append(s.Buffer(3), "two"...))
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			if from := answered(t, client, "two"); from != to {
				t.Errorf("sender answered from %v, want %v", from, to)
			}
		})
	}
}

func TestPeer(t *testing.T) {
	remote := netip.MustParseAddrPort("192.0.2.9:4000")
	p := PeerFrom(remote, netip.MustParseAddr("192.0.2.1"))
	mapped := PeerFrom(netip.MustParseAddrPort("[::ffff:192.0.2.9]:4000"), netip.MustParseAddr("::ffff:192.0.2.1"))
	if p != mapped || p.Remote() != remote || p.Local() != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("mapped forms differ: %v %v", p, mapped)
	}
	for _, local := range []netip.Addr{{}, netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if q := PeerFrom(remote, local); q.Local().IsValid() || q == p || q.Remote() != remote {
			t.Errorf("local %v: got %v", local, q.Local())
		}
	}
	zoned := PeerFrom(netip.MustParseAddrPort("[fe80::1%7]:9"), netip.Addr{})
	if zoned.Remote() != netip.MustParseAddrPort("[fe80::1%7]:9") {
		t.Errorf("zone lost: %v", zoned)
	}
	if (Peer{}).Remote().IsValid() || PeerFrom(netip.AddrPort{}, netip.Addr{}) != (Peer{}) {
		t.Error("the zero peer is somebody")
	}
	if len(map[Peer]bool{p: true, mapped: true, zoned: true}) != 2 {
		t.Error("map keys")
	}
}

func TestReadDropsEmptyAndLong(t *testing.T) {
	server := open(t, "udp4", "127.0.0.1:0", Options{})
	client := listen(t, "udp4", "127.0.0.1:0")
	for _, n := range []int{MaxPacket + 1, 1, 0, MaxPacket, 60000, 2} {
		if _, err := client.WriteToUDPAddrPort(bytes.Repeat([]byte{7}, n), server.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	for i, d := range receive(t, server, 3) {
		if want := []int{1, MaxPacket, 2}[i]; !bytes.Equal(d.data, bytes.Repeat([]byte{7}, want)) {
			t.Errorf("datagram %d has %d bytes, want %d", i, len(d.data), want)
		}
	}
}

func TestCloseUnblocksRead(t *testing.T) {
	s := open(t, "udp4", "127.0.0.1:0", Options{})
	done := make(chan error, 1)
	reading := make(chan struct{})
	go func() {
		close(reading)
		_, err := s.Read(NewReadBuffer())
		done <- err
	}()
	<-reading
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	select {
	case err := <-done:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("read: %v, want net.ErrClosed", err)
		}
	case <-time.After(patience):
		t.Fatal("read still blocked after close")
	}
	peer := PeerFrom(s.LocalAddr(), netip.Addr{})
	if err := s.WriteTo([]byte{1}, peer); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write: %v, want net.ErrClosed", err)
	}
	sender := NewSender(SenderOptions{})
	sender.Begin(s, &peer)
	sender.Commit(append(sender.Buffer(1), 1))
	if err := sender.Flush(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("flush: %v, want net.ErrClosed", err)
	}
	if st := sender.Stats(); st.Dropped != 1 || st.Packets != 0 {
		t.Errorf("stats %+v", st)
	}
	if err := sender.Flush(); err != nil {
		t.Errorf("an error is reported twice: %v", err)
	}
}

// pooled is the kind of wrapper a listener pool hands out: closing it does not close
// the socket that others share.
type pooled struct {
	net.PacketConn
	closed atomic.Int32
}

func (p *pooled) Close() error           { p.closed.Add(1); return nil }
func (p *pooled) Unwrap() net.PacketConn { return p.PacketConn }

func TestWrapperIsClosedAndInnerUsed(t *testing.T) {
	inner := listen(t, "udp4", "127.0.0.1:0")
	w := &pooled{PacketConn: &pooled{PacketConn: inner}}
	old, err := New(w, Options{})
	if err != nil {
		t.Fatal(err)
	}
	next, err := New(&pooled{PacketConn: inner}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := old.Read(NewReadBuffer()); done <- err }()
	if err := old.Close(); err != nil || w.closed.Load() != 1 {
		t.Fatalf("close: %v, wrapper closed %d times", err, w.closed.Load())
	}
	select {
	case err := <-done:
		if !errors.Is(err, net.ErrClosed) {
			t.Fatalf("read: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("read blocked, because the wrapper kept the socket open")
	}
	if err := old.WriteTo([]byte{1}, PeerFrom(old.LocalAddr(), netip.Addr{})); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("a closed socket writes to the inner one: %v", err)
	}
	// The other user of the inner socket goes on.
	client := listen(t, "udp4", "127.0.0.1:0")
	ask(t, client, next.LocalAddr(), next)
	// And a deadline that somebody left behind does not end its reads.
	_ = inner.SetReadDeadline(time.Unix(1, 0))
	ask(t, client, next.LocalAddr(), next)
}

func TestNewRefuses(t *testing.T) {
	connected, err := net.Dial("udp4", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer connected.Close()
	if _, err := New(connected.(*net.UDPConn), Options{}); err == nil {
		t.Error("a connected socket was accepted")
	}
	loop := &pooled{}
	loop.PacketConn = loop
	for name, c := range map[string]net.PacketConn{"nil": nil, "endless wrapper": loop, "nil socket": (*net.UDPConn)(nil)} {
		if _, err := New(c, Options{}); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestWriteToRefusesNobody(t *testing.T) {
	s := open(t, "udp4", "127.0.0.1:0", Options{})
	if err := s.WriteTo([]byte{1}, Peer{}); !errors.Is(err, ErrFamily) {
		t.Errorf("zero peer: %v", err)
	}
	var sys *os.SyscallError
	if err := s.WriteTo([]byte{1}, PeerFrom(netip.MustParseAddrPort("127.0.0.1:0"), netip.Addr{})); !errors.As(err, &sys) {
		t.Errorf("port 0: %v, want a system error", err)
	}
	if err := s.WriteTo(make([]byte, 70000), PeerFrom(s.LocalAddr(), netip.Addr{})); !errors.As(err, &sys) {
		t.Errorf("70000 bytes: %v, want a system error", err)
	}
}

// Everything at once, for the race detector: two senders, plain writes, stats and a
// close in the middle.
func TestConcurrentUse(t *testing.T) {
	server := open(t, "udp4", "127.0.0.1:0", Options{})
	sink := open(t, "udp4", "127.0.0.1:0", Options{})
	peer := PeerFrom(sink.LocalAddr(), netip.Addr{})
	var readers, writers sync.WaitGroup
	var got atomic.Int64
	enough := make(chan struct{})
	readers.Go(func() {
		b := NewReadBuffer()
		for {
			n, err := sink.Read(b)
			if err != nil {
				return
			}
			if got.Add(int64(n)) >= 500 {
				select {
				case <-enough:
				default:
					close(enough)
				}
			}
		}
	})
	for range 2 {
		s := NewSender(SenderOptions{})
		writers.Go(func() {
			for {
				s.Begin(server, &peer)
				for range 5 {
					s.Commit(append(s.Buffer(100), make([]byte, 100)...))
				}
				if s.Flush() != nil {
					return
				}
			}
		})
		writers.Go(func() {
			for s.Stats().Packets == 0 && server.WriteTo([]byte("x"), peer) == nil {
				_ = server.GSO()
			}
		})
	}
	select {
	case <-enough:
	case <-time.After(patience):
		t.Error("nothing arrives")
	}
	_ = server.Close()
	writers.Wait()
	_ = sink.Close()
	readers.Wait()
}

// skip leaves a test out where the host lacks what it needs, which CI must have.
func skip(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("CI needs it: "+format, args...)
	}
	t.Skipf("SKIPPED, NOT TESTED: "+format, args...)
}
