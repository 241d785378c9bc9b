package relay

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/leg"
)

// gate is an upstream that answers when it is let, even when nobody waits any
// more: what it makes then has to be deleted, too.
type gate struct {
	*hubUpstream
	entered chan struct{}
	goOn    chan struct{}
	open    func()
	at      []int64
}

// newGate makes one; it opens, at the latest, before the hubs close that were
// made before it.
func newGate(t *testing.T, u *hubUpstream) *gate {
	g := &gate{hubUpstream: u, entered: make(chan struct{}, 64), goOn: make(chan struct{})}
	g.open = sync.OnceFunc(func() { close(g.goOn) })
	t.Cleanup(g.open)
	return g
}

func (g *gate) Create(_ context.Context, r UpstreamRequest) (UpstreamResource, error) {
	g.mu.Lock()
	g.at = append(g.at, leg.Now())
	g.mu.Unlock()
	g.entered <- struct{}{}
	<-g.goOn
	return g.hubUpstream.Create(context.Background(), r)
}

func state(h *Hub, name string) UpstreamStats {
	for _, s := range h.Upstreams() {
		if s.Name == name {
			return s
		}
	}
	return UpstreamStats{}
}

// An upstream that a configuration removes loses its sessions, and comes back
// with the next one.
func TestUpstreamIsRemoved(t *testing.T) {
	r := newRelayed(t)
	v := newViewerWith(t, r.edge, &Routing{Pull: []string{"a", "b"}})
	v.waitLive()
	r.from("a")
	n := len(v.packets(video, 10))
	r.apply(upstreamsOf(map[string]*hubUpstream{"b": r.b}))
	r.from("b")
	eventually(t, "the deletion at a", func() bool { _, deleted := r.a.count(); return deleted == 1 })
	if s := r.edge.Upstreams(); len(s) != 1 || s[0].Name != "b" || s[0].Sessions != 1 || s[0].Streams != 1 {
		t.Errorf("%+v", s)
	}
	continuous(t, v.packets(video, n+20))
}

// A session that an upstream grants after it was removed is ended.
func TestUpstreamIsRemovedDuringAnAttempt(t *testing.T) {
	for _, role := range []Role{RolePush, RolePull} {
		t.Run(string(role), func(t *testing.T) {
			r := newRelayed(t)
			g := newGate(t, r.a)
			list := upstreamsOf(map[string]*hubUpstream{"b": r.b})
			with := map[string]UpstreamConfig{"a": {Upstream: g}, "b": list["b"]}
			vendorOnly := &hubUpstream{hub: newHub(t)}
			var made func() (int, int)
			if role == RolePush {
				g = newGate(t, vendorOnly)
				with["a"] = UpstreamConfig{Upstream: g}
				r.apply(with)
				c := newCameraWith(t, r.edge, &Routing{Push: []string{"a", "b"}})
				c.waitLive()
				c.play()
				made = vendorOnly.count
			} else {
				r.apply(with)
				p := newPeer(t)
				if _, err := p.pc.AddTransceiverFromKind(video); err != nil {
					t.Fatal(err)
				}
				q := request(p.offer())
				q.Routing = &Routing{Pull: []string{"a", "b"}, PullLinger: 10 * time.Second}
				go func() { _, _ = r.edge.Subscribe(t.Context(), q) }()
				made = r.a.count
			}
			await(t, g.entered, "attempt")
			_, before := made()
			r.apply(list)
			eventually(t, "docks without a", func() bool {
				s := r.edge.Streams()
				return len(s) == 1 && len(s[0].Pushes)+len(s[0].Pulls) == 1
			})
			g.open()
			eventually(t, "the deletion of what came late", func() bool { _, deleted := made(); return deleted == before+1 })
			for _, s := range r.edge.Sessions() {
				if s.Upstream == "a" {
					t.Errorf("there is still %+v", s)
				}
			}
		})
	}
}

// What an upstream grants while the hub closes is deleted before Close returns.
func TestCloseDuringAnAttempt(t *testing.T) {
	h := newHub(t)
	g := newGate(t, &hubUpstream{hub: newHub(t)})
	if err := h.Apply(Config{Upstreams: map[string]UpstreamConfig{"a": {Upstream: g}}}); err != nil {
		t.Fatal(err)
	}
	c := newCameraWith(t, h, &Routing{Push: []string{"a"}})
	c.waitLive()
	c.play()
	await(t, g.entered, "attempt")
	closed := make(chan struct{})
	go func() { defer close(closed); h.Close(ReasonExit) }()
	eventually(t, "a hub that takes no more tasks", func() bool { h.taskMu.Lock(); defer h.taskMu.Unlock(); return h.idle })
	g.open()
	await(t, closed, "end of the hub")
	if made, deleted := g.count(); made != 1 || deleted != 1 {
		t.Errorf("%d made, %d deleted", made, deleted)
	}
}

// A viewer that waits for a pull is told when the hub closes.
func TestCloseLetsWaitingViewersGo(t *testing.T) {
	h := newHub(t)
	a, _, _ := vendors(t)
	g := newGate(t, a)
	if err := h.Apply(Config{Upstreams: map[string]UpstreamConfig{"a": {Upstream: g}}}); err != nil {
		t.Fatal(err)
	}
	p := newPeer(t)
	if _, err := p.pc.AddTransceiverFromKind(video); err != nil {
		t.Fatal(err)
	}
	q := request(p.offer())
	q.Routing = &Routing{Pull: []string{"a"}}
	got := make(chan error, 1)
	go func() { _, err := h.Subscribe(context.Background(), q); got <- err }()
	await(t, g.entered, "attempt")
	go h.Close(ReasonExit)
	select {
	case err := <-got:
		if !errors.Is(err, ErrNotReady) {
			t.Errorf("%v", err)
		}
	case <-time.After(4 * time.Second):
		t.Error("it still waits")
	}
	g.open()
}

// An upstream that is named twice is asked once.
func TestUpstreamsAreNamedOnce(t *testing.T) {
	a, _, h := vendors(t)
	c := newCameraWith(t, h, &Routing{Push: []string{"a", "a"}})
	c.waitLive()
	c.play()
	eventually(t, "the stream at a", func() bool { s := a.hub.Streams(); return len(s) == 1 && s[0].Live })
	if s := h.Streams(); len(s) != 1 || len(s[0].Pushes) != 1 {
		t.Errorf("%+v", s)
	}
	c.sess.End(ReasonDelete)
	eventually(t, "the end", func() bool { return len(h.Sessions()) == 0 && len(a.hub.Sessions()) == 0 })
	if made, deleted := a.count(); made != 1 || deleted != 1 {
		t.Errorf("%d made, %d deleted", made, deleted)
	}
}

// The time to connect does not run while the session queues for the upstream:
// of many streams that come at once the last would never get in.
func TestQueueingIsNotConnecting(t *testing.T) {
	h := newHub(t)
	g := newGate(t, &hubUpstream{hub: newHub(t)})
	g.open()
	if err := h.Apply(Config{Upstreams: map[string]UpstreamConfig{"a": {Upstream: g, Rate: 2, Burst: 1}}}); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	u := h.upstreams["a"]
	h.mu.Unlock()
	u.mu.Lock()
	u.bucket.Take(leg.Now()) // somebody else is first
	u.mu.Unlock()
	c := newCameraWith(t, h, &Routing{Push: []string{"a"}})
	c.waitLive()
	c.play()
	await(t, g.entered, "attempt")
	var s *Session
	eventually(t, "a session", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, x := range h.sessions {
			if x.role == RolePush {
				s = x
			}
		}
		return s != nil
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	if early := time.Duration(g.at[0] - s.created); early > 200*time.Millisecond {
		t.Errorf("the session is %v older than its request", early)
	}
}

// Attempts that fail do not keep viewers of a dead stream for ever.
func TestFailingAttemptsDoNotProlongTheGrace(t *testing.T) {
	h := newHub(t)
	a, _, _ := vendors(t)
	g := newGate(t, a)
	if err := h.Apply(Config{Upstreams: map[string]UpstreamConfig{"a": {Upstream: g}}, Grace: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	st := h.streamOf("test")
	st.routing.playedWith(&Routing{Pull: []string{"a"}})
	p := &puller{docks: newDocks(h, "test", RolePull), st: st, first: make(chan struct{})}
	p.open = p.pull
	st.puller, h.streams["test"] = p, st
	st.subs[new(subscriber)] = struct{}{}
	h.mu.Unlock()
	defer p.leave()
	p.answer(nil) // there was a stream
	now := leg.Now()
	if !p.plan(now) {
		t.Fatal("it gave up at once")
	}
	await(t, g.entered, "attempt")
	g.fail(&UpstreamError{Action: UpstreamNext, Detail: "dead"})
	g.open()
	eventually(t, "a failure", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		d := p.list[0]
		d.nextAt = now + int64(time.Hour)
		return !d.trying
	})
	if !p.plan(now + int64(3*time.Second)) {
		t.Error("it gave up within the grace time")
	}
	h.mu.Lock()
	clear(st.subs) // which are no sessions
	h.mu.Unlock()
	p.idleAt = 0
	if p.plan(now + int64(6*time.Second)) {
		t.Error("it goes on after the grace time")
	}
}

// A stream that was refused first, and came then, has the grace time of any.
func TestRefusalIsForgotten(t *testing.T) {
	h := newHub(t)
	p := &puller{docks: newDocks(h, "test", RolePull), first: make(chan struct{})}
	defer p.cancel()
	p.answer(ErrUpstreams)
	if !p.refused() {
		t.Error("it was not refused")
	}
	p.answer(nil)
	if p.refused() {
		t.Error("it still counts as refused")
	}
}

// Failures of one stream never have an upstream left alone, those of several do,
// and even then whoever has no other may ask.
func TestBreaker(t *testing.T) {
	a, _, h := vendors(t)
	h.mu.Lock()
	u := h.upstreams["a"]
	h.mu.Unlock()
	dead := &UpstreamError{Action: UpstreamNext, Status: 503, Detail: "dead"}
	for range 20 {
		u.note("one", dead)
	}
	if s := state(h, "a"); s.State != UpstreamUp || s.Requests["failing"] != 20 {
		t.Fatalf("one stream: %+v", s)
	}
	u.note("one", &UpstreamError{Action: UpstreamAbsent, Status: 404})
	u.note("three", context.Canceled)
	if s := state(h, "a"); s.State != UpstreamUp {
		t.Fatalf("%+v", s)
	}
	u.note("two", dead)
	u.note("three", dead)
	if s := state(h, "a"); s.State != UpstreamOpen {
		t.Fatalf("several streams: %+v", s)
	}
	now := leg.Now()
	if u.usable(now, false) || !u.usable(now, true) {
		t.Error("it is asked, or not even by those without another")
	}
	if err := u.admit(t.Context(), false); upstreamError(err).Action != UpstreamNext {
		t.Errorf("%v", err)
	}
	c := newCameraWith(t, h, &Routing{Push: []string{"a"}})
	c.waitLive()
	c.play()
	eventually(t, "the stream at a, which is its only one", func() bool { s := a.hub.Streams(); return len(s) == 1 && s[0].Live })
	eventually(t, "a closed breaker", func() bool { return state(h, "a").State == UpstreamUp })
	if !u.usable(leg.Now(), false) {
		t.Error("it is still left alone")
	}
}

// Checks find out that an upstream in use is down, and that it is up again.
func TestHealthChecks(t *testing.T) {
	a, b, h := vendors(t)
	list := upstreamsOf(map[string]*hubUpstream{"a": a, "b": b})
	for name, c := range list {
		c.HealthInterval, c.HealthFails, c.HealthPasses = 10*time.Millisecond, 2, 2
		list[name] = c
	}
	if err := h.Apply(Config{Upstreams: list}); err != nil {
		t.Fatal(err)
	}
	c := newCameraWith(t, h, &Routing{Push: []string{"a"}})
	c.waitLive()
	c.play()
	eventually(t, "the stream at a", func() bool { s := a.hub.Streams(); return len(s) == 1 && s[0].Live })
	a.fail(errors.New("no answer"))
	b.fail(errors.New("no answer"))
	eventually(t, "a is down", func() bool { return state(h, "a").State == UpstreamDown })
	if s := state(h, "b"); s.State != UpstreamUp {
		t.Errorf("b, which nobody uses, is %s", s.State)
	}
	if s := a.hub.Streams(); len(s) != 1 || !s[0].Live {
		t.Error("the session there was ended for it")
	}
	a.fail(nil)
	eventually(t, "a is up", func() bool { return state(h, "a").State == UpstreamUp })
}

// Refused credentials are told at once, and a new configuration is another try.
func TestInvalidUpstream(t *testing.T) {
	a, _, h := vendors(t)
	h.mu.Lock()
	u := h.upstreams["a"]
	h.mu.Unlock()
	u.note("one", &UpstreamError{Action: UpstreamBroken, Status: 400})
	if s := state(h, "a").State; s != UpstreamUp {
		t.Errorf("an offer that one stream made wrong: %s", s)
	}
	u.note("one", &UpstreamError{Action: UpstreamBroken, Status: 401})
	if s := state(h, "a").State; s != UpstreamInvalid {
		t.Errorf("%s", s)
	}
	if err := h.Apply(Config{Upstreams: upstreamsOf(map[string]*hubUpstream{"a": a})}); err != nil {
		t.Fatal(err)
	}
	if s := state(h, "a").State; s != UpstreamUp {
		t.Errorf("%s", s)
	}
}

// Streams that end at an upstream, as they do, are no failures of it.
func TestEndsAreNoFailures(t *testing.T) {
	a, _, h := vendors(t)
	var cameras []*camera
	for _, name := range []string{"one", "two", "three", "four"} {
		c := prepareCamera(t)
		r := request(c.offer())
		r.Stream = name
		c.apply(a.hub.Publish(t.Context(), r))
		c.waitLive()
		c.play()
		cameras = append(cameras, c)
		v := newPeer(t)
		if _, err := v.pc.AddTransceiverFromKind(video); err != nil {
			t.Fatal(err)
		}
		r = request(v.offer())
		r.Stream, r.Routing = name, &Routing{Pull: []string{"a"}}
		v.apply(h.Subscribe(t.Context(), r))
		v.waitLive()
		v.packets(video, 2)
	}
	h.mu.Lock()
	u := h.upstreams["a"]
	h.mu.Unlock()
	for _, c := range cameras {
		c.sess.End(ReasonDelete)
	}
	eventually(t, "the end of the pulls", func() bool { return state(h, "a").Sessions == 0 })
	eventually(t, "new attempts", func() bool { return state(h, "a").Requests["absent"] >= 4 })
	if s := state(h, "a"); s.State != UpstreamUp || !u.usable(leg.Now(), false) {
		t.Errorf("%+v", s)
	}
}

// What an upstream refused it is asked again once that is configured anew.
func TestRefusedUpstreamIsConfiguredAnew(t *testing.T) {
	a, _, h := vendors(t)
	a.fail(&UpstreamError{Action: UpstreamBroken, Status: 401, Detail: "who are you"})
	c := newCameraWith(t, h, &Routing{Push: []string{"a"}})
	c.waitLive()
	c.play()
	waiting := func() bool {
		s := h.Streams()
		return len(s) == 1 && len(s[0].Pushes) == 1 && s[0].Pushes[0].State == "waiting" && s[0].Pushes[0].Error != ""
	}
	eventually(t, "a refusal", waiting)
	if s := state(h, "a").State; s != UpstreamInvalid {
		t.Errorf("it is %s", s)
	}
	a.fail(nil)
	if err := h.Apply(Config{Upstreams: upstreamsOf(map[string]*hubUpstream{"a": a})}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stream at a", func() bool { s := a.hub.Streams(); return len(s) == 1 && s[0].Live })
}

// Sessions at upstreams end with the reason that the hub does, and no pull
// begins anew for viewers that are leaving as well.
func TestReasonOfExit(t *testing.T) {
	r := newRelayed(t)
	for range 3 { // whoever is first counts
		h := newHub(t)
		if err := h.Apply(Config{Upstreams: upstreamsOf(map[string]*hubUpstream{"a": r.a, "b": r.b})}); err != nil {
			t.Fatal(err)
		}
		v := newViewerWith(t, h, &Routing{Pull: []string{"a", "b"}, Standby: StandbyHot})
		v.waitLive()
		var pulls []*Session
		eventually(t, "both pulls", func() bool {
			pulls = nil
			h.mu.Lock()
			defer h.mu.Unlock()
			for _, s := range h.sessions {
				if s.role == RolePull {
					pulls = append(pulls, s)
				}
			}
			return len(pulls) == 2
		})
		made, _ := r.a.count()
		h.Close(ReasonExit)
		for _, s := range pulls {
			if await(t, s.Done(), "end"); s.reason != ReasonExit {
				t.Errorf("a pull ended with %s", s.reason)
			}
		}
		if now, _ := r.a.count(); now != made {
			t.Errorf("a was asked %d times while the hub closed", now-made)
		}
	}
}
