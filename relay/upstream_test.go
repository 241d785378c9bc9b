package relay

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// hubUpstream is another hub as an upstream, without HTTP between.
type hubUpstream struct {
	hub *Hub

	mu      sync.Mutex
	err     error // of the next requests
	made    int
	deleted int
}

func (u *hubUpstream) Create(ctx context.Context, r UpstreamRequest) (UpstreamResource, error) {
	u.mu.Lock()
	err := u.err
	u.made++
	u.mu.Unlock()
	if err != nil {
		return nil, err
	}
	o := OfferRequest{Stream: r.Stream, Offer: r.Offer, Client: netip.MustParseAddr("127.0.0.1"), Loopback: true}
	var a *Answer
	if r.Role == RolePush {
		a, err = u.hub.Publish(ctx, o)
	} else {
		a, err = u.hub.Subscribe(ctx, o)
	}
	if errors.Is(err, ErrNoPublisher) {
		return nil, &UpstreamError{Action: UpstreamAbsent, Status: 409, Detail: err.Error(), Err: err}
	}
	if err != nil {
		return nil, &UpstreamError{Action: UpstreamNext, Status: 500, Detail: err.Error(), Err: err}
	}
	return &hubResource{u, a}, nil
}

func (u *hubUpstream) Check(context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

func (u *hubUpstream) fail(err error) {
	u.mu.Lock()
	u.err = err
	u.mu.Unlock()
}

func (u *hubUpstream) count() (made, deleted int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.made, u.deleted
}

type hubResource struct {
	u *hubUpstream
	a *Answer
}

func (r *hubResource) Answer() []byte { return r.a.SDP }

func (r *hubResource) Delete(context.Context) error {
	r.u.mu.Lock()
	r.u.deleted++
	r.u.mu.Unlock()
	r.a.Session.End(ReasonDelete)
	return nil
}

func (r *hubResource) Pause(_ context.Context, paused bool) error {
	r.a.Session.Mute(Mute{Audio: &paused, Video: &paused})
	return nil
}

func upstreamsOf(list map[string]*hubUpstream) map[string]UpstreamConfig {
	m := make(map[string]UpstreamConfig)
	for name, u := range list {
		m[name] = UpstreamConfig{Upstream: u, Vendor: "hub"}
	}
	return m
}

// play keeps a camera running until the test ends.
func (c *camera) play() (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(33 * time.Millisecond) // as the timestamps say
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-quit:
				return
			case <-tick.C:
				c.frame(i%25 == 0, 2)
			}
		}
	}()
	var once sync.Once
	stop = func() { once.Do(func() { close(quit); <-done }) }
	c.t.Cleanup(stop)
	return stop
}

// vendors are two hubs that one origin pushes the stream "test" to.
func vendors(t *testing.T) (a, b *hubUpstream, origin *Hub) {
	a, b = &hubUpstream{hub: newHub(t)}, &hubUpstream{hub: newHub(t)}
	origin = newHub(t)
	if err := origin.Apply(Config{Upstreams: upstreamsOf(map[string]*hubUpstream{"a": a, "b": b})}); err != nil {
		t.Fatal(err)
	}
	return a, b, origin
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(10 * time.Second); ; {
		if ok() {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func TestPushAndPull(t *testing.T) {
	a, b, origin := vendors(t)
	c := newCameraWith(t, origin, &Routing{Push: []string{"a", "b"}})
	c.waitLive()
	c.play()
	eventually(t, "the stream at both vendors", func() bool {
		return len(a.hub.Streams()) == 1 && a.hub.Streams()[0].Live && len(b.hub.Streams()) == 1 && b.hub.Streams()[0].Live
	})

	edge := newHub(t)
	if err := edge.Apply(Config{Upstreams: upstreamsOf(map[string]*hubUpstream{"a": a, "b": b})}); err != nil {
		t.Fatal(err)
	}
	routing := &Routing{Pull: []string{"a", "b"}, Standby: StandbyHot, PullLinger: 50 * time.Millisecond}
	v := newViewerWith(t, edge, routing)
	w := newViewerWith(t, edge, routing)
	v.waitLive()
	w.waitLive()
	n := len(v.packets(video, 50))
	eventually(t, "a hot standby", func() bool {
		s := edge.Streams()
		return len(s) == 1 && len(s[0].Sources) == 2 && s[0].Sources[1].Flows
	})
	eventually(t, "the stream from a", func() bool {
		s := edge.Streams()[0].Sources[0]
		return s.Program && s.Session.Upstream == "a"
	})
	before := time.Now()
	a.fail(&UpstreamError{Action: UpstreamNext, Detail: "dead"})
	a.hub.Close(ReasonExit)
	eventually(t, "the stream from b", func() bool {
		s := edge.Streams()
		return len(s) == 1 && len(s[0].Sources) > 0 && s[0].Sources[0].Session.Upstream == "b" && s[0].Sources[0].Program
	})
	t.Logf("from b after %v", time.Since(before))
	continuous(t, v.packets(video, n+100))
	continuous(t, w.packets(video, n+100))
	v.sess.End(ReasonDelete)
	w.sess.End(ReasonDelete)
	eventually(t, "the end of the pulls", func() bool { return len(edge.Streams()) == 0 && len(edge.Sessions()) == 0 })
	eventually(t, "the deletion at b", func() bool { _, deleted := b.count(); return deleted == 1 })
	c.sess.End(ReasonDelete)
	eventually(t, "the end of the pushes", func() bool { return len(b.hub.Streams()) == 0 && len(origin.Sessions()) == 0 })
}

func TestPullRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b error
		want error
	}{
		{"absent", &UpstreamError{Action: UpstreamAbsent, Status: 409}, &UpstreamError{Action: UpstreamAbsent, Status: 404}, ErrNoPublisher},
		{"failing", &UpstreamError{Action: UpstreamNext, Status: 500}, &UpstreamError{Action: UpstreamAbsent, Status: 409}, ErrUpstreams},
		{"broken", &UpstreamError{Action: UpstreamBroken, Status: 401}, &UpstreamError{Action: UpstreamBroken, Status: 401}, ErrUpstreams},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b, h := vendors(t)
			a.fail(c.a)
			b.fail(c.b)
			p := newPeer(t)
			if _, err := p.pc.AddTransceiverFromKind(video); err != nil {
				t.Fatal(err)
			}
			r := request(p.offer())
			r.Routing = &Routing{Pull: []string{"a", "b"}}
			for range 2 {
				if _, err := h.Subscribe(t.Context(), r); !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
			}
			if made, _ := a.count(); made != 1 {
				t.Errorf("a was asked %d times", made)
			}
		})
	}
}

// A configuration changes the streams that follow a routing of the same key.
func TestRoutesAreRenewed(t *testing.T) {
	a, b, origin := vendors(t)
	first := &Routing{Key: "k", Push: []string{"a"}}
	c := newCameraWith(t, origin, first)
	c.waitLive()
	c.play()
	there := func(u *hubUpstream) func() bool {
		return func() bool { s := u.hub.Streams(); return len(s) == 1 && s[0].Live }
	}
	eventually(t, "the stream at a", there(a))
	config := Config{
		Upstreams: upstreamsOf(map[string]*hubUpstream{"a": a, "b": b}),
		Routes:    map[string]*Routing{"k": {Key: "k", Push: []string{"b"}}, "other": nil},
	}
	if err := origin.Apply(config); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stream at b", there(b))
	eventually(t, "the end at a", func() bool { return len(a.hub.Streams()) == 0 })
	config.Routes = map[string]*Routing{"k": {Key: "k"}}
	if err := origin.Apply(config); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end at b", func() bool { return len(b.hub.Streams()) == 0 })
	if s := origin.Streams(); len(s) != 1 || !s[0].Live {
		t.Errorf("the publisher noticed: %+v", s)
	}
}
