package probe

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// publisher sends the known sequence.
type publisher struct {
	*peer
	run          string
	video, audio *outgoing
	wantKey      atomic.Bool
	lose         atomic.Bool // the next picture and the next sound lose a packet
	stop         chan struct{}
	running      sync.WaitGroup

	keysMu sync.Mutex
	keys   []time.Time // requests for key frames
}

func newPublisher(run string) (*publisher, error) {
	p, err := newPeer()
	if err != nil {
		return nil, err
	}
	b := &publisher{peer: p, run: run, stop: make(chan struct{})}
	b.audio = &outgoing{kind: webrtc.RTPCodecTypeAudio, run: run, codecs: []*codec{opus}}
	b.video = &outgoing{kind: webrtc.RTPCodecTypeVideo, run: run, codecs: []*codec{vp8, h264}}
	for _, o := range []*outgoing{b.audio, b.video} {
		t, err := p.pc.AddTransceiverFromTrack(o, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		if err != nil {
			_ = p.pc.Close()
			return nil, err
		}
		go b.hear(t.Sender())
	}
	return b, nil
}

// hear notes requests for key frames, and answers them with the next frame.
func (b *publisher) hear(s *webrtc.RTPSender) {
	for {
		list, _, err := s.ReadRTCP()
		if err != nil {
			return
		}
		for _, p := range list {
			switch p.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				b.wantKey.Store(true)
				b.keysMu.Lock()
				b.keys = append(b.keys, time.Now())
				b.keysMu.Unlock()
			}
		}
	}
}

// send sends until close, each frame when it is due.
func (b *publisher) send() {
	b.running.Go(func() {
		timer := time.NewTimer(0)
		defer timer.Stop()
		picture, sound := time.Now(), time.Now()
		var key time.Time
		lost := [2]bool{true, true}
		for {
			select {
			case <-b.stop:
				return
			case <-timer.C:
			}
			now := time.Now()
			if b.lose.CompareAndSwap(true, false) {
				lost = [2]bool{}
			}
			for ; !picture.After(now); picture = picture.Add(frameTime) {
				isKey := b.wantKey.Swap(false) || picture.Sub(key) >= keyEvery
				if isKey {
					key = picture
				}
				miss := !lost[0] && !isKey
				lost[0] = lost[0] || miss
				b.video.send(picture, isKey, miss)
			}
			for ; !sound.After(now); sound = sound.Add(audioTime) {
				b.audio.send(sound, false, !lost[1])
				lost[1] = true
			}
			next := picture
			if sound.Before(next) {
				next = sound
			}
			timer.Reset(time.Until(next))
		}
	})
}

func (b *publisher) close() {
	close(b.stop)
	b.running.Wait()
	_ = b.pc.Close()
}

// keyRequests are the times of those between two moments.
func (b *publisher) keyRequests(from, to time.Time) (list []time.Time) {
	b.keysMu.Lock()
	defer b.keysMu.Unlock()
	for _, k := range b.keys {
		if !k.Before(from) && !k.After(to) {
			list = append(list, k)
		}
	}
	return list
}

// outgoing is a track that takes the first codec it can make which the service
// has answered.
type outgoing struct {
	kind   webrtc.RTPCodecType
	run    string
	codecs []*codec

	mu      sync.Mutex
	gen     *generator // nil: no such codec, or no answer yet
	header  rtp.Header
	writer  webrtc.TrackLocalWriter
	unbound bool
}

// Bind implements webrtc.TrackLocal.
func (o *outgoing) Bind(ctx webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	for _, c := range o.codecs {
		for _, p := range ctx.CodecParameters() {
			_, name, _ := strings.Cut(p.MimeType, "/")
			if !strings.EqualFold(name, c.name) || c == h264 && !strings.Contains(p.SDPFmtpLine, "packetization-mode=1") {
				continue
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			o.gen, o.writer = newGenerator(c, o.run), ctx.WriteStream()
			o.header = rtp.Header{Version: 2, PayloadType: uint8(p.PayloadType), SSRC: uint32(ctx.SSRC())}
			return p, nil
		}
	}
	return webrtc.RTPCodecParameters{}, webrtc.ErrUnsupportedCodec
}

// Unbind implements webrtc.TrackLocal.
func (o *outgoing) Unbind(webrtc.TrackLocalContext) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.unbound = true
	return nil
}

// ID implements webrtc.TrackLocal.
func (o *outgoing) ID() string { return o.kind.String() }

// RID implements webrtc.TrackLocal.
func (o *outgoing) RID() string { return "" }

// StreamID implements webrtc.TrackLocal.
func (o *outgoing) StreamID() string { return "probe" }

// Kind implements webrtc.TrackLocal.
func (o *outgoing) Kind() webrtc.RTPCodecType { return o.kind }

// generator is nil as long as there is no codec.
func (o *outgoing) generator() *generator {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.gen
}

// send makes a frame and sends it.
func (o *outgoing) send(due time.Time, key, miss bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gen == nil || o.unbound {
		return
	}
	list := o.gen.next(due, key, miss)
	for i, p := range list {
		if p.missing {
			continue
		}
		h := o.header
		h.SequenceNumber, h.Timestamp = p.seq, p.ts
		h.Marker = i == len(list)-1 && o.kind == webrtc.RTPCodecTypeVideo
		_, _ = o.writer.WriteRTP(&h, p.payload) // an error is that of a connection that is just going
	}
	o.gen.left(time.Now())
}
