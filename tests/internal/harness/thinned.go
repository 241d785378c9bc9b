package harness

import (
	"sync/atomic"
	"testing"
)

// Thinned is a publisher whose encoders can be told to send less, as those of a
// muted microphone or of a still picture do: what they leave out was never
// there, and leaves no gap in the sequence numbers.
type Thinned struct {
	*Publisher
	video, audio atomic.Int32
}

// Thin lets each track send one of so many frames: 1 is all, 0 none.
func (p *Thinned) Thin(video, audio int) {
	p.video.Store(int32(video))
	p.audio.Store(int32(audio))
}

// PublishThinned starts one that sends everything at first.
func (g *Gateway) PublishThinned(t testing.TB, stream string, cfg PublisherConfig) *Thinned {
	t.Helper()
	p, err := g.newPublisher(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	out := &Thinned{Publisher: p}
	out.Thin(1, 1)
	if p.video != nil {
		p.video.enc = &thinner{encoder: p.video.enc, oneIn: &out.video}
	}
	if p.audio != nil {
		p.audio.enc = &thinner{encoder: p.audio.enc, oneIn: &out.audio}
	}
	if err := p.connect(g.WHIP(stream), p.cfg.PeerOptions); err != nil {
		t.Fatalf("publish %s: %v", stream, err)
	}
	p.startSending()
	return out
}

// Sent is its video so far, its audio if it has no video.
func (p *Thinned) Sent() []SentPacket {
	if p.Publisher.video != nil {
		return p.SentVideo()
	}
	return p.SentAudio()
}

// thinner is an encoder that leaves frames out.
type thinner struct {
	encoder
	oneIn *atomic.Int32
	due   int  // frames since the last one
	key   bool // owed
}

func (e *thinner) frame(key bool, size int) [][]byte {
	e.key = e.key || key
	n := int(e.oneIn.Load())
	if e.due++; n == 0 || e.due < n {
		return nil
	}
	key, e.due, e.key = e.key, 0, false
	return e.encoder.frame(key, size)
}
