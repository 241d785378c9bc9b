package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

const (
	videoPT, audioPT = 96, 111

	videoFmtp = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
	audioFmtp = "minptime=10;useinbandfec=1"

	opusSize = 160 // bytes a packet: 64 kbit/s
	opusTime = 20 * time.Millisecond
)

// publisher sends one stream until it is closed.
type publisher struct {
	pc       *webrtc.PeerConnection
	resource string
	obey     bool
	asked    atomic.Bool   // a key frame was asked for
	sent     atomic.Uint64 // RTP packets
	stop     context.CancelFunc
	done     sync.WaitGroup
}

// publish connects over WHIP and starts the media.
func publish(ctx context.Context, http *client, url string, obey bool) (*publisher, error) {
	api, err := publisherAPI()
	if err != nil {
		return nil, err
	}
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.Background())
	p := &publisher{pc: pc, obey: obey, stop: stop}
	video, err := p.addTrack(videoCapability, "video")
	if err != nil {
		p.close()
		return nil, err
	}
	audio, err := p.addTrack(audioCapability, "audio")
	if err != nil {
		p.close()
		return nil, err
	}
	if err := p.connect(ctx, http, url); err != nil {
		p.close()
		return nil, fmt.Errorf("publish to %s: %w", url, err)
	}
	p.done.Go(func() { p.sendVideo(run, video) })
	p.done.Go(func() { p.sendAudio(run, audio) })
	return p, nil
}

var (
	videoCapability = webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeH264, ClockRate: 90000, SDPFmtpLine: videoFmtp,
		RTCPFeedback: []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}},
	}
	audioCapability = webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2, SDPFmtpLine: audioFmtp,
	}
)

func publisherAPI() (*webrtc.API, error) {
	me := &webrtc.MediaEngine{}
	video := webrtc.RTPCodecParameters{RTPCodecCapability: videoCapability, PayloadType: videoPT}
	audio := webrtc.RTPCodecParameters{RTPCodecCapability: audioCapability, PayloadType: audioPT}
	if err := me.RegisterCodec(video, webrtc.RTPCodecTypeVideo); err != nil {
		return nil, err
	}
	if err := me.RegisterCodec(audio, webrtc.RTPCodecTypeAudio); err != nil {
		return nil, err
	}
	se := webrtc.SettingEngine{LoggerFactory: &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled, Writer: io.Discard}}
	se.SetIncludeLoopbackCandidate(true)
	se.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	return webrtc.NewAPI(webrtc.WithMediaEngine(me), webrtc.WithSettingEngine(se)), nil
}

func (p *publisher) addTrack(c webrtc.RTPCodecCapability, id string) (*webrtc.TrackLocalStaticRTP, error) {
	t, err := webrtc.NewTrackLocalStaticRTP(c, id, "bench")
	if err != nil {
		return nil, err
	}
	tr, err := p.pc.AddTransceiverFromTrack(t, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	if err != nil {
		return nil, err
	}
	p.done.Go(func() { p.readFeedback(tr.Sender()) })
	return t, nil
}

// readFeedback also lets pion answer NACKs: it sees what is read here.
func (p *publisher) readFeedback(s *webrtc.RTPSender) {
	for {
		pkts, _, err := s.ReadRTCP()
		if err != nil {
			return
		}
		for _, pkt := range pkts {
			switch pkt.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				p.asked.Store(true)
			}
		}
	}
}

func (p *publisher) connect(ctx context.Context, http *client, url string) error {
	offer, err := p.pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(p.pc)
	if err := p.pc.SetLocalDescription(offer); err != nil {
		return err
	}
	<-gathered
	connected, failed := make(chan struct{}), make(chan struct{})
	var once sync.Once
	p.pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		switch s {
		case webrtc.PeerConnectionStateConnected:
			once.Do(func() { close(connected) })
		case webrtc.PeerConnectionStateFailed:
			once.Do(func() { close(failed) })
		}
	})
	answer, resource, err := http.post(ctx, url, p.pc.LocalDescription().SDP)
	if err != nil {
		return err
	}
	p.resource = resource
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		return fmt.Errorf("the answer is not accepted: %w", err)
	}
	select {
	case <-connected:
		return nil
	case <-failed:
		return errors.New("the connection failed")
	case <-ctx.Done():
		return fmt.Errorf("not connected in time: %w", ctx.Err())
	}
}

// sendVideo sends each frame as one burst, as encoders do.
func (p *publisher) sendVideo(ctx context.Context, t *webrtc.TrackLocalStaticRTP) {
	h := rtp.Header{Version: 2, SequenceNumber: 1000, Timestamp: 90000}
	last := time.Now()
	next := 0 // frames until the next key frame
	every(ctx, time.Second/frameRate, func() {
		if p.obey && p.asked.Swap(false) && time.Since(last) > 500*time.Millisecond {
			next = 0
		}
		key := next == 0
		if key {
			last, next = time.Now(), gopFrames
		}
		next--
		frame := encodeFrame(key)
		for i, payload := range frame {
			h.Marker = i == len(frame)-1
			if !key || i > 0 { // parameter sets stay as they are
				putStamp(payload, time.Now())
			}
			p.write(t, &h, payload)
		}
		h.Timestamp += 90000 / frameRate
	})
}

func (p *publisher) sendAudio(ctx context.Context, t *webrtc.TrackLocalStaticRTP) {
	h := rtp.Header{Version: 2, SequenceNumber: 5000, Timestamp: 48000, Marker: true}
	every(ctx, opusTime, func() {
		payload := append([]byte(nil), noise[:opusSize]...)
		payload[0] = 0xfc // CELT, full band, 20 ms, stereo, one frame
		putStamp(payload, time.Now())
		p.write(t, &h, payload)
		h.Marker = false
		h.Timestamp += 48000 / 50
	})
}

func (p *publisher) write(t *webrtc.TrackLocalStaticRTP, h *rtp.Header, payload []byte) {
	_ = t.WriteRTP(&rtp.Packet{Header: *h, Payload: payload}) // a dead connection shows at the viewers
	h.SequenceNumber++
	p.sent.Add(1)
}

// every calls f at a steady rate, without drift, until ctx ends.
func every(ctx context.Context, d time.Duration, f func()) {
	next := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		f()
		next = next.Add(d)
		timer.Reset(time.Until(next))
	}
}

func (p *publisher) close() {
	p.stop()
	_ = p.pc.GracefulClose()
	p.done.Wait()
}
