package relay

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/pion/webrtc/v4"
)

func udpConn(t *testing.T) (net.PacketConn, netip.AddrPort) {
	t.Helper()
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return pc, pc.LocalAddr().(*net.UDPAddr).AddrPort()
}

// The addresses of a retired socket are media addresses as long as there are
// sessions that were told them, and a socket that is served again is the same.
func TestMediaAddresses(t *testing.T) {
	h := newHub(t)
	first := h.MediaAddresses()
	pc, at := udpConn(t)
	if err := h.ServeUDP(pc); err != nil {
		t.Fatal(err)
	}
	if got := h.MediaAddresses(); !slices.Equal(got, append(first[:1:1], at)) {
		t.Fatalf("addresses %v", got)
	}
	s, err := h.Publish(context.Background(), request(senderOffer(t)))
	if err != nil {
		t.Fatal(err)
	}
	h.RetireUDP(pc)
	if got := h.MediaAddresses(); !slices.Contains(got, at) {
		t.Fatalf("the address of a retired socket with a session is not among %v", got)
	}
	if err := h.ServeUDP(pc); err != nil {
		t.Fatal(err)
	}
	h.RetireUDP(pc)
	s.Session.End(ReasonDelete)
	if got := h.MediaAddresses(); !slices.Equal(got, first) {
		t.Fatalf("addresses %v, want %v", got, first)
	}
	if err := h.ServeUDP(pc); err == nil {
		t.Fatal("a closed socket was served")
	}
}

// senderOffer is an offer of one that sends.
func senderOffer(t *testing.T) []byte {
	t.Helper()
	p := newPeer(t, vp8)
	track, err := webrtc.NewTrackLocalStaticRTP(vp8.RTPCodecCapability, "v", "s")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.pc.AddTrack(track); err != nil {
		t.Fatal(err)
	}
	return p.offer()
}
