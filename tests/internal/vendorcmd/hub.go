package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/talwtn/caddy-wtn/tests/internal/vendorcmd/behaviour"
)

var errNoStream = errors.New("nobody publishes this stream")

// hub knows all sessions and streams.
type hub struct {
	controls *controls
	settings webrtc.SettingEngine

	mu       sync.RWMutex
	sessions map[string]*session
	streams  map[string]*stream
}

// stream is who publishes and who plays under one name.
type stream struct {
	publisher *session
	viewers   map[*session]bool // the connected ones
}

func newHub(c *controls, conn net.PacketConn) *hub {
	h := &hub{controls: c, sessions: map[string]*session{}, streams: map[string]*stream{}}
	se := &h.settings
	se.LoggerFactory = &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled, Writer: io.Discard}
	se.SetIncludeLoopbackCandidate(true)
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	se.SetICETimeouts(5*time.Second, 10*time.Second, time.Second)
	se.SetICEUDPMux(webrtc.NewICEUDPMux(se.LoggerFactory.NewLogger("ice"), conn))
	return h
}

// newPeer makes a connection that knows the codecs given, or all of pion's.
func (h *hub) newPeer(codecs map[webrtc.RTPCodecType]webrtc.RTPCodecCapability) (*webrtc.PeerConnection, error) {
	me, ir := &webrtc.MediaEngine{}, &interceptor.Registry{}
	if codecs == nil {
		if err := me.RegisterDefaultCodecs(); err != nil {
			return nil, err
		}
	}
	for kind, c := range codecs {
		pt := webrtc.PayloadType(96)
		if kind == webrtc.RTPCodecTypeAudio {
			pt = 111
		}
		if err := me.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: c, PayloadType: pt}, kind); err != nil {
			return nil, err
		}
		if kind != webrtc.RTPCodecTypeVideo {
			continue
		}
		rtx := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeRTX, ClockRate: c.ClockRate, SDPFmtpLine: fmt.Sprintf("apt=%d", pt)}
		if err := me.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: rtx, PayloadType: pt + 1}, kind); err != nil {
			return nil, err
		}
	}
	if err := webrtc.RegisterDefaultInterceptors(me, ir); err != nil {
		return nil, err
	}
	api := webrtc.NewAPI(webrtc.WithMediaEngine(me), webrtc.WithInterceptorRegistry(ir), webrtc.WithSettingEngine(h.settings))
	return api.NewPeerConnection(webrtc.Configuration{})
}

// create makes a session and its answer.
func (h *hub) create(t target, offer string, how behaviour.Session) (*session, string, error) {
	v := &session{
		hub: h, controls: h.controls, id: strings.ToLower(rand.Text()), role: t.role, stream: t.stream,
		since: time.Now(), silent: how.Silent, done: make(chan struct{}),
	}
	var err error
	if t.role == behaviour.Publish {
		err = v.makePublisher()
	} else {
		cs := syntheticCodecs
		if pub := h.publisher(t.stream); pub != nil {
			cs = pub.codecs()
		} else if v.synthetic = h.controls.behaviour().Synthetic; !v.synthetic {
			return nil, "", errNoStream
		}
		err = v.makeViewer(cs)
	}
	if err != nil {
		v.close()
		return nil, "", err
	}
	answer, err := negotiate(v.pc, offer)
	if err != nil {
		v.close()
		return nil, "", err
	}
	if old := h.add(v, answer); old != nil {
		old.close() // whoever publishes last has the stream
	}
	if how.NeverConnect {
		_ = v.pc.Close() // the session stays until it is deleted
	}
	return v, answer, nil
}

func negotiate(pc *webrtc.PeerConnection, offer string) (string, error) {
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", err
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

// add makes a session known, and returns the publisher it takes over from.
func (h *hub) add(v *session, answer string) (old *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions[v.id] = v
	if v.role != behaviour.Publish {
		return nil
	}
	v.answered = answeredCodecs(answer)
	s := h.streamOf(v.stream)
	old, s.publisher = s.publisher, v
	return old
}

// streamOf needs the lock.
func (h *hub) streamOf(name string) *stream {
	s := h.streams[name]
	if s == nil {
		s = &stream{viewers: map[*session]bool{}}
		h.streams[name] = s
	}
	return s
}

// join makes a connected viewer one that is forwarded to.
func (h *hub) join(v *session) {
	h.mu.Lock()
	h.streamOf(v.stream).viewers[v] = true
	h.mu.Unlock()
	h.wantKey(v.stream)
}

func (h *hub) remove(v *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sessions, v.id)
	s := h.streams[v.stream]
	if s == nil {
		return
	}
	delete(s.viewers, v)
	if s.publisher == v {
		s.publisher = nil
	}
	if s.publisher == nil && len(s.viewers) == 0 {
		delete(h.streams, v.stream)
	}
}

func (h *hub) session(id string) *session {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.sessions[id]
}

func (h *hub) publisher(name string) *session {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if s := h.streams[name]; s != nil {
		return s.publisher
	}
	return nil
}

// forward gives a packet of a publisher to all who play its stream.
func (h *hub) forward(from *session, kind webrtc.RTPCodecType, p arrival) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	s := h.streams[from.stream]
	if s == nil || s.publisher != from {
		return
	}
	for v := range s.viewers {
		if o := v.outlets[kind]; o != nil && !v.silent {
			o.offer(p)
		}
	}
}

// wantKey asks the publisher for a key frame.
func (h *hub) wantKey(name string) {
	pub := h.publisher(name)
	if pub == nil || h.controls.media.Load().IgnorePLI {
		return
	}
	if ssrc := pub.videoSSRC.Load(); ssrc != 0 {
		h.controls.pliForwarded.Add(1)
		_ = pub.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: ssrc}})
	}
}

func (h *hub) all() (out []*session) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, v := range h.sessions {
		out = append(out, v)
	}
	return out
}

func (h *hub) live() []behaviour.Live {
	out := []behaviour.Live{}
	for _, v := range h.all() {
		out = append(out, behaviour.Live{
			ID: v.id, Role: v.role, Stream: v.stream, Since: v.since,
			Connected: v.connected.Load(), Packets: int(v.packets.Load()),
		})
	}
	slices.SortFunc(out, func(a, b behaviour.Live) int { return a.Since.Compare(b.Since) })
	return out
}

func (h *hub) close() {
	for _, v := range h.all() {
		v.close()
	}
}
