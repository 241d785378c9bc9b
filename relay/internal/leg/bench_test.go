package leg

import (
	"testing"

	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

// nothing is a Handler that only counts.
type nothing struct{ packets, reports, flushes int }

func (*nothing) HandleReady()               {}
func (n *nothing) HandleRTP([]byte, int64)  { n.packets++ }
func (n *nothing) HandleRTCP([]byte, int64) { n.reports++ }
func (n *nothing) HandleFlush()             { n.flushes++ }
func (*nothing) HandleEnd(error)            {}

// wired is a connected leg whose packets are handed to the demultiplexer by hand.
func wired(t testing.TB) (*inbound, *hop, udpio.Peer, *peer, *nothing) {
	t.Helper()
	tr := newTransport(t)
	addr, sock := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false).connect()
	count := &nothing{}
	p.leg.mu.Lock()
	p.leg.handler = count
	p.leg.mu.Unlock()
	return newInbound(tr), hopOf(tr, func(h *hop) bool { return h.sock == sock }), p.leg.Path().Peer, p, count
}

func TestMediaPathDoesNotAllocate(t *testing.T) {
	in, h, from, p, count := wired(t)
	const runs = 500
	packets := make([][]byte, 0, runs+2)
	for seq := range uint16(runs + 2) {
		packets = append(packets, p.rtp(seq))
	}
	i := 0
	step := func() {
		in.datagram(h, from, packets[i], Now())
		in.flush()
		i++
	}
	step() // the first packet of an SSRC makes its state
	if n := testing.AllocsPerRun(runs, step); n != 0 {
		t.Fatalf("%v allocations per packet", n)
	}
	if count.packets != i || count.flushes != i {
		t.Fatalf("delivered %d, flushed %d of %d", count.packets, count.flushes, i)
	}
}

// What the SRTCP cipher itself allocates is not the leg's doing.
func TestWriteRTCPAddsNoAllocation(t *testing.T) {
	_, _, _, p, _ := wired(t)
	compound := []byte{0x80, 201, 0, 1, 0, 0, 0, 9}
	if err := p.leg.WriteRTCP(compound); err != nil {
		t.Fatal(err)
	}
	keys, buf := p.leg.keys.Load(), make([]byte, 0, 256)
	sealing := testing.AllocsPerRun(200, func() {
		if _, err := keys.rtcp.SealRTCP(buf, compound); err != nil {
			t.Fatal(err)
		}
	})
	if n := testing.AllocsPerRun(200, func() {
		if err := p.leg.WriteRTCP(compound); err != nil {
			t.Fatal(err)
		}
	}); n > sealing && !raceDetector { // which makes sync.Pool forget
		t.Fatalf("%v allocations, %v of them for sealing", n, sealing)
	}
}

func TestUnknownDatagramsDoNotAllocate(t *testing.T) {
	in, h, _, _, _ := wired(t)
	from := udpio.PeerFrom(addrPort(nil), addrPort(nil).Addr())
	check := buildCheck("unknown1:x", "pwd")
	media := append([]byte{0x80, 96}, make([]byte, 100)...)
	if n := testing.AllocsPerRun(200, func() {
		in.datagram(h, from, check, 0)
		in.datagram(h, from, media, 0)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkDemuxAndOpenRTP(b *testing.B) {
	in, h, from, p, count := wired(b)
	const batch = 64 // a full socket read
	packets, seq := make([][]byte, batch), uint16(0)
	b.ReportAllocs()
	b.SetBytes(1012)
	sent := 0
	for b.Loop() {
		if sent%batch == 0 {
			b.StopTimer()
			in.flush()
			for i := range packets {
				packets[i] = p.rtp(seq)
				seq++
			}
			b.StartTimer()
		}
		in.datagram(h, from, packets[sent%batch], Now())
		sent++
	}
	in.flush()
	if count.packets != sent {
		b.Fatalf("%d of %d delivered", count.packets, sent)
	}
}

func BenchmarkUnknownUfrag(b *testing.B) {
	in, h, from, _, _ := wired(b)
	check := buildCheck("unknown1:x", "pwd", priority, controlling)
	b.ReportAllocs()
	for b.Loop() {
		in.datagram(h, from, check, 0)
	}
}

func BenchmarkWrongIntegrity(b *testing.B) {
	in, h, from, p, _ := wired(b)
	check := buildCheck(p.leg.Ufrag()+":"+peerUfrag, "wrong", priority, controlling)
	b.ReportAllocs()
	for b.Loop() {
		in.datagram(h, from, check, 0)
	}
}
