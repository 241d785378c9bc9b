package relay

import (
	"errors"
	"slices"
	"testing"
	"time"
)

func TestControlErrors(t *testing.T) {
	_, _, h := vendors(t)
	if err := h.Hold("none", "a", true); !errors.Is(err, ErrNoStream) {
		t.Error(err)
	}
	if err := h.Prefer("none", "a"); !errors.Is(err, ErrNoStream) {
		t.Error(err)
	}
	if err := h.Push("none", "a", true); !errors.Is(err, ErrNoStream) {
		t.Error(err)
	}
	if _, err := h.Drill(t.Context(), "none", "a", time.Second); !errors.Is(err, ErrNoStream) {
		t.Error(err)
	}
	c := newCamera(t, h)
	c.waitLive()
	if err := h.Hold("test", "a", true); !errors.Is(err, ErrNoSource) {
		t.Error(err)
	}
	if err := h.Prefer("test", "a"); !errors.Is(err, ErrNoSource) {
		t.Error(err)
	}
	if err := h.Push("test", "c", true); !errors.Is(err, ErrNoUpstream) {
		t.Error(err)
	}
	if _, err := h.Drill(t.Context(), "test", "a", time.Second); !errors.Is(err, ErrNoSource) {
		t.Error(err)
	}
}

// A held source is not used as long as there is another one, and a preferred one
// is, whatever its rank.
func TestHoldAndPrefer(t *testing.T) {
	r := newRelayed(t)
	v := newViewerWith(t, r.edge, &Routing{
		Pull: []string{"a", "b"}, Standby: StandbyHot, Failover: Failover{FailbackDelay: 200 * time.Millisecond},
	})
	v.waitLive()
	r.from("a")
	eventually(t, "a standby", func() bool { s := r.source("b"); return s != nil && s.Flows })
	if err := r.edge.Hold("test", "a", true); err != nil {
		t.Fatal(err)
	}
	r.from("b")
	if s := r.source("a"); s == nil || !s.Held {
		t.Errorf("%+v", s)
	}
	if err := r.edge.Hold("test", "a", false); err != nil {
		t.Fatal(err)
	}
	r.from("a")
	if err := r.edge.Prefer("test", "b"); err != nil {
		t.Fatal(err)
	}
	r.from("b")
	if err := r.edge.Prefer("test", ""); err != nil {
		t.Fatal(err)
	}
	r.from("a")
	n := len(v.packets(video, 1))
	continuous(t, v.packets(video, n+20))
}

// A held source without a standby makes one come.
func TestHoldOpensAColdStandby(t *testing.T) {
	r := newRelayed(t)
	v := newViewerWith(t, r.edge, &Routing{Pull: []string{"a", "b"}})
	v.waitLive()
	r.from("a")
	if err := r.edge.Hold("test", "a", true); err != nil {
		t.Fatal(err)
	}
	r.from("b")
}

// A drill of the only source changes nothing, and the source lives afterwards.
func TestDrillWithoutAnother(t *testing.T) {
	h := newHub(t)
	c := newCamera(t, h)
	c.waitLive()
	c.play()
	v := newViewer(t, h)
	v.waitLive()
	v.packets(video, 5)
	d, err := h.Drill(t.Context(), "test", c.sess.ID(), 300*time.Millisecond)
	if err != nil || d.Switched || d.Viewers != 1 || d.Lost != 0 {
		t.Fatalf("%+v, %v", d, err)
	}
	n := len(v.packets(video, 1))
	v.packets(video, n+10)
}

// The operator pushes a stream where no route says so, and stops what one does.
func TestPushOnAndOff(t *testing.T) {
	a, b, h := vendors(t)
	c := newCameraWith(t, h, &Routing{Push: []string{"a"}})
	c.waitLive()
	c.play()
	there := func(u *hubUpstream) func() bool {
		return func() bool { s := u.hub.Streams(); return len(s) == 1 && s[0].Live }
	}
	eventually(t, "the stream at a", there(a))
	set := func(upstream string, on bool) {
		t.Helper()
		if err := h.Push("test", upstream, on); err != nil {
			t.Fatal(err)
		}
	}
	set("b", true)
	set("b", true)
	eventually(t, "the stream at b", there(b))
	set("a", false)
	eventually(t, "the end at a", func() bool { _, deleted := a.count(); return deleted == 1 && len(a.hub.Streams()) == 0 })
	set("b", false)
	eventually(t, "the end at b", func() bool { _, deleted := b.count(); return deleted == 1 && len(b.hub.Streams()) == 0 })
	set("a", true)
	eventually(t, "the stream at a again", there(a))
	c.sess.End(ReasonDelete)
	eventually(t, "the end of the pushes", func() bool { return len(h.Sessions()) == 0 && len(a.hub.Sessions()) == 0 })
}

// A stream is pushed to the first upstream that takes it, and goes back.
func TestPushFirst(t *testing.T) {
	a, b, h := vendors(t)
	a.fail(&UpstreamError{Action: UpstreamNext, Status: 500, Detail: "down"})
	c := newCameraWith(t, h, &Routing{
		Push: []string{"a", "b"}, PushMode: PushFirst, Failover: Failover{FailbackDelay: 50 * time.Millisecond},
	})
	c.waitLive()
	c.play()
	eventually(t, "the stream at b", func() bool { s := b.hub.Streams(); return len(s) == 1 && s[0].Live })
	a.fail(nil)
	eventually(t, "the stream at a", func() bool { s := a.hub.Streams(); return len(s) == 1 && s[0].Live })
	eventually(t, "the end at b", func() bool { _, deleted := b.count(); return deleted == 1 && len(b.hub.Streams()) == 0 })
	var at []string
	for _, s := range h.Sessions() {
		if s.Role == RolePush {
			at = append(at, s.Upstream)
		}
	}
	if !slices.Equal(at, []string{"a"}) {
		t.Errorf("pushed to %v", at)
	}
}
