package leg

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// side is a leg with its recorder.
type side struct {
	*Leg
	rec *recorder
	seq uint16
}

// offerTo makes a server-side leg at one transport and a controlling one at
// another that knows its addresses.
func offerTo(t testing.TB, client, server *Transport, p Params) (c, s *side) {
	t.Helper()
	var err error
	c, s = &side{rec: newRecorder()}, &side{rec: newRecorder()}
	p.Ufrag, p.Pwd = DrawCredentials()
	hash, value := client.Fingerprint()
	if s.Leg, err = server.NewLeg(Params{
		ID: "server", RemoteUfrag: p.Ufrag, RemotePwd: p.Pwd, Active: !p.Active, Handler: s.rec,
		Fingerprints: []Fingerprint{{hash, value}},
	}); err != nil {
		t.Fatal(err)
	}
	hash, value = server.Fingerprint()
	p.ID, p.Controlling, p.Handler, p.Fingerprints = "client", true, c.rec, []Fingerprint{{hash, value}}
	if p.RemotePwd == "" {
		p.RemotePwd = s.Pwd()
	}
	p.RemoteUfrag = s.Ufrag()
	if c.Leg, err = client.NewLeg(p); err != nil {
		t.Fatal(err)
	}
	return c, s
}

// ready waits until both can send.
func ready(t testing.TB, sides ...*side) {
	t.Helper()
	for _, s := range sides {
		get(t, s.rec.ready, "HandleReady")
		eventually(t, "a path", func() bool { return s.Path() != nil })
	}
}

// talk sends media and feedback both ways.
func talk(t testing.TB, a, b *side) {
	t.Helper()
	for _, d := range [][2]*side{{a, b}, {b, a}} {
		from, to := d[0], d[1]
		from.seq++
		header := append(make([]byte, 0, 64), 0x80, 96, byte(from.seq>>8), byte(from.seq), 0, 0, 0, 0, 0, 0, 0, 9)
		sealed, err := from.Sealer().Seal(header, []byte("media"), 9, uint64(from.seq))
		if err != nil {
			t.Fatal(err)
		}
		if err = from.Path().Write(sealed); err != nil {
			t.Fatal(err)
		}
		if got := get(t, to.rec.rtp, "RTP"); seqOf(got) != from.seq || !bytes.HasSuffix(got, []byte("media")) {
			t.Fatalf("got RTP %d %q", seqOf(got), got)
		}
		if err = from.WriteRTCP([]byte{0x80, 201, 0, 1, 0, 0, 0, 9}); err != nil {
			t.Fatal(err)
		}
		get(t, to.rec.rtcp, "RTCP")
	}
}

func TestControllingConnectsToServerSide(t *testing.T) {
	for _, tt := range []struct{ name, client, server string }{
		{"IPv4", loopback, loopback},
		{"IPv6", "[::1]:0", "[::1]:0"},
		{"wildcard", "0.0.0.0:0", loopback},
		{"dual stack to IPv4", "[::]:0", loopback},
		{"no socket in service", "", loopback},
	} {
		for _, active := range []bool{true, false} {
			t.Run(tt.name+map[bool]string{true: "/active", false: "/passive"}[active], func(t *testing.T) {
				client, server := newTransport(t), newTransport(t)
				var from netip.AddrPort
				if tt.client != "" {
					from, _ = serveUDP(t, client, tt.client)
				}
				to, _ := serveUDP(t, server, tt.server)
				c, s := offerTo(t, client, server, Params{Active: active, Candidates: []netip.AddrPort{to}})
				ready(t, c, s)
				talk(t, c, s)
				local, remote, network := c.Pair()
				if remote != to || network != "udp" || tt.client != "" && local.Port() != from.Port() {
					t.Fatalf("pair %v %v %v, want %v %v", local, remote, network, from, to)
				}
				if at, _, _ := s.Pair(); at != to {
					t.Fatalf("the server is at %v", at)
				}
				if u, p := c.Restart(peerUfrag, peerPwd); u != c.Ufrag() || p != c.Pwd() || client.credentialsOf([]byte(u)) == nil {
					t.Fatal("Restart changed the credentials of a controlling leg")
				}
				s.Close()
				if err := get(t, c.rec.ended, "HandleEnd"); err != ErrPeerClosed {
					t.Fatal(err)
				}
			})
		}
	}
}

// One pair of addresses cannot carry two sessions.
func TestManyControllingLegsToOneAddress(t *testing.T) {
	client, server := newTransport(t), newTransport(t)
	from, sock := serveUDP(t, client, loopback)
	to, _ := serveUDP(t, server, loopback)
	const legs = 4
	var all [legs][2]*side
	for i := range all {
		c, s := offerTo(t, client, server, Params{Active: i%2 == 0, Candidates: []netip.AddrPort{to}})
		all[i] = [2]*side{c, s}
	}
	shared := 0
	for _, p := range all {
		ready(t, p[0], p[1])
		talk(t, p[0], p[1])
		if local, _, _ := p[0].Pair(); local == from {
			shared++
		}
	}
	if shared != 1 {
		t.Fatalf("%d legs at the shared socket, want 1", shared)
	}
	for _, p := range all {
		p[0].Close()
	}
	h := hopOf(client, func(h *hop) bool { return h.sock == sock })
	if n := inUse(h); n != 0 || len(h.peers) != 0 {
		t.Fatalf("left: %d reserved, %d addresses", n, len(h.peers))
	}
	eventually(t, "own sockets closed", func() bool {
		return hopOf(client, func(o *hop) bool { return o != h }) == nil
	})
	// The server has not seen the end of the first one: its address is no good
	// for another for a while, and no time is lost with it.
	c, s := offerTo(t, client, server, Params{Active: true, Candidates: []netip.AddrPort{to}})
	began := Now()
	ready(t, c, s)
	if local, _, _ := c.Pair(); local == from || Now()-began > ownAfter {
		t.Fatal("the shared socket was used again at once")
	}
	if h.reserve(c.Leg, Now(), to) || !h.reserve(c.Leg, Now()+cooling, to) {
		t.Fatal("the shared socket is not free again after a while")
	}
}

func inUse(h *hop) (n int) {
	for _, r := range h.reserved {
		if r.leg != nil {
			n++
		}
	}
	return n
}

// Two gateways that pull from each other want the same pair of addresses.
func TestTwoGatewaysCallEachOther(t *testing.T) {
	a, b := newTransport(t), newTransport(t)
	atA, _ := serveUDP(t, a, loopback)
	atB, _ := serveUDP(t, b, loopback)
	c1, s1 := offerTo(t, a, b, Params{Active: true, Candidates: []netip.AddrPort{atB}})
	c2, s2 := offerTo(t, b, a, Params{Active: true, Candidates: []netip.AddrPort{atA}})
	ready(t, c1, s1, c2, s2)
	talk(t, c1, s1)
	talk(t, c2, s2)
}

// vendor is a hand-made peer of a controlling leg on one UDP socket.
type vendor struct {
	conn *net.UDPConn
	got  chan stunMessage
	from chan netip.AddrPort
	done chan struct{}
}

// newVendor starts a peer; answer is called for each check and returns what to
// send back, nil: nothing.
func newVendor(t testing.TB, answer func(m *stunMessage, from netip.AddrPort) []byte) *vendor {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	v := &vendor{conn: conn, got: make(chan stunMessage, 1024), from: make(chan netip.AddrPort, 1024), done: make(chan struct{})}
	go func() {
		defer close(v.done)
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			var m stunMessage
			if m.parse(bytes.Clone(buf[:n])) != nil {
				continue
			}
			if m.typ == stunRequest && answer != nil {
				if out := answer(&m, from); out != nil {
					_, _ = conn.WriteToUDPAddrPort(out, from)
				}
			}
			offer(v.got, m)
			offer(v.from, from)
		}
	}()
	t.Cleanup(v.close)
	return v
}

func (v *vendor) close() {
	_ = v.conn.Close()
	<-v.done
}

func (v *vendor) addr() netip.AddrPort { return addrPort(v.conn.LocalAddr()) }

func (v *vendor) message(t testing.TB, typ uint16) stunMessage {
	t.Helper()
	for {
		if m := get(t, v.got, "a STUN message"); m.typ == typ {
			return m
		}
	}
}

func success(m *stunMessage, from netip.AddrPort) []byte {
	return successResponse(m.tid, from, peerPwd)
}

// call makes a controlling leg for hand-made peers.
func call(t testing.TB, tr *Transport, candidates ...netip.AddrPort) *side {
	t.Helper()
	c := &side{rec: newRecorder()}
	_, value := tr.Fingerprint()
	var err error
	if c.Leg, err = tr.NewLeg(Params{
		ID: t.Name(), RemoteUfrag: peerUfrag, RemotePwd: peerPwd, Handler: c.rec, Controlling: true,
		Fingerprints: []Fingerprint{{"sha-256", value}}, Candidates: candidates,
	}); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestChecksOfControllingLeg(t *testing.T) {
	tr := newTransport(t)
	serveUDP(t, tr, loopback)
	v := newVendor(t, nil)
	c := call(t, tr, v.addr())
	first := v.message(t, stunRequest)
	if !first.authentic(peerPwd) || string(first.username) != peerUfrag+":"+c.Ufrag() || !first.controlling ||
		first.tieBreaker != tr.tieBreaker || !first.useCandidate || first.priority != checkPriority {
		t.Fatalf("check %+v", first)
	}
	began := time.Now()
	for range 2 {
		if again := v.message(t, stunRequest); !bytes.Equal(again.tid, first.tid) {
			t.Fatal("a repetition is another transaction")
		}
	}
	if took := time.Since(began); took < 250*time.Millisecond {
		t.Fatalf("repeated twice within %v, want 100 and 200 ms", took)
	}
	v2 := newVendor(t, nil)
	call(t, tr, v2.addr(), v.addr())
	if m := v2.message(t, stunRequest); m.useCandidate {
		t.Fatal("nominated one of two pairs that was not even answered")
	}
	if c.Path() != nil {
		t.Fatal("a path without an answer")
	}
}

func TestNominationIsRepeatedUntilAnswered(t *testing.T) {
	tr := newTransport(t)
	serveUDP(t, tr, loopback)
	nominations := 0
	v := newVendor(t, func(m *stunMessage, from netip.AddrPort) []byte {
		if m.useCandidate {
			if nominations++; nominations < 3 {
				return nil
			}
		}
		return success(m, from)
	})
	dead := newVendor(t, nil)
	c := call(t, tr, v.addr(), dead.addr())
	began := Now()
	eventually(t, "nominated", func() bool { return c.Path() != nil && c.Unanswered(Now()) == 0 && c.confirmed() })
	if took := Now() - began; took > 900*millisecond {
		t.Fatalf("took %d ms", took/millisecond)
	}
}

func (l *Leg) confirmed() bool {
	c := &l.ctl.consent
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tries < 0
}

func TestPreferredCandidateIsWaitedFor(t *testing.T) {
	tr := newTransport(t)
	serveUDP(t, tr, loopback)
	release := make(chan struct{})
	late := newVendor(t, func(m *stunMessage, from netip.AddrPort) []byte {
		<-release
		return success(m, from)
	})
	early := newVendor(t, func(m *stunMessage, from netip.AddrPort) []byte {
		defer close(release)
		return success(m, from)
	})
	early2 := newVendor(t, success)
	c := call(t, tr, late.addr(), early.addr())
	eventually(t, "path", func() bool { return c.Path() != nil })
	if c.Path().Remote() != late.addr() {
		t.Fatalf("selected %v, not the preferred %v", c.Path().Remote(), late.addr())
	}
	dead := newVendor(t, nil)
	began := Now()
	c = call(t, tr, dead.addr(), early2.addr())
	eventually(t, "path", func() bool { return c.Path() != nil })
	if took := Now() - began; took < betterWait || took > 10*betterWait || c.Path().Remote() != early2.addr() {
		t.Fatalf("selected %v after %d ms", c.Path().Remote(), took/millisecond)
	}
}

// A full agent checks us as well, also from addresses its answer did not name.
func TestTriggeredCheckOfUnknownAddress(t *testing.T) {
	tr := newTransport(t)
	at, _ := serveUDP(t, tr, loopback)
	v := newVendor(t, success)
	c := call(t, tr)
	check := buildCheck(c.Ufrag()+":"+peerUfrag, c.Pwd(), attr(attrControlled, 1, 2, 3, 4, 5, 6, 7, 8), priority)
	if _, err := v.conn.WriteToUDPAddrPort(check, at); err != nil {
		t.Fatal(err)
	}
	if m := v.message(t, stunSuccess); !m.authentic(c.Pwd()) {
		t.Fatal("the answer is not authentic")
	}
	eventually(t, "path", func() bool { return c.Path() != nil })
	if c.Path().Remote() != v.addr() {
		t.Fatalf("selected %v", c.Path().Remote())
	}
}

func TestWrongPasswordOrDeadCandidates(t *testing.T) {
	client, server := newTransport(t), newTransport(t)
	client.handshakeTimeout = 300 * time.Millisecond // then slow
	serveUDP(t, client, loopback)
	to, _ := serveUDP(t, server, loopback)
	c, _ := offerTo(t, client, server, Params{Active: true, Candidates: []netip.AddrPort{to}, RemotePwd: "not the password of the peer"})
	eventually(t, "refused", func() bool { return server.Stats().BadIntegrity >= 2 })
	dead := newVendor(t, nil)
	c2 := call(t, client, dead.addr(), netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("[2001:db8::1]:9"))
	for range 3 {
		dead.message(t, stunRequest)
	}
	if c.Path() != nil || c2.Path() != nil || len(c.rec.ended)+len(c2.rec.ended) != 0 || c.Unanswered(Now()) != 0 {
		t.Fatal("a dead peer has a path or an end")
	}
	c2.mu.Lock()
	n := len(c2.ctl.pairs)
	c2.mu.Unlock()
	if n > 4 { // the IPv6 one does not fit; the others may be tried from an own socket by now
		t.Fatalf("%d pairs", n)
	}
}

func TestControllingPairsAreBounded(t *testing.T) {
	tr := newTransport(t)
	for range 3 {
		serveUDP(t, tr, loopback)
	}
	serveUDP(t, tr, "127.0.0.2:0")
	var list []netip.AddrPort
	for i := range 100 {
		list = append(list, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 9, 9, byte(i)}), 9))
	}
	c := call(t, tr, list...)
	c.mu.Lock()
	n, hops := len(c.ctl.pairs), len(c.ctl.hops)
	c.mu.Unlock()
	if n != maxPairs || hops != 2 {
		t.Fatalf("%d pairs at %d sockets", n, hops)
	}
	bad := []netip.AddrPort{
		{}, netip.MustParseAddrPort("0.0.0.0:9"), netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("224.0.0.1:9"),
		netip.MustParseAddrPort("255.255.255.255:9"), netip.MustParseAddrPort("[fe80::1%1]:9"), netip.MustParseAddrPort("[::]:9"),
		netip.MustParseAddrPort("[::ffff:192.0.2.1]:9"), netip.MustParseAddrPort("192.0.2.1:9"),
	}
	if got := usable(bad, 16); len(got) != 1 || got[0] != netip.MustParseAddrPort("192.0.2.1:9") {
		t.Fatalf("usable: %v", got)
	}
}

func TestControllingLegsLeaveNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	cert, err := testCertificate()
	if err != nil {
		t.Fatal(err)
	}
	var trs [2]*Transport
	for i := range trs {
		if trs[i], err = NewTransport(Config{Certificate: cert}); err != nil {
			t.Fatal(err)
		}
	}
	client, server := trs[0], trs[1]
	_, sock := serveUDP(t, client, loopback)
	h := hopOf(client, func(h *hop) bool { return h.sock == sock })
	to, _ := serveUDP(t, server, loopback)
	l := serveTCP(t, server)
	silent, err := net.Listen("tcp", loopback) // takes connections, says nothing
	if err != nil {
		t.Fatal(err)
	}
	dead := netip.MustParseAddrPort("127.0.0.1:9")
	for i := range 40 {
		p := Params{Active: i%2 == 0}
		switch i / 2 % 5 {
		case 0: // closed while it looks
			p.Candidates = []netip.AddrPort{dead}
		case 1:
			p.Candidates = []netip.AddrPort{dead, to}
		case 2:
			p.TCPCandidates = []netip.AddrPort{addrPort(l.Addr())}
		case 3:
			p.TCPCandidates = []netip.AddrPort{addrPort(silent.Addr()), netip.MustParseAddrPort("192.0.2.1:9")}
		case 4:
			p.Candidates = []netip.AddrPort{to}
			p.RemotePwd = "not the password of the peer"
		}
		c, s := offerTo(t, client, server, p)
		if n := i / 2 % 5; n == 1 || n == 2 {
			ready(t, c, s)
		}
		if i%4 < 2 { // half by their owner, the rest by the transport
			c.Close()
			c.Probe()
		}
	}
	client.Close()
	server.Close()
	_ = silent.Close()
	if n := client.Stats().Legs; n != 0 || len(client.ufrags) != 0 || len(client.hops) != 0 || inUse(h) != 0 || len(h.peers) != 0 {
		t.Fatalf("left: %d legs, %d ufrags, %d hops, %d reserved, %d addresses", n, len(client.ufrags), len(client.hops), inUse(h), len(h.peers))
	}
	goleak.VerifyNone(t, before)
}

func TestReservedAddressIsKeptFromOthers(t *testing.T) {
	tr := newTransport(t)
	at, sock := serveUDP(t, tr, loopback)
	v := newVendor(t, success)
	c := call(t, tr, v.addr())
	eventually(t, "path", func() bool { return c.Path() != nil })
	other := newPeer(t, tr, at, false).run() // a server-side leg whose peer claims v's address
	if _, err := v.conn.WriteToUDPAddrPort(other.check(useCandidate), at); err != nil {
		t.Fatal(err)
	}
	eventually(t, "conflict counted", func() bool { return tr.Stats().AddressConflicts == 1 })
	h := hopOf(tr, func(h *hop) bool { return h.sock == sock })
	if got, _ := h.whose(c.Path().Peer); got != c.Leg {
		t.Fatal("the address has another owner")
	}
}

func TestForgedAnswersDoNotCount(t *testing.T) {
	tr := newTransport(t)
	serveUDP(t, tr, loopback)
	forge := true
	v := newVendor(t, func(m *stunMessage, from netip.AddrPort) []byte {
		if !forge {
			return success(m, from)
		}
		forge = binary.BigEndian.Uint32(m.tid) == 0 // once
		return successResponse(m.tid, from, "not the peer's password")
	})
	thief := newVendor(t, nil)
	c := call(t, tr, v.addr())
	first := v.message(t, stunRequest)
	if _, err := thief.conn.WriteToUDPAddrPort(successResponse(first.tid, v.addr(), peerPwd), <-v.from); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both refused", func() bool { s := tr.Stats(); return s.BadIntegrity == 1 && s.UnknownAddress == 1 })
	eventually(t, "path", func() bool { return c.Path() != nil })
	if c.Path().Remote() != v.addr() {
		t.Fatal("selected the thief")
	}
}
