package relay

import (
	"fmt"
	"net"
	"testing"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
	"github.com/talwtn/caddy-wtn/relay/internal/rtpx"
)

// theatre is a house with n viewers, all at one socket that nobody reads: the
// kernel drops what does not fit, which costs the sender nothing.
func theatre(t testing.TB, n int, c codec.Codec) (*house, *actor, []*seat) {
	t.Helper()
	h := newHouse(t)
	a := h.actor("a", codecVP8)
	h.g.want(a.src, CauseReplace)
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	var seats []*seat
	for range n {
		s := h.sink(conn, c)
		h.w.add(s.subscriber.sink, h.now)
		seats = append(seats, s)
	}
	h.step()
	a.frame(true, 1)
	h.now += firstReport // the first reports are out
	h.step()
	return h, a, seats
}

// play writes a burst of packets of 1200 bytes and sends it.
func play(h *house, a *actor, pkt *rtpx.Packet, n int) {
	for range n {
		a.seq[codec.Video]++
		pkt.Seq, pkt.TS = uint16(a.seq[codec.Video]), pkt.TS+1
		h.g.write(a.track[codec.Video], pkt, a.seq[codec.Video], h.now)
	}
	h.g.flush()
	h.now += burstGap
	h.w.step(h.now)
}

func big() *rtpx.Packet {
	return &rtpx.Packet{Payload: append(vp8Payload(1, true, false), make([]byte, 1194)...)}
}

func TestSendingDoesNotAllocate(t *testing.T) {
	for _, c := range []codec.Codec{plainVP8, rtxVP8} {
		h, a, seats := theatre(t, 20, c)
		pkt := big()
		for range videoSlots / 16 { // memory comes with first use
			play(h, a, pkt, 16)
		}
		before := h.w.stats.packets.Load()
		now := h.now
		if n := testing.AllocsPerRun(50, func() {
			h.now = now // no reports, they are per second and not per packet
			play(h, a, pkt, 3)
			s := seats[1]
			s.track(codec.Video).resendOne(h.w, uint16(s.track(codec.Video).lastOut-5), h.now)
		}); n != 0 {
			t.Errorf("%v allocations for a burst to 20 viewers", n)
		}
		if got := h.w.stats.packets.Load() - before; got < 50*3*20/2 || seats[1].track(codec.Video).resent == 0 {
			t.Errorf("only %d packets and %d resends", got, seats[1].track(codec.Video).resent)
		}
	}
}

// ns/op is per packet and viewer: copy from the ring, header, seal, batch and
// the system call on loopback.
func BenchmarkSend(b *testing.B) {
	for _, viewers := range []int{1, 200} {
		for _, burst := range []int{1, 12} {
			b.Run(fmt.Sprintf("viewers=%d/burst=%d", viewers, burst), func(b *testing.B) {
				h, a, _ := theatre(b, viewers, rtxVP8)
				pkt := big()
				b.ReportAllocs()
				b.ResetTimer()
				for n := 0; n < b.N; n += viewers * burst {
					play(h, a, pkt, burst)
				}
			})
		}
	}
}

// From the publisher's clear packet to sealed packets to 200 viewers, per packet
// and viewer.
func BenchmarkWholeLeg(b *testing.B) {
	h, _, _ := theatre(b, 200, rtxVP8)
	c := codecVP8
	c.PT = 96
	p := newPublisher(&Session{hub: h.hub, id: "p"}, h.g, inbound{codecs: []codec.Codec{c}})
	h.g.register(p.src)
	h.g.want(p.src, CauseReplace)
	head := rtpx.Header{SSRC: 7, PT: 96}
	pay := append(vp8Payload(1, true, true), make([]byte, 1194)...)
	buf := make([]byte, 0, 1500)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += 200 * 12 {
		for range 12 {
			head.Seq, head.TS = head.Seq+1, head.TS+3000
			p.HandleRTP(append(head.Append(buf), pay...), h.now)
		}
		h.g.flush()
		h.now += burstGap
		h.w.step(h.now)
	}
}

func TestReceivingDoesNotAllocate(t *testing.T) {
	h, _, _ := theatre(t, 1, rtxVP8)
	c := codecVP8
	c.PT = 96
	p := newPublisher(&Session{hub: h.hub, id: "p"}, h.g, inbound{codecs: []codec.Codec{c}})
	p.leg.Store((*leg.Leg)(nil))
	h.g.register(p.src)
	h.g.want(p.src, CauseReplace)
	head := rtpx.Header{SSRC: 7, PT: 96}
	pay := append(vp8Payload(1, true, true), make([]byte, 1194)...)
	buf := make([]byte, 0, 1500)
	one := func() {
		head.Seq, head.TS = head.Seq+1, head.TS+3000
		p.HandleRTP(append(head.Append(buf), pay...), h.now)
		p.HandleFlush()
	}
	for range 2 * videoSlots {
		one()
	}
	if n := testing.AllocsPerRun(500, one); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
	if p.packets.Load() < 4000 || h.g.tracks[codec.Video].ring.Next() < 4000 {
		t.Error("the packets did not reach the program")
	}
}
