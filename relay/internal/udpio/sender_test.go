package udpio

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// packet is n bytes that tell their number.
func packet(number uint32, n int) []byte {
	b := bytes.Repeat([]byte{byte(number)}, n)
	binary.BigEndian.PutUint32(b, number)
	return b
}

// messagesOf is the grouping rule, written down a second time.
func messagesOf(sizes []int, maxSegments int) (n int) {
	for i := 0; i < len(sizes); n++ {
		first, total, count := sizes[i], 0, 0
		for i < len(sizes) && count < maxSegments && sizes[i] <= first && total+sizes[i] <= 65000 {
			total, count = total+sizes[i], count+1
			i++
			if sizes[i-1] < first {
				break
			}
		}
	}
	return n
}

func repeat(n, size int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = size
	}
	return s
}

func TestRunsArriveIntactAndInOrder(t *testing.T) {
	random := make([]int, 300)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range random {
		random[i] = []int{4, 613, 612, 1200, 1200, 1200}[r.IntN(6)]
	}
	for name, sizes := range map[string][]int{
		"equal":              repeat(8, 1200),
		"equal, many":        repeat(100, 1200),
		"last shorter":       {1200, 1200, 1200, 700},
		"short in the midst": {1200, 1200, 700, 1200, 1200},
		"longer last":        {612, 613, 646, 647},
		"one":                {99},
		"descending":         {900, 800, 700, 600},
		"bytes at the limit": repeat(80, 2048),
		"more than a buffer": repeat(400, 1300),
		"random":             random,
	} {
		for _, off := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, gso off %v", name, off), func(t *testing.T) {
				server := open(t, "udp4", "127.0.0.1:0", Options{DisableGSO: off})
				sink := open(t, "udp4", "127.0.0.1:0", Options{})
				if off && server.GSO() {
					t.Fatal("GSO is on although it was disabled")
				}
				const segments = 40
				s := NewSender(SenderOptions{MaxSegments: segments})
				peer := PeerFrom(sink.LocalAddr(), netip.Addr{})
				s.Begin(server, &peer)
				total := 0
				for i, n := range sizes {
					s.Commit(append(s.Buffer(n), packet(uint32(i), n)...))
					total += n
				}
				if err := s.Flush(); err != nil {
					t.Fatal(err)
				}
				for i, d := range receive(t, sink, len(sizes)) {
					if !bytes.Equal(d.data, packet(uint32(i), sizes[i])) {
						t.Fatalf("packet %d of %d bytes arrived as %d bytes, number %x", i, sizes[i], len(d.data), d.data[:4])
					}
				}
				st := s.Stats()
				if st.Packets != uint64(len(sizes)) || st.Bytes != uint64(total) || st.Errors+st.Dropped != 0 {
					t.Errorf("stats %+v", st)
				}
				want := len(sizes)
				if server.GSO() {
					want = messagesOf(sizes, segments)
					if total > arenaLen { // one run is cut where the buffer ends
						want++
					}
				}
				if st.Messages != uint64(want) {
					t.Errorf("%d messages, want %d", st.Messages, want)
				}
			})
		}
	}
}

// Many peers in one flush, more messages than one call takes, two sockets, and each
// peer gets its own packets in order.
func TestManyPeersAndSockets(t *testing.T) {
	servers := []*Socket{open(t, "udp4", "127.0.0.1:0", Options{}), open(t, "udp4", "127.0.0.1:0", Options{})}
	s := NewSender(SenderOptions{MaxSegments: 4})
	const peers, each = 50, 7
	var sinks []*Socket
	for range peers {
		sinks = append(sinks, open(t, "udp4", "127.0.0.1:0", Options{ReadBufferBytes: 1 << 18}))
	}
	var scratch Peer // the sender must not need it after Begin
	for i, sink := range sinks {
		scratch = PeerFrom(sink.LocalAddr(), netip.Addr{})
		s.Begin(servers[i*2/peers], &scratch)
		for k := range each {
			s.Commit(append(s.Buffer(500), packet(uint32(i*1000+k), 500)...))
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	for i, sink := range sinks {
		for k, d := range receive(t, sink, each) {
			if !bytes.Equal(d.data, packet(uint32(i*1000+k), 500)) {
				t.Fatalf("peer %d packet %d: number %x", i, k, d.data[:4])
			}
			if d.peer.Remote() != servers[i*2/peers].LocalAddr() {
				t.Fatalf("peer %d was served by the other socket", i)
			}
		}
	}
}

func TestUnreachablePeerDisturbsNobody(t *testing.T) {
	server := open(t, "udp4", "127.0.0.1:0", Options{})
	gso := server.GSO()
	sink := open(t, "udp4", "127.0.0.1:0", Options{})
	good := PeerFrom(sink.LocalAddr(), netip.Addr{})
	bad := []Peer{
		PeerFrom(netip.MustParseAddrPort("127.0.0.1:0"), netip.Addr{}),     // the system refuses port 0
		PeerFrom(netip.MustParseAddrPort("[2001:db8::1]:9"), netip.Addr{}), // not from an IPv4 socket
		{},
	}
	s := NewSender(SenderOptions{})
	number, lost := uint32(0), uint64(0)
	for i := range 10 {
		// The very first message is a bad one: nothing has proven GSO by then.
		s.Begin(server, &bad[i%len(bad)])
		for range 3 {
			s.Commit(append(s.Buffer(50), packet(99, 50)...))
			lost++
		}
		s.Begin(server, &good)
		for range 3 {
			s.Commit(append(s.Buffer(50), packet(number, 50)...))
			number++
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	for i, d := range receive(t, sink, int(number)) {
		if !bytes.Equal(d.data, packet(uint32(i), 50)) {
			t.Fatalf("packet %d arrived as %x", i, d.data[:4])
		}
	}
	if st := s.Stats(); st.Errors != lost || st.Packets != uint64(number) || st.Dropped != 0 {
		t.Errorf("stats %+v, want %d errors", st, lost)
	}
	if server.GSO() != gso {
		t.Error("one unreachable peer switched segmentation off for all")
	}
}

func TestCommitOfOtherSlices(t *testing.T) {
	server := open(t, "udp4", "127.0.0.1:0", Options{})
	sink := open(t, "udp4", "127.0.0.1:0", Options{})
	peer := PeerFrom(sink.LocalAddr(), netip.Addr{})
	s := NewSender(SenderOptions{})
	s.Commit([]byte("nobody")) // before Begin
	s.Begin(server, &peer)
	s.Buffer(100)
	s.Commit(nil)                                          // given up
	s.Commit(packet(0, 1000))                              // memory that is not ours
	s.Commit(append(s.Buffer(1)[:0:1], packet(1, 900)...)) // outgrown
	s.Commit(append(s.Buffer(70000), make([]byte, 70000)...))
	s.Commit(append(s.Buffer(900), packet(2, 900)...))
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	for i, d := range receive(t, sink, 3) {
		if !bytes.Equal(d.data, packet(uint32(i), []int{1000, 900, 900}[i])) {
			t.Errorf("packet %d: %d bytes", i, len(d.data))
		}
	}
	if st := s.Stats(); st.Packets != 3 || st.Dropped != 2 {
		t.Errorf("stats %+v", st)
	}
}

func TestSenderAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("SKIPPED under the race detector, which allocates by itself")
	}
	for _, off := range []bool{false, true} {
		server := open(t, "udp4", "127.0.0.1:0", Options{DisableGSO: off})
		sink := open(t, "udp4", "127.0.0.1:0", Options{})
		peer := PeerFrom(sink.LocalAddr(), netip.Addr{})
		s := NewSender(SenderOptions{})
		data := make([]byte, 1200)
		if n := testing.AllocsPerRun(100, func() {
			for range 4 {
				s.Begin(server, &peer)
				for range 8 {
					s.Commit(append(s.Buffer(len(data)), data...))
				}
			}
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("gso off %v: %v allocations per flush", off, n)
		}
	}
}

func TestReadAndWriteToAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("SKIPPED under the race detector, which allocates by itself")
	}
	s := open(t, "udp4", "0.0.0.0:0", Options{})
	peer := PeerFrom(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), s.LocalAddr().Port()), netip.Addr{})
	b := NewReadBuffer()
	data := make([]byte, 1200)
	var seen map[Peer]int = map[Peer]int{}
	if n := testing.AllocsPerRun(200, func() {
		if err := s.WriteTo(data, peer); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Read(b); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		seen[b.Peer(0)]++
		_ = b.Peer(0).Remote()
	}); n != 0 {
		t.Errorf("%v allocations per datagram", n)
	}
	if len(seen) != 1 {
		t.Errorf("%d peers, want 1", len(seen))
	}
}
