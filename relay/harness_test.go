package relay

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newHub starts a hub on free loopback ports.
func newHub(t testing.TB) *Hub {
	t.Helper()
	h, err := NewHub(Env{Logger: zaptest.NewLogger(t, zaptest.Level(zap.DebugLevel))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close(ReasonExit); h.SetEnv(Env{}) })
	serveLoopback(t, h)
	return h
}

func serveLoopback(t testing.TB, h *Hub) {
	t.Helper()
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.ServeUDP(pc); err != nil {
		t.Fatal(err)
	}
}

// peer is a pion client of the hub.
type peer struct {
	t    testing.TB
	pc   *webrtc.PeerConnection
	sess *Session
	live chan struct{} // closed when connected

	mu    sync.Mutex
	got   map[webrtc.RTPCodecType][]rtp.Packet
	fresh chan struct{} // signalled on each packet
	gone  chan struct{} // closed when the connection closed or failed
}

func newPeer(t testing.TB, codecs ...webrtc.RTPCodecParameters) *peer {
	t.Helper()
	m := &webrtc.MediaEngine{}
	if len(codecs) == 0 {
		if err := m.RegisterDefaultCodecs(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range codecs {
		kind := webrtc.RTPCodecTypeVideo
		if c.Channels != 0 {
			kind = webrtc.RTPCodecTypeAudio
		}
		if err := m.RegisterCodec(c, kind); err != nil {
			t.Fatal(err)
		}
	}
	se := webrtc.SettingEngine{}
	se.SetIncludeLoopbackCandidate(true)
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithSettingEngine(se)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{
		t: t, pc: pc, live: make(chan struct{}), gone: make(chan struct{}),
		got: map[webrtc.RTPCodecType][]rtp.Packet{}, fresh: make(chan struct{}, 1),
	}
	var once, end sync.Once
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		switch s {
		case webrtc.PeerConnectionStateConnected:
			once.Do(func() { close(p.live) })
		case webrtc.PeerConnectionStateClosed, webrtc.PeerConnectionStateFailed:
			end.Do(func() { close(p.gone) })
		}
	})
	pc.OnTrack(func(tr *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			pkt, _, err := tr.ReadRTP()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.got[tr.Kind()] = append(p.got[tr.Kind()], *pkt)
			p.mu.Unlock()
			select {
			case p.fresh <- struct{}{}:
			default:
			}
		}
	})
	t.Cleanup(func() { _ = pc.Close() })
	return p
}

func (p *peer) offer() []byte {
	p.t.Helper()
	o, err := p.pc.CreateOffer(nil)
	if err == nil {
		err = p.pc.SetLocalDescription(o)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return []byte(o.SDP)
}

func (p *peer) apply(a *Answer, err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	p.sess = a.Session
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(a.SDP)}); err != nil {
		p.t.Fatalf("%v\n%s", err, a.SDP)
	}
}

func (p *peer) waitLive() {
	p.t.Helper()
	await(p.t, p.live, "connection")
}

func await[T any](t testing.TB, c <-chan T, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(10 * time.Second):
		t.Fatalf("no %s within 10 s", what)
	}
}

// packets waits for at least n packets of a kind and returns all so far.
func (p *peer) packets(kind webrtc.RTPCodecType, n int) []rtp.Packet {
	p.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		p.mu.Lock()
		got := append([]rtp.Packet(nil), p.got[kind]...)
		p.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-p.fresh:
		case <-deadline:
			p.t.Fatalf("%d %s packets within 10 s, want %d", len(got), kind, n)
		}
	}
}

func request(offer []byte) OfferRequest {
	return OfferRequest{Stream: "test", Offer: offer, Client: netip.MustParseAddr("127.0.0.1"), Loopback: true}
}

var vp8 = webrtc.RTPCodecParameters{
	RTPCodecCapability: webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeVP8, ClockRate: 90000,
		RTCPFeedback: []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}},
	}, PayloadType: 96,
}

// camera is a publisher of hand-made VP8 frames.
type camera struct {
	*peer
	track *webrtc.TrackLocalStaticRTP
	plis  chan struct{}
	seq   uint16
	ts    uint32
	id    uint16
}

func newCamera(t testing.TB, h *Hub) *camera { return newCameraWith(t, h, nil) }

func newCameraWith(t testing.TB, h *Hub, routing *Routing) *camera {
	t.Helper()
	c := prepareCamera(t)
	r := request(c.offer())
	r.Routing = routing
	c.apply(h.Publish(context.Background(), r))
	return c
}

func prepareCamera(t testing.TB) *camera {
	t.Helper()
	c := &camera{peer: newPeer(t, vp8), plis: make(chan struct{}, 64), seq: 65500, ts: 1 << 31}
	var err error
	if c.track, err = webrtc.NewTrackLocalStaticRTP(vp8.RTPCodecCapability, "v", "s"); err != nil {
		t.Fatal(err)
	}
	sender, err := c.pc.AddTrack(c.track)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			pkts, _, err := sender.ReadRTCP()
			if err != nil {
				return
			}
			for _, p := range pkts {
				if _, ok := p.(*rtcp.PictureLossIndication); ok {
					c.plis <- struct{}{}
				}
			}
		}
	}()
	return c
}

// frame sends one frame of n packets.
func (c *camera) frame(key bool, n int) {
	c.t.Helper()
	c.ts += 3000
	c.id = (c.id + 1) & 0x7fff
	for i := range n {
		d := []byte{0x80, 0x80, 0x80 | byte(c.id>>8), byte(c.id), 0x01} // X, I, 15 bit id; first octet of the frame header: P
		if i == 0 {
			d[0] |= 0x10
			if key {
				d[4] = 0
			}
		}
		pkt := &rtp.Packet{
			Header:  rtp.Header{Version: 2, SequenceNumber: c.seq, Timestamp: c.ts, Marker: i == n-1},
			Payload: append(d, make([]byte, 1000)...),
		}
		c.seq++
		if err := c.track.WriteRTP(pkt); err != nil {
			c.t.Fatal(err)
		}
	}
}

func newViewer(t testing.TB, h *Hub, codecs ...webrtc.RTPCodecParameters) *peer {
	t.Helper()
	p := newPeer(t, codecs...)
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		if _, err := p.pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			if len(codecs) > 0 {
				continue // not a kind it knows
			}
			t.Fatal(err)
		}
	}
	return p.subscribe(h, nil)
}

func newViewerWith(t testing.TB, h *Hub, routing *Routing) *peer {
	t.Helper()
	p := newPeer(t)
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		if _, err := p.pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			t.Fatal(err)
		}
	}
	return p.subscribe(h, routing)
}

func (p *peer) subscribe(h *Hub, routing *Routing) *peer {
	p.t.Helper()
	r := request(p.offer())
	r.Routing = routing
	p.apply(h.Subscribe(context.Background(), r))
	return p
}
