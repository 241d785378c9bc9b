package turnsvc_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v3"

	"github.com/talwtn/caddy-wtn/turnsvc"
)

var transports = []string{"udp", "tcp", "tls"}

// TestPionClient relays both ways for the library's own client over every transport.
func TestPionClient(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr, func(t *testing.T) {
			s := newServer(t, config())
			addr, _ := serve(t, s, tr)
			cred, err := s.Mint("session-1", time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			var pc net.PacketConn
			if tr == "udp" {
				if pc, err = net.ListenPacket("udp4", "127.0.0.1:0"); err != nil {
					t.Fatal(err)
				}
				defer func() { _ = pc.Close() }()
			} else {
				pc = turn.NewSTUNConn(dial(t, tr, addr))
			}
			quiet := logging.NewDefaultLoggerFactory()
			quiet.DefaultLogLevel = logging.LogLevelDisabled
			c, err := turn.NewClient(&turn.ClientConfig{
				TURNServerAddr: addr, STUNServerAddr: addr, Conn: pc, Username: cred.Username, Password: cred.Password,
				Realm: realm, LoggerFactory: quiet,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.Listen(); err != nil {
				t.Fatal(err)
			}
			if _, err := c.SendBindingRequest(); err != nil {
				t.Fatal(err)
			}
			relay, err := c.Allocate()
			if err != nil {
				t.Fatal(err)
			}
			if !turnsvc.IsRelayed(relay.LocalAddr().(*net.UDPAddr).AddrPort().Addr()) {
				t.Errorf("relayed address %v", relay.LocalAddr())
			}
			exchangePackets(t, s, relay)
			if n := s.Stats().Allocations[tr]; n != 1 {
				t.Errorf("%d allocations over %s", n, tr)
			}
			if err := relay.Close(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "allocation deleted by the client", func() bool { return len(s.Allocations()) == 0 })
		})
	}
}

func exchangePackets(t *testing.T, s *turnsvc.Server, relay net.PacketConn) {
	t.Helper()
	media := net.UDPAddrFromAddrPort(media4)
	buf := make([]byte, 2048)
	for i := range 20 {
		out := bytes.Repeat([]byte{byte(i)}, 8+60*i)
		if _, err := relay.WriteTo(out, media); err != nil {
			t.Fatal(err)
		}
		got, from := fromMedia(t, s, timeout)
		if !bytes.Equal(got, out) || from.String() != relay.LocalAddr().String() {
			t.Fatalf("media side got %d bytes from %v, want %d from %v", len(got), from, len(out), relay.LocalAddr())
		}
		if _, err := s.MediaConn().WriteTo(out, from); err != nil {
			t.Fatal(err)
		}
		_ = relay.SetReadDeadline(time.Now().Add(timeout))
		n, peer, err := relay.ReadFrom(buf)
		if err != nil || !bytes.Equal(buf[:n], out) || peer.String() != media.String() {
			t.Fatalf("client got %d bytes from %v: %v", n, peer, err)
		}
	}
}

// TestPayloadSizes relays the sizes at the edges of padding and framing, by channel and by
// indication, both ways. The payloads of 1 to 4 bytes are what a common stream reader hangs on.
func TestPayloadSizes(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr, func(t *testing.T) {
			s := newServer(t, config())
			addr, _ := serve(t, s, tr)
			c := newClient(t, s, tr, addr, "u")
			c.allocate()
			c.want(0, stun.MethodCreatePermission, peer(media4))
			for _, size := range []int{0, 1, 2, 3, 4, 5, 7, 8, 1200, 1472, 1900} {
				payload := bytes.Repeat([]byte{0xab}, size)
				c.write(build(t, stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), peer(media4), attr(stun.AttrData, payload...)).Raw)
				got, from := fromMedia(t, s, timeout)
				if from == nil || !bytes.Equal(got, payload) {
					t.Fatalf("indication of %d arrived as %d", size, len(got))
				}
				_, _ = s.MediaConn().WriteTo(payload, from)
				m := c.message(timeout)
				if data, err := m.Get(stun.AttrData); err != nil || !bytes.Equal(data, payload) || m.Type.Method != stun.MethodData {
					t.Fatalf("indication of %d came back as %v", size, m)
				}
			}
			c.bind(0x4001, media4)
			for _, size := range []int{0, 1, 2, 3, 4, 5, 7, 8, 1200, 1472, 1900} {
				payload := bytes.Repeat([]byte{0xcd}, size)
				c.write(channelData(0x4001, payload, c.stream))
				got, from := fromMedia(t, s, timeout)
				if from == nil || !bytes.Equal(got, payload) {
					t.Fatalf("channel data of %d arrived as %d", size, len(got))
				}
				_, _ = s.MediaConn().WriteTo(payload, from)
				b := c.read(timeout)
				if len(b) < 4 || int(binary.BigEndian.Uint16(b[2:])) != size || !bytes.Equal(b[4:4+size], payload) || (c.stream && len(b)%4 != 0) {
					t.Fatalf("channel data of %d came back as %x", size, b)
				}
			}
		})
	}
}

// TestDrippedFrames sends frames in single bytes while another client works.
func TestDrippedFrames(t *testing.T) {
	for _, tr := range []string{"tcp", "tls"} {
		t.Run(tr, func(t *testing.T) {
			s := newServer(t, config())
			addr, _ := serve(t, s, tr)
			c, other := newClient(t, s, tr, addr, "slow"), newClient(t, s, tr, addr, "fast")
			c.allocate()
			c.bind(0x4000, media4)
			other.allocate()
			other.bind(0x4000, media4)
			frame := channelData(0x4000, bytes.Repeat([]byte{7}, 100), true)
			for i := range frame {
				c.write(frame[i : i+1])
				if i%20 == 0 {
					other.write(channelData(0x4000, []byte("beside"), true))
					if got, _ := fromMedia(t, s, timeout); string(got) != "beside" {
						t.Fatalf("beside a dripping client: %q", got)
					}
				}
			}
			if got, _ := fromMedia(t, s, timeout); len(got) != 100 {
				t.Fatalf("dripped frame arrived as %d bytes", len(got))
			}
		})
	}
}

// TestFamilies gives a relayed address of the family asked for, IPv4 by default.
func TestFamilies(t *testing.T) {
	s := newServer(t, config())
	addr, _ := serve(t, s, "udp")
	c := newClient(t, s, "udp", addr, "six")
	if relayed := c.allocate(attr(stun.AttrRequestedAddressFamily, 2, 0, 0, 0)); !relayed.Addr().Is6() {
		t.Fatalf("relayed address %v", relayed)
	}
	c.want(443, stun.MethodCreatePermission, peer(media4))
	c.want(443, stun.MethodRefresh, attr(stun.AttrRequestedAddressFamily, 1, 0, 0, 0))
	c.bind(0x4000, media6)
	c.write(channelData(0x4000, []byte("six"), false))
	got, from := fromMedia(t, s, timeout)
	if string(got) != "six" || !turnsvc.IsRelayed(from.(*net.UDPAddr).AddrPort().Addr()) {
		t.Fatalf("got %q from %v", got, from)
	}
	_, _ = s.MediaConn().WriteTo([]byte("back"), from)
	if b := c.read(timeout); string(b[4:]) != "back" {
		t.Fatalf("got %x", b)
	}
	if relayed := newClient(t, s, "udp", addr, "four").allocate(); !relayed.Addr().Is4() {
		t.Fatalf("default family of %v", relayed)
	}
	if err := s.SetMediaAddrs(config().MediaAddrs[1:]); err != nil {
		t.Fatal(err)
	}
	newClient(t, s, "udp", addr, "v4").want(440, stun.MethodAllocate, transport(17), attr(stun.AttrRequestedAddressFamily, 1, 0, 0, 0))
}

// TestRelayedAddressesAreUnique and never shared by two live allocations; even ones on request.
func TestRelayedAddressesAreUnique(t *testing.T) {
	c := config()
	c.MaxPerUser = 1000
	s := newServer(t, c)
	addr, _ := serve(t, s, "udp")
	seen := map[string]bool{}
	for range 50 {
		cl := newClient(t, s, "udp", addr, "u")
		a := cl.allocate(attr(stun.AttrEvenPort, 0))
		if a.Port()%2 != 0 || a.Port() < 49152 || seen[a.String()] {
			t.Fatalf("relayed address %v", a)
		}
		seen[a.String()] = true
		cl.want(0, stun.MethodRefresh, lifetime(0))
	}
}
