package caddymodule

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/stun/v4"
	"github.com/pion/webrtc/v4"
)

// A viewer that has IPv6 only, and reaches nothing but the TURN server: over IPv6
// to it, by an IPv6 relayed address (RFC 8656 section 7.2) to the IPv6 media
// address. The ICE library never asks for such an address, so this test has a
// TURN client of its own, and the library takes it for its socket.
func TestRelayIPv6(t *testing.T) {
	if pc, err := net.ListenPacket("udp6", "[::1]:0"); err != nil {
		t.Skipf("SKIPPED, NOTHING TESTED: this machine has no IPv6: %v", err)
	} else {
		pc.Close()
	}
	s := newSite(t)
	s.mustLoad("\twtn {\n\t\tmedia udp/[::1]:0\n\t\tturn {\n\t\t\tlisten udp/[::1]:0\n\t\t}\n\t}", "\twtn")
	six := func(se *webrtc.SettingEngine) { se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP6}) }
	newRadioWith(t, webrtc.ICETransportPolicyAll, six).broadcast(s.url("/whip/x"), noServers)

	relay := newRelay6(t)
	mux := ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: relay})
	t.Cleanup(func() { mux.Close() })
	v := newRadioWith(t, webrtc.ICETransportPolicyAll, func(se *webrtc.SettingEngine) {
		six(se)
		se.SetICEUDPMux(mux)
	}).hears().call(s.url("/whep/x"), noServers)
	unbroken(t, v.await(100))
	for _, i := range livingState().hub.Sessions() {
		if i.Role == "subscribe" && (i.Network != "relay" || i.Local != relay.media || i.Remote != relay.relayed) {
			t.Errorf("the viewer at %s came by %s from %s, want %s by relay", i.Local, i.Network, i.Remote, relay.relayed)
		}
	}
	all := allocations()
	if len(all) != 1 || all[0].Relayed != relay.relayed.String() || all[0].PacketsIn == 0 || all[0].PacketsOut < 100 {
		t.Errorf("allocations %+v", all)
	}
}

// relay6 is the relayed address of a TURN client, as a socket with one peer.
type relay6 struct {
	net.Conn       // to the TURN server
	media, relayed netip.AddrPort
}

const channel6 = 0x4001

func newRelay6(t *testing.T) *relay6 {
	t.Helper()
	pool := livingState().turn
	c, err := pool.mint("tester", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	server := &net.UDPAddr{IP: net.IPv6loopback, Port: pool.live.Load().udp}
	raw := newRawTURN(t, server, c)
	r := &relay6{Conn: raw.conn, media: livingState().hub.MediaAddresses()[0]}
	udp := stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{17, 0, 0, 0}}
	family := func(f byte) stun.Setter {
		return stun.RawAttribute{Type: stun.AttrRequestedAddressFamily, Value: []byte{f, 0, 0, 0}}
	}
	want := func(code int, method stun.Method, attrs ...stun.Setter) {
		t.Helper()
		if got := raw.ask(method, attrs...); got != code {
			t.Fatalf("%v: %d, want %d", method, got, code)
		}
	}
	want(440, stun.MethodAllocate, udp, family(1)) // there is no IPv4 media to reach
	want(0, stun.MethodAllocate, udp, family(2))
	var relayed stun.XORMappedAddress
	if err := relayed.GetFromAs(raw.reply, stun.AttrXORRelayedAddress); err != nil {
		t.Fatal(err)
	}
	if r.relayed, err = netip.ParseAddrPort(relayed.String()); err != nil || !r.relayed.Addr().Is6() {
		t.Fatalf("relayed address %v, %v", relayed, err)
	}
	want(443, stun.MethodRefresh, family(1))
	want(403, stun.MethodCreatePermission, peerAddress(t, "::ffff:127.0.0.1"))
	want(403, stun.MethodCreatePermission, peerAddress(t, "2001:db8::1"))
	bind := []stun.Setter{
		stun.RawAttribute{Type: stun.AttrChannelNumber, Value: []byte{channel6 >> 8, channel6 & 0xff, 0, 0}},
		peerSetter(r.media),
	}
	want(0, stun.MethodChannelBind, bind...)
	_ = raw.conn.SetReadDeadline(time.Time{})
	return r
}

func (r *relay6) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(r.relayed) }

// ReadFrom gives what comes by the channel.
func (r *relay6) ReadFrom(p []byte) (int, net.Addr, error) {
	b := make([]byte, 2048)
	for {
		n, err := r.Read(b)
		if err != nil {
			return 0, nil, err
		}
		if n >= 4 && binary.BigEndian.Uint16(b) == channel6 && int(binary.BigEndian.Uint16(b[2:])) <= n-4 {
			return copy(p, b[4:4+binary.BigEndian.Uint16(b[2:])]), net.UDPAddrFromAddrPort(r.media), nil
		}
	}
}

func (r *relay6) WriteTo(p []byte, to net.Addr) (int, error) {
	if to.String() != r.media.String() {
		return 0, fmt.Errorf("%v is not the media address", to)
	}
	b := binary.BigEndian.AppendUint16([]byte{channel6 >> 8, channel6 & 0xff}, uint16(len(p)))
	_, err := r.Write(append(b, p...))
	return len(p), err
}
