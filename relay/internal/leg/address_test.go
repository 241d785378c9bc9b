package leg

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

// silent sends b and asserts that nothing came back before the answer to a
// check that is sent afterwards.
func silent(t *testing.T, p *peer, what string, b []byte) {
	t.Helper()
	p.write(b)
	marker := p.check()
	p.write(marker)
	for {
		got := get(t, p.stun, "the marker's answer")
		if bytes.Equal(got[8:20], marker[8:20]) {
			return
		}
		t.Fatalf("%s was answered", what)
	}
}

func TestBadChecksAreSilentlyDropped(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false).run()
	ufrag, pwd := p.leg.Ufrag(), p.leg.Pwd()
	good := p.check(useCandidate)
	change := func(at int, to byte) []byte { b := bytes.Clone(good); b[at] = to; return b }
	plain := appendAttr(beginSTUN(stunRequest, good[8:20]), attrUsername, []byte(ufrag+":"+peerUfrag))
	binary.BigEndian.PutUint16(plain[2:], uint16(len(plain)-20))
	for _, tt := range []struct {
		name    string
		b       []byte
		counter func(Stats) uint64
	}{
		{"unknown ufrag", buildCheck("unknown1:"+peerUfrag, pwd), func(s Stats) uint64 { return s.UnknownUfrag }},
		{"no username", buildCheck("", pwd), func(s Stats) uint64 { return s.UnknownUfrag }},
		{"wrong remote ufrag", buildCheck(ufrag+":somebodyelse", pwd), func(s Stats) uint64 { return s.BadIntegrity }},
		{"no remote ufrag", buildCheck(ufrag, pwd), func(s Stats) uint64 { return s.BadIntegrity }},
		{"wrong integrity", buildCheck(ufrag+":"+peerUfrag, "wrong"), func(s Stats) uint64 { return s.BadIntegrity }},
		{"no integrity", plain, func(s Stats) uint64 { return s.BadIntegrity }},
		{"wrong fingerprint", change(len(good)-1, good[len(good)-1]^1), func(s Stats) uint64 { return s.BadIntegrity }},
		{"wrong cookie", change(4, 0), func(s Stats) uint64 { return s.Malformed }},
		{"wrong length", change(3, good[3]+4), func(s Stats) uint64 { return s.Malformed }},
		{"cut", good[:len(good)-4], func(s Stats) uint64 { return s.Malformed }},
		{"attribute too long", change(23, 200), func(s Stats) uint64 { return s.Malformed }},
		{"one byte", []byte{0}, func(s Stats) uint64 { return s.Malformed }},
		{"neither", []byte{100, 1, 2, 3}, func(s Stats) uint64 { return s.Malformed }},
	} {
		before := tt.counter(tr.Stats())
		silent(t, p, tt.name, tt.b)
		if got := tt.counter(tr.Stats()) - before; got != 1 {
			t.Errorf("%s: counted %d times", tt.name, got)
		}
	}
}

func TestRoleOfPeer(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false).run()
	p.bind()            // none, as FFmpeg
	p.bind(controlling) // as it should be
	p.write(p.check(attr(attrControlled, 1, 2, 3, 4, 5, 6, 7, 8), useCandidate))
	var m stunMessage
	if err := m.parse(get(t, p.stun, "an answer")); err != nil || m.typ != stunFailure || !m.authentic(p.leg.Pwd()) {
		t.Fatalf("answer of type %#x, %v", m.typ, err)
	}
	if code := m.raw[20+6:][:2]; code[0] != 4 || code[1] != 87 {
		t.Fatalf("error code %v", code)
	}
	if tr.Stats().RoleConflicts != 1 || p.leg.Path() != nil {
		t.Fatal("a controlled peer's check counted as a nomination")
	}
}

func TestSpoofedAddressGetsNoMediaAndIsBounded(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	attacker := newPeer(t, tr, addr, false).connect()
	// The victim never answers. The attacker forges its address as source, for
	// which the test has the victim's socket send what the attacker made up.
	victim := newSocketPeer(t, attacker.leg, addr)
	victim.mute = true
	asked := make(chan int, 1024)
	go func() { // counts what we send to the victim, checks of ours as well
		defer close(victim.done)
		buf := make([]byte, 2048)
		for {
			n, err := victim.conn.Read(buf)
			if err != nil {
				close(asked)
				return
			}
			if buf[0] >= 128 {
				n += 1 << 20 // media: fails the test
			}
			asked <- n
		}
	}()
	sent, path := 0, attacker.leg.Path()
	for seq := range uint16(20) {
		for _, b := range [][]byte{attacker.check(useCandidate, controlling, priority), attacker.rtp(1000 + seq)} {
			victim.write(b)
			if b[0] < 128 {
				sent += len(b)
			}
		}
		victim.write(append([]byte{22, 254, 253, 0, 1, 0, 0, 0, 0, 0, byte(seq), 0, 40}, make([]byte, 40)...))
	}
	for range 20 { // round trips on the honest socket, meanwhile media goes on
		attacker.bind()
		if err := attacker.leg.WriteRTCP([]byte{0x80, 201, 0, 1, 0, 0, 0, 9}); err != nil {
			t.Fatal(err)
		}
		get(t, attacker.media, "our RTCP at the proven address")
	}
	eventually(t, "all checks of ours sent", func() bool {
		attacker.leg.mu.Lock()
		defer attacker.leg.mu.Unlock()
		for _, c := range attacker.leg.candidates {
			if c.tries > 0 && c.tries < maxTries && !c.proven.Load() {
				return false
			}
		}
		return true
	})
	if attacker.leg.Path() != path {
		t.Fatal("the path moved to an address that never answered")
	}
	_ = victim.conn.Close()
	got := 0
	for n := range asked {
		got += n
	}
	if limit := amplification*sent + legGrant; got > limit || got == 0 {
		t.Fatalf("victim got %d bytes for %d, limit %d", got, sent, limit)
	}
}

func TestUnprovenAddressBudget(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false)
	p.mute = true
	p.run()
	check := p.check()
	p.write(check)
	get(t, p.stun, "the answer")
	p.leg.mu.Lock()
	c := p.leg.candidates[0]
	for range 1000 {
		c.send([]byte{20, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	}
	tx := c.tx
	p.leg.mu.Unlock()
	if tx > amplification*len(check) {
		t.Fatalf("sent %d for %d", tx, len(check))
	}
	got := 0
	p.write(p.check()) // raises the bound by a little, and ends the count
	for last := false; !last; {
		select {
		case b := <-p.dtls:
			got += len(b)
		case <-p.stun:
			last = true
		}
	}
	if limit := amplification*len(check) + legGrant; got > limit {
		t.Fatalf("an address that never answered got %d bytes for %d", got, len(check))
	}
}

func TestAnotherSessionCannotTakeAProvenAddress(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	victim := newPeer(t, tr, addr, false).connect()
	attacker := newPeer(t, tr, addr, false).run()
	// A check of the attacker's session with the victim's source address.
	victim.write(attacker.check(useCandidate, controlling))
	eventually(t, "conflict counted", func() bool { return tr.Stats().AddressConflicts == 1 })
	exchange(t, victim)
	if attacker.leg.Path() != nil {
		t.Fatal("attacker's leg has the victim's path")
	}
}

func TestAnswerMustMatch(t *testing.T) {
	mapped := netip.MustParseAddrPort("192.0.2.1:1")
	for _, tt := range []struct {
		name   string
		answer func(tid []byte) []byte
	}{
		{"random transaction id", func(tid []byte) []byte {
			return successResponse(make([]byte, 12), mapped, peerPwd)
		}},
		{"wrong password", func(tid []byte) []byte {
			return successResponse(tid, mapped, "not the peer's password")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTransport(t)
			addr, _ := serveUDP(t, tr, loopback)
			p := newPeer(t, tr, addr, false)
			req := make(chan []byte, 16)
			go func() {
				defer close(p.done)
				buf := make([]byte, 2048)
				for {
					n, err := p.conn.Read(buf)
					if err != nil {
						return
					}
					if binary.BigEndian.Uint16(buf) == stunRequest {
						offer(req, bytes.Clone(buf[:n]))
					}
				}
			}()
			defer p.close()
			p.write(p.check(useCandidate))
			r := get(t, req, "a check of ours")
			p.write(tt.answer(r[8:20]))
			p.write([]byte{100}) // in order behind it
			eventually(t, "read", func() bool { return tr.Stats().Malformed == 1 })
			if p.leg.Path() != nil {
				t.Fatal("a wrong answer proved the address")
			}
			p.write(successResponse(r[8:20], mapped, peerPwd))
			eventually(t, "path", func() bool { return p.leg.Path() != nil })
		})
	}
}

func TestChecksOfOursAreRepeated(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false)
	n := make(chan struct{}, 64)
	go func() {
		defer close(p.done)
		buf := make([]byte, 2048)
		for {
			if _, err := p.conn.Read(buf); err != nil {
				return
			}
			if binary.BigEndian.Uint16(buf) == stunRequest {
				n <- struct{}{}
			}
		}
	}()
	defer p.close()
	p.write(p.check())
	for range maxTries {
		get(t, n, "a check of ours")
	}
}

func TestCandidatesAreBounded(t *testing.T) {
	tr := newTransport(t)
	addr, sock := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false).connect()
	for range 3 * maxCandidates {
		newSocketPeer(t, p.leg, addr).run().bind()
	}
	p.leg.mu.Lock()
	n, kept := len(p.leg.candidates), p.leg.selected
	p.leg.mu.Unlock()
	if n > maxCandidates || kept.path != p.leg.Path() {
		t.Fatalf("%d candidates", n)
	}
	exchange(t, p)
	h := hopOf(tr, func(h *hop) bool { return h.sock == sock })
	if len(h.peers) > maxCandidates {
		t.Fatalf("%d bound addresses", len(h.peers))
	}
	p.leg.Close()
	if len(h.peers) != 0 {
		t.Fatalf("%d addresses bound after Close", len(h.peers))
	}
}

func hopOf(tr *Transport, match func(*hop) bool) *hop {
	tr.mu.RLock()
	defer tr.mu.RUnlock()
	for h := range tr.hops {
		if match(h) {
			return h
		}
	}
	return nil
}

func TestFloodBesideALiveSession(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false).connect()
	flooder := newSocketPeer(t, p.leg, addr).run()
	stop, done := make(chan struct{}), make(chan struct{})
	bad := [][]byte{
		buildCheck("unknown1:x", "pwd"), buildCheck(p.leg.Ufrag()+":"+peerUfrag, "wrong"),
		append([]byte{22, 254, 253}, make([]byte, 50)...), append([]byte{0x80, 96}, make([]byte, 200)...),
	}
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_, _ = flooder.conn.WriteToUDPAddrPort(bad[i%len(bad)], addr)
			}
		}
	}()
	got := 0
	for seq := range uint16(500) {
		p.write(p.rtp(seq))
		select {
		case <-p.rec.rtp: // one at a time, so that only the flood can drop it
			got++
		default:
			p.bind()
		}
	}
	close(stop)
	<-done
	eventually(t, "media through the flood", func() bool { return got+len(p.rec.rtp) >= 490 })
	if s := tr.Stats(); s.UnknownUfrag == 0 || s.BadIntegrity == 0 || s.UnknownAddress == 0 {
		t.Fatalf("no flood: %+v", s)
	}
	if len(flooder.stun)+len(flooder.dtls) != 0 {
		t.Fatal("the flood was answered")
	}
}

func TestNewMappingOfTheSamePairMovesThePath(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false).connect()
	old := p.leg.Path()
	proven := func(n int) func() bool {
		return func() bool {
			p.leg.mu.Lock()
			defer p.leg.mu.Unlock()
			return len(p.leg.candidates) == n && p.leg.candidates[n-1].proven.Load()
		}
	}
	other := newSocketPeer(t, p.leg, addr).run()
	other.bind(attr(attrPriority, 9, 9, 9, 9)) // another candidate of the peer, not nominated
	eventually(t, "other address proven", proven(2))
	if p.leg.Path() != old {
		t.Fatal("the path moved to another pair without a nomination")
	}
	same := newSocketPeer(t, p.leg, addr).run()
	began := Now()
	same.bind(priority) // the same candidate, not nominated either
	eventually(t, "path moved", func() bool { return p.leg.Path().remote == addrPort(same.conn.LocalAddr()) })
	if took := Now() - began; took > second {
		t.Fatalf("took %d ms", took/millisecond)
	}
}
