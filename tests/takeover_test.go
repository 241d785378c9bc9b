package tests

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// Another publisher takes the stream over. For the viewers it is one unbroken
// stream: same SSRC, no gap, on at a key frame, audio and video on one clock.
func TestTakeover(t *testing.T) {
	t.Parallel()
	for _, codec := range []harness.Codec{harness.H264, harness.VP8, harness.VP9, harness.AV1, harness.H265} {
		t.Run(codec.Name(), func(t *testing.T) {
			t.Parallel()
			g := harness.Start(t, harness.Config{})
			first := g.Publish(t, "show", harness.PublisherConfig{Video: codec, Bitrate: 1_000_000, Picture: harness.Picture{Width: 640, Height: 360}})
			viewers := []*harness.Viewer{
				g.View(t, "show", harness.ViewerConfig{}),
				g.View(t, "show", harness.ViewerConfig{PeerOptions: harness.PeerOptions{TCP: true}}),
			}
			viewers[0].Record(t, 2*time.Second)
			// Other parameter sets, payload type, SSRC, sequence, timestamps, picture ids.
			other := codec
			other.PayloadType = webrtc.PayloadType(120)
			second := g.Publish(t, "show", harness.PublisherConfig{Video: other, Bitrate: 1_200_000, FPS: 25, Picture: harness.Picture{Width: 1280, Height: 720}})
			requireEnded(t, first)
			for _, v := range viewers {
				v.AwaitSource(t, second.Source, 5*time.Second)
			}
			switched := time.Now()
			viewers[0].Record(t, 3*time.Second)
			third := g.Publish(t, "show", harness.PublisherConfig{Video: codec, Bitrate: 800_000})
			viewers[0].AwaitSource(t, third.Source, 5*time.Second)
			viewers[0].Record(t, time.Second)
			stopAndDrain(t, third, viewers...)
			for i, v := range viewers {
				who := fmt.Sprintf("viewer %d", i)
				requireOneTimeline(t, who, codec, v)
				requireOneClock(t, who, codec, v, switched.Add(time.Second), switched.Add(3*time.Second))
			}
		})
	}
}

// requireEnded: the session that lost the stream is gone, for HTTP and for
// the peer.
func requireEnded(t *testing.T, p *harness.Publisher) {
	t.Helper()
	harness.Eventually(t, 5*time.Second, "the old publisher sees its end", p.HasEnded)
	if code := p.Delete(t); code != http.StatusNotFound {
		t.Errorf("DELETE of the session that was taken over: %d, want 404", code)
	}
}

func requireOneTimeline(t *testing.T, who string, codec harness.Codec, v *harness.Viewer) {
	t.Helper()
	harness.RequireContinuous(t, who, v.Video(), harness.Rules{Codec: codec, TornAtSwitch: true, Pace: 400 * time.Millisecond})
	harness.RequireContinuous(t, who, v.Audio(), harness.Rules{Codec: harness.Opus, Pace: 400 * time.Millisecond})
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		if n := v.Tracks(kind); n != 1 {
			t.Errorf("%s: %d %s tracks appeared", who, n, kind)
		}
	}
}

// requireOneClock: by the sender reports, audio and video that arrived in the
// same time were captured at the same time. The publishers send both on one
// clock.
func requireOneClock(t *testing.T, who string, codec harness.Codec, v *harness.Viewer, from, to time.Time) {
	t.Helper()
	in := func(pkts []harness.Packet) (out []harness.Packet) {
		for _, p := range pkts {
			if p.Arrival.After(from) && p.Arrival.Before(to) {
				out = append(out, p)
			}
		}
		return out
	}
	video, err := harness.ClockOffset(in(v.Video()), v.Reports(), codec.ClockRate)
	if err != nil {
		t.Errorf("%s: video: %v", who, err)
		return
	}
	audio, err := harness.ClockOffset(in(v.Audio()), v.Reports(), harness.Opus.ClockRate)
	if err != nil {
		t.Errorf("%s: audio: %v", who, err)
		return
	}
	if skew := video - audio; skew.Abs() > 45*time.Millisecond {
		t.Errorf("%s: after the takeover audio and video are %s apart", who, skew)
	}
}

// A publisher that is killed and comes back within the grace time finds its
// viewers where they were.
func TestPublisherVanishesAndReturns(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{App: "timeouts {\n grace 20s\n}"})
	first := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 1_000_000})
	v := g.View(t, "show", harness.ViewerConfig{})
	v.Record(t, 2*time.Second)
	first.Vanish()
	harness.Stays(t, 2*time.Second, "the viewer is connected while the publisher is away", func() bool { return !v.HasEnded() })
	// One that comes now waits with the others, it is not turned away.
	late := g.View(t, "show", harness.ViewerConfig{})
	second := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 1_000_000})
	for _, w := range []*harness.Viewer{v, late} {
		w.AwaitSource(t, second.Source, 5*time.Second)
	}
	v.Record(t, 2*time.Second)
	stopAndDrain(t, second, v, late)
	requireOneTimeline(t, "viewer", harness.H264, v)
	requireDecodableStart(t, "the viewer that came in between", harness.H264, late)
}

// One that does not come back takes its viewers with it when the grace time
// is over.
func TestGraceEnds(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{App: "timeouts {\n grace 2s\n}"})
	p := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 500_000})
	v := g.View(t, "show", harness.ViewerConfig{})
	v.AwaitVideo(t, 50, 10*time.Second)
	c := harness.NewHTTPClient(t, harness.HTTP1)
	gone := time.Now()
	p.Vanish()
	harness.Eventually(t, 20*time.Second, "the viewer is ended after the grace time", v.HasEnded)
	if after := time.Since(gone); after < 1800*time.Millisecond {
		t.Errorf("ended %s after the last packet, with a grace of 2s", after)
	}
	if code := v.Delete(t); code != http.StatusNotFound {
		t.Errorf("DELETE of the ended viewer: %d", code)
	}
	harness.Eventually(t, 5*time.Second, "the stream is gone", func() bool {
		return harness.PostOffer(t, c, g.WHEP("show"), g.ViewerOffer(t, harness.ViewerConfig{})).Status == http.StatusConflict
	})
}

// Destroying the publish resource destroys the subscribers; destroying a
// subscriber touches nobody else [WTN-32].
func TestDeleteCascade(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	p := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 1_000_000})
	other := g.Publish(t, "other", harness.PublisherConfig{Bitrate: 500_000})
	leaves := g.View(t, "show", harness.ViewerConfig{})
	stays := g.View(t, "show", harness.ViewerConfig{})
	bystander := g.View(t, "other", harness.ViewerConfig{})
	leaves.AwaitVideo(t, 50, 10*time.Second)
	stays.AwaitVideo(t, 50, 10*time.Second)
	if code := leaves.Delete(t); code != http.StatusOK {
		t.Errorf("DELETE of a viewer: %d", code)
	}
	harness.Eventually(t, 2*time.Second, "the deleted viewer sees its end", leaves.HasEnded)
	stays.Record(t, time.Second)
	requireIntact(t, "the viewer that stays", p, stays)
	if p.HasEnded() {
		t.Error("the publisher ended with its viewer")
	}

	if code := p.Delete(t); code != http.StatusOK {
		t.Errorf("DELETE of the publisher: %d", code)
	}
	harness.Eventually(t, 2*time.Second, "the publisher sees its end", p.HasEnded)
	harness.Eventually(t, 2*time.Second, "the viewer sees its end", stays.HasEnded)
	if code := stays.Delete(t); code != http.StatusNotFound {
		t.Errorf("DELETE of a viewer whose publisher is gone: %d", code)
	}
	bystander.Record(t, time.Second)
	requireIntact(t, "the viewer of another stream", other, bystander)
}
