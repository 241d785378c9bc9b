package tests

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

const shortSlate = "slate {\n after 500ms\n}"

// awaitSlate waits until pictures come that no publisher has sent, which is what
// a slate is, and returns when the first one began to arrive.
func awaitSlate(t *testing.T, v *harness.Viewer, within time.Duration) time.Time {
	t.Helper()
	first := -1
	harness.Eventually(t, within, "a picture of no publisher", func() bool {
		first = slateFrom(v)
		return first >= 0
	})
	return v.Video()[first].Arrival
}

// slateFrom is the index of the first packet behind the last one that a
// publisher sent, -1 if no whole picture has come since. Parameter sets carry no
// stamp, so pictures are looked at as a whole.
func slateFrom(v *harness.Viewer) int {
	pkts := v.Video()
	frames := harness.Frames(pkts)
	for _, f := range slices.Backward(frames) {
		if _, stamped, _ := f.Source(); stamped {
			break
		}
		if n := len(f.Packets); f.Packets[n-1].Marker && f.Keyframe(v.Codec(webrtc.RTPCodecTypeVideo).MimeType) {
			first := f.First
			for first > 0 {
				if _, _, stamped := harness.Stamp(pkts[first-1].Payload); stamped {
					return first
				}
				first--
			}
			return first
		}
	}
	return -1
}

// requireSlate checks the pictures from one moment to another: there are some,
// all can be decoded, and none is long in coming.
func requireSlate(t *testing.T, c harness.Codec, v *harness.Viewer, from, to time.Time) {
	t.Helper()
	last, n := from, 0
	for _, f := range harness.DecodableFrames(c.MimeType, v.Video()) {
		if f.At.Before(from) || f.At.After(to) {
			continue
		}
		if f.Stamped {
			t.Errorf("a picture of source %d in the middle of the slate", f.Source)
		}
		if gap := f.At.Sub(last); gap > 1500*time.Millisecond {
			t.Errorf("no picture of the slate for %s", gap)
		}
		last = f.At
		n++
	}
	silence := 0
	for _, p := range v.Audio() {
		if p.Arrival.After(from) && p.Arrival.Before(to) {
			silence++
		}
	}
	t.Logf("%d pictures and %d packets of silence in %s", n, silence, to.Sub(from).Round(time.Millisecond))
	if want := int(to.Sub(from) / time.Second); n < want || silence < 40*want {
		t.Errorf("%d pictures and %d packets of silence in %s of slate", n, silence, to.Sub(from))
	}
}

// requireAllAtOne checks the whole record: one SSRC, no gap in the numbers, time
// goes on.
func requireAllAtOne(t *testing.T, c harness.Codec, v *harness.Viewer) {
	t.Helper()
	harness.RequireContinuous(t, "viewer", v.Video(), harness.Rules{Codec: c, TornAtSwitch: true, Pace: 500 * time.Millisecond})
	harness.RequireContinuous(t, "viewer", v.Audio(), harness.Rules{Codec: harness.Opus, Pace: 500 * time.Millisecond})
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		if n := v.Tracks(kind); n != 1 {
			t.Errorf("%d %s tracks", n, kind)
		}
	}
}

// firstOf is the first decodable picture of a publisher at a viewer.
func firstOf(c harness.Codec, p *harness.Publisher, v *harness.Viewer) (harness.DecodableFrame, bool) {
	for _, f := range harness.DecodableFrames(c.MimeType, v.Video()) {
		if f.Stamped && f.Source == p.Source {
			return f, true
		}
	}
	return harness.DecodableFrame{}, false
}

// The only publisher dies: viewers get a slate, also those who come then. It
// returns, and its first key frame ends the slate.
func TestSlate(t *testing.T) {
	t.Parallel()
	for _, c := range []harness.Codec{harness.H264, harness.VP8} {
		t.Run(c.Name(), func(t *testing.T) {
			t.Parallel()
			g := harness.Start(t, harness.Config{Handler: shortSlate})
			p := g.Publish(t, "show", harness.PublisherConfig{Video: c, Bitrate: 400_000})
			v := g.View(t, "show", harness.ViewerConfig{})
			v.Record(t, time.Second)
			p.Silence() // no torn frame: the checker cannot tell it from damage
			harness.Eventually(t, 5*time.Second, "the last packet", func() bool { return v.HasLastOf(p) })
			p.Vanish()
			died := time.Now()
			at := awaitSlate(t, v, 8*time.Second)
			t.Logf("the slate comes %s after the death of the publisher", at.Sub(died).Round(time.Millisecond))
			late := g.View(t, "show", harness.ViewerConfig{})
			v.Record(t, 3*time.Second)
			if len(late.Video()) == 0 {
				t.Error("one that came meanwhile got no picture")
			}
			end := time.Now()
			requireSlate(t, c, v, at, end)
			requireDecodableStart(t, "one that came meanwhile", c, late)

			again := g.Publish(t, "show", harness.PublisherConfig{Video: c, Bitrate: 400_000, KeyframeEvery: -1})
			back := time.Now()
			for _, w := range []*harness.Viewer{v, late} {
				w.AwaitSource(t, again.Source, 5*time.Second)
			}
			v.Record(t, 1500*time.Millisecond)
			stopAndDrain(t, again, v, late)
			for who, w := range map[string]*harness.Viewer{"viewer": v, "one that came meanwhile": late} {
				f, ok := firstOf(c, again, w)
				if !ok || f.First != 0 || !f.Key {
					t.Errorf("%s: the picture is back with packet %d (key %t), its first key frame is packet 0", who, f.First, f.Key)
				}
				t.Logf("%s: the picture is back %s after the publisher", who, f.At.Sub(back).Round(time.Millisecond))
				requireAllAtOne(t, c, w)
			}
		})
	}
}

// All vendors die: viewers get a slate, and the picture again when one returns.
func TestSlateOfPull(t *testing.T) {
	t.Parallel()
	p := pullFrom(t, "", shortSlate)
	v := p.view(t)
	v.AwaitSource(t, p.atA.Source, 5*time.Second)
	v.Record(t, time.Second)
	p.b.Kill()
	p.atB.Vanish()
	p.atA.Silence()
	harness.Eventually(t, 5*time.Second, "the last packet", func() bool { return v.HasLastOf(p.atA) })
	p.a.Kill()
	p.atA.Vanish()
	died := time.Now()
	at := awaitSlate(t, v, 8*time.Second)
	t.Logf("the slate comes %s after the death of the last vendor", at.Sub(died).Round(time.Millisecond))
	v.Record(t, 2500*time.Millisecond)
	requireSlate(t, harness.H264, v, at, time.Now())
	p.a.Restart()
	again := p.a.Publish(t, p.stream, harness.PublisherConfig{Bitrate: 400_000})
	back := time.Now()
	v.AwaitSource(t, again.Source, 20*time.Second)
	t.Logf("the picture is back %s after the vendor", time.Since(back).Round(time.Millisecond))
	v.Record(t, time.Second)
	again.Silence()
	v.Close()
	requireAllAtOne(t, harness.H264, v)
	p.requireGone(t, p.a)
}

// A slate that was shown for as long as it may ends with its viewers.
func TestSlateEnds(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{Handler: "slate {\n after 500ms\n max 3s\n}", App: "timeouts {\n grace 2s\n}"})
	p := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 300_000})
	v := g.View(t, "show", harness.ViewerConfig{})
	v.AwaitVideo(t, 20, 10*time.Second)
	p.Vanish()
	awaitSlate(t, v, 8*time.Second)
	harness.Eventually(t, 10*time.Second, "the viewer is ended", v.HasEnded)
	harness.Eventually(t, 5*time.Second, "the stream is gone", func() bool { return len(g.Streams(t).Streams) == 0 })
}

// A browser decodes the slate: its count of frames goes on, in the session, the
// connection and the SSRC it has.
func TestBrowserSlate(t *testing.T) {
	g := harness.Start(t, harness.Config{Handler: shortSlate})
	b := harness.NewBrowser(t)
	for _, codec := range []string{"H264", "VP8"} {
		t.Run(codec, func(t *testing.T) {
			a := b.Open(t, g.URL(""))
			if !slices.Contains(a.Options("publish-codec"), codec) {
				if os.Getenv("CI") == "true" {
					t.Fatalf("CI needs a Chromium that encodes %s", codec)
				}
				t.Skipf("SKIPPED, NOT TESTED: this Chromium cannot encode %s", codec)
			}
			publish(t, a, "slate"+codec, "test", codec)
			v := b.Open(t, g.URL(""))
			watch(t, v, "slate"+codec)
			requirePlays(t, v, watchVideo)
			before, slates := v.InboundOf("video"), strings.Count(g.Log(), `"cause":"slate"`)
			// The page loses its connection and has no way to tell anybody.
			a.Eval(`(() => { window.fetch = () => new Promise(() => {}); window.__pcs.forEach((pc) => pc.close()); })()`, nil)
			harness.Eventually(t, 15*time.Second, "the slate is shown", func() bool { return strings.Count(g.Log(), `"cause":"slate"`) > slates })
			start := v.InboundOf("video")
			harness.Eventually(t, 15*time.Second, "frames of the slate are decoded", func() bool {
				return v.InboundOf("video").FramesDecoded >= start.FramesDecoded+3
			})
			if _, colours := v.Picture(watchVideo); colours < 2 {
				t.Error("the slate is one flat colour")
			}

			again := b.Open(t, g.URL(""))
			publish(t, again, "slate"+codec, "test", codec)
			requirePlays(t, v, watchVideo)
			after := v.InboundOf("video")
			if after.SSRC != before.SSRC || v.PeerConnections() != 1 || v.Text("watch-state") != "live" {
				t.Errorf("SSRC %d to %d, %d peer connections, %s", before.SSRC, after.SSRC, v.PeerConnections(), v.Text("watch-state"))
			}
			v.Click("watch-stop")
			again.Click("publish-stop")
			requireNoErrors(t, "player", v)
			harness.Eventually(t, 40*time.Second, "the stream is gone", func() bool { return len(g.Streams(t).Streams) == 0 })
		})
	}
}
