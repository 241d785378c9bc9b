package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// order is what a client in a namespace is to do.
type order struct {
	URL       string // up to the stream's kind: https://.../live
	RelayOnly bool   // nothing but TURN
	NoTCP     bool   // no ICE-TCP, which the client may find first and then keeps
	Transport string // of the TURN servers, those of this kind only: udp, tcp, tls
	Packets   int    // to wait for
	Plain     string // where STUN without TLS is tried first; empty: nowhere
	Browser   string // the directory of a browser that does it; empty: this process
}

// report is what became of it.
type report struct {
	Publish, Play side
	Received      int
	Lost          int
	Plain         string // why STUN without TLS got no reply
	Error         string
}

type side struct {
	Connected time.Duration // from the POST on
	Pair      string        // local type/protocol -> remote
}

const clientTimeout = 40 * time.Second

// clientMain is the process in the client's namespace: it publishes a stream
// and plays it.
func clientMain(text string) {
	var o order
	var r report
	err := json.Unmarshal([]byte(text), &o)
	switch {
	case err != nil:
	case o.Browser != "":
		err = o.browse(&r)
	default:
		err = o.run(&r)
	}
	if err != nil {
		r.Error = err.Error()
	}
	_ = json.NewEncoder(os.Stdout).Encode(r)
	os.Exit(0) // peer connections are not closed: that waits for dials into black holes
}

func (o order) run(r *report) error {
	if o.Plain != "" {
		if err := plainSTUN(o.Plain); err != nil {
			r.Plain = err.Error()
		}
	}
	pub, err := o.peer()
	if err != nil {
		return err
	}
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, "audio", "lab")
	if err != nil {
		return err
	}
	if _, err := pub.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
		return err
	}
	if r.Publish, err = o.call(pub, "/whip/lab"); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	go func() {
		p := &rtp.Packet{Header: rtp.Header{Version: 2}, Payload: make([]byte, 160)}
		for range time.Tick(10 * time.Millisecond) {
			p.SequenceNumber++
			p.Timestamp += 480
			_ = track.WriteRTP(p)
		}
	}()
	play, err := o.peer()
	if err != nil {
		return err
	}
	if _, err := play.AddTransceiverFromKind(webrtc.RTPCodecTypeAudio, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		return err
	}
	var got, span atomic.Int64
	enough := make(chan struct{})
	play.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		var first, last uint16
		for n := int64(1); ; n++ {
			p, _, err := t.ReadRTP()
			if err != nil {
				return
			}
			if n == 1 {
				first, last = p.SequenceNumber, p.SequenceNumber
			}
			if int16(p.SequenceNumber-last) > 0 {
				last = p.SequenceNumber
			}
			got.Store(n)
			span.Store(int64(last-first) + 1)
			if n == int64(o.Packets) {
				close(enough)
			}
		}
	})
	if r.Play, err = o.call(play, "/whep/lab"); err != nil {
		return fmt.Errorf("play: %w", err)
	}
	select {
	case <-enough:
	case <-time.After(clientTimeout / 2):
		err = fmt.Errorf("%d packets received", got.Load())
	}
	r.Received = int(got.Load())
	r.Lost = max(0, int(span.Load()-got.Load()))
	return err
}

func (o order) peer() (*webrtc.PeerConnection, error) {
	se := webrtc.SettingEngine{}
	se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeTCP4, webrtc.NetworkTypeUDP6, webrtc.NetworkTypeTCP6})
	se.SetDTLSRetransmissionInterval(100 * time.Millisecond) // browsers have 50 ms, pion a second
	se.SetRelayAcceptanceMinWait(500 * time.Millisecond)
	se.DisableActiveTCP(o.NoTCP || o.RelayOnly) // it would be used even where only the relay may be
	m := &webrtc.MediaEngine{}
	if err := m.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	c := webrtc.Configuration{}
	if o.RelayOnly {
		c.ICETransportPolicy = webrtc.ICETransportPolicyRelay
	}
	return webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithSettingEngine(se)).NewPeerConnection(c)
}

var iceServerLink = regexp.MustCompile(`^<([^>]+)>; rel="ice-server"; username="([^"]+)"; credential="([^"]+)"`)

// servers are those of the reply.
func (o order) servers(h http.Header) (out []webrtc.ICEServer) {
	for _, l := range h.Values("Link") {
		m := iceServerLink.FindStringSubmatch(l)
		if m == nil {
			continue
		}
		kind := m[1][strings.LastIndex(m[1], "=")+1:]
		if strings.HasPrefix(m[1], "turns:") {
			kind = "tls"
		}
		if o.Transport == "" || o.Transport == kind {
			out = append(out, webrtc.ICEServer{URLs: []string{m[1]}, Username: m[2], Credential: m[3]})
		}
	}
	return out
}

// call posts the offer, learns the servers from the reply and connects.
func (o order) call(pc *webrtc.PeerConnection, path string) (s side, err error) {
	connected, failed := make(chan struct{}), make(chan struct{})
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		switch state {
		case webrtc.PeerConnectionStateConnected:
			close(connected)
		case webrtc.PeerConnectionStateFailed:
			close(failed)
		}
	})
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		return s, err
	}
	begin := time.Now()
	resp, err := http.Post(o.URL+path, "application/sdp", strings.NewReader(offer.SDP))
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusCreated {
		return s, fmt.Errorf("%s: %w %s", resp.Status, err, answer)
	}
	c := pc.GetConfiguration()
	c.ICEServers = o.servers(resp.Header)
	if err := pc.SetConfiguration(c); err != nil {
		return s, err
	}
	if err := pc.SetLocalDescription(offer); err != nil {
		return s, err
	}
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(answer)}); err != nil {
		return s, err
	}
	select {
	case <-connected:
		s.Connected = time.Since(begin)
	case <-failed:
		return s, fmt.Errorf("the connection failed, servers %v, answer\n%s", c.ICEServers, answer)
	case <-time.After(clientTimeout):
		return s, errors.New("no connection")
	}
	var dtls *webrtc.DTLSTransport
	if transceiver := pc.GetTransceivers()[0]; path == "/whip/lab" {
		dtls = transceiver.Sender().Transport()
	} else {
		dtls = transceiver.Receiver().Transport()
	}
	pair, err := dtls.ICETransport().GetSelectedCandidatePair()
	if err != nil || pair == nil {
		return s, fmt.Errorf("no pair: %w", err)
	}
	s.Pair = fmt.Sprintf("%s/%s %s -> %s %s", pair.Local.Typ, pair.Local.Protocol, pair.Local.Address, pair.Remote.Typ, pair.Remote.Address)
	return s, nil
}
