package turnsvc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pion/stun/v4"
)

// fakePort takes what a guard sends, without a socket.
type fakePort struct{ sent, bytes int }

func (f *fakePort) transport() Transport          { return UDP }
func (f *fakePort) allocated(time.Duration, bool) {}
func (f *fakePort) released()                     {}
func (f *fakePort) send(k *packet, _ fiveTuple, _ bool) bool {
	f.sent++
	f.bytes += k.n
	k.free()
	return true
}

var testMedia = netip.MustParseAddrPort("203.0.113.99:5004")

// bench returns a guard with one allocation, a permission and a channel, on a fake port.
func bench(t testing.TB) (*guard, *allocation, *fakePort) {
	t.Helper()
	s, err := New(Config{Realm: "r", Secrets: []string{"s"}, MediaAddrs: []netip.AddrPort{testMedia}, Bandwidth: 1 << 40, UnauthReplies: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	port := &fakePort{}
	g := newGuard(s.newEndpoint(nil), port, newClients(udpShards))
	client := fiveTuple{AddrPort: netip.MustParseAddrPort("198.51.100.1:1000"), server: netip.MustParseAddr("198.51.100.2")}
	a := &allocation{srv: s, guard: g, user: "u", username: "1:u", key: []byte("k"), client: client, lifetime: defaultLifetime}
	if code, _ := g.open(s.settings.Load(), a, 4, false); code != 0 {
		t.Fatalf("open: %d", code)
	}
	if code := s.engine.bind(a, 0x4000, testMedia); code != 0 {
		t.Fatalf("bind: %d", code)
	}
	a.bind(0x4000, testMedia)
	return g, a, port
}

// reopen makes an allocation like one that has ended.
func reopen(t testing.TB, old *allocation) *allocation {
	t.Helper()
	a := &allocation{
		srv: old.srv, guard: old.guard, user: old.user, username: old.username, key: old.key, client: old.client,
		lifetime: old.lifetime,
	}
	if code, _ := a.guard.open(a.srv.settings.Load(), a, 4, false); code != 0 {
		t.Fatalf("open: %d", code)
	}
	return a
}

// resign gives a request the credentials of an allocation, or returns nil if it is not a request.
func resign(g *guard, a *allocation, b []byte) []byte {
	m := &stun.Message{Raw: bytes.Clone(b)}
	if !wholeSTUN(b) || m.Decode() != nil || m.Type.Class != stun.ClassRequest {
		return nil
	}
	out := stun.MustBuild(stun.TransactionID, m.Type)
	for _, attr := range m.Attributes {
		switch attr.Type {
		case stun.AttrUsername, stun.AttrRealm, stun.AttrNonce, stun.AttrMessageIntegrity, stun.AttrFingerprint:
		default:
			out.Add(attr.Type, attr.Value)
		}
	}
	for _, s := range []stun.Setter{
		stun.NewUsername(a.username), stun.NewRealm("r"),
		stun.NewNonce(string(g.srv.nonces.issue(time.Now(), a.client.Addr()))), stun.MessageIntegrity(a.key),
	} {
		if s.AddTo(out) != nil {
			return nil
		}
	}
	return out.Raw
}

func sendIndication(payload []byte) []byte {
	k := newPacket()
	defer k.free()
	k.putDataIndication(testMedia, payload)
	b := bytes.Clone(k.b())
	binary.BigEndian.PutUint16(b, typeSendIndication)
	return b
}

// TestDataPlaneAllocatesNothing in any of its four ways.
func TestDataPlaneAllocatesNothing(t *testing.T) {
	g, a, port := bench(t)
	payload := make([]byte, 1200)
	frame := append([]byte{0x40, 0, 0x04, 0xb0}, payload...)
	send := sendIndication(payload)
	buf := make([]byte, 2048)
	mc := g.srv.MediaConn()
	read := func() {
		if n, from, err := mc.ReadFrom(buf); n != 1200 || from == nil || err != nil {
			t.Fatalf("media side read %d, %v, %v", n, from, err)
		}
	}
	var to net.Addr = a.addr
	for name, relay := range map[string]func(){
		"channel in":    func() { g.handle(frame, a.client); read() },
		"indication in": func() { g.handle(send, a.client); read() },
		"channel out":   func() { _, _ = mc.WriteTo(payload, to) },
	} {
		if n := testing.AllocsPerRun(1000, relay); n > 0.01 {
			t.Errorf("%s: %v allocations per packet", name, n)
		}
	}
	a.leases.Store(&leases{permissions: a.leases.Load().permissions}) // without the channel
	before := port.bytes
	if n := testing.AllocsPerRun(1000, func() { _, _ = mc.WriteTo(payload, to) }); n > 0.01 {
		t.Errorf("indication out: %v allocations per packet", n)
	}
	if port.bytes-before < 1000*1236 {
		t.Errorf("indications were not sent")
	}
}

func TestIndicationEncoding(t *testing.T) {
	for _, peer := range []string{"203.0.113.99:5004", "[2001:db8:1::99]:65535", "[::ffff:1.2.3.4]:1"} {
		want := netip.MustParseAddrPort(peer)
		for size := range 9 {
			k := newPacket()
			k.putDataIndication(want, make([]byte, size))
			m := &stun.Message{Raw: bytes.Clone(k.b())}
			k.free()
			if err := m.Decode(); err != nil || !wholeSTUN(m.Raw) {
				t.Fatalf("%v: %v", peer, err)
			}
			v, _ := m.Get(stun.AttrXORPeerAddress)
			if got, ok := parsePeer(v, m.TransactionID[:]); !ok || got != want {
				t.Errorf("peer %v came back as %v", want, got)
			}
			if data, err := m.Get(stun.AttrData); err != nil || len(data) != size {
				t.Errorf("data of %d came back as %d", size, len(data))
			}
		}
	}
}

func TestUnembed(t *testing.T) {
	for in, want := range map[string]string{
		"1.2.3.4": "1.2.3.4", "::ffff:1.2.3.4": "1.2.3.4", "::1.2.3.4": "1.2.3.4", "2002:102:304::": "1.2.3.4",
		"2002:102:304:5::6": "1.2.3.4", "64:ff9b::102:304": "1.2.3.4", "::1": "::1", "::": "::", "2001:db8::1": "2001:db8::1",
		"64:ff9b:1::102:304": "64:ff9b:1::102:304", "fe80::1%eth0": "fe80::1",
	} {
		if got := unembed(netip.MustParseAddr(in)); got.String() != want {
			t.Errorf("unembed(%s) = %s, want %s", in, got, want)
		}
	}
}

// TestRelayedAddresses are one to one with ids and never outside their networks.
func TestRelayedAddresses(t *testing.T) {
	for _, id := range []uint32{0, 1, 1<<14 - 1, 1 << 14, 254<<14 - 1} {
		for _, family := range []int{4, 6} {
			a := relayedAddr(id, family)
			got, ok := relayedID(a)
			if !ok || got != id || !IsRelayed(a.Addr()) || a.Port() < firstPort || familyOf(a.Addr()) != family {
				t.Errorf("id %d is %v is id %d, %v", id, a, got, ok)
			}
			if a.Port()%2 != uint16(id%2) {
				t.Errorf("parity of %v", a)
			}
		}
	}
	g, a, _ := bench(t)
	for _, text := range []string{"203.0.113.99:5004", "192.0.2.1:1", "192.0.2.0:65535", "192.0.2.255:65535", "[100::1]:49152"} {
		if g.srv.hub.lookup(netip.MustParseAddrPort(text)) != nil {
			t.Errorf("%s is an allocation", text)
		}
	}
	mapped := netip.AddrPortFrom(netip.AddrFrom16(a.relayed.Addr().As16()), a.relayed.Port())
	if g.srv.hub.lookup(a.relayed) != a || g.srv.hub.lookup(mapped) != a {
		t.Error("an allocation is not found by its address")
	}
}

// TestHubIsBounded: a media side that does not read loses packets and blocks nobody.
func TestHubIsBounded(t *testing.T) {
	g, a, _ := bench(t)
	for range mediaQueue + 10 {
		g.handle([]byte{0x40, 0, 0, 1, 9}, a.client)
	}
	if n := g.srv.counts[dropQueue].Load(); n != 10 {
		t.Errorf("%d packets dropped", n)
	}
}

func TestRevocationsAreBounded(t *testing.T) {
	r, now := newRevocations(), time.Now()
	name := func(i int) string { return string(binary.BigEndian.AppendUint32(nil, uint32(i))) }
	for i := range maxRevoked + 100 {
		r.add(name(i), now, time.Hour)
	}
	if len(r.until) != maxRevoked || r.has(name(0), now) || !r.has(name(100), now) || !r.has(name(maxRevoked+99), now) {
		t.Errorf("%d revocations", len(r.until))
	}
	r.add("again", now.Add(time.Minute), time.Hour)
	r.add("again", now.Add(2*time.Minute), time.Hour)
	r.add("x", now.Add(time.Hour+90*time.Second), time.Hour) // forgets all others but not "again"
	if len(r.until) != 2 || !r.has("again", now.Add(time.Hour+90*time.Second)) {
		t.Errorf("%d revocations after an hour", len(r.until))
	}
}

func TestReplyLimiter(t *testing.T) {
	l := newReplyLimiter()
	count := func(ip string, now time.Duration) (n int) {
		for range 1000 {
			if l.allow(netip.MustParseAddr(ip), int64(now), 20) {
				n++
			}
		}
		return n
	}
	if n := count("198.51.100.1", time.Hour); n != 5 {
		t.Errorf("burst of %d", n)
	}
	if n := count("198.51.100.1", time.Hour+100*time.Millisecond); n != 2 {
		t.Errorf("%d after a tenth of a second", n)
	}
	if count("2001:db8::1", time.Hour) != 5 || count("2001:db8::ffff:1", time.Hour) != 0 {
		t.Error("an IPv6 /64 is not one source")
	}
}

// TestSlowStream: a client that does not read loses packets, replies keep their reserve, and the
// stalled write ends the connection.
func TestSlowStream(t *testing.T) {
	g, _, _ := bench(t)
	c, far := net.Pipe()
	defer func() { _ = far.Close() }()
	p := newStreamPort(g.srv.inlet.e, c, netip.MustParseAddrPort("198.51.100.2:1"))
	n := 0
	for p.send(newPacket(), p.client, false) {
		n++
	}
	if n != streamQueue-urgentReserve {
		t.Errorf("%d data packets queued", n)
	}
	for range urgentReserve {
		if !p.send(newPacket(), p.client, true) {
			t.Error("no room for a reply")
		}
	}
	if p.send(newPacket(), p.client, true) {
		t.Error("the queue is not bounded")
	}
	set := *g.srv.settings.Load()
	set.AuthTimeout = 20 * time.Millisecond
	g.srv.settings.Store(&set)
	k := newPacket()
	k.n = 8
	<-p.queue
	p.queue <- k
	p.writeLoop() // returns, as nobody reads
	if _, err := c.Write([]byte{1}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("stalled connection: %v", err)
	}
}

func TestIsSTUN(t *testing.T) {
	for _, text := range []string{
		"", "GET / HT", "POST /a ", "PRI * HTTP/2.0", "OPTIONS ", "\x16\x03\x01\x02\x00\x01\x00\x01", "\x00\x03\x00\x08\x21\x12\xa4",
		"\x40\x00\x00\x08\x21\x12\xa4\x42",
	} {
		if IsSTUN([]byte(text)) {
			t.Errorf("%q is taken for STUN", text)
		}
	}
	if !IsSTUN(stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest)).Raw[:8]) {
		t.Error("an Allocate is not recognised")
	}
}

func frames(t testing.TB, r io.Reader) ([][]byte, error) {
	t.Helper()
	f := &frameReader{r: r}
	var out [][]byte
	for {
		b, err := f.next()
		if err != nil {
			return out, err
		}
		out = append(out, bytes.Clone(b))
	}
}

// FuzzFrames: however a stream is cut, the same frames come out, none of them too large, and an
// error ends it.
func FuzzFrames(f *testing.F) {
	bind := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.Fingerprint).Raw
	f.Add(append(bytes.Clone(bind), 0x40, 0, 0, 1, 9, 0, 0, 0, 0x4f, 0xff, 0, 0))
	f.Add([]byte{0x40, 0, 0xff, 0xfc, 1, 2, 3, 4})
	f.Add([]byte{0, 3, 0xff, 0xec, 0x21, 0x12, 0xa4, 0x42})
	f.Add([]byte{0, 3, 0xff, 0xf0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add(append([]byte{0x40, 0, 0x07, 0xfc}, make([]byte, 0x7fc)...))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, errWhole := frames(t, bytes.NewReader(b))
		dripped, errDripped := frames(t, iotest.OneByteReader(bytes.NewReader(b)))
		if len(whole) != len(dripped) || !errors.Is(errDripped, errWhole) {
			t.Fatalf("whole %d frames, %v; dripped %d, %v", len(whole), errWhole, len(dripped), errDripped)
		}
		total := 0
		for i, frame := range whole {
			if !bytes.Equal(frame, dripped[i]) || len(frame) > maxFrame || len(frame) < channelHeader {
				t.Fatalf("frame %d: %x and %x", i, frame, dripped[i])
			}
			total += len(frame)
		}
		if total > len(b) {
			t.Fatalf("%d bytes of frames out of %d", total, len(b))
		}
	})
}

// FuzzGuard: no datagram of a client, with or without an allocation, does harm: nothing panics,
// nothing unauthenticated is answered with more than a challenge, and what reaches the media
// side came for the media address.
func FuzzGuard(f *testing.F) {
	g, a, port := bench(f)
	nonce := stun.NewNonce(string(g.srv.nonces.issue(time.Now(), a.client.Addr())))
	for _, method := range []stun.Method{stun.MethodAllocate, stun.MethodRefresh, stun.MethodCreatePermission, stun.MethodChannelBind, stun.MethodBinding} {
		for _, attrs := range [][]stun.Setter{
			{}, {rawAttr(stun.AttrRequestedTransport, 17, 0, 0, 0), seconds(time.Hour)}, {peerAttr(testMedia), rawAttr(stun.AttrChannelNumber, 0x40, 0, 0, 0)},
			{rawAttr(stun.AttrEvenPort, 0x80), rawAttr(stun.AttrReservationToken, 1), rawAttr(0x7fff)},
		} {
			head := []stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}
			f.Add(stun.MustBuild(append(head, attrs...)...).Raw)
			f.Add(stun.MustBuild(append(append(head, attrs...), stun.NewUsername("1:u"), stun.NewRealm("r"), nonce, stun.MessageIntegrity(a.key))...).Raw)
		}
	}
	f.Add(sendIndication([]byte{1, 2, 3}))
	f.Add([]byte{0x40, 0, 0, 4, 1, 2, 3, 4})
	f.Add([]byte{0x40, 0, 0xff, 0xff})
	stranger := fiveTuple{AddrPort: netip.MustParseAddrPort("[2001:db8::7]:9")}
	buf := make([]byte, maxFrame)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxFrame {
			return
		}
		if a.ended.Load() { // by a signed Refresh of an earlier input
			a = reopen(t, a)
		}
		before := *port
		g.handle(b, stranger)
		if port.sent > before.sent+1 || port.bytes-before.bytes > 200 {
			t.Fatalf("a stranger got %d bytes for %x", port.bytes-before.bytes, b)
		}
		if len(g.srv.hub.in) != 0 || len(g.clients.all()) > 1 {
			t.Fatalf("a stranger got through with %x", b)
		}
		g.handle(b, a.client)
		if m := resign(g, a, b); m != nil { // the same with the rights of the owner
			g.handle(m, a.client)
		}
		select {
		case k := <-g.srv.hub.in:
			if n := copy(buf, k.b()); n > len(b) || k.rel != a {
				t.Fatalf("%d bytes relayed out of %x", n, b)
			}
			k.free()
		default:
		}
		for _, c := range a.leases.Load().channels {
			if c.peer != testMedia {
				t.Fatalf("channel to %v by %x", c.peer, b)
			}
		}
	})
}
