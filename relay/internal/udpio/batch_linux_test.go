//go:build !udpio_portable

package udpio

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The answer to a datagram leaves from the address it was sent to, also when the
// kernel would have chosen another.
func TestAnswerLeavesFromTheAddressAsked(t *testing.T) {
	for name, c := range map[string]struct{ network, bind string }{
		"IPv4 wildcard": {"udp4", "0.0.0.0:0"},
		"dual stack":    {"udp", "[::]:0"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.network == "udp" {
				needIPv6(t)
			}
			server := open(t, c.network, c.bind, Options{})
			client := listen(t, "udp4", "127.0.0.1:0")
			for _, ip := range []string{"127.0.0.1", "127.0.0.2", "127.9.8.7"} {
				to := netip.AddrPortFrom(netip.MustParseAddr(ip), server.LocalAddr().Port())
				peer := ask(t, client, to, server).peer
				if peer.Local() != to.Addr() {
					t.Fatalf("local address %v, want %v", peer.Local(), ip)
				}
				if err := server.WriteTo([]byte("one"), peer); err != nil {
					t.Fatal(err)
				}
				if from := answered(t, client, "one"); from != to {
					t.Errorf("answered from %v, want %v", from, to)
				}
				// With the segment size beside it among the control messages.
				s := NewSender(SenderOptions{})
				s.Begin(server, &peer)
				for range 3 {
					s.Commit(append(s.Buffer(3), "run"...))
				}
				if err := s.Flush(); err != nil {
					t.Fatal(err)
				}
				for range 3 {
					if from := answered(t, client, "run"); from != to {
						t.Errorf("run came from %v, want %v", from, to)
					}
				}
				if st := s.Stats(); server.GSO() && st.Messages != 1 {
					t.Errorf("%d messages, want 1", st.Messages)
				}
			}
		})
	}
}

func TestBoundSocketKnowsItsAddress(t *testing.T) {
	server := open(t, "udp4", "127.0.0.5:0", Options{})
	client := listen(t, "udp4", "127.0.0.1:0")
	if peer := ask(t, client, server.LocalAddr(), server).peer; peer.Local() != server.LocalAddr().Addr() {
		t.Errorf("local %v, want %v", peer.Local(), server.LocalAddr().Addr())
	}
}

func TestBuffersAreReported(t *testing.T) {
	s := open(t, "udp4", "127.0.0.1:0", Options{ReadBufferBytes: 100 << 10, WriteBufferBytes: 50 << 10})
	if r, w := s.BufferSizes(); r != 100<<10 || w != 50<<10 {
		t.Errorf("got %d and %d", r, w)
	}
}

// faulty is a kernel that refuses what a test tells it to.
type faulty struct {
	calls   int
	atMost  int // messages taken per call, 0: all
	refuse  func(call int, m *mmsghdr) syscall.Errno
	refused int
}

func (f *faulty) send(fd uintptr, msgs []mmsghdr) (int, syscall.Errno) {
	f.calls++
	n := len(msgs)
	if f.atMost > 0 {
		n = min(n, f.atMost)
	}
	for i := range n {
		if e := f.refuse(f.calls, &msgs[i]); e != 0 {
			f.refused++
			if i == 0 {
				return -1, e
			}
			n = i // like the kernel: the error shows when its message is the first
			break
		}
	}
	return sendmmsg(fd, msgs[:n])
}

func never(int, *mmsghdr) syscall.Errno { return 0 }

// bulk is a message that has a segment size with it.
func bulk(m *mmsghdr) bool { return m.hdr.Controllen > 0 }

// flushThrough sends runs of 3 packets to one sink through a faulty kernel and returns
// what became of it.
func flushThrough(t *testing.T, server *Socket, f *faulty, runs int) (SenderStats, *Socket) {
	t.Helper()
	sink := open(t, "udp4", "127.0.0.1:0", Options{})
	peer := PeerFrom(sink.LocalAddr(), netip.Addr{})
	s := NewSender(SenderOptions{})
	s.out.sys = f.send
	for i := range runs {
		s.Begin(server, &peer)
		for k, n := range []int{700, 700, 400} {
			s.Commit(append(s.Buffer(n), packet(uint32(3*i+k), n)...))
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	return s.Stats(), sink
}

func expect(t *testing.T, sink *Socket, numbers ...uint32) {
	t.Helper()
	for i, d := range receive(t, sink, len(numbers)) {
		if want := packet(numbers[i], []int{700, 700, 400}[numbers[i]%3]); !bytes.Equal(d.data, want) {
			t.Fatalf("packet %d: number %x, %d bytes", i, d.data[:4], len(d.data))
		}
	}
}

func upTo(n uint32) (s []uint32) {
	for i := range n {
		s = append(s, i)
	}
	return s
}

func TestPartialSends(t *testing.T) {
	server := open(t, "udp4", "127.0.0.1:0", Options{})
	f := &faulty{atMost: 2, refuse: never}
	st, sink := flushThrough(t, server, f, 7)
	expect(t, sink, upTo(21)...)
	if f.calls < 4 || st.Packets != 21 || st.Syscalls != uint64(f.calls) {
		t.Errorf("%d calls, stats %+v", f.calls, st)
	}
}

func TestPeerErrorCostsOneMessage(t *testing.T) {
	for _, e := range []syscall.Errno{unix.ECONNREFUSED, unix.EPERM, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.ENOBUFS} {
		server := open(t, "udp4", "127.0.0.1:0", Options{})
		if !server.GSO() {
			skip(t, "this kernel has no UDP_SEGMENT")
		}
		seen := 0
		f := &faulty{}
		var victim *byte
		f.refuse = func(_ int, m *mmsghdr) syscall.Errno {
			if seen++; seen == 2 {
				victim = m.hdr.Iov.Base
			}
			if victim != nil && m.hdr.Iov.Base == victim {
				return e
			}
			return 0
		}
		st, sink := flushThrough(t, server, f, 3)
		expect(t, sink, 0, 1, 2, 6, 7, 8)
		if st.Errors != 3 || st.Packets != 6 || st.Messages != 2 || !server.GSO() {
			t.Errorf("%v: stats %+v", e, st)
		}
	}
}

func TestFullBufferIsWaitedForOnceAndBounded(t *testing.T) {
	server := open(t, "udp4", "127.0.0.1:0", Options{})
	f := &faulty{refuse: func(call int, _ *mmsghdr) syscall.Errno {
		if call == 1 {
			return unix.EAGAIN
		}
		return 0
	}}
	st, sink := flushThrough(t, server, f, 2)
	expect(t, sink, upTo(6)...)
	if st.Dropped != 0 || st.Packets != 6 {
		t.Errorf("full for a moment: stats %+v", st)
	}

	f = &faulty{atMost: 1, refuse: func(call int, _ *mmsghdr) syscall.Errno {
		if call > 1 {
			return unix.EAGAIN
		}
		return 0
	}}
	start := time.Now()
	st, _ = flushThrough(t, server, f, 4)
	if took := time.Since(start); took > time.Second {
		t.Errorf("a full buffer held the sender up for %v", took)
	}
	sent := uint64(3)
	if !server.GSO() {
		sent = 1
	}
	if st.Packets != sent || st.Dropped != 12-sent {
		t.Errorf("full for ever: stats %+v", st)
	}
}

func TestSegmentationRefused(t *testing.T) {
	for name, c := range map[string]struct {
		errno  syscall.Errno
		proven bool
		stays  bool
	}{
		"no checksum offload":     {unix.EIO, true, false},
		"unknown to the system":   {unix.EINVAL, false, false},
		"one odd path":            {unix.EINVAL, true, true},
		"packets above the MTU":   {unix.EMSGSIZE, false, true},
		"packets above, has been": {unix.EMSGSIZE, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			server := open(t, "udp4", "127.0.0.1:0", Options{})
			if !server.GSO() {
				skip(t, "this kernel has no UDP_SEGMENT")
			}
			server.gsoProven.Store(c.proven)
			f := &faulty{refuse: func(_ int, m *mmsghdr) syscall.Errno {
				if bulk(m) {
					return c.errno
				}
				return 0
			}}
			st, sink := flushThrough(t, server, f, 2)
			expect(t, sink, upTo(6)...)
			if st.Packets != 6 || st.Messages != 6 || st.Errors+st.Dropped != 0 {
				t.Errorf("stats %+v", st)
			}
			if server.GSO() != c.stays {
				t.Errorf("GSO is now %v, want %v", server.GSO(), c.stays)
			}
			calls := f.refused
			_, sink = flushThrough(t, server, f, 1)
			expect(t, sink, upTo(3)...)
			if tried := f.refused > calls; tried != c.stays {
				t.Errorf("segmentation tried again: %v", tried)
			}
		})
	}
}

func TestSegmentsKeepPacketInfoWhenSplit(t *testing.T) {
	server := open(t, "udp4", "0.0.0.0:0", Options{})
	if !server.GSO() {
		skip(t, "this kernel has no UDP_SEGMENT")
	}
	sink := open(t, "udp4", "127.0.0.1:0", Options{})
	from := netip.MustParseAddr("127.0.0.77")
	peer := PeerFrom(sink.LocalAddr(), from)
	s := NewSender(SenderOptions{})
	s.out.sys = (&faulty{refuse: func(_ int, m *mmsghdr) syscall.Errno {
		if int(m.hdr.Controllen) > unix.CmsgSpace(unix.SizeofInet4Pktinfo) {
			return unix.EMSGSIZE
		}
		return 0
	}}).send
	s.Begin(server, &peer)
	for i := range uint32(4) {
		s.Commit(append(s.Buffer(100), packet(i, 100)...))
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	for i, d := range receive(t, sink, 4) {
		if !bytes.Equal(d.data, packet(uint32(i), 100)) || d.peer.Remote().Addr() != from {
			t.Errorf("packet %d came from %v", i, d.peer)
		}
	}
}

func TestWriteToFullBuffer(t *testing.T) {
	s := open(t, "udp4", "127.0.0.1:0", Options{})
	b := newBatch(1)
	b.sys = func(uintptr, []mmsghdr) (int, syscall.Errno) { return -1, unix.EAGAIN }
	peer := PeerFrom(s.LocalAddr(), netip.Addr{})
	if err := s.writeWith(b, []byte{1}, peer); !errors.Is(err, ErrBufferFull) {
		t.Errorf("got %v, want ErrBufferFull", err)
	}
}

// 8 packets of 1200 bytes to each of 64 peers, over loopback, to a socket that another
// goroutine drains. With GRO the receiver takes a message as a whole, so that its half
// of the stack, which loopback makes the sender pay, costs no more than a network
// card's; without GRO the kernel cuts the message up on the way in.
func BenchmarkSend(b *testing.B) {
	const peers, each, size = 64, 8, 1200
	for _, c := range []struct {
		name     string
		off, gro bool
	}{{"gso", false, false}, {"gso,receiver-gro", false, true}, {"single", true, false}} {
		b.Run(c.name, func(b *testing.B) {
			server := open(b, "udp4", "0.0.0.0:0", Options{DisableGSO: c.off})
			conn := listen(b, "udp4", "0.0.0.0:0")
			if c.gro {
				setGRO(b, conn)
			}
			sink, err := New(conn, Options{})
			if err != nil {
				b.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				for buf := NewReadBuffer(); ; {
					if _, err := sink.Read(buf); err != nil {
						return
					}
				}
			}()
			s, data := NewSender(SenderOptions{}), make([]byte, size)
			to := make([]Peer, peers)
			for i := range to {
				addr := netip.AddrFrom4([4]byte{127, 0, 1, byte(i + 1)})
				to[i] = PeerFrom(netip.AddrPortFrom(addr, sink.LocalAddr().Port()), netip.MustParseAddr("127.0.0.1"))
			}
			b.ReportAllocs()
			for b.Loop() {
				for i := range to {
					s.Begin(server, &to[i])
					for range each {
						p := s.Buffer(size)[:size]
						copy(p, data)
						s.Commit(p)
					}
				}
				if err := s.Flush(); err != nil {
					b.Fatal(err)
				}
			}
			st := s.Stats()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(st.Packets), "ns/packet")
			b.ReportMetric(float64(st.Packets)/float64(st.Messages), "packets/message")
			b.ReportMetric(float64(st.Messages)/float64(st.Syscalls), "messages/call")
			_ = sink.Close()
			<-done
		})
	}
}

func setGRO(b *testing.B, conn *net.UDPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1) }); e != nil || err != nil {
		b.Skipf("SKIPPED: this kernel has no UDP_GRO: %v", errors.Join(e, err))
	}
}

// Only the sender's own work: the kernel is left out.
func BenchmarkCollect(b *testing.B) {
	server := open(b, "udp4", "0.0.0.0:0", Options{})
	s := NewSender(SenderOptions{})
	s.out.sys = func(_ uintptr, msgs []mmsghdr) (int, syscall.Errno) { return len(msgs), 0 }
	peer := PeerFrom(netip.MustParseAddrPort("127.0.0.1:9"), netip.MustParseAddr("127.0.0.1"))
	b.ReportAllocs()
	for b.Loop() {
		s.Begin(server, &peer)
		for range 8 {
			s.Commit(s.Buffer(1200)[:1200])
		}
		if s.used > arenaLen/2 {
			_ = s.Flush()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(s.Stats().Packets), "ns/packet")
}
