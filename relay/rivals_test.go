package relay

import (
	"errors"
	"testing"
	"time"
)

func TestPublishPolicies(t *testing.T) {
	h := newHub(t)
	first := newCameraWith(t, h, &Routing{Publishers: PublishRefuse})
	first.waitLive()
	stop := first.play()
	p := newPeer(t, vp8)
	if _, err := p.pc.AddTransceiverFromKind(video); err != nil {
		t.Fatal(err)
	}
	r := request(p.offer())
	r.Routing = &Routing{Publishers: PublishRefuse}
	if _, err := h.Publish(t.Context(), r); !errors.Is(err, ErrPublished) {
		t.Errorf("a second publisher: %v", err)
	}
	v := newViewer(t, h)
	v.waitLive()
	v.packets(video, 10)
	second := newCameraWith(t, h, nil) // replaces
	second.waitLive()
	second.play()
	await(t, first.sess.Done(), "end of the first")
	stop()
	if n := len(v.packets(video, 1)); len(v.packets(video, n+30)) < n+30 {
		t.Error("nothing of the second")
	}
	continuous(t, v.packets(video, 1))
}

// With backups, both stay: the better one has the stream, another takes over
// when it fails, and hands it back.
func TestBackups(t *testing.T) {
	h := newHub(t)
	backup := &Routing{Publishers: PublishBackup, Failover: Failover{FailbackDelay: 400 * time.Millisecond}}
	add := func(priority int) *camera {
		c := prepareCamera(t)
		r := request(c.offer())
		r.Routing, r.Priority = backup, priority
		c.apply(h.Publish(t.Context(), r))
		c.waitLive()
		return c
	}
	holder := func() string {
		s := h.Streams()
		if len(s) == 0 || len(s[0].Sources) == 0 || !s[0].Sources[0].Program {
			return ""
		}
		return s[0].Sources[0].Session.ID
	}
	low := add(1)
	low.play()
	v := newViewer(t, h)
	v.waitLive()
	v.packets(video, 5)
	high := add(5)
	stop := high.play()
	eventually(t, "the one with the higher priority", func() bool { return holder() == high.sess.ID() })
	equal := add(1)
	equal.play()
	n := len(v.packets(video, 1))
	stop()
	eventually(t, "the first of the backups", func() bool { return holder() == low.sess.ID() })
	if len(h.Sessions()) != 4 {
		t.Errorf("%d sessions, want all", len(h.Sessions()))
	}
	high.play()
	eventually(t, "the better one again", func() bool { return holder() == high.sess.ID() })
	high.sess.End(ReasonDelete)
	eventually(t, "a backup after the end", func() bool { return holder() == low.sess.ID() })
	v.packets(video, n+60)
	continuous(t, v.packets(video, n+60))
	low.sess.End(ReasonDelete)
	equal.sess.End(ReasonDelete)
	await(t, v.sess.Done(), "end of the viewer with the last publisher")
}

// Too much bitrate for too long ends a publisher, and the total refuses others.
func TestBitrateLimits(t *testing.T) {
	h := newHub(t)
	c := prepareCamera(t)
	r := request(c.offer())
	r.MaxBitrate = 10_000
	c.apply(h.Publish(t.Context(), r))
	c.waitLive()
	c.play() // about 480 kbit/s
	await(t, c.sess.Done(), "end of the publisher")
	if c.sess.reason != ReasonBitrate {
		t.Errorf("it ended with %s", c.sess.reason)
	}

	other := newCamera(t, h)
	other.waitLive()
	other.play()
	if err := h.Apply(Config{MaxBitrate: 100_000}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a measured bitrate", func() bool {
		p := newPeer(t, vp8)
		if _, err := p.pc.AddTransceiverFromKind(video); err != nil {
			t.Fatal(err)
		}
		r := request(p.offer())
		r.Stream = "another"
		a, err := h.Publish(t.Context(), r)
		if err == nil {
			a.Session.End(ReasonDelete)
		}
		return errors.Is(err, ErrBitrate)
	})
}
