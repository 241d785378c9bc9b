package leg

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/talwtn/caddy-wtn/relay/internal/seal"
)

var loopback = netip.MustParseAddrPort("127.0.0.1:0").String()

func TestConnectBothDTLSRolesAndProfiles(t *testing.T) {
	for _, active := range []bool{false, true} {
		for i, want := range []seal.Profile{seal.AES128GCM, seal.AES128CMSHA1} {
			t.Run(want.String()+map[bool]string{true: "/active", false: "/passive"}[active], func(t *testing.T) {
				tr := newTransport(t)
				addr, _ := serveUDP(t, tr, loopback)
				p := newPeer(t, tr, addr, active).run()
				done := make(chan error, 1)
				if active {
					go func() { done <- p.handshake(true, dtls.WithSRTPProtectionProfiles(profiles[i])) }()
					p.bind(useCandidate)
				} else {
					p.bind(useCandidate)
					go func() { done <- p.handshake(false, dtls.WithSRTPProtectionProfiles(profiles[i])) }()
				}
				if err := get(t, done, "handshake"); err != nil {
					t.Fatal(err)
				}
				get(t, p.rec.ready, "HandleReady")
				if got := p.leg.Profile(); got != want {
					t.Fatalf("profile %v, want %v", got, want)
				}
				exchange(t, p)
			})
		}
	}
}

// exchange sends one packet of each kind and direction.
func exchange(t *testing.T, p *peer) {
	t.Helper()
	before := p.leg.LastReceived()
	p.seq++
	p.write(p.rtp(p.seq))
	if got := get(t, p.rec.rtp, "RTP"); seqOf(got) != p.seq || len(got) != 1012 {
		t.Fatalf("got RTP %d of %d bytes", seqOf(got), len(got))
	}
	get(t, p.rec.flushed, "flush")
	p.write(p.rtcp())
	if got := get(t, p.rec.rtcp, "RTCP"); got[1] != 201 {
		t.Fatalf("got RTCP type %d", got[1])
	}
	if p.leg.LastReceived() <= before {
		t.Fatal("LastReceived stood still")
	}
	if err := p.leg.WriteRTCP([]byte{0x80, 201, 0, 1, 0, 0, 0, 9}); err != nil {
		t.Fatal(err)
	}
	clear, err := p.in.DecryptRTCP(nil, get(t, p.media, "our RTCP"), nil)
	if err != nil || clear[7] != 9 {
		t.Fatalf("our RTCP: %v, %x", err, clear)
	}
	header := append(make([]byte, 0, 64), 0x80, 96, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9)
	sealed, err := p.leg.Sealer().Seal(header, []byte("media"), 9, 5)
	if err != nil {
		t.Fatal(err)
	}
	if err = p.leg.Path().Write(sealed); err != nil {
		t.Fatal(err)
	}
	clear, err = p.in.DecryptRTP(nil, get(t, p.media, "our RTP"), nil)
	if err != nil || !bytes.HasSuffix(clear, []byte("media")) {
		t.Fatalf("our RTP: %v, %x", err, clear)
	}
}

func TestIPv6(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, "[::1]:0")
	exchange(t, newPeer(t, tr, addr, false).connect())
}

func TestWildcardSocketAnswersFromTheAddressAsked(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, "0.0.0.0:0")
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.3"), addr.Port())
	p := newPeer(t, tr, to, false).connect()
	exchange(t, p)
	if local, _, _ := p.leg.Pair(); local != to {
		t.Fatalf("local is %v, want %v", local, to)
	}
}

func TestPairAndPathOfPeer(t *testing.T) {
	tr := newTransport(t)
	addr, sock := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false)
	if _, _, network := p.leg.Pair(); network != "" || p.leg.Path() != nil {
		t.Fatal("a pair before the first check")
	}
	if p.leg.WriteRTCP(make([]byte, 8)) != ErrNotReady {
		t.Fatal("RTCP before the keys")
	}
	p.connect()
	local, remote, network := p.leg.Pair()
	if local != addr || remote.Port() != p.conn.LocalAddr().(interface{ AddrPort() netip.AddrPort }).AddrPort().Port() || network != "udp" {
		t.Fatalf("pair is %v %v %v", local, remote, network)
	}
	if path := p.leg.Path(); !path.Batch() || path.Socket != sock || path.Peer.Remote() != remote {
		t.Fatalf("path is %+v", path)
	}
}

func TestWrongFingerprintFailsHandshake(t *testing.T) {
	for _, active := range []bool{false, true} {
		tr := newTransport(t)
		addr, _ := serveUDP(t, tr, loopback)
		p := newPeer(t, tr, addr, active)
		other, err := NewCertificate()
		if err != nil {
			t.Fatal(err)
		}
		p.cert = other
		p.run()
		done := make(chan error, 1)
		if active {
			go func() { done <- p.handshake(true) }()
			p.bind(useCandidate)
		} else {
			p.bind(useCandidate)
			go func() { done <- p.handshake(false) }()
		}
		if err := get(t, p.rec.ended, "HandleEnd"); !errors.Is(err, errWrongCert) {
			t.Fatalf("active %v: ended with %v", active, err)
		}
		if err := get(t, done, "the peer's failure"); err == nil && !active {
			t.Fatal("the peer's handshake succeeded")
		}
		select {
		case <-p.rec.ready:
			t.Fatal("ready in spite of the fingerprint")
		default:
		}
		if p.leg.Sealer() != nil {
			t.Fatal("keys in spite of the fingerprint")
		}
	}
}

func TestNoClientCertificateFailsHandshake(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false).run()
	p.bind(useCandidate)
	none := func(*dtls.CertificateRequestInfo) (*tls.Certificate, error) { return new(tls.Certificate), nil }
	done := make(chan error, 1)
	go func() { done <- p.handshake(false, dtls.WithGetClientCertificate(none)) }()
	if err := get(t, done, "the refusal"); err == nil {
		t.Fatal("handshake without certificate succeeded")
	}
	get(t, p.rec.ended, "HandleEnd")
}

func TestAnyOfSeveralFingerprints(t *testing.T) {
	cert, err := NewCertificate()
	if err != nil {
		t.Fatal(err)
	}
	der := cert.Certificate[0]
	right := Fingerprint{"SHA-256", formatFingerprint(der)}
	wrong := Fingerprint{"sha-512", "00" + string(bytes.Repeat([]byte(":00"), 63))}
	for _, tt := range []struct {
		name    string
		list    []Fingerprint
		refused bool // when parsed
		match   bool
	}{
		{"one", []Fingerprint{right}, false, true},
		{"second", []Fingerprint{wrong, right}, false, true},
		{"weak one ignored", []Fingerprint{{"sha-1", "00"}, right}, false, true},
		{"only a weak one", []Fingerprint{{"sha-1", "00"}}, true, false},
		{"none", nil, true, false},
		{"short", []Fingerprint{{"sha-256", "AB"}}, true, false},
		{"other", []Fingerprint{wrong}, false, false},
	} {
		digests, err := parseFingerprints(tt.list)
		if (err != nil) != tt.refused {
			t.Errorf("%s: parse: %v", tt.name, err)
		}
		if err == nil && (verifyCertificate(der, digests) == nil) != tt.match {
			t.Errorf("%s: match is not %v", tt.name, tt.match)
		}
	}
}

func TestForgedAndReplayedMediaDropped(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false).connect()
	good, report := p.rtp(1), p.rtcp()
	forged, forgedReport := bytes.Clone(p.rtp(2)), bytes.Clone(p.rtcp())
	forged[20] ^= 1
	forgedReport[9] ^= 1
	for _, b := range [][]byte{good, good, forged, report, report, forgedReport, {0x80}, {0x80, 200}} {
		p.write(b)
	}
	p.write(p.rtp(3))
	if a, b := get(t, p.rec.rtp, "RTP"), get(t, p.rec.rtp, "RTP"); seqOf(a) != 1 || seqOf(b) != 3 {
		t.Fatalf("got %d and %d", seqOf(a), seqOf(b))
	}
	if n := len(p.rec.rtcp); n != 1 {
		t.Fatalf("%d reports", n)
	}
	if n := tr.Stats().BadMedia; n != 6 {
		t.Fatalf("%d bad packets counted, want 6", n)
	}
}

func TestMediaFromUnknownAddressDropped(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false).connect()
	other := newSocketPeer(t, p.leg, addr).run()
	other.write(p.rtp(1)) // authentic, but no check came from there
	eventually(t, "drop counted", func() bool { return tr.Stats().UnknownAddress == 1 })
	p.write(p.rtp(2))
	if got := get(t, p.rec.rtp, "RTP"); seqOf(got) != 2 {
		t.Fatalf("got %d", seqOf(got))
	}
}

func TestCloseNotifySeenByUs(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false)
	p.rec.do(nil, p.leg.Close) // allowed
	p.connect()
	if err := p.conn12.Close(); err != nil {
		t.Fatal(err)
	}
	if err := get(t, p.rec.ended, "HandleEnd"); !errors.Is(err, ErrPeerClosed) {
		t.Fatal(err)
	}
	eventually(t, "leg gone", func() bool { return tr.Stats().Legs == 0 })
}

func TestCloseNotifySeenByPeerAndChecksEnd(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false).connect()
	p.leg.Close()
	p.leg.Close()
	if n, err := p.conn12.Read(make([]byte, 100)); err == nil {
		t.Fatalf("read %d bytes, want the end", n)
	}
	p.write(p.check(useCandidate))
	eventually(t, "check refused", func() bool { return tr.Stats().UnknownUfrag == 1 })
	if p.leg.Path() != nil || len(p.rec.ended) != 0 {
		t.Fatal("path or HandleEnd after Close")
	}
	if len(p.stun) != 0 {
		t.Fatal("a closed leg answered a check")
	}
}

func TestCloseFromHandleReady(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false)
	p.rec.do(p.leg.Close, nil)
	p.connect()
	if tr.Stats().Legs != 0 {
		t.Fatal("leg not gone")
	}
}

func TestForgedAlertDoesNotEndSession(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false).connect()
	for _, alert := range [][2]byte{{1, 0}, {2, 40}} { // close_notify, handshake_failure
		record := []byte{21, 254, 253, 0, 0}                   // alert, DTLS 1.2, epoch 0
		record = append(record, 0, 0, 0, 0, 1, 0, 0, 2)        // sequence number, length
		p.write(append(record, alert[0], alert[1]))            // alone
		p.write(append(append(record, alert[0], alert[1]), 9)) // and with rubbish behind
	}
	eventually(t, "alerts dropped", func() bool { return tr.Stats().DTLSDropped == 4 })
	exchange(t, p)
	if len(p.rec.ended) != 0 {
		t.Fatal("an unprotected alert ended the session")
	}
}

func TestProtectedRecords(t *testing.T) {
	record := func(epoch byte, n int) []byte {
		b := append([]byte{22, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 0}, 0, byte(n))
		return append(b, make([]byte, n)...)
	}
	mixed := append(append(record(0, 5), record(1, 7)...), record(0, 3)...)
	if got := protectedRecords(mixed); !bytes.Equal(got, record(1, 7)) {
		t.Fatalf("got %x", got)
	}
	if got := protectedRecords(record(1, 9)[:15]); len(got) != 0 {
		t.Fatalf("took a cut record: %x", got)
	}
}

// FFmpeg answers no check once it has begun with DTLS.
func TestPeerThatAnswersNoChecksIsProvenByTheHandshake(t *testing.T) {
	for _, active := range []bool{false, true} {
		tr := newTransport(t)
		addr, _ := serveUDP(t, tr, loopback)
		p := newPeer(t, tr, addr, active)
		p.mute = true
		p.run()
		done := make(chan error, 1)
		if active {
			go func() { done <- p.handshake(true) }()
			p.bind(useCandidate, priority)
		} else {
			p.bind(useCandidate, priority)
			if p.leg.Path() != nil {
				t.Fatal("a path before anything was proven")
			}
			go func() { done <- p.handshake(false) }()
		}
		if err := get(t, done, "handshake"); err != nil {
			t.Fatal(err)
		}
		get(t, p.rec.ready, "HandleReady")
		exchange(t, p)
	}
}

// The handshake was spread over two addresses: that proves neither.
func TestHandshakeOverTwoAddressesProvesNone(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false)
	p.mute = true
	p.run()
	p.bind()
	victim := newSocketPeer(t, p.leg, addr)
	victim.mute = true
	victim.run()
	p.lose = func([]byte) bool {
		// Our first flight has come to the attacker's own address. The rest
		// leaves with the victim's as source, and nominates it.
		if p.source.Load() == nil {
			victim.bind(useCandidate)
			p.source.Store(victim.conn)
		}
		return false
	}
	done := make(chan error, 1)
	go func() { done <- p.handshake(false) }()
	get(t, p.rec.ready, "HandleReady") // he gets as far as that
	_ = p.conn.Close()
	get(t, done, "the end of his handshake")
	p.leg.mu.Lock()
	defer p.leg.mu.Unlock()
	for _, c := range p.leg.candidates {
		if c.proven.Load() && c.path.remote == addrPort(victim.conn.LocalAddr()) {
			t.Fatal("an address that never answered is proven")
		}
	}
	if s := p.leg.selected; s != nil && s.path.remote == addrPort(victim.conn.LocalAddr()) {
		t.Fatal("an address that never answered is selected")
	}
}

func TestLostLastFlightIsRepeated(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false)
	lost := 0
	p.lose = func(b []byte) bool {
		if b[0] == 20 && lost < 2 { // begins with ChangeCipherSpec: the last one
			lost++
			return true
		}
		return false
	}
	exchange(t, p.connect())
	if lost != 2 {
		t.Fatalf("lost %d", lost)
	}
}

func TestEarlyMediaIsKept(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false)
	entered, leave := make(chan struct{}), make(chan struct{})
	p.rec.do(func() { close(entered); <-leave }, nil)
	p.run()
	p.bind(useCandidate)
	if err := p.handshake(false); err != nil {
		t.Fatal(err)
	}
	get(t, entered, "HandleReady")
	for seq := range uint16(maxEarly + 5) {
		p.write(p.rtp(seq))
	}
	eventually(t, "overflow", func() bool { return tr.Stats().BadMedia == 5 })
	if len(p.rec.rtp) != 0 {
		t.Fatal("RTP before HandleReady returned")
	}
	close(leave)
	for seq := range uint16(maxEarly) {
		if got := seqOf(get(t, p.rec.rtp, "kept RTP")); got != seq {
			t.Fatalf("got %d, want %d", got, seq)
		}
	}
}

func TestNewLegRefusesBadParams(t *testing.T) {
	tr := newTransport(t)
	_, value := tr.Fingerprint()
	good := Params{RemoteUfrag: "abcd", RemotePwd: peerPwd, Handler: newRecorder(), Fingerprints: []Fingerprint{{"sha-256", value}}}
	for name, spoil := range map[string]func(*Params){
		"ufrag":       func(p *Params) { p.RemoteUfrag = "abc" },
		"long ufrag":  func(p *Params) { p.RemoteUfrag = string(make([]byte, 257)) },
		"pwd":         func(p *Params) { p.RemotePwd = "short" },
		"fingerprint": func(p *Params) { p.Fingerprints = nil },
		"handler":     func(p *Params) { p.Handler = nil },
	} {
		p := good
		spoil(&p)
		if _, err := tr.NewLeg(p); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	l, err := tr.NewLeg(good)
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Ufrag()) < 4 || len(l.Pwd()) < 22 {
		t.Fatalf("credentials %q %q", l.Ufrag(), l.Pwd())
	}
	tr.Close()
	if _, err := tr.NewLeg(good); !errors.Is(err, ErrClosed) {
		t.Fatalf("new leg after Close: %v", err)
	}
}

func TestStalledHandshakesDoNotKeepOthersOut(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	for range 4 * cap(tr.slots) {
		p := newPeer(t, tr, addr, false).run()
		p.bind(useCandidate)
		// The first fragment of a ClientHello, and never another.
		hello := []byte{22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20}
		hello = append(hello, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 8)
		hello = append(hello, make([]byte, 8)...)
		p.write(hello)
	}
	newPeer(t, tr, addr, false).connect()
	eventually(t, "slots free", func() bool { return len(tr.slots) == 0 })
}

func TestHandshakeInputIsBounded(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false).run()
	p.bind(useCandidate)
	record := binary.BigEndian.AppendUint16([]byte{22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 1}, 1000)
	record = append(record, make([]byte, 1000)...)
	const sent = 200
	for range sent {
		p.write(record)
		p.bind() // paces: the socket buffer must not drop for us
	}
	p.leg.mu.Lock()
	packets, held := p.leg.dtls.bytes, len(p.leg.dtls.pipe.in)
	p.leg.mu.Unlock()
	if packets < handshakeBytes || held > pipeDepth || tr.Stats().DTLSDropped < sent-handshakeBytes/1000-1 {
		t.Fatalf("%d bytes, %d queued, %d dropped", packets, held, tr.Stats().DTLSDropped)
	}
}

func TestHandshakeTimesOut(t *testing.T) {
	tr := newTransport(t)
	tr.handshakeTimeout = 50 * time.Millisecond
	addr, _ := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, true).run() // we begin, nobody answers
	p.bind(useCandidate)
	if err := get(t, p.rec.ended, "HandleEnd"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}
