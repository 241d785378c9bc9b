package harness

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"
)

// PeerOptions are what publishers and viewers have in common.
type PeerOptions struct {
	TCP          bool   // ICE over TCP only
	Setup        string // DTLS role in the offer: actpass (default), active, passive
	NoCandidates bool   // offer without candidates, as OBS and FFmpeg do
	URL          string // endpoint, when it is not the WHIP or WHEP one
	HTTP         *http.Client
}

// peer is one PeerConnection with its HTTP resource.
type peer struct {
	pc       *webrtc.PeerConnection
	wire     *wire
	nacks    *nackFilter
	mux      *ice.UDPMuxDefault
	client   *http.Client
	location string
	answer   string
	reply    Reply

	states    chan struct{} // closed when the connection has ended
	endOnce   sync.Once
	closeOnce sync.Once
	connected chan struct{}
	connOnce  sync.Once
}

func newPeer(o PeerOptions, codecs []Codec, client *http.Client) (*peer, error) {
	p := &peer{client: client, nacks: &nackFilter{has: map[uint32]map[uint16]bool{}}, states: make(chan struct{}), connected: make(chan struct{})}
	if o.HTTP != nil {
		p.client = o.HTTP
	}
	me := &webrtc.MediaEngine{}
	for _, c := range codecs {
		if err := me.RegisterCodec(c.RTPCodecParameters, c.Kind); err != nil {
			return nil, fmt.Errorf("register %s: %w", c.MimeType, err)
		}
	}
	ir := &interceptor.Registry{}
	ir.Add(p.nacks) // first: what pion's generator writes comes to it
	if err := webrtc.RegisterDefaultInterceptors(me, ir); err != nil {
		return nil, err
	}
	if err := webrtc.ConfigureTWCCHeaderExtensionSender(me, ir); err != nil {
		return nil, err
	}
	se := webrtc.SettingEngine{LoggerFactory: &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled, Writer: io.Discard}}
	se.SetIncludeLoopbackCandidate(true)
	se.SetIPFilter(net.IP.IsLoopback)
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	se.DisableSRTPReplayProtection(true) // a duplicate shall be seen, not hidden
	if o.TCP {
		se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4})
	} else {
		se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
		var err error
		if p.wire, err = newWire(); err != nil {
			return nil, err
		}
		p.mux = ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: p.wire, Logger: se.LoggerFactory.NewLogger("ice")})
		se.SetICEUDPMux(p.mux)
	}
	api := webrtc.NewAPI(webrtc.WithMediaEngine(me), webrtc.WithSettingEngine(se), webrtc.WithInterceptorRegistry(ir))
	var err error
	if p.pc, err = api.NewPeerConnection(webrtc.Configuration{}); err != nil {
		p.closeWire()
		return nil, err
	}
	p.pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		switch s {
		case webrtc.PeerConnectionStateConnected:
			p.connOnce.Do(func() { close(p.connected) })
		case webrtc.PeerConnectionStateClosed, webrtc.PeerConnectionStateFailed:
			p.endOnce.Do(func() { close(p.states) })
		}
	})
	return p, nil
}

// offer makes the complete offer, with all candidates unless told otherwise.
func (p *peer) offer(o PeerOptions) (string, error) {
	offer, err := p.pc.CreateOffer(nil)
	if err != nil {
		return "", err
	}
	done := webrtc.GatheringCompletePromise(p.pc)
	if err := p.pc.SetLocalDescription(offer); err != nil {
		return "", err
	}
	<-done
	sdp := p.pc.LocalDescription().SDP
	if o.Setup != "" {
		sdp = strings.ReplaceAll(sdp, "a=setup:actpass", "a=setup:"+o.Setup)
	}
	if o.NoCandidates {
		sdp = withoutLines(sdp, "a=candidate:", "a=end-of-candidates")
	}
	return sdp, nil
}

func withoutLines(sdp string, prefixes ...string) string {
	var b strings.Builder
lines:
	for line := range strings.Lines(sdp) {
		for _, p := range prefixes {
			if strings.HasPrefix(line, p) {
				continue lines
			}
		}
		b.WriteString(line)
	}
	return b.String()
}

// connect posts the offer, applies the answer and waits for the connection.
func (p *peer) connect(url string, o PeerOptions) error {
	sdp, err := p.offer(o)
	if err != nil {
		return err
	}
	if o.URL != "" {
		url = o.URL
	}
	p.reply, err = Try(p.client, http.MethodPost, url, sdp, "Content-Type", "application/sdp")
	if err != nil {
		return fmt.Errorf("POST %s: %w", url, err)
	}
	if p.reply.Status != http.StatusCreated {
		return fmt.Errorf("POST %s: status %d: %s", url, p.reply.Status, p.reply.Body)
	}
	p.location, p.answer = p.reply.Header.Get("Location"), p.reply.Body
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: p.answer}); err != nil {
		return fmt.Errorf("the answer is not accepted: %w\n%s", err, p.answer)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	select {
	case <-p.connected:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("not connected after 15s (ice %s, connection %s), answer:\n%s", p.pc.ICEConnectionState(), p.pc.ConnectionState(), p.answer)
	}
}

// Location is the session URL.
func (p *peer) Location() string { return p.location }

// Answer is the SDP answer; Reply is the HTTP reply that carried it.
func (p *peer) Answer() string { return p.answer }
func (p *peer) Reply() Reply   { return p.reply }

// Delete sends DELETE to the session URL and returns the status.
func (p *peer) Delete(t testing.TB) int {
	t.Helper()
	return Do(t, p.client, http.MethodDelete, p.location, "").Status
}

// Ended is closed when the other side has ended the connection.
func (p *peer) Ended() <-chan struct{} { return p.states }

// HasEnded looks at Ended.
func (p *peer) HasEnded() bool {
	select {
	case <-p.states:
		return true
	default:
		return false
	}
}

// SelectedPair names the protocol of the pair in use: udp or tcp.
func (p *peer) SelectedPair() string {
	protocol, _ := p.Pair()
	return protocol
}

// Pair is the protocol of the pair in use and the gateway's port.
func (p *peer) Pair() (protocol string, remotePort int) {
	for _, tr := range p.pc.GetTransceivers() {
		var dtls *webrtc.DTLSTransport
		if s := tr.Sender(); s != nil {
			dtls = s.Transport()
		}
		if r := tr.Receiver(); dtls == nil && r != nil {
			dtls = r.Transport()
		}
		if dtls == nil {
			continue
		}
		if pair, err := dtls.ICETransport().GetSelectedCandidatePair(); err == nil && pair != nil {
			return pair.Local.Protocol.String(), int(pair.Remote.Port)
		}
	}
	return "", 0
}

func (p *peer) closeWire() {
	if p.mux != nil {
		_ = p.mux.Close()
	}
	if p.wire != nil {
		_ = p.wire.Close()
	}
}

// close ends the connection; with deleteFirst the resource goes first, as a
// well-behaved client does it.
func (p *peer) close(deleteFirst bool) {
	p.closeOnce.Do(func() {
		if deleteFirst && p.location != "" {
			_, _ = Try(p.client, http.MethodDelete, p.location, "") // may be gone already
		}
		_ = p.pc.Close()
		p.closeWire()
	})
}
