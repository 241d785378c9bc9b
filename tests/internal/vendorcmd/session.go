package main

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/talwtn/caddy-wtn/tests/internal/vendorcmd/behaviour"
)

type codecs map[webrtc.RTPCodecType]webrtc.RTPCodecCapability

// session is one publisher or viewer.
type session struct {
	hub      *hub
	controls *controls
	id       string
	role     string
	stream   string
	since    time.Time
	silent   bool
	pc       *webrtc.PeerConnection

	connected atomic.Bool
	packets   atomic.Int64
	done      chan struct{}
	closeOnce sync.Once

	// of a publisher
	videoSSRC atomic.Uint32
	answered  codecs // what it may send
	mu        sync.Mutex
	seen      codecs // what it does send

	// of a viewer
	outlets   map[webrtc.RTPCodecType]*outlet
	synthetic bool // gets what no publisher sends
}

func (v *session) makePublisher() (err error) {
	if v.pc, err = v.hub.newPeer(nil); err != nil {
		return err
	}
	v.seen = codecs{}
	v.pc.OnConnectionStateChange(v.onState)
	v.pc.OnTrack(func(tr *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		v.mu.Lock()
		v.seen[tr.Kind()] = tr.Codec().RTPCodecCapability
		v.mu.Unlock()
		if tr.Kind() == webrtc.RTPCodecTypeVideo {
			v.videoSSRC.Store(uint32(tr.SSRC()))
			v.hub.wantKey(v.stream)
		}
		v.receive(tr)
	})
	return nil
}

func (v *session) receive(tr *webrtc.TrackRemote) {
	for {
		p, _, err := tr.ReadRTP()
		if err != nil {
			return
		}
		v.packets.Add(1)
		if !v.silent {
			v.hub.forward(v, tr.Kind(), arrival{p, time.Now()})
		}
	}
}

// codecs is what the publisher sends, or is to send.
func (v *session) codecs() codecs {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := codecs{}
	for kind, c := range v.answered {
		if seen, ok := v.seen[kind]; ok {
			c = seen
		}
		out[kind] = c
	}
	return out
}

func (v *session) makeViewer(cs codecs) (err error) {
	if v.pc, err = v.hub.newPeer(cs); err != nil {
		return err
	}
	v.pc.OnConnectionStateChange(v.onState)
	v.outlets = map[webrtc.RTPCodecType]*outlet{}
	for kind, c := range cs {
		track, err := webrtc.NewTrackLocalStaticRTP(c, kind.String(), "vendor")
		if err != nil {
			return err
		}
		sender, err := v.pc.AddTrack(track)
		if err != nil {
			return err
		}
		v.outlets[kind] = newOutlet(v, c, track)
		go v.hear(sender)
	}
	for _, o := range v.outlets {
		go o.run()
	}
	return nil
}

// hear passes requests for a key frame on; the interceptors answer the rest.
func (v *session) hear(s *webrtc.RTPSender) {
	for {
		pkts, _, err := s.ReadRTCP()
		if err != nil {
			return
		}
		for _, p := range pkts {
			switch p.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				v.controls.pli.Add(1)
				v.hub.wantKey(v.stream)
			}
		}
	}
}

func (v *session) onState(s webrtc.PeerConnectionState) {
	switch s {
	case webrtc.PeerConnectionStateConnected:
		v.connected.Store(true)
		if v.role == behaviour.Play {
			v.hub.join(v)
		}
	case webrtc.PeerConnectionStateDisconnected:
		v.connected.Store(false)
	case webrtc.PeerConnectionStateFailed:
		go v.close()
	case webrtc.PeerConnectionStateClosed:
		if v.connected.Load() { // by the peer; else it is one that never connects
			go v.close()
		}
	}
}

func (v *session) close() {
	v.closeOnce.Do(func() {
		close(v.done)
		v.connected.Store(false)
		if v.pc != nil {
			_ = v.pc.Close()
		}
		v.hub.remove(v)
	})
}

// answeredCodecs is the first codec of each section of an answer.
func answeredCodecs(answer string) codecs {
	out := codecs{}
	var d sdp.SessionDescription
	if d.UnmarshalString(answer) != nil {
		return out
	}
	for _, m := range d.MediaDescriptions {
		kind := webrtc.NewRTPCodecType(m.MediaName.Media)
		if kind == 0 || m.MediaName.Port.Value == 0 || len(m.MediaName.Formats) == 0 {
			continue
		}
		c, ok := firstCodec(&d, m, kind)
		if _, have := out[kind]; ok && !have {
			out[kind] = c
		}
	}
	return out
}

func firstCodec(d *sdp.SessionDescription, m *sdp.MediaDescription, kind webrtc.RTPCodecType) (c webrtc.RTPCodecCapability, ok bool) {
	pt, err := strconv.ParseUint(m.MediaName.Formats[0], 10, 8)
	if err != nil {
		return c, false
	}
	found, err := d.GetCodecForPayloadType(uint8(pt))
	if err != nil {
		return c, false
	}
	c = webrtc.RTPCodecCapability{MimeType: kind.String() + "/" + found.Name, ClockRate: found.ClockRate, SDPFmtpLine: found.Fmtp}
	if channels, err := strconv.ParseUint(found.EncodingParameters, 10, 16); err == nil {
		c.Channels = uint16(channels)
	}
	if kind == webrtc.RTPCodecTypeVideo {
		c.RTCPFeedback = []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}, {Type: "ccm", Parameter: "fir"}}
	}
	return c, true
}
