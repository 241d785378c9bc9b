package relay

import (
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/payload"
)

// When the publisher is gone for good viewers see the slate, in the same
// timeline, and the next publisher at its first key frame.
func TestSlate(t *testing.T) {
	h := newHub(t)
	routing := &Routing{Slate: &Slate{After: 100 * time.Millisecond, Max: 20 * time.Second}}
	c := newCameraWith(t, h, routing)
	c.waitLive()
	c.play()
	v := newViewer(t, h)
	v.waitLive()
	n := len(v.packets(video, 20))
	c.sess.End(ReasonConsentLost)
	eventually(t, "the slate", func() bool {
		for _, p := range v.packets(video, n)[n:] {
			if payload.Parse("VP8", p.Payload).Keyframe && len(p.Payload) > 1100 { // the camera's are shorter
				return true
			}
		}
		return false
	})
	if s := h.Streams(); len(s) != 1 || s[0].Subscribers != 1 {
		t.Fatalf("%+v", s)
	}
	again := newCameraWith(t, h, routing)
	again.waitLive()
	again.play()
	eventually(t, "the next publisher", func() bool {
		s := h.Streams()
		return len(s) == 1 && len(s[0].Sources) == 1 && s[0].Sources[0].Program
	})
	n = len(v.packets(video, 1))
	continuous(t, v.packets(video, n+40))
	again.sess.End(ReasonDelete)
	await(t, v.sess.Done(), "end of the viewer with a deleted publisher")
}

func TestSlateEnds(t *testing.T) {
	h := newHub(t)
	c := newCameraWith(t, h, &Routing{Slate: &Slate{After: 50 * time.Millisecond, Max: 400 * time.Millisecond}})
	c.waitLive()
	c.play()
	v := newViewer(t, h)
	v.waitLive()
	v.packets(video, 5)
	c.sess.End(ReasonConsentLost)
	await(t, v.sess.Done(), "end of the viewer when the slate has been shown for long enough")
	eventually(t, "the end of the stream", func() bool { return len(h.Streams()) == 0 })
}
