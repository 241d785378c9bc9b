package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// Every codec goes through unchanged, and a viewer that comes later starts
// decodable.
func TestCodecsPassThrough(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	for _, codec := range []harness.Codec{
		harness.H264, harness.H265, harness.VP8, harness.VP9, harness.AV1,
		harness.Opus, harness.PCMU, harness.PCMA, harness.G722,
	} {
		t.Run(codec.Name(), func(t *testing.T) {
			t.Parallel()
			cfg := harness.PublisherConfig{Video: codec, NoAudio: true, Bitrate: 1_000_000}
			if codec.Kind == webrtc.RTPCodecTypeAudio {
				cfg = harness.PublisherConfig{Audio: codec, NoVideo: true}
			}
			p := g.Publish(t, "codec-"+codec.Name(), cfg)
			v := g.View(t, "codec-"+codec.Name(), harness.ViewerConfig{})
			v.Record(t, time.Second)
			late := g.View(t, "codec-"+codec.Name(), harness.ViewerConfig{})
			late.Record(t, time.Second)
			if got := late.Codec(codec.Kind).MimeType; !strings.EqualFold(got, codec.MimeType) {
				t.Errorf("the viewer negotiated %s", got)
			}
			stopAndDrain(t, p, v, late)
			requireIntact(t, "viewer", p, v)
			requireIntact(t, "late viewer", p, late)
			if codec.Kind == webrtc.RTPCodecTypeVideo {
				requireDecodableStart(t, "late viewer", codec, late)
			}
		})
	}
}

// Codecs match by meaning. What the viewer cannot decode is refused with a
// sentence that says so, never sent silently.
func TestCodecsMatchByMeaning(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	c := harness.NewHTTPClient(t, harness.HTTP1)
	high := harness.H264Profile(102, "64001f", 1)
	tests := []struct {
		name   string
		source harness.Codec
		viewer []harness.Codec
		pt     uint8 // of the viewer's entry that must be used; 0: refused
	}{
		{"High source, constrained baseline viewer", high, []harness.Codec{harness.H264Profile(108, "42e01f", 1)}, 0},
		{"High source, viewer of both", high, []harness.Codec{harness.H264Profile(108, "42e01f", 1), harness.H264Profile(112, "640c1f", 1)}, 112},
		{"mode 1 source, mode 0 viewer", harness.H264, []harness.Codec{harness.H264Profile(108, "42e01f", 0)}, 0},
		{"mode 1 source, viewer of both", harness.H264, []harness.Codec{harness.H264Profile(108, "42e01f", 0), harness.H264Profile(110, "42e01f", 1)}, 110},
		{"mode 0 source, mode 1 viewer", harness.H264Profile(102, "42e01f", 0), []harness.Codec{harness.H264Profile(108, "42e01f", 1)}, 108},
		{"42c01f source, 42e01f viewer", harness.H264Profile(102, "42c01f", 1), []harness.Codec{harness.H264Profile(108, "42e01f", 1)}, 108},
		{"VP8 source, H.264 viewer", harness.VP8, []harness.Codec{harness.H264Profile(108, "42e01f", 1)}, 0},
		{"H.264 source, VP8 viewer", harness.H264, []harness.Codec{harness.VP8}, 0},
		{"VP9 profile 0 source, profile 2 viewer", harness.VP9, []harness.Codec{harness.Video(webrtc.MimeTypeVP9, 108, "profile-id=2")}, 0},
		{"VP9 without a profile, profile 0 viewer", harness.Video(webrtc.MimeTypeVP9, 98, ""), []harness.Codec{harness.Video(webrtc.MimeTypeVP9, 108, "profile-id=0")}, 108},
		{"H.265 source, AV1 viewer", harness.H265, []harness.Codec{harness.AV1}, 0},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			stream := fmt.Sprintf("match%d", i)
			p := g.Publish(t, stream, harness.PublisherConfig{Video: tt.source, Bitrate: 500_000})
			codecs := append([]harness.Codec{harness.Opus}, tt.viewer...)
			if tt.pt == 0 {
				offer := g.ViewerOffer(t, harness.ViewerConfig{Codecs: codecs})
				// The publisher is known to send this only once it has.
				warm := g.View(t, stream, harness.ViewerConfig{})
				warm.AwaitVideo(t, 5, 10*time.Second)
				r := harness.PostOffer(t, c, g.WHEP(stream), offer)
				requireProblem(t, "POST", r, 422)
				if !strings.Contains(strings.ToLower(r.Body), strings.ToLower(tt.source.Name())) {
					t.Errorf("the refusal does not name the codec of the stream: %s", r.Body)
				}
				if r.Status == 201 {
					harness.Do(t, c, "DELETE", r.Header.Get("Location"), "")
				}
				return
			}
			v := g.View(t, stream, harness.ViewerConfig{Codecs: codecs})
			v.AwaitVideo(t, 30, 10*time.Second)
			stopAndDrain(t, p, v)
			requireIntact(t, "viewer", p, v)
			if got := v.Video()[0].PT; got != tt.pt {
				t.Errorf("payload type %d, want %d", got, tt.pt)
			}
		})
	}
}

// What a handler's codecs option leaves out is refused.
func TestCodecsOption(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{Handler: "codecs H264 opus"})
	c := harness.NewHTTPClient(t, harness.HTTP1)
	r := harness.PostOffer(t, c, g.WHIP("vp8"), g.PublisherOffer(t, harness.PublisherConfig{Video: harness.VP8}))
	requireProblem(t, "VP8 where H264 is wanted", r, 422)
	p := g.Publish(t, "h264", harness.PublisherConfig{Bitrate: 300_000})
	v := g.View(t, "h264", harness.ViewerConfig{})
	v.AwaitVideo(t, 20, 10*time.Second)
	stopAndDrain(t, p, v)
	requireIntact(t, "viewer", p, v)
}
