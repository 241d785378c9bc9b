package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

// relay is one stream: two tracks, a publisher who writes them and any number
// of viewers.
type relay struct {
	api          *webrtc.API
	video, audio *webrtc.TrackLocalStaticRTP
	publisher    atomic.Pointer[webrtc.PeerConnection]
	videoSSRC    atomic.Uint32

	mu       sync.Mutex
	sessions map[string]*webrtc.PeerConnection
	last     int
}

func newRelay() (*relay, error) {
	me, ir := &webrtc.MediaEngine{}, &interceptor.Registry{}
	video := webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeH264, ClockRate: 90000,
		SDPFmtpLine:  "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
		RTCPFeedback: []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}},
	}
	audio := webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2, SDPFmtpLine: "minptime=10;useinbandfec=1",
	}
	for pt, c := range map[webrtc.PayloadType]webrtc.RTPCodecCapability{96: video, 111: audio} {
		kind := webrtc.RTPCodecTypeVideo
		if pt == 111 {
			kind = webrtc.RTPCodecTypeAudio
		}
		if err := me.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: c, PayloadType: pt}, kind); err != nil {
			return nil, err
		}
	}
	if err := webrtc.RegisterDefaultInterceptors(me, ir); err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	_ = conn.SetReadBuffer(4 << 20) // as much as the system permits
	_ = conn.SetWriteBuffer(4 << 20)
	se := webrtc.SettingEngine{}
	se.SetIncludeLoopbackCandidate(true)
	se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	se.SetICEUDPMux(webrtc.NewICEUDPMux(nil, conn))
	r := &relay{
		api:      webrtc.NewAPI(webrtc.WithMediaEngine(me), webrtc.WithInterceptorRegistry(ir), webrtc.WithSettingEngine(se)),
		sessions: map[string]*webrtc.PeerConnection{},
	}
	if r.video, err = webrtc.NewTrackLocalStaticRTP(video, "video", "plain"); err != nil {
		return nil, err
	}
	r.audio, err = webrtc.NewTrackLocalStaticRTP(audio, "audio", "plain")
	return r, err
}

func (r *relay) publish(w http.ResponseWriter, req *http.Request) {
	pc, err := r.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	r.publisher.Store(pc)
	pc.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		out := r.audio
		if t.Kind() == webrtc.RTPCodecTypeVideo {
			out = r.video
			r.videoSSRC.Store(uint32(t.SSRC()))
		}
		for {
			p, _, err := t.ReadRTP()
			if err != nil {
				return
			}
			_ = out.WriteRTP(p) // an error is that of a viewer who is just going
		}
	})
	r.answer(w, req, pc)
}

func (r *relay) watch(w http.ResponseWriter, req *http.Request) {
	pc, err := r.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	for _, t := range []webrtc.TrackLocal{r.video, r.audio} {
		s, err := pc.AddTrack(t)
		if err != nil {
			_ = pc.Close()
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		go r.readFeedback(s)
	}
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateFailed {
			_ = pc.Close()
		}
	})
	r.answer(w, req, pc)
}

// readFeedback passes requests for a key frame on to the publisher; the
// interceptors see the rest on the way.
func (r *relay) readFeedback(s *webrtc.RTPSender) {
	for {
		pkts, _, err := s.ReadRTCP()
		if err != nil {
			return
		}
		for _, p := range pkts {
			if _, ok := p.(*rtcp.PictureLossIndication); !ok {
				continue
			}
			if pub := r.publisher.Load(); pub != nil {
				_ = pub.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: r.videoSSRC.Load()}})
			}
		}
	}
}

func (r *relay) answer(w http.ResponseWriter, req *http.Request, pc *webrtc.PeerConnection) {
	sdp, err := negotiate(req.Body, pc)
	if err != nil {
		_ = pc.Close()
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	r.last++
	id := strconv.Itoa(r.last)
	r.sessions[id] = pc
	r.mu.Unlock()
	w.Header().Set("Content-Type", "application/sdp")
	w.Header().Set("Location", "/session/"+id)
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, sdp)
}

func negotiate(body io.Reader, pc *webrtc.PeerConnection) (string, error) {
	b, err := io.ReadAll(io.LimitReader(body, 1<<20))
	if err != nil {
		return "", err
	}
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: string(b)}); err != nil {
		return "", fmt.Errorf("the offer is not accepted: %w", err)
	}
	answer, err := pc.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(answer); err != nil {
		return "", err
	}
	<-gathered
	return pc.LocalDescription().SDP, nil
}

func (r *relay) remove(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	pc := r.sessions[req.PathValue("id")]
	delete(r.sessions, req.PathValue("id"))
	r.mu.Unlock()
	if pc == nil {
		http.NotFound(w, req)
		return
	}
	_ = pc.Close()
	w.WriteHeader(http.StatusNoContent)
}
