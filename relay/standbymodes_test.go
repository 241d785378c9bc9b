package relay

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/leg"
)

// relayed is the stream "test" at two vendors, and an edge that pulls it.
type relayed struct {
	t      *testing.T
	a, b   *hubUpstream
	camera *camera
	edge   *Hub
}

func newRelayed(t *testing.T) *relayed {
	t.Helper()
	a, b, origin := vendors(t)
	r := &relayed{t: t, a: a, b: b, camera: newCameraWith(t, origin, &Routing{Push: []string{"a", "b"}}), edge: newHub(t)}
	r.camera.waitLive()
	r.camera.play()
	for _, u := range []*hubUpstream{a, b} {
		eventually(t, "the stream at a vendor", func() bool { s := u.hub.Streams(); return len(s) == 1 && s[0].Live })
	}
	r.apply(upstreamsOf(map[string]*hubUpstream{"a": a, "b": b}))
	return r
}

func (r *relayed) apply(list map[string]UpstreamConfig) {
	r.t.Helper()
	if err := r.edge.Apply(Config{Upstreams: list}); err != nil {
		r.t.Fatal(err)
	}
}

// source is the snapshot of a pull, nil: there is none.
func (r *relayed) source(upstream string) *SourceStats { return sourceFrom(r.edge, upstream) }

func sourceFrom(h *Hub, upstream string) *SourceStats {
	for _, s := range h.Streams() {
		for _, q := range s.Sources {
			if q.Session.Upstream == upstream {
				return &q
			}
		}
	}
	return nil
}

// from waits until the viewers get the stream from an upstream.
func (r *relayed) from(upstream string) {
	r.t.Helper()
	eventually(r.t, "the stream from "+upstream, func() bool { s := r.source(upstream); return s != nil && s.Program && s.Flows })
}

// pulls are the upstreams with a session of the edge's.
func (r *relayed) pulls() (list []string) {
	for _, s := range r.edge.Sessions() {
		if s.Role == RolePull {
			list = append(list, s.Upstream)
		}
	}
	slices.Sort(list)
	return list
}

func (r *relayed) puller() *puller {
	r.edge.mu.Lock()
	defer r.edge.mu.Unlock()
	if st := r.edge.streams["test"]; st != nil {
		return st.puller
	}
	return nil
}

// A cold standby is asked only when the source looks dead, and left again when
// the better one is back.
func TestColdFailover(t *testing.T) {
	r := newRelayed(t)
	v := newViewerWith(t, r.edge, &Routing{Pull: []string{"a", "b"}, Failover: Failover{FailbackDelay: 300 * time.Millisecond}})
	v.waitLive()
	r.from("a")
	n := len(v.packets(video, 30))
	if got := r.pulls(); !slices.Equal(got, []string{"a"}) {
		t.Fatalf("before, it is pulled from %v", got)
	}
	d, err := r.edge.Drill(t.Context(), "test", "a", 8*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", d)
	if !d.Switched || d.ToUpstream != "b" || d.Viewers != 1 || d.Lost != 0 || !d.Cause.dead() || d.Detected <= 0 || d.Gap <= 0 {
		t.Errorf("%+v", d)
	}
	r.from("a") // it lives again: the failback
	eventually(t, "the end of the standby", func() bool { return slices.Equal(r.pulls(), []string{"a"}) })
	eventually(t, "its deletion", func() bool { _, deleted := r.b.count(); return deleted == 1 })
	continuous(t, v.packets(video, n+60))
}

// A warm standby is connected without media, goes on when it is needed, and
// rests again when the better one is back. The better one itself never rests:
// nobody would see that it is well.
func TestWarmStandby(t *testing.T) {
	r := newRelayed(t)
	v := newViewerWith(t, r.edge, &Routing{Pull: []string{"a", "b"}, Standby: StandbyWarm, Failover: Failover{FailbackDelay: 300 * time.Millisecond}})
	v.waitLive()
	r.from("a")
	r.rests("b")
	n := len(v.packets(video, 20))
	d, err := r.edge.Drill(t.Context(), "test", "a", 8*time.Second)
	if err != nil || !d.Switched || d.ToUpstream != "b" || d.Lost != 0 {
		t.Fatalf("%+v, %v", d, err)
	}
	r.from("a")
	r.rests("b")
	continuous(t, v.packets(video, n+30))
	if made, _ := r.b.count(); made != 2 { // the push and the pull
		t.Errorf("b was asked %d times", made)
	}
}

// Where going back is left to the operator any standby rests.
func TestWarmStandbyWithManualFailback(t *testing.T) {
	r := newRelayed(t)
	v := newViewerWith(t, r.edge, &Routing{Pull: []string{"a", "b"}, Standby: StandbyWarm, Failover: Failover{FailbackManual: true}})
	v.waitLive()
	eventually(t, "the stream", func() bool {
		a, b := r.source("a"), r.source("b")
		return a != nil && a.Program || b != nil && b.Program
	})
	one, other := "a", "b" // both were asked at once
	if s := r.source("b"); s != nil && s.Program {
		one, other = "b", "a"
	}
	r.rests(other)
	d, err := r.edge.Drill(t.Context(), "test", one, 8*time.Second)
	if err != nil || !d.Switched || d.ToUpstream != other {
		t.Fatalf("%+v, %v", d, err)
	}
	r.rests(one)
	if s := r.source(other); s == nil || !s.Program {
		t.Errorf("%+v", s)
	}
}

// rests waits until a pull is there, paused and silent.
func (r *relayed) rests(upstream string) {
	r.t.Helper()
	eventually(r.t, upstream+" paused", func() bool {
		s, p := r.source(upstream), r.puller()
		if s == nil || s.Flows || s.Program || p == nil {
			return false
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, d := range p.list {
			if d.u.name == upstream && d.session != nil {
				return d.session.owner.(*pull).paused.Load()
			}
		}
		return false
	})
}

// slowPause is a resource whose first pause takes its time.
type slowPause struct {
	UpstreamResource
	begun, goOn chan struct{}

	mu   sync.Mutex
	done []bool
	err  error
}

func (s *slowPause) Pause(_ context.Context, paused bool) error {
	if paused {
		close(s.begun)
		<-s.goOn
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = append(s.done, paused)
	return s.err
}

func (s *slowPause) Answer() []byte               { return nil }
func (s *slowPause) Delete(context.Context) error { return nil }

// newPull is a pull without a connection.
func newPull(t *testing.T, h *Hub, res UpstreamResource) *pull {
	t.Helper()
	s := newSession(h, OfferRequest{Stream: "test"}, RolePull)
	q := &pull{publisher: newPublisher(s, newProgram(func(change) {}), inbound{}), atUpstream: &atUpstream{up: &upstream{hub: h, name: "a"}, resource: res}}
	q.publisher.pull, s.owner = q, q
	t.Cleanup(func() { s.End(ReasonDelete) })
	return q
}

// A request to go on never overtakes the one to wait: the vendor would hold the
// media back for good.
func TestPauseAndResumeKeepTheirOrder(t *testing.T) {
	h := newHub(t)
	res := &slowPause{begun: make(chan struct{}), goOn: make(chan struct{})}
	q := newPull(t, h, res)
	var both sync.WaitGroup
	q.asked.Store(true)
	both.Go(q.pause)
	await(t, res.begun, "pause")
	q.asked.Store(false)
	second := make(chan struct{})
	both.Go(func() { close(second); q.pause() })
	await(t, second, "resume")
	close(res.goOn)
	both.Wait()
	if n := len(res.done); n != 2 || res.done[n-1] || q.paused.Load() {
		t.Errorf("the vendor was asked %v, paused %v", res.done, q.paused.Load())
	}
}

// A standby that the vendor does not let go on is ended, so that another takes
// its place; one that never could be paused stays.
func TestResumeFails(t *testing.T) {
	h := newHub(t)
	for _, c := range []struct {
		err  error
		ends bool
	}{{&UpstreamError{Action: UpstreamNext, Status: 500}, true}, {ErrNoPause, false}, {nil, false}} {
		q := newPull(t, h, &slowPause{err: c.err})
		q.pause()
		if !c.ends {
			if q.ended.Load() {
				t.Errorf("%v: it was ended", c.err)
			}
			continue
		}
		await(t, q.Done(), "end of the session")
		if q.reason != ReasonUpstreamLost {
			t.Errorf("it ended with %s", q.reason)
		}
	}
}

// Once nobody watches, the pull outlives the viewers for a while; who comes in
// that time gets the same one.
func TestPullLingers(t *testing.T) {
	r := newRelayed(t)
	routing := &Routing{Pull: []string{"a", "b"}, PullLinger: 700 * time.Millisecond}
	first := newViewerWith(t, r.edge, routing)
	first.waitLive()
	r.from("a")
	first.packets(video, 5)
	before := r.source("a").Session.ID
	first.sess.End(ReasonDelete)
	eventually(t, "an idle pull", func() bool { s := r.edge.Streams(); return len(s) == 1 && s[0].Subscribers == 0 })
	second := newViewerWith(t, r.edge, routing)
	second.waitLive()
	second.packets(video, 10)
	if s := r.source("a"); s == nil || s.Session.ID != before {
		t.Errorf("it is another pull: %+v", s)
	}
	second.sess.End(ReasonDelete)
	eventually(t, "the end of the pull", func() bool { return len(r.edge.Streams()) == 0 && len(r.edge.Sessions()) == 0 })
	eventually(t, "its deletion", func() bool { _, deleted := r.a.count(); return deleted == 1 })
}

// Who comes in the moment the pull is given up is served nevertheless.
func TestViewersComeWhilePullsEnd(t *testing.T) {
	r := newRelayed(t)
	routing := &Routing{Pull: []string{"a"}, PullLinger: time.Nanosecond}
	for range 6 {
		v := newViewerWith(t, r.edge, routing)
		v.waitLive()
		v.packets(video, 2)
		v.sess.End(ReasonDelete)
		eventually(t, "a pull that ends", func() bool { s := r.edge.Streams(); return len(s) == 0 || s[0].Subscribers == 0 })
	}
	eventually(t, "the end of all pulls", func() bool { return len(r.edge.Sessions()) == 0 && len(r.edge.Streams()) == 0 })
	eventually(t, "their deletion", func() bool { made, deleted := r.a.count(); return deleted == made-1 }) // but the push
}

// A viewer who joined after the puller looked keeps the pull.
func TestFinishSeesNewViewers(t *testing.T) {
	h := newHub(t)
	h.mu.Lock()
	st := h.streamOf("test")
	p := &puller{docks: newDocks(h, "test", RolePull), st: st, first: make(chan struct{})}
	st.puller, h.streams["test"] = p, st
	sub := new(subscriber)
	st.subs[sub] = struct{}{}
	h.mu.Unlock()
	if p.finish(false) {
		t.Error("it was ended under a viewer")
	}
	h.mu.Lock()
	delete(st.subs, sub)
	h.mu.Unlock()
	if !p.finish(false) || len(h.Streams()) != 0 {
		t.Error("it goes on without any")
	}
}

// Whoever publishes here has the stream, and the pull ends; when he is lost the
// stream is pulled again.
func TestPublisherWhilePulled(t *testing.T) {
	r := newRelayed(t)
	routing := &Routing{Pull: []string{"a", "b"}, PullLinger: 100 * time.Millisecond}
	v := newViewerWith(t, r.edge, routing)
	v.waitLive()
	r.from("a")
	n := len(v.packets(video, 10))
	local := newCameraWith(t, r.edge, routing)
	local.waitLive()
	local.play()
	eventually(t, "the stream from here", func() bool { s := sourceFrom(r.edge, ""); return s != nil && s.Program })
	eventually(t, "the end of the pull", func() bool { return len(r.pulls()) == 0 })
	eventually(t, "its deletion", func() bool { _, deleted := r.a.count(); return deleted == 1 })
	local.sess.End(ReasonConsentLost)
	r.from("a")
	continuous(t, v.packets(video, n+60))
	if v.sess.ended.Load() {
		t.Error("the viewer was ended")
	}
}

// A pull begins when the publisher seems to have vanished, however young the
// process is.
func TestVanishedPublisherIsForeseen(t *testing.T) {
	r := newRelayed(t)
	routing := &Routing{Pull: []string{"a"}}
	local := newCameraWith(t, r.edge, routing)
	local.waitLive()
	local.frame(true, 1)
	v := newViewerWith(t, r.edge, routing)
	v.waitLive()
	r.edge.mu.Lock()
	st := r.edge.streams["test"]
	r.edge.foresee(st, leg.Now()+int64(4*time.Second))
	begun := st.puller != nil
	r.edge.mu.Unlock()
	if !begun {
		t.Error("nothing is pulled")
	}
}

// What is published with a detour is played only from the pull.
func TestDetour(t *testing.T) {
	vendor := &hubUpstream{hub: newHub(t)}
	h := newHub(t)
	if err := h.Apply(Config{Upstreams: upstreamsOf(map[string]*hubUpstream{"a": vendor})}); err != nil {
		t.Fatal(err)
	}
	routing := &Routing{Push: []string{"a"}, Pull: []string{"a"}, Detour: true, PullLinger: time.Millisecond}
	c := newCameraWith(t, h, routing)
	c.waitLive()
	c.play()
	if c.sess.Stream() != "test" {
		t.Errorf("the session is of %q", c.sess.Stream())
	}
	eventually(t, "the stream at the vendor", func() bool { s := vendor.hub.Streams(); return len(s) == 1 && s[0].Name == "test" && s[0].Live })
	v := newViewerWith(t, h, routing)
	v.waitLive()
	v.packets(video, 10)
	for _, s := range h.Streams() {
		if s.Name != "test" {
			t.Errorf("a stream is called %q", s.Name)
		}
		for _, q := range s.Sources {
			if s.Subscribers > 0 && q.Session.Upstream != "a" {
				t.Errorf("the viewer has it from %+v", q)
			}
		}
	}
	v.sess.End(ReasonDelete)
	c.sess.End(ReasonDelete)
	eventually(t, "the end of everything", func() bool { return len(h.Streams()) == 0 && len(h.Sessions()) == 0 && len(vendor.hub.Sessions()) == 0 })
}

// A configuration that prefers another upstream has the stream go over to it.
func TestUpstreamsChangePlaces(t *testing.T) {
	r := newRelayed(t)
	routing := func(pull ...string) *Routing {
		return &Routing{Key: "k", Pull: pull, Standby: StandbyHot, Failover: Failover{FailbackDelay: 200 * time.Millisecond}}
	}
	v := newViewerWith(t, r.edge, routing("a", "b"))
	v.waitLive()
	r.from("a")
	config := Config{
		Upstreams: upstreamsOf(map[string]*hubUpstream{"a": r.a, "b": r.b}),
		Routes:    map[string]*Routing{"k": routing("b", "a")},
	}
	if err := r.edge.Apply(config); err != nil {
		t.Fatal(err)
	}
	r.from("b")
	if made, _ := r.b.count(); made != 2 { // the push and the pull
		t.Errorf("b was asked %d times", made)
	}
}
