package caddymodule

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v3"
	"github.com/pion/webrtc/v4"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talwtn/caddy-wtn/turnsvc"
)

const generalTURN = "\twtn {\n\t\tmedia udp/127.0.0.1:0\n\t\tturn {\n\t\t\tlisten udp/127.0.0.1:0\n\t\t\topen {\n\t\t\t\tbind 127.0.0.1\n\t\t\t\tports 41000-48000\n\t\t\t\tdeny 9.9.9.0/24\n\t\t\t}\n\t\t}\n\t}"

// The open relay reaches what it is allowed to, through a socket of its own,
// and refuses everything else in every spelling.
func TestOpenRelay(t *testing.T) {
	s := newSite(t)
	s.mustLoad(generalTURN, "\twtn")
	pool := livingState().turn
	c, err := pool.mint("tester", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	echo, err := net.ListenPacket("udp4", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	peer := echo.LocalAddr().(*net.UDPAddr)
	// Loopback is denied; the one exemption of this test is made as for media.
	if err := pool.server.Load().SetMediaAddrs([]netip.AddrPort{peer.AddrPort()}); err != nil {
		t.Fatal(err)
	}
	server := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(pool.live.Load().udp)))

	own, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: server.String(), TURNServerAddr: server.String(), Conn: own, Username: c.Username, Password: c.Password,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	relay, err := client.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	if a := relay.LocalAddr().(*net.UDPAddr).AddrPort(); a.Addr().String() != "127.0.0.1" || a.Port() < 41000 || a.Port() > 48000 {
		t.Errorf("relayed address is %v", a)
	}
	if _, err := relay.WriteTo([]byte("out"), peer); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	_ = echo.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, from, err := echo.ReadFrom(b)
	if err != nil || string(b[:n]) != "out" || from.String() != relay.LocalAddr().String() {
		t.Fatalf("%q from %v, %v", b[:n], from, err)
	}
	if _, err := echo.WriteTo([]byte("back"), from); err != nil {
		t.Fatal(err)
	}
	_ = relay.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, from, err = relay.ReadFrom(b); err != nil || string(b[:n]) != "back" || from.String() != peer.String() {
		t.Fatalf("%q from %v, %v", b[:n], from, err)
	}

	raw := newRawTURN(t, server, c)
	if code := raw.ask(stun.MethodAllocate, stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{17, 0, 0, 0}}); code != 0 {
		t.Fatalf("Allocate: %d", code)
	}
	for _, ip := range []string{
		"127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.1", "10.255.255.255", "::ffff:10.0.0.1",
		"64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:a00:1::1",
		"192.168.1.1", "0.0.0.0", "224.0.0.1", "9.9.9.9",
	} {
		if code := raw.ask(stun.MethodCreatePermission, peerAddress(t, ip)); code != 403 {
			t.Errorf("a permission for %s: %d, want 403", ip, code)
		}
	}
	if code := raw.ask(stun.MethodCreatePermission, peerAddress(t, "8.8.8.8")); code != 0 {
		t.Errorf("a permission for a public address: %d", code)
	}
}

// rawTURN says what no library says.
type rawTURN struct {
	t     *testing.T
	conn  net.Conn
	c     turnsvc.Credential
	realm string
	nonce []byte
	reply *stun.Message // the last
}

func newRawTURN(t *testing.T, server net.Addr, c turnsvc.Credential) *rawTURN {
	conn, err := net.Dial("udp", server.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &rawTURN{t: t, conn: conn, c: c}
}

// ask is the error code of the reply, 0 for success. The first 401 is answered.
func (r *rawTURN) ask(method stun.Method, attrs ...stun.Setter) int {
	r.t.Helper()
	for {
		set := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, attrs...)
		if r.nonce != nil {
			set = append(set, stun.NewUsername(r.c.Username), stun.NewRealm(r.realm), stun.Nonce(r.nonce), stun.NewLongTermIntegrity(r.c.Username, r.realm, r.c.Password))
		}
		m, err := stun.Build(set...)
		if err != nil {
			r.t.Fatal(err)
		}
		if _, err := r.conn.Write(m.Raw); err != nil {
			r.t.Fatal(err)
		}
		b := make([]byte, 2048)
		_ = r.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := r.conn.Read(b)
		if err != nil {
			r.t.Fatal(err)
		}
		reply := &stun.Message{Raw: b[:n]}
		if err := reply.Decode(); err != nil || reply.TransactionID != m.TransactionID {
			r.t.Fatalf("%v, %v", reply, err)
		}
		r.reply = reply
		if reply.Type.Class == stun.ClassSuccessResponse {
			return 0
		}
		var code stun.ErrorCodeAttribute
		if err := code.GetFrom(reply); err != nil {
			r.t.Fatal(err)
		}
		if code.Code != 401 || r.nonce != nil {
			return int(code.Code)
		}
		var realm stun.Realm
		var nonce stun.Nonce
		if realm.GetFrom(reply) != nil || nonce.GetFrom(reply) != nil {
			r.t.Fatalf("no challenge in %v", reply)
		}
		r.realm, r.nonce = string(realm), nonce
	}
}

// peerSetter writes an address as it is spelled: a library would turn an
// IPv4-mapped one into IPv4.
type peerSetter netip.AddrPort

func peerAddress(t *testing.T, ip string) stun.Setter {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		t.Fatal(err)
	}
	return peerSetter(netip.AddrPortFrom(a, 80))
}

func (p peerSetter) AddTo(m *stun.Message) error {
	family, ip := byte(2), netip.AddrPort(p).Addr().AsSlice()
	if len(ip) == 4 {
		family = 1
	}
	mask := append([]byte{0x21, 0x12, 0xa4, 0x42}, m.TransactionID[:]...)
	for i := range ip {
		ip[i] ^= mask[i]
	}
	port := netip.AddrPort(p).Port() ^ 0x2112
	m.Add(stun.AttrXORPeerAddress, append([]byte{0, family, byte(port >> 8), byte(port)}, ip...))
	return nil
}

// Media of this gateway goes through the open relay as well, and a reload
// closes it again for new allocations.
func TestOpenRelayMedia(t *testing.T) {
	s := newSite(t)
	s.mustLoad(generalTURN, "\twtn")
	broadcast(t, s.url("/whip/x"), webrtc.ICETransportPolicyAll, noServers)
	v := listen(t, s.url("/whep/x"), webrtc.ICETransportPolicyRelay, only("udp"))
	unbroken(t, v.await(50))
	s.mustLoad("\twtn {\n\t\tmedia udp/127.0.0.1:0\n"+loopbackTURN+"\n\t}", "\twtn")
	if p := livingState().turn; p.config.Open != nil {
		t.Error("it is still open")
	}
	unbroken(t, v.await(50))
}

func TestOpenRelayIsChecked(t *testing.T) {
	for want, o := range map[string]TURNOpen{
		"bind of open turn is":        {},
		"use an IP address":           {Bind: "eth0"},
		"bind of open turn is \"f":    {Bind: "ff02::1"},
		"advertise one":               {Bind: "0.0.0.0"},
		"of the same family":          {Bind: "192.0.2.1", Advertise: "2001:db8::1"},
		"advertise of open turn":      {Bind: "192.0.2.1", Advertise: "x"},
		"ports 0 to 5":                {Bind: "192.0.2.1", MaxPort: 5},
		"ports 80 to 90":              {Bind: "192.0.2.1", MinPort: 80, MaxPort: 90},
		"ports 6000 to 5000":          {Bind: "192.0.2.1", MinPort: 6000, MaxPort: 5000},
		"deny of open turn: \"x\" is": {Bind: "192.0.2.1", Deny: []string{"x"}},
		"WTN_TEST_UNSET_VARIABLE":     {Bind: "{env.WTN_TEST_UNSET_VARIABLE}"},
	} {
		if _, err := (&TURN{Open: &o}).settings(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q in it", o, err, want)
		}
	}
	s, err := (&TURN{Open: &TURNOpen{Bind: "0.0.0.0", Advertise: "192.0.2.1"}}).settings()
	if err != nil || s.config.Open.PortMin != 49152 || s.config.Open.PortMax != 65535 {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := new(TURN).settings(); err != nil || s.config.Open != nil {
		t.Errorf("it is open by default: %+v, %v", s, err)
	}
}

// Other services of this host are out of reach, whatever its addresses are.
func TestOpenRelayDeniesOwnAddresses(t *testing.T) {
	c := turnsvc.Config{Open: &turnsvc.OpenRelay{BindAddr: netip.MustParseAddr("0.0.0.0")}}
	got := withOwn(c, []netip.AddrPort{netip.MustParseAddrPort("8.8.4.4:5004")})
	for _, want := range []string{"8.8.4.4/32", "127.0.0.1/32"} {
		if !slices.Contains(got.Open.Deny, netip.MustParsePrefix(want)) {
			t.Errorf("%s is not denied: %v", want, got.Open.Deny)
		}
	}
	if len(c.Open.Deny) != 0 {
		t.Error("it changed what it was given")
	}
	if closed := withOwn(turnsvc.Config{}, nil); closed.Open != nil {
		t.Error("it opened the server")
	}
}

func TestOpenRelayIsLogged(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	warnOpen(nil, zap.New(core))
	if logs.Len() != 0 {
		t.Error("a closed server is warned of")
	}
	warnOpen(&turnsvc.OpenRelay{BindAddr: netip.MustParseAddr("192.0.2.1"), PortMin: 1, PortMax: 2}, zap.New(core))
	if logs.Len() != 1 || !strings.Contains(logs.All()[0].Message, "OPEN MODE") || logs.All()[0].ContextMap()["bind"] != "192.0.2.1" {
		t.Errorf("log: %v", logs.All())
	}
}
