package tests

import (
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
	"github.com/talwtn/caddy-wtn/tests/internal/vendorcmd/behaviour"
)

// repacked is the room of a payload that went through the backend; publishers
// fill theirs with more.
const repacked = 500

// backendOf starts a backend that packs all frames anew, and a gateway in front.
func backendOf(t *testing.T, handler string) (*harness.Vendor, *harness.Gateway) {
	t.Helper()
	backend := harness.StartVendor(t, harness.VendorOptions{})
	backend.Set(harness.Behaviour{Media: harness.MediaFault{Repacketise: repacked}})
	g := startBefore(t, harness.Config{
		App:     upstreamBlock("backend", backend),
		Handler: "push first backend\npull cold backend {\n linger 1s\n}\n" + handler,
	}, backend)
	return backend, g
}

// viewSoon views a stream that may take a moment to get through the backend.
func viewSoon(t *testing.T, g *harness.Gateway, stream string) (v *harness.Viewer) {
	t.Helper()
	var last error
	ok := harness.Poll(10*time.Second, func() bool {
		w, err := g.TryView(t, stream, harness.ViewerConfig{})
		if v, last = w, err; err != nil && w != nil {
			w.Close()
		}
		return err == nil
	})
	if !ok {
		t.Fatalf("view %s: %v", stream, last)
	}
	return v
}

// requireWholeFrames checks that no frame of a publisher is missing among those
// that can be decoded, however they were packed.
func requireWholeFrames(t *testing.T, who string, p *harness.Publisher, v *harness.Viewer) {
	t.Helper()
	frames := harness.DecodableFrames(p.VideoCodec().MimeType, v.Video())
	if len(frames) < 20 {
		t.Errorf("%s: only %d decodable frames", who, len(frames))
	}
	for k, f := range frames {
		if f.Source != p.Source || k > 0 && f.First != frames[k-1].Last+1 {
			t.Errorf("%s: frame %d begins with packet %d of source %d, the one before ended with %d", who, k, f.First, f.Source, frames[k-1].Last)
			return
		}
	}
	harness.RequireContinuous(t, who, v.Audio(), harness.Rules{Codec: p.AudioCodec()})
}

// largestPayload is that of a record of video.
func largestPayload(v *harness.Viewer) (n int) {
	for _, p := range v.Video() {
		n = max(n, len(p.Payload))
	}
	return n
}

// With detour viewers get what went through the backend.
func TestFrontModeDetour(t *testing.T) {
	t.Parallel()
	for _, c := range []harness.Codec{harness.H264, harness.VP8} {
		t.Run(c.Name(), func(t *testing.T) {
			t.Parallel()
			backend, g := backendOf(t, "detour")
			p := g.Publish(t, "show", harness.PublisherConfig{Video: c, Bitrate: 800_000})
			published := time.Now()
			v := viewSoon(t, g, "show")
			v.AwaitSource(t, p.Source, 10*time.Second)
			t.Logf("the first viewer has media %s after the publisher", time.Since(published).Round(time.Millisecond))
			w := g.View(t, "show", harness.ViewerConfig{})
			v.Record(t, 2*time.Second)
			s := backend.State()
			if n, m := s.Connected(behaviour.Publish, "show"), s.Connected(behaviour.Play, "show"); n != 1 || m != 1 {
				t.Errorf("%d pushes and %d pulls at the backend, want one each", n, m)
			}
			stopAndDrain(t, p, v, w)
			for who, v := range map[string]*harness.Viewer{"first viewer": v, "second viewer": w} {
				if n := largestPayload(v); n > repacked {
					t.Errorf("%s: a payload of %d bytes, which the backend has not seen", who, n)
				}
				requireWholeFrames(t, who, p, v)
				requireDecodableStart(t, who, c, v)
			}
			backend.Await(8*time.Second, "push and pull are deleted at the backend and nothing is left", func(s harness.VendorState) bool {
				return len(s.Sessions) == 0 && s.Requests["DELETE"] == 2
			})
		})
	}
}

// Without it they are served from the publisher, and the backend has a copy.
func TestFrontModeServesLocally(t *testing.T) {
	t.Parallel()
	backend, g := backendOf(t, "")
	p := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 800_000})
	v := g.View(t, "show", harness.ViewerConfig{}) // at once: it need not wait for the backend
	backend.AwaitStream("show")
	at := backend.View(t, "show", harness.ViewerConfig{})
	v.Record(t, 2*time.Second)
	at.Close()
	if n := len(backend.State().Posts(behaviour.Play)); n != 1 { // our own player
		t.Errorf("%d players at the backend", n)
	}
	stopAndDrain(t, p, v)
	requireIntact(t, "viewer", p, v)
	if n := largestPayload(v); n <= repacked {
		t.Errorf("payloads of up to %d bytes only: nothing is tested", n)
	}
	if n := largestPayload(at); n > repacked {
		t.Errorf("the backend's player got a payload of %d bytes", n)
	}
}

// The publisher goes and another one comes: viewers of the detour stay.
func TestFrontModePublisherReturns(t *testing.T) {
	t.Parallel()
	_, g := backendOf(t, "detour")
	first := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 400_000})
	v := viewSoon(t, g, "show")
	v.AwaitSource(t, first.Source, 10*time.Second)
	v.Record(t, time.Second)
	first.Vanish()
	second := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 400_000})
	v.AwaitSource(t, second.Source, 10*time.Second)
	v.Record(t, time.Second)
	if v.HasEnded() {
		t.Error("the viewer has ended")
	}
	second.Close()
	v.Close()
	for _, f := range harness.Check(v.Audio(), harness.Rules{Codec: harness.Opus, Pace: 500 * time.Millisecond}) {
		t.Errorf("viewer: %s", f)
	}
	harness.Eventually(t, 5*time.Second, "the stream is gone", func() bool { return len(g.Streams(t).Streams) == 0 })
}
