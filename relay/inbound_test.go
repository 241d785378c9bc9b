package relay

import (
	"testing"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/rtpx"
)

const (
	ridID  = 10
	rridID = 11
)

// simulcaster is a publisher of three layers without a leg.
func simulcaster(t testing.TB) (*house, *publisher) {
	t.Helper()
	h, _, _ := theatre(t, 1, rtxVP8)
	c := codecVP8
	c.PT, c.RTXPT, c.NACK = 96, 97, true
	p := newPublisher(&Session{hub: h.hub, id: "p"}, h.g, inbound{codecs: []codec.Codec{c}, rids: rids, rid: ridID, rrid: rridID})
	h.g.register(p.src)
	h.g.want(p.src, CauseReplace)
	return h, p
}

// wire is one packet as it comes in, with a header extension if id is not 0.
func wire(ssrc uint32, pt uint8, seq uint16, id byte, name string, pay []byte) []byte {
	head := rtpx.Header{SSRC: ssrc, PT: pt, Seq: seq, TS: uint32(seq) * 3000}
	b := head.Append(nil)
	if id != 0 {
		b[0] |= 0x10
		ext := append([]byte{id<<4 | byte(len(name)-1)}, name...)
		for len(ext)%4 != 0 {
			ext = append(ext, 0)
		}
		b = append(b, 0xbe, 0xde, 0, byte(len(ext)/4))
		b = append(b, ext...)
	}
	return append(b, pay...)
}

func TestLayersAreToldApart(t *testing.T) {
	h, p := simulcaster(t)
	pay := vp8Payload(1, true, true)
	in := func(b []byte) { p.HandleRTP(b, h.now) }
	in(wire(100, 96, 10, 0, "", pay))      // before its layer was named
	in(wire(100, 96, 11, ridID, "x", pay)) // not a layer
	if h.g.tracks[codec.Video].source == p.tracks[codec.Video].source {
		t.Fatal("a packet of no layer was taken")
	}
	in(wire(100, 96, 12, ridID, "h", pay))
	in(wire(200, 96, 20, ridID, "l", pay))
	in(wire(200, 96, 21, 0, "", pay)) // Chromium stops naming them
	for i, want := range []uint64{1, 0, 2} {
		tr := p.simulcast[i]
		if got := tr.rx.Stats(h.now).Packets; got != want {
			t.Errorf("layer %s has %d packets, want %d", rids[i], got, want)
		}
		if o := h.g.tracks[tr.source.lane]; (o.source == tr.source) != (want > 0) {
			t.Errorf("layer %s in the program: %v", rids[i], o.source == tr.source)
		}
	}
	// Another SSRC for the same layer comes while the first is alive: not taken.
	in(wire(101, 96, 500, ridID, "h", pay))
	if p.simulcast[0].ssrc != 100 {
		t.Error("the layer went over to another SSRC")
	}
	h.now += ssrcHandover
	in(wire(101, 96, 501, ridID, "h", pay))
	if p.simulcast[0].ssrc != 101 {
		t.Error("the layer stays with an SSRC that is silent")
	}
}

func TestRetransmissionsOfLayers(t *testing.T) {
	h, p := simulcaster(t)
	pay := vp8Payload(1, true, true)
	in := func(b []byte) { p.HandleRTP(b, h.now) }
	rtx := func(seq uint16) []byte { return append([]byte{byte(seq >> 8), byte(seq)}, pay...) }
	for i, name := range rids {
		ssrc := uint32(100 * (i + 1))
		in(wire(ssrc, 96, 1000, ridID, name, pay))
		in(wire(ssrc, 96, 1003+uint16(i), 0, "", pay)) // 1001 and 1002 are missing of all, 1004 of the last
	}
	packets := func(i int) uint64 { return p.simulcast[i].rx.Stats(h.now).Packets }
	in(wire(900, 97, 1, 0, "", rtx(1001))) // whose?
	if packets(0)+packets(1)+packets(2) != 6 {
		t.Error("a retransmission of nobody knows which layer was taken")
	}
	in(wire(901, 97, 1, rridID, "m", rtx(1001)))
	in(wire(901, 97, 2, 0, "", rtx(1002)))
	in(wire(902, 97, 1, 0, "", rtx(1004))) // only the last one lacks it
	in(wire(902, 97, 2, 0, "", rtx(1001)))
	in(wire(903, 97, 1, rridID, "nobody", rtx(1001)))
	if packets(0) != 2 || packets(1) != 4 || packets(2) != 4 {
		t.Errorf("packets %d, %d, %d", packets(0), packets(1), packets(2))
	}
	asked := map[uint32]int{}
	for _, pkt := range p.missing(h.now + 20*ms) {
		for _, ssrc := range pkt.DestinationSSRC() {
			asked[ssrc]++
		}
	}
	if len(asked) != 3 || asked[100] != 1 || asked[200] != 1 || asked[300] != 1 {
		t.Errorf("requests for packets of %v, want one for each layer", asked)
	}
}

// However many SSRCs a sender tries, nothing grows.
func TestLayersAreBounded(t *testing.T) {
	h, p := simulcaster(t)
	pay := vp8Payload(1, true, false)
	b := wire(1, 96, 1, ridID, "h", pay)
	p.HandleRTP(b, h.now)
	if n := testing.AllocsPerRun(1000, func() {
		b[11]++
		b[10]++
		p.HandleRTP(b, h.now)
	}); n != 0 {
		t.Errorf("%v allocations for an unknown SSRC", n)
	}
	if p.simulcast[0].ssrc != 1 {
		t.Error("the layer went over to another SSRC")
	}
}
