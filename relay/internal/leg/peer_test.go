package leg

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

const (
	peerUfrag = "peerufrag"
	peerPwd   = "peerpasswordpeerpassword"
	patience  = 10 * time.Second
)

// recorder is a Handler that keeps copies.
type recorder struct {
	ready   chan struct{}
	ended   chan error
	rtp     chan []byte
	rtcp    chan []byte
	flushed chan struct{}

	mu      sync.Mutex
	onReady func()
	onEnd   func()
}

// do makes HandleReady and HandleEnd call functions of the test.
func (r *recorder) do(ready, end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onReady, r.onEnd = ready, end
}

func (r *recorder) hooks() (ready, end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.onReady, r.onEnd
}

func newRecorder() *recorder {
	return &recorder{
		ready: make(chan struct{}), ended: make(chan error, 1),
		rtp: make(chan []byte, 4096), rtcp: make(chan []byte, 4096), flushed: make(chan struct{}, 4096),
	}
}

func (r *recorder) HandleReady() {
	if ready, _ := r.hooks(); ready != nil {
		ready()
	}
	close(r.ready)
}
func (r *recorder) HandleRTP(pkt []byte, arrival int64)  { offer(r.rtp, bytes.Clone(pkt)) }
func (r *recorder) HandleRTCP(pkt []byte, arrival int64) { offer(r.rtcp, bytes.Clone(pkt)) }
func (r *recorder) HandleFlush()                         { offer(r.flushed, struct{}{}) }
func (r *recorder) HandleEnd(cause error) {
	r.ended <- cause
	if _, end := r.hooks(); end != nil {
		end()
	}
}

func offer[T any](c chan T, v T) {
	select {
	case c <- v:
	default:
	}
}

// get receives with a time limit.
func get[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("timed out waiting for %s", what)
		panic("unreachable")
	}
}

// eventually polls a condition that only another goroutine can make true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

var testCertificate = sync.OnceValues(NewCertificate)

func newTransport(t testing.TB) *Transport {
	t.Helper()
	cert, err := testCertificate()
	if err != nil {
		t.Fatal(err)
	}
	tr, err := NewTransport(Config{Certificate: cert})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Close)
	return tr
}

func serveUDP(t testing.TB, tr *Transport, address string) (netip.AddrPort, *udpio.Socket) {
	t.Helper()
	pc, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	s, err := udpio.New(pc, udpio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tr.ServeUDP(s)
	return s.LocalAddr(), s
}

// peer is a hand-made client on one UDP socket, so that tests can misbehave.
type peer struct {
	t    testing.TB
	leg  *Leg
	rec  *recorder
	conn *net.UDPConn
	to   netip.AddrPort
	cert tls.Certificate

	source atomic.Pointer[net.UDPConn] // DTLS leaves from there instead
	mute   bool                        // does not answer checks
	lose   func(datagram []byte) bool  // DTLS that gets lost on the way to us
	stun   chan []byte
	dtls   chan []byte
	media  chan []byte
	done   chan struct{}

	seq    uint16 // of exchange
	conn12 *dtls.Conn
	in     *srtp.Context
	out    *srtp.Context
}

func newPeer(t testing.TB, tr *Transport, to netip.AddrPort, active bool) *peer {
	t.Helper()
	cert, err := NewCertificate()
	if err != nil {
		t.Fatal(err)
	}
	rec := newRecorder()
	l, err := tr.NewLeg(Params{
		ID: t.Name(), RemoteUfrag: peerUfrag, RemotePwd: peerPwd, Active: active, Handler: rec,
		Fingerprints: []Fingerprint{{"sha-256", formatFingerprint(cert.Certificate[0])}},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := newSocketPeer(t, l, to)
	p.rec, p.cert = rec, cert
	return p
}

// newSocketPeer is another socket of the same or of a forging peer.
func newSocketPeer(t testing.TB, l *Leg, to netip.AddrPort) *peer {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.Addr(), 0)))
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{
		t: t, leg: l, conn: conn, to: to, done: make(chan struct{}),
		stun: make(chan []byte, 256), dtls: make(chan []byte, 256), media: make(chan []byte, 256),
	}
	return p
}

// run starts the reader.
func (p *peer) run() *peer {
	go func() {
		defer close(p.done)
		buf := make([]byte, 2048)
		for {
			n, from, err := p.conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			b := bytes.Clone(buf[:n])
			switch {
			case b[0] >= 128:
				offer(p.media, b)
			case b[0] >= 20:
				offer(p.dtls, b)
			default:
				if binary.BigEndian.Uint16(b) == stunRequest {
					if p.mute {
						continue
					}
					_, _ = p.conn.WriteToUDPAddrPort(successResponse(b[8:20], from, peerPwd), from)
					continue
				}
				offer(p.stun, b)
			}
		}
	}()
	p.t.Cleanup(p.close)
	return p
}

func (p *peer) close() {
	_ = p.conn.Close()
	<-p.done
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.conn.WriteToUDPAddrPort(b, p.to); err != nil {
		p.t.Fatal(err)
	}
}

var tids uint64

// check builds a check; the attributes go before MESSAGE-INTEGRITY.
func buildCheck(username, key string, attrs ...func([]byte) []byte) []byte {
	tids++
	tid := binary.BigEndian.AppendUint64([]byte{1, 2, 3, 4}, tids)
	b := appendAttr(beginSTUN(stunRequest, tid), attrUsername, []byte(username))
	for _, a := range attrs {
		b = a(b)
	}
	return finishSTUN(b, key)
}

func attr(typ uint16, v ...byte) func([]byte) []byte {
	return func(b []byte) []byte { return appendAttr(b, typ, v) }
}

var (
	useCandidate = attr(attrUseCandidate)
	controlling  = attr(attrControlling, 1, 2, 3, 4, 5, 6, 7, 8)
	priority     = attr(attrPriority, 110, 0, 0, 1)
)

func (p *peer) check(attrs ...func([]byte) []byte) []byte {
	return buildCheck(p.leg.Ufrag()+":"+peerUfrag, p.leg.Pwd(), attrs...)
}

// bind makes a full check and waits for its answer.
func (p *peer) bind(attrs ...func([]byte) []byte) {
	p.t.Helper()
	req := p.check(attrs...)
	p.write(req)
	for {
		var m stunMessage
		if err := m.parse(get(p.t, p.stun, "the answer to a check")); err != nil {
			p.t.Fatal(err)
		}
		if bytes.Equal(m.tid, req[8:20]) {
			if m.typ != stunSuccess || !m.authentic(p.leg.Pwd()) {
				p.t.Fatalf("answer of type %#x is not an authentic success", m.typ)
			}
			return
		}
	}
}

// handshake does DTLS from this socket, as client unless server.
func (p *peer) handshake(server bool, options ...dtls.Option) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	options = append([]dtls.Option{
		dtls.WithCertificates(p.cert), dtls.WithInsecureSkipVerify(true),
		dtls.WithSRTPProtectionProfiles(profiles...), dtls.WithFlightInterval(flightInterval),
		dtls.WithLoggerFactory(&logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled}),
	}, options...)
	var err error
	if server {
		opts := []dtls.ServerOption{dtls.WithClientAuth(dtls.RequireAnyClientCert)}
		for _, o := range options {
			opts = append(opts, o)
		}
		p.conn12, err = dtls.ServerWithOptions(dtlsEnd{p}, pipeAddr{}, opts...)
	} else {
		var opts []dtls.ClientOption
		for _, o := range options {
			opts = append(opts, o)
		}
		p.conn12, err = dtls.ClientWithOptions(dtlsEnd{p}, pipeAddr{}, opts...)
	}
	if err != nil {
		return err
	}
	if err = p.conn12.HandshakeContext(ctx); err != nil {
		return err
	}
	profile, _ := p.conn12.SelectedSRTPProtectionProfile()
	config := srtp.Config{Profile: srtp.ProtectionProfile(profile)}
	state, _ := p.conn12.ConnectionState()
	if err = config.ExtractSessionKeysFromDTLS(&state, !server); err != nil {
		return err
	}
	k := config.Keys
	if p.in, err = srtp.CreateContext(k.RemoteMasterKey, k.RemoteMasterSalt, config.Profile); err != nil {
		return err
	}
	p.out, err = srtp.CreateContext(k.LocalMasterKey, k.LocalMasterSalt, config.Profile)
	return err
}

// connect is the whole way of an honest DTLS client.
func (p *peer) connect() *peer {
	p.t.Helper()
	p.run()
	p.bind(useCandidate, controlling, priority)
	if err := p.handshake(false); err != nil {
		p.t.Fatal(err)
	}
	get(p.t, p.rec.ready, "HandleReady")
	return p
}

func (p *peer) rtp(seq uint16) []byte {
	p.t.Helper()
	h := rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: seq, SSRC: 0xCAFE}
	clear, err := (&rtp.Packet{Header: h, Payload: bytes.Repeat([]byte{7}, 1000)}).Marshal()
	if err != nil {
		p.t.Fatal(err)
	}
	out, err := p.out.EncryptRTP(nil, clear, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

func (p *peer) rtcp() []byte {
	p.t.Helper()
	// An empty receiver report.
	out, err := p.out.EncryptRTCP(nil, []byte{0x80, 201, 0, 1, 0, 0, 0xCA, 0xFE}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

func seqOf(pkt []byte) uint16 { return binary.BigEndian.Uint16(pkt[2:]) }

// dtlsEnd is the net.PacketConn below the peer's DTLS.
type dtlsEnd struct{ p *peer }

func (d dtlsEnd) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case in := <-d.p.dtls:
		if d.p.lose != nil && d.p.lose(in) {
			return d.ReadFrom(b)
		}
		return copy(b, in), pipeAddr{}, nil
	case <-d.p.done:
		return 0, nil, net.ErrClosed
	}
}

func (d dtlsEnd) WriteTo(b []byte, _ net.Addr) (int, error) {
	if forged := d.p.source.Load(); forged != nil {
		return forged.WriteToUDPAddrPort(b, d.p.to)
	}
	return d.p.conn.WriteToUDPAddrPort(b, d.p.to)
}
func (d dtlsEnd) Close() error                     { return nil }
func (d dtlsEnd) LocalAddr() net.Addr              { return pipeAddr{} }
func (d dtlsEnd) SetDeadline(time.Time) error      { return nil }
func (d dtlsEnd) SetReadDeadline(time.Time) error  { return nil }
func (d dtlsEnd) SetWriteDeadline(time.Time) error { return nil }
