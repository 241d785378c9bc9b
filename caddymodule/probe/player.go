package probe

import (
	"strings"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// maxKept bounds what is kept of one kind of media, whatever a service sends.
const (
	maxKeptPackets = 200_000
	maxKeptBytes   = 64 << 20
)

// player takes in what comes back.
type player struct {
	*peer
	first chan struct{} // closed with the first packet
	once  sync.Once
	mu    sync.Mutex
	in    map[webrtc.RTPCodecType]*incoming
}

// incoming is one track.
type incoming struct {
	codec   string
	ssrc    uint32
	got     []gotPacket
	bytes   int
	reports int
	last    time.Time
}

func newPlayer() (*player, error) {
	p, err := newPeer()
	if err != nil {
		return nil, err
	}
	y := &player{peer: p, first: make(chan struct{}), in: make(map[webrtc.RTPCodecType]*incoming)}
	p.pc.OnTrack(y.receive)
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		init := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}
		if _, err := p.pc.AddTransceiverFromKind(kind, init); err != nil {
			_ = p.pc.Close()
			return nil, err
		}
	}
	return y, nil
}

func (y *player) receive(tr *webrtc.TrackRemote, r *webrtc.RTPReceiver) {
	_, name, _ := strings.Cut(tr.Codec().MimeType, "/")
	y.mu.Lock()
	in := y.in[tr.Kind()]
	if in == nil {
		in = &incoming{}
		y.in[tr.Kind()] = in
	}
	in.codec, in.ssrc = name, uint32(tr.SSRC())
	y.mu.Unlock()
	go y.reports(r, in)
	for {
		p, _, err := tr.ReadRTP()
		if err != nil {
			return
		}
		y.keep(in, p)
	}
}

func (y *player) keep(in *incoming, p *rtp.Packet) {
	now := time.Now()
	y.once.Do(func() { close(y.first) })
	y.mu.Lock()
	defer y.mu.Unlock()
	in.last = now
	if len(in.got) == maxKeptPackets || in.bytes+len(p.Payload) > maxKeptBytes {
		return
	}
	in.bytes += len(p.Payload)
	in.got = append(in.got, gotPacket{seq: p.SequenceNumber, ts: p.Timestamp, payload: p.Payload, at: now})
}

// reports counts sender reports.
func (y *player) reports(r *webrtc.RTPReceiver, in *incoming) {
	for {
		list, _, err := r.ReadRTCP()
		if err != nil {
			return
		}
		for _, p := range list {
			if _, ok := p.(*rtcp.SenderReport); ok {
				y.mu.Lock()
				in.reports++
				y.mu.Unlock()
			}
		}
	}
}

// askKey asks for a key frame; false if there is no video.
func (y *player) askKey() bool {
	y.mu.Lock()
	in := y.in[webrtc.RTPCodecTypeVideo]
	y.mu.Unlock()
	if in == nil {
		return false
	}
	return y.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: in.ssrc}}) == nil
}

// track is a copy of what came of one kind; nil: nothing.
func (y *player) track(kind webrtc.RTPCodecType) *incoming {
	y.mu.Lock()
	defer y.mu.Unlock()
	in := y.in[kind]
	if in == nil {
		return nil
	}
	c := *in
	return &c
}

// newest is when the last packet came.
func (y *player) newest() (at time.Time) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, in := range y.in {
		if in.last.After(at) {
			at = in.last
		}
	}
	return at
}
