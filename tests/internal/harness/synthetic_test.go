package harness

import (
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
)

// A vendor that is told to make streams up plays any, each to be decoded from
// every picture on, in one timeline; without, there is none.
func TestVendorSynthetic(t *testing.T) {
	v := StartVendor(t, VendorOptions{})
	if _, err := v.TryView(t, "nobody", ViewerConfig{NoAudio: true}); err == nil {
		t.Error("a stream that nobody publishes is played")
	}
	v.Set(Behaviour{Synthetic: true})
	for _, name := range []string{"nobody", "nobody-else"} {
		w := v.View(t, name, ViewerConfig{NoAudio: true})
		w.AwaitVideo(t, 15, 10*time.Second)
		got := w.Video()
		RequireContinuous(t, name, got, Rules{Codec: H264})
		frames := DecodableFrames(webrtc.MimeTypeH264, got)
		if len(frames) != len(got) || !frames[0].Key {
			t.Errorf("%s: %d of %d frames can be decoded", name, len(frames), len(got))
		}
	}
}
