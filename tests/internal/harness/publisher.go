package harness

import (
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// PublisherConfig says what a publisher sends. The zero value is H.264 at
// 2.5 Mbit/s and 30 frames/s with a key frame every 2 s, and Opus.
type PublisherConfig struct {
	PeerOptions
	Video, Audio     Codec // zero: H264, Opus
	NoVideo, NoAudio bool
	Bitrate          int           // of the video, bits/s
	FPS              int           // of the video
	KeyframeEvery    time.Duration // negative: only the first one and on PLI
	IgnorePLI        bool
	Picture          Picture
	// LoseEvery makes the network lose one in so many RTP packets the publisher
	// sends, the first time it sends them. 0: none.
	LoseEvery int
}

func (c PublisherConfig) withDefaults() PublisherConfig {
	if c.Video.MimeType == "" {
		c.Video = H264
	}
	if c.Audio.MimeType == "" {
		c.Audio = Opus
	}
	if c.Bitrate == 0 {
		c.Bitrate = 2_500_000
	}
	if c.FPS == 0 {
		c.FPS = 30
	}
	if c.KeyframeEvery == 0 {
		c.KeyframeEvery = 2 * time.Second
	}
	return c
}

func (c PublisherConfig) codecs() (out []Codec) {
	if !c.NoVideo {
		out = append(out, c.Video, RTX(c.rtxPT(), uint8(c.Video.PayloadType)))
	}
	if !c.NoAudio {
		out = append(out, c.Audio)
	}
	return out
}

// rtxPT is a payload type next to the video's that nothing else uses.
func (c PublisherConfig) rtxPT() uint8 {
	if c.Video.PayloadType == webrtc.PayloadType(46) {
		return 47
	}
	return uint8(c.Video.PayloadType) + 1
}

// Publisher sends stamped media to a stream.
type Publisher struct {
	*peer
	Source uint16 // its number in the stamps

	cfg          PublisherConfig
	video, audio *sender
	quit         chan struct{}
	quitOnce     sync.Once
	wg           sync.WaitGroup
}

// sender is one track of a publisher.
type sender struct {
	codec   Codec
	track   *webrtc.TrackLocalStaticRTP
	rtp     *webrtc.RTPSender
	enc     encoder
	wantKey atomic.Bool

	mu   sync.Mutex
	sent []SentPacket
	plis []time.Time
	nack int
}

var sources atomic.Uint32

// Publish starts a publisher and fails the test when it does not connect.
func (g *Gateway) Publish(t testing.TB, stream string, cfg PublisherConfig) *Publisher {
	t.Helper()
	p, err := g.TryPublish(t, stream, cfg)
	if err != nil {
		t.Fatalf("publish %s: %v", stream, err)
	}
	return p
}

// TryPublish starts a publisher. It sends until the test ends or Close,
// Vanish or Silence is called.
func (g *Gateway) TryPublish(t testing.TB, stream string, cfg PublisherConfig) (*Publisher, error) {
	t.Helper()
	p, err := g.newPublisher(t, cfg)
	if err != nil {
		return nil, err
	}
	if err := p.connect(g.WHIP(stream), p.cfg.PeerOptions); err != nil {
		return p, err
	}
	p.startSending()
	return p, nil
}

func (g *Gateway) newPublisher(t testing.TB, cfg PublisherConfig) (*Publisher, error) {
	t.Helper()
	cfg = cfg.withDefaults()
	p := &Publisher{Source: uint16(sources.Add(1)), cfg: cfg, quit: make(chan struct{})}
	var err error
	if p.peer, err = newPeer(cfg.PeerOptions, cfg.codecs(), g.client); err != nil {
		return nil, err
	}
	t.Cleanup(p.Close)
	if cfg.LoseEvery > 0 && p.wire != nil {
		p.wire.loseOut.Store(&onceEach{every: uint16(cfg.LoseEvery), rtx: cfg.rtxPT(), seen: map[uint32]bool{}})
	}
	if !cfg.NoAudio {
		p.audio, err = p.addTrack(t, cfg.Audio, "audio")
	}
	if err == nil && !cfg.NoVideo {
		p.video, err = p.addTrack(t, cfg.Video, "video")
	}
	return p, err
}

func (p *Publisher) addTrack(t testing.TB, c Codec, id string) (*sender, error) {
	s := &sender{codec: c, enc: newEncoder(t, c, p.Source, p.cfg.Picture)}
	var err error
	if s.track, err = webrtc.NewTrackLocalStaticRTP(c.RTPCodecCapability, id, "stream"); err != nil {
		return nil, err
	}
	tr, err := p.pc.AddTransceiverFromTrack(s.track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	if err != nil {
		return nil, err
	}
	s.rtp = tr.Sender()
	return s, nil
}

// Offer is the SDP a publisher with this configuration would post.
func (g *Gateway) PublisherOffer(t testing.TB, cfg PublisherConfig) string {
	t.Helper()
	p, err := g.newPublisher(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	sdp, err := p.offer(p.cfg.PeerOptions)
	if err != nil {
		t.Fatal(err)
	}
	return sdp
}

func (p *Publisher) startSending() {
	start := time.Now()
	if p.audio != nil {
		p.run(p.audio, start, audioFrame, 0)
	}
	if p.video != nil {
		p.video.wantKey.Store(true)
		interval := time.Second / time.Duration(p.cfg.FPS)
		p.run(p.video, start, interval, p.cfg.Bitrate/8/p.cfg.FPS)
	}
}

// run starts the two goroutines of a track: one sends, one hears feedback.
func (p *Publisher) run(s *sender, start time.Time, interval time.Duration, size int) {
	p.wg.Add(2)
	go func() {
		defer p.wg.Done()
		s.pace(p.quit, start, interval, size, p.cfg.KeyframeEvery)
	}()
	go func() {
		defer p.wg.Done()
		s.hear(p.cfg.IgnorePLI)
	}()
}

// pace sends frame k at start + k*interval, late ones at once: the timestamps
// follow the clock exactly whatever the scheduler does.
func (s *sender) pace(quit <-chan struct{}, start time.Time, interval time.Duration, size int, keyEvery time.Duration) {
	seq := uint16(rand.Uint32())
	ts0 := rand.Uint32()
	timer := time.NewTimer(0)
	defer timer.Stop()
	lastKey := -1
	for k := 0; ; k++ {
		at := time.Duration(k) * interval
		timer.Reset(time.Until(start.Add(at)))
		select {
		case <-quit:
			return
		case <-timer.C:
		}
		key := s.wantKey.Swap(false) || keyEvery > 0 && time.Duration(k-lastKey)*interval >= keyEvery
		if key {
			lastKey = k
		}
		ts := ts0 + uint32(at*time.Duration(s.codec.ClockRate)/time.Second)
		payloads := s.enc.frame(key, size)
		for i, payload := range payloads {
			marker := i == len(payloads)-1 && s.codec.Kind == webrtc.RTPCodecTypeVideo
			s.mu.Lock()
			s.sent = append(s.sent, SentPacket{time.Now(), ts, marker, payload})
			s.mu.Unlock()
			err := s.track.WriteRTP(&rtp.Packet{
				Header:  rtp.Header{Version: 2, Marker: marker, SequenceNumber: seq, Timestamp: ts},
				Payload: payload,
			})
			if errors.Is(err, io.ErrClosedPipe) {
				return
			}
			seq++
		}
	}
}

// hear counts the feedback and obeys it.
func (s *sender) hear(ignorePLI bool) {
	for {
		pkts, _, err := s.rtp.ReadRTCP()
		if err != nil {
			return
		}
		for _, pkt := range pkts {
			switch pkt.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				s.mu.Lock()
				s.plis = append(s.plis, time.Now())
				s.mu.Unlock()
				if !ignorePLI {
					s.wantKey.Store(true)
				}
			case *rtcp.TransportLayerNack:
				s.mu.Lock()
				s.nack++
				s.mu.Unlock()
			}
		}
	}
}

func (s *sender) log() []SentPacket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent[:len(s.sent):len(s.sent)]
}

// SentVideo and SentAudio are what was sent so far.
func (p *Publisher) SentVideo() []SentPacket { return p.video.log() }
func (p *Publisher) SentAudio() []SentPacket { return p.audio.log() }

// NACKs counts the requests for lost packets.
func (p *Publisher) NACKs() int {
	p.video.mu.Lock()
	defer p.video.mu.Unlock()
	return p.video.nack
}

// PLIs are the times at which key frames were asked for.
func (p *Publisher) PLIs() []time.Time {
	p.video.mu.Lock()
	defer p.video.mu.Unlock()
	return append([]time.Time(nil), p.video.plis...)
}

// VideoCodec and AudioCodec are what it sends.
func (p *Publisher) VideoCodec() Codec { return p.cfg.Video }
func (p *Publisher) AudioCodec() Codec { return p.cfg.Audio }

// Silence stops the media; the connection stays.
func (p *Publisher) Silence() { p.quitOnce.Do(func() { close(p.quit) }) }

// Vanish ends the publisher like a killed process: not one more packet leaves
// it, no DELETE, no DTLS close.
func (p *Publisher) Vanish() {
	if p.wire != nil {
		p.wire.cut.Store(true)
	}
	p.end(false)
}

// Close ends the publisher with DELETE.
func (p *Publisher) Close() { p.end(true) }

func (p *Publisher) end(deleteFirst bool) {
	p.Silence()
	p.close(deleteFirst)
	p.wg.Wait()
}
