package caddymodule

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// testCA signs the certificates of all tests. The clients' TLS has no option
// to trust it, so it is made the system's, before anybody looks.
var testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string // of ca.pem, ca.key
}

func makeTestCA(dir string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0), KeyUsage: x509.KeyUsageCertSign, MaxPathLen: 2,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	testCA.key, testCA.dir = key, dir
	if testCA.cert, err = x509.ParseCertificate(der); err != nil {
		panic(err)
	}
	writePEM(filepath.Join(dir, "ca.pem"), "CERTIFICATE", der)
	writeKey(filepath.Join(dir, "ca.key"), key)
	os.Setenv("SSL_CERT_FILE", filepath.Join(dir, "ca.pem"))
}

func writePEM(name, kind string, der []byte) {
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		panic(err)
	}
}

func writeKey(name string, key *ecdsa.PrivateKey) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	writePEM(name, "PRIVATE KEY", der)
}

// certificateFor makes cert.pem and key.pem in dir.
func certificateFor(t *testing.T, dir string, serial int64, names ...string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, testCA.cert, &k.PublicKey, testCA.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(cert, "CERTIFICATE", der)
	writeKey(key, k)
	return cert, key
}

// secureSite is a site with HTTPS and TURN on one port. The text in wtn comes
// into the wtn option beside the media sockets.
type secureSite struct {
	*site
	cert, key string
}

func newSecureSite(t *testing.T) *secureSite {
	s := &secureSite{site: newSite(t)}
	s.cert, s.key = certificateFor(t, s.dir, 2, "localhost")
	return s
}

func (s *secureSite) load(wtn, wrappers, more string) error {
	s.t.Helper()
	text := fmt.Sprintf(`{
	admin off
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	storage file_system %s
	grace_period 1s
	servers {
		listener_wrappers {
%s
		}
	}
	pki {
		ca local {
			root {
				cert %s/ca.pem
				key %s/ca.key
			}
		}
	}
	wtn {
		media udp/127.0.0.1:0 tcp/127.0.0.1:0
%s
	}
}
https://localhost:%d {
	tls %s %s {
		alpn h2 http/1.1 stun.turn
	}
	respond /ping pong
	wtn
}
%s
`, s.dir, wrappers, testCA.dir, testCA.dir, wtn, s.port, s.cert, s.key, more)
	out, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		s.t.Fatalf("%v in\n%s", err, text)
	}
	return caddy.Load(out, true)
}

func (s *secureSite) mustLoad(wtn, wrappers, more string) {
	s.t.Helper()
	if err := s.load(wtn, wrappers, more); err != nil {
		s.t.Fatal(err)
	}
}

func (s *secureSite) url(path string) string {
	return fmt.Sprintf("https://localhost:%d%s", s.port, path)
}

// loopbackTURN are TURN listeners on free ports.
const loopbackTURN = "\t\tturn {\n\t\t\tlisten udp/127.0.0.1:0 tcp/127.0.0.1:0\n\t\t}"

var linkForm = regexp.MustCompile(`^<(turns?:[A-Za-z0-9._\[\]:-]+\?transport=(?:udp|tcp))>; rel="ice-server"; username="([A-Za-z0-9_.:@/+=-]+)"; credential="([A-Za-z0-9_.:@/+=-]+)"; credential-type="password"$`)

// iceServers reads the Link headers as strictly as the strictest client.
func iceServers(t *testing.T, h http.Header) []webrtc.ICEServer {
	t.Helper()
	var out []webrtc.ICEServer
	for _, l := range h.Values("Link") {
		if !strings.Contains(l, `rel="ice-server"`) {
			continue
		}
		m := linkForm.FindStringSubmatch(l)
		if m == nil {
			t.Fatalf("Link: %s", l)
		}
		out = append(out, webrtc.ICEServer{URLs: []string{m[1]}, Username: m[2], Credential: m[3]})
	}
	return out
}

// ofKind are the servers whose URL is of one kind: udp, tcp or tls.
func ofKind(servers []webrtc.ICEServer, kind string) []webrtc.ICEServer {
	var out []webrtc.ICEServer
	for _, s := range servers {
		u := s.URLs[0]
		if (kind == "tls") == strings.HasPrefix(u, "turns:") && (kind == "tls" || strings.HasSuffix(u, kind)) {
			out = append(out, s)
		}
	}
	return out
}

// radio is one side of an audio stream.
type radio struct {
	t        *testing.T
	pc       *webrtc.PeerConnection
	location string
	servers  []webrtc.ICEServer
	state    chan webrtc.PeerConnectionState
	skip     string // candidates of the answer with this in them are left out

	mu  sync.Mutex
	got []uint16
}

func newRadio(t *testing.T, policy webrtc.ICETransportPolicy) *radio {
	t.Helper()
	return newRadioWith(t, policy, func(*webrtc.SettingEngine) {})
}

func newRadioWith(t *testing.T, policy webrtc.ICETransportPolicy, configure func(*webrtc.SettingEngine)) *radio {
	t.Helper()
	se := webrtc.SettingEngine{}
	se.SetIncludeLoopbackCandidate(true)
	se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeTCP4})
	se.SetRelayAcceptanceMinWait(0)
	se.DisableActiveTCP(true) // it would be used even where only the relay may be
	configure(&se)
	m := &webrtc.MediaEngine{}
	if err := m.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithSettingEngine(se)).NewPeerConnection(webrtc.Configuration{ICETransportPolicy: policy})
	if err != nil {
		t.Fatal(err)
	}
	r := &radio{t: t, pc: pc, state: make(chan webrtc.PeerConnectionState, 16)}
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) { r.state <- s })
	pc.OnTrack(func(tr *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			p, _, err := tr.ReadRTP()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.got = append(r.got, p.SequenceNumber)
			r.mu.Unlock()
		}
	})
	t.Cleanup(func() { pc.Close() })
	return r
}

// call posts the offer and takes the answer, with those of the servers that
// the reply names which pick leaves.
func (r *radio) call(url string, pick func([]webrtc.ICEServer) []webrtc.ICEServer) *radio {
	r.t.Helper()
	offer, err := r.pc.CreateOffer(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	status, header, body := do(r.t, http.MethodPost, url, []byte(offer.SDP))
	if status != http.StatusCreated {
		r.t.Fatalf("%s: %d %s", url, status, body)
	}
	if r.skip != "" {
		body = regexp.MustCompile(`(?m)^a=candidate.*`+r.skip+`.*\r\n`).ReplaceAllString(body, "")
	}
	r.location, r.servers = header.Get("Location"), iceServers(r.t, header)
	c := r.pc.GetConfiguration()
	c.ICEServers = pick(r.servers)
	if err := r.pc.SetConfiguration(c); err != nil {
		r.t.Fatal(err)
	}
	if err := r.pc.SetLocalDescription(offer); err != nil {
		r.t.Fatal(err)
	}
	if err := r.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: body}); err != nil {
		r.t.Fatal(err)
	}
	deadline := time.After(15 * time.Second)
	for {
		select {
		case s := <-r.state:
			if s == webrtc.PeerConnectionStateConnected {
				return r
			}
			if s == webrtc.PeerConnectionStateFailed {
				r.t.Fatal("the connection failed")
			}
		case <-deadline:
			r.t.Fatal("no connection within 15 s")
		}
	}
}

func (r *radio) received() []uint16 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]uint16(nil), r.got...)
}

// await waits for n packets more and returns all.
func (r *radio) await(n int) []uint16 {
	r.t.Helper()
	n += len(r.received())
	eventually(r.t, fmt.Sprintf("%d packets", n), func() bool { return len(r.received()) >= n })
	return r.received()
}

func unbroken(t *testing.T, got []uint16) {
	t.Helper()
	for i := 1; i < len(got); i++ {
		if got[i] != got[i-1]+1 {
			t.Fatalf("packet %d follows packet %d (the %d. of %d)", got[i], got[i-1], i, len(got))
		}
	}
}

// broadcast publishes an audio stream of 200 packets a second until the test ends.
func broadcast(t *testing.T, url string, policy webrtc.ICETransportPolicy, pick func([]webrtc.ICEServer) []webrtc.ICEServer) *radio {
	t.Helper()
	return newRadio(t, policy).broadcast(url, pick)
}

func (r *radio) broadcast(url string, pick func([]webrtc.ICEServer) []webrtc.ICEServer) *radio {
	t := r.t
	t.Helper()
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, "audio", "radio")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
		t.Fatal(err)
	}
	r.call(url, pick)
	quit, done := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(quit); <-done })
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		p := &rtp.Packet{Header: rtp.Header{Version: 2}, Payload: make([]byte, 160)}
		for {
			select {
			case <-tick.C:
			case <-quit:
				return
			}
			p.SequenceNumber++
			p.Timestamp += 240
			_ = track.WriteRTP(p)
		}
	}()
	return r
}

// listen plays a stream.
func listen(t *testing.T, url string, policy webrtc.ICETransportPolicy, pick func([]webrtc.ICEServer) []webrtc.ICEServer) *radio {
	t.Helper()
	return newListener(t, policy).call(url, pick)
}

// hears makes a listener of a radio that was not called yet.
func (r *radio) hears() *radio {
	r.t.Helper()
	if _, err := r.pc.AddTransceiverFromKind(webrtc.RTPCodecTypeAudio, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		r.t.Fatal(err)
	}
	return r
}

func newListener(t *testing.T, policy webrtc.ICETransportPolicy) *radio {
	t.Helper()
	return newRadio(t, policy).hears()
}

func noServers([]webrtc.ICEServer) []webrtc.ICEServer { return nil }

func only(kind string) func([]webrtc.ICEServer) []webrtc.ICEServer {
	return func(l []webrtc.ICEServer) []webrtc.ICEServer { return ofKind(l, kind) }
}
