package tests

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
	"github.com/talwtn/caddy-wtn/tests/internal/vendorcmd/behaviour"
)

// pulling is a site that pulls its stream from vendor a, and from b when a
// fails. At each of them is a publisher, with media of its own.
type pulling struct {
	g                  *harness.Gateway
	a, b               *harness.Vendor
	atA, atB           *harness.Publisher
	stream, whip, whep string
	upstream           string // that is vendor a
}

// pullCase is a site of pullSites: lines are more options of the upstream a and
// of the handler.
type pullCase struct {
	name          string
	lines, routes string
}

// pullSites starts one gateway with a site for each case, which have nothing in
// common: vendors, upstreams and streams are their own.
func pullSites(t *testing.T, cases ...pullCase) []*pulling {
	t.Helper()
	var cfg harness.Config
	var list []*pulling
	var vendors []*harness.Vendor
	for i, c := range cases {
		a, b := harness.StartVendor(t, harness.VendorOptions{}), harness.StartVendor(t, harness.VendorOptions{})
		site := fmt.Sprintf("http://127.0.0.1:%d", harness.FreePort(t))
		p := &pulling{a: a, b: b, stream: fmt.Sprintf("show%d", i), upstream: fmt.Sprintf("a%d", i)}
		p.whip, p.whep = site+"/live/whip/"+p.stream, site+"/live/whep/"+p.stream
		cfg.App += upstreamBlock(p.upstream, a, c.lines) + upstreamBlock(fmt.Sprintf("b%d", i), b)
		cfg.Sites += fmt.Sprintf("%s {\n bind 127.0.0.1\n wtn /live/* {\n pull cold %s b%d {\n linger 1s\n}\n%s\n}\n}\n", site, p.upstream, i, c.routes)
		list, vendors = append(list, p), append(vendors, a, b)
	}
	g := startBefore(t, cfg, vendors...)
	for _, p := range list {
		p.g = g
	}
	return list
}

// pullEach runs a parallel subtest on a site of its own for each case.
func pullEach(t *testing.T, cases []pullCase, run func(*testing.T, int, *pulling)) {
	t.Helper()
	t.Parallel()
	list := pullSites(t, cases...)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			list[i].publish(t)
			run(t, i, list[i])
		})
	}
}

// pullFrom is the site of one case, whose publishers are live.
func pullFrom(t *testing.T, lines, routes string) *pulling {
	t.Helper()
	p := pullSites(t, pullCase{"", lines, routes})[0]
	p.publish(t)
	return p
}

// publish starts the publishers at the vendors.
func (p *pulling) publish(t *testing.T) {
	t.Helper()
	p.atA = p.a.Publish(t, p.stream, harness.PublisherConfig{Bitrate: 400_000})
	p.atB = p.b.Publish(t, p.stream, harness.PublisherConfig{Bitrate: 400_000})
	p.a.AwaitStream(p.stream)
	p.b.AwaitStream(p.stream)
}

// viewer is the configuration of a viewer of the site.
func (p *pulling) viewer() harness.ViewerConfig {
	return harness.ViewerConfig{PeerOptions: harness.PeerOptions{URL: p.whep}}
}

// view starts a viewer, whose one POST has to be answered with 201 inside the
// time that clients wait.
func (p *pulling) view(t *testing.T) *harness.Viewer {
	t.Helper()
	v := p.g.View(t, p.stream, p.viewer())
	t.Logf("connected %s after its POST", time.Since(v.Started).Round(time.Millisecond))
	if took := time.Since(v.Started); took > 7500*time.Millisecond {
		t.Errorf("the viewer waited %s", took)
	}
	return v
}

// awaitDeleted waits until n sessions of the gateway were deleted at a vendor and
// none is left. One may be gone ahead of its DELETE: with its connection.
func awaitDeleted(t *testing.T, v *harness.Vendor, n int) {
	t.Helper()
	s := v.Await(8*time.Second, fmt.Sprintf("%d sessions are deleted and none is left", n), func(s harness.VendorState) bool {
		return s.Requests["DELETE"] >= n && len(s.Live(behaviour.Play, "")) == 0
	})
	if got := s.Requests["DELETE"]; got != n {
		t.Errorf("%d DELETE requests, want %d: %+v", got, n, s.Log)
	}
}

// requireGone checks that both vendors are left without sessions of ours.
func (p *pulling) requireGone(t *testing.T, vendors ...*harness.Vendor) {
	t.Helper()
	for _, v := range vendors {
		v.Await(8*time.Second, "no session of the gateway is left", func(s harness.VendorState) bool { return len(s.Live(behaviour.Play, "")) == 0 })
	}
}

// A vendor fails in one way or another: the next one has the stream, and the
// viewer sees one 201 [30].
func TestUpstreamFails(t *testing.T) {
	cases := []pullCase{
		{name: "refuses connections"}, {name: "hangs"}, {name: "500"}, {name: "503"}, {name: "429"},
		{name: "answers nonsense"}, {name: "answers 200 KB"},
	}
	faults := []harness.HTTPFault{
		{}, {Hang: true}, {Status: 500}, {Status: 503, RetryAfter: 30}, {Status: 429, RetryAfter: 5},
		{GarbageAnswer: true}, {HugeBody: 200_000},
	}
	pullEach(t, cases, func(t *testing.T, i int, p *pulling) {
		f := faults[i]
		if f == (harness.HTTPFault{}) {
			p.a.Kill()
		} else {
			f.Role = behaviour.Play
			p.a.Set(harness.Behaviour{HTTP: f})
		}
		v := p.view(t)
		v.AwaitSource(t, p.atB.Source, 5*time.Second)
		v.Record(t, time.Second)
		if n := len(p.b.State().Posts(behaviour.Play)); n != 1 {
			t.Errorf("%d sessions were asked for at the second vendor", n)
		}
		if f.RetryAfter > 0 {
			if n := len(p.a.State().Posts(behaviour.Play)); n != 1 {
				t.Errorf("%d requests to a vendor that wants to be left alone for %ds", n, f.RetryAfter)
			}
		}
		stopAndDrain(t, p.atB, v)
		requireIntact(t, "viewer", p.atB, v)
		p.requireGone(t, p.b)
	})
}

// A vendor that answers and never connects is left for the next one.
func TestUpstreamNeverConnects(t *testing.T) {
	t.Parallel()
	p := pullFrom(t, "setup_timeout 1s", "")
	p.a.Set(harness.Behaviour{Session: harness.SessionFault{NeverConnect: true}})
	v := p.view(t)
	v.AwaitSource(t, p.atB.Source, 6*time.Second)
	t.Logf("media %s after the POST", time.Since(v.Started).Round(time.Millisecond))
	v.AwaitVideo(t, 20, 5*time.Second)
	v.AwaitAudio(t, 5, 5*time.Second)
	stopAndDrain(t, p.atB, v)
	requireOneTimeline(t, "viewer", harness.H264, v)
	p.requireGone(t, p.a, p.b)
}

// Credentials are signed anew once, then the next vendor is asked; a request
// that was refused for what it is is not repeated [31].
func TestUpstreamRefuses(t *testing.T) {
	const secret, patience = "token secret", "failover {\n failback_delay 1s\n}"
	cases := []pullCase{{"401", secret, patience}, {"403", secret, patience}, {"400", secret, patience}, {"415", secret, patience}}
	status := func(n int) harness.Behaviour {
		return harness.Behaviour{HTTP: harness.HTTPFault{Role: behaviour.Play, Status: n}}
	}
	wants := []struct {
		b     harness.Behaviour
		posts int
		alarm bool
	}{{harness.Behaviour{Token: "another"}, 2, true}, {status(403), 2, true}, {status(400), 1, false}, {status(415), 1, false}}
	pullEach(t, cases, func(t *testing.T, i int, p *pulling) {
		want := wants[i]
		p.a.Set(want.b)
		v := p.view(t)
		v.AwaitSource(t, p.atB.Source, 5*time.Second)
		v.Record(t, 1500*time.Millisecond) // in which it could be tempted to try again
		posts := p.a.State().Posts(behaviour.Play)
		if len(posts) != want.posts {
			t.Errorf("%d requests, want %d", len(posts), want.posts)
		}
		for _, r := range posts {
			if r.Auth != behaviour.HashAuth("Bearer secret") {
				t.Error("a request without the configured credentials")
			}
		}
		alarm := false
		for line := range strings.Lines(p.g.Log()) {
			alarm = alarm || strings.Contains(line, "upstream is invalid") && strings.Contains(line, fmt.Sprintf("%q", p.upstream))
		}
		if alarm != want.alarm {
			t.Errorf("told that the upstream is invalid: %t", alarm)
		}
		stopAndDrain(t, p.atB, v)
		requireIntact(t, "viewer", p.atB, v)
	})
}

// What the viewer is told when no vendor has the stream.
func TestUpstreamsAllFail(t *testing.T) {
	status := func(n int) harness.Behaviour {
		return harness.Behaviour{HTTP: harness.HTTPFault{Role: behaviour.Play, Status: n}}
	}
	hang := harness.Behaviour{HTTP: harness.HTTPFault{Role: behaviour.Play, Hang: true}}
	cases := []pullCase{
		{name: "nobody has it (404)"}, {name: "nobody has it (409)"}, {name: "one fails, one does not have it"},
		{name: "all fail"}, {name: "all hang"},
	}
	faults := []struct {
		a, b    harness.Behaviour
		want    int
		soonest time.Duration
	}{
		{status(404), status(404), http.StatusConflict, 0},
		{status(409), status(404), http.StatusConflict, 0},
		{status(500), status(404), http.StatusBadGateway, 0},
		{status(500), status(503), http.StatusBadGateway, 0},
		{hang, hang, http.StatusGatewayTimeout, 2 * time.Second},
	}
	pullEach(t, cases, func(t *testing.T, i int, p *pulling) {
		f := faults[i]
		p.a.Set(f.a)
		p.b.Set(f.b)
		offer := p.g.ViewerOffer(t, harness.ViewerConfig{})
		client := harness.NewHTTPClient(t, harness.HTTP1)
		start := time.Now()
		r := harness.PostOffer(t, client, p.whep, offer)
		took := time.Since(start)
		t.Logf("%d after %s: %s", r.Status, took.Round(time.Millisecond), r.Body)
		if r.Status != f.want {
			t.Errorf("status %d, want %d", r.Status, f.want)
		}
		if r.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		if took > 8*time.Second || took < f.soonest {
			t.Errorf("answered after %s", took)
		}
		// When the vendors are well again so are the viewers, soon.
		p.a.Set(harness.Behaviour{})
		p.b.Set(harness.Behaviour{})
		well := time.Now()
		var v *harness.Viewer
		harness.Eventually(t, 15*time.Second, "a viewer is served again", func() bool {
			w, err := p.g.TryView(t, p.stream, p.viewer())
			if v = w; err != nil && w != nil {
				w.Close()
			}
			return err == nil
		})
		t.Logf("served %s after the vendors were well", time.Since(well).Round(time.Millisecond))
		v.AwaitVideo(t, 20, 10*time.Second)
		v.Close()
		p.requireGone(t, p.a, p.b)
	})
}

// Wherever the session's URL is, as long as it is the vendor's: it is deleted
// in the end [32].
func TestUpstreamLocation(t *testing.T) {
	const secret = "token secret"
	cases := []pullCase{{"absolute", secret, ""}, {"path", secret, ""}, {"relative", secret, ""}, {"relative with query", secret, ""}}
	locations := []string{"", behaviour.LocationPath, behaviour.LocationRelative, behaviour.LocationRelativeQuery}
	pullEach(t, cases, func(t *testing.T, i int, p *pulling) {
		p.a.Set(harness.Behaviour{Token: "secret", HTTP: harness.HTTPFault{Role: behaviour.Play, Location: locations[i]}})
		v := p.view(t)
		v.AwaitSource(t, p.atA.Source, 5*time.Second)
		v.Close()
		awaitDeleted(t, p.a, 1)
		if n := len(p.b.State().Posts(behaviour.Play)); n != 0 {
			t.Errorf("%d requests to the second vendor", n)
		}
	})
}

// A session URL that leads away from the vendor is not used, and neither is
// the session [32].
func TestUpstreamLocationRefused(t *testing.T) {
	locations := []string{behaviour.LocationOtherHost, behaviour.LocationLinkLocal}
	pullEach(t, []pullCase{{name: "another host"}, {name: "link-local"}}, func(t *testing.T, i int, p *pulling) {
		requireLocationRefused(t, p, locations[i])
	})
}

func requireLocationRefused(t *testing.T, p *pulling, location string) {
	t.Helper()
	p.a.Set(harness.Behaviour{HTTP: harness.HTTPFault{Role: behaviour.Play, Location: location}})
	v := p.view(t)
	v.AwaitSource(t, p.atB.Source, 5*time.Second)
	v.Record(t, 2*time.Second)
	s := p.a.State()
	if n := len(s.Posts(behaviour.Play)); n != 1 {
		t.Errorf("%d requests to the vendor with the wrong URLs, want 1", n)
	}
	if n := len(s.Live(behaviour.Play, "")); n != 1 {
		t.Errorf("the vendor has made %d sessions: nothing is tested", n)
	}
	if n := s.Requests["DELETE"]; n != 0 {
		t.Errorf("%d DELETE requests to a URL that is not trusted", n)
	}
	stopAndDrain(t, p.atB, v)
	requireIntact(t, "viewer", p.atB, v)
}

// The same for a session URL that gives TLS up. The gateway has to trust the
// vendor's certificate, which it is told by its environment: not in parallel.
func TestUpstreamLocationWithoutTLS(t *testing.T) {
	a := harness.StartVendor(t, harness.VendorOptions{TLS: true})
	t.Setenv("SSL_CERT_FILE", a.CA)
	b := harness.StartVendor(t, harness.VendorOptions{})
	p := &pulling{a: a, b: b, stream: "show"}
	p.g = startBefore(t, harness.Config{App: upstreamBlock("a", a) + upstreamBlock("b", b), Handler: "pull a b {\n linger 1s\n}"}, a, b)
	p.whep = p.g.WHEP("show")
	p.publish(t)
	good := p.view(t)
	good.AwaitSource(t, p.atA.Source, 5*time.Second)
	good.Close()
	awaitDeleted(t, a, 1)
	a.Restart() // forgets what it has seen
	p.atA = a.Publish(t, "show", harness.PublisherConfig{Bitrate: 400_000})
	a.AwaitStream("show")
	requireLocationRefused(t, p, behaviour.LocationPlainHTTP)
}

// The vendor's media ends after it began: the next vendor takes over and the
// viewer keeps its session [33].
func TestUpstreamMediaEnds(t *testing.T) {
	cases := []pullCase{{name: "killed"}, {name: "closed"}, {name: "frozen"}, {name: "no media"}, {name: "publisher"}}
	ends := []func(*pulling){
		func(p *pulling) { p.a.Kill() },
		func(p *pulling) { p.a.Close() },
		func(p *pulling) { p.a.Stop() },
		func(p *pulling) { p.a.Set(harness.Behaviour{Media: harness.MediaFault{Drop: 100}}) },
		func(p *pulling) { p.atA.Vanish() },
	}
	pullEach(t, cases, func(t *testing.T, i int, p *pulling) {
		v := p.view(t)
		v.AwaitSource(t, p.atA.Source, 5*time.Second)
		m := harness.Measure(v, p.atA, p.atB)
		m.Window = 2 * time.Second
		v.Record(t, time.Second)
		at := time.Now()
		ends[i](p)
		v.AwaitSource(t, p.atB.Source, 10*time.Second)
		m.Await(t, at, 10*time.Second)
		x := m.Interruption(at)
		t.Logf("%s: %s", cases[i].name, x)
		if x.Video.Length() > 1500*time.Millisecond || x.Video.Open {
			t.Errorf("no picture for %s", x.Video)
		}
		if x.SSRCChanges != 0 || x.Requests != 0 || v.HasEnded() || v.Tracks(webrtc.RTPCodecTypeVideo) != 1 {
			t.Errorf("the viewer did not keep its session: %s", x)
		}
		if n := len(p.b.State().Posts(behaviour.Play)); n != 1 {
			t.Errorf("%d sessions were asked for at the second vendor", n)
		}
		for _, f := range harness.Check(v.Video(), harness.Rules{Codec: harness.H264, TornAtSwitch: true, Pace: 500 * time.Millisecond}) {
			t.Errorf("viewer: %s", f)
		}
		v.Close()
		p.a.Kill() // also the frozen one
	})
}

// A vendor that sends us elsewhere gets no credentials sent there [34].
func TestUpstreamRedirect(t *testing.T) {
	const secret = "token secret"
	foreign, c := harness.StartVendor(t, harness.VendorOptions{}), harness.StartVendor(t, harness.VendorOptions{})
	redirect := func(to string, times int) harness.Behaviour {
		return harness.Behaviour{HTTP: harness.HTTPFault{Role: behaviour.Play, Status: 307, RedirectTo: to, Times: times}}
	}
	cases := []pullCase{
		{"elsewhere", secret, ""}, {"to a host that is named", secret + "\n hosts " + c.Addr(), ""},
		{"to itself", secret, ""}, {"for ever", secret, ""},
	}
	runs := []func(*testing.T, *pulling){
		func(t *testing.T, p *pulling) {
			p.a.Set(redirect(foreign.Origin()+"{path}", 0))
			v := p.view(t)
			v.AwaitSource(t, p.atB.Source, 5*time.Second)
			if n := len(foreign.State().Log); n != 0 {
				t.Errorf("%d requests to a host that nobody has named", n)
			}
			v.Close()
			p.requireGone(t, p.b)
		},
		func(t *testing.T, p *pulling) {
			atC := c.Publish(t, p.stream, harness.PublisherConfig{Bitrate: 300_000})
			c.AwaitStream(p.stream)
			p.a.Set(redirect(c.Origin()+"{path}", 0))
			v := p.view(t)
			v.AwaitSource(t, atC.Source, 5*time.Second)
			v.Close()
			awaitDeleted(t, c, 1)
			for _, r := range c.State().Log {
				if r.Auth != "" {
					t.Errorf("%s %s came with credentials", r.Method, r.Path)
				}
			}
			for _, r := range p.a.State().Posts(behaviour.Play) {
				if r.Auth != behaviour.HashAuth("Bearer secret") {
					t.Error("the vendor itself did not get the credentials: nothing is tested")
				}
			}
			c.Kill() // and with it the connection that the gateway keeps
		},
		func(t *testing.T, p *pulling) {
			b := redirect("{path}", 1)
			b.Token = "secret"
			p.a.Set(b)
			v := p.view(t)
			v.AwaitSource(t, p.atA.Source, 5*time.Second)
			if n := len(p.a.State().Posts(behaviour.Play)); n != 2 {
				t.Errorf("%d requests, want the one that was redirected and the next", n)
			}
			v.Close()
			p.requireGone(t, p.a)
		},
		func(t *testing.T, p *pulling) {
			p.a.Set(redirect("{path}", 0))
			v := p.view(t)
			v.AwaitSource(t, p.atB.Source, 5*time.Second)
			if n := len(p.a.State().Posts(behaviour.Play)); n > 6 {
				t.Errorf("%d requests round and round", n)
			}
			v.Close()
			p.requireGone(t, p.b)
		},
	}
	pullEach(t, cases, func(t *testing.T, i int, p *pulling) { runs[i](t, p) })
}

// 30 viewers that come at once are served from one pull, which goes when they
// have gone.
func TestUpstreamSingleFlight(t *testing.T) {
	t.Parallel()
	p := pullFrom(t, "", "")
	p.a.Set(harness.Behaviour{HTTPDelay: 300}) // so that they all come while the first one waits
	viewers := make([]*harness.Viewer, 30)
	errs := make([]error, len(viewers))
	var wg sync.WaitGroup
	for i := range viewers {
		wg.Go(func() {
			c := p.viewer()
			c.NoAudio = i%2 == 0
			viewers[i], errs[i] = p.g.TryView(t, p.stream, c)
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("viewer %d: %v", i, err)
		}
	}
	for i, v := range viewers {
		harness.Eventually(t, 10*time.Second, fmt.Sprintf("media at viewer %d", i), func() bool { return len(v.Video()) >= 20 })
	}
	if n := len(p.a.State().Posts(behaviour.Play)); n != 1 {
		t.Errorf("%d sessions were asked for, for %d viewers", n, len(viewers))
	}
	if n := len(p.b.State().Posts(behaviour.Play)); n != 0 {
		t.Errorf("%d requests to the second vendor", n)
	}
	p.b.Kill() // once the publisher is silent it would be asked, too
	p.atA.Silence()
	for i, v := range viewers {
		harness.Eventually(t, 5*time.Second, "the last packet", func() bool { return v.HasLastOf(p.atA) })
		requireIntact(t, fmt.Sprintf("viewer %d", i), p.atA, v)
	}
	for _, v := range viewers[1:] {
		v.Close()
	}
	if n := p.a.State().Connected(behaviour.Play, p.stream); n != 1 {
		t.Errorf("%d sessions at the vendor while a viewer is there", n)
	}
	viewers[0].Close()
	gone := time.Now()
	p.a.Await(6*time.Second, "the pull is deleted", func(s harness.VendorState) bool { return s.Requests["DELETE"] == 1 })
	linger := time.Since(gone)
	t.Logf("deleted %s after the last viewer", linger.Round(time.Millisecond))
	if linger < 900*time.Millisecond {
		t.Errorf("the pull is gone after %s, it lingers for 1s", linger)
	}
	p.requireGone(t, p.a)
}

// Reloads, some of which change the upstreams in use, lose no packet of what is
// pushed and pulled; the end of the process leaves nothing behind at vendors.
func TestUpstreamReloadAndExit(t *testing.T) {
	t.Parallel()
	a, b := harness.StartVendor(t, harness.VendorOptions{}), harness.StartVendor(t, harness.VendorOptions{})
	cfg := func(lines, handler string) harness.Config {
		return harness.Config{
			App:     upstreamBlock("a", a, lines) + upstreamBlock("b", b, lines),
			Handler: "push a\npull b\n" + handler,
		}
	}
	g := startBefore(t, cfg("", ""), a, b)
	out := g.Publish(t, "out", harness.PublisherConfig{Bitrate: 400_000})
	in := b.Publish(t, "in", harness.PublisherConfig{Bitrate: 400_000})
	a.AwaitStream("out")
	b.AwaitStream("in")
	pushed := a.View(t, "out", harness.ViewerConfig{})
	pulled := g.View(t, "in", harness.ViewerConfig{})
	local := g.View(t, "out", harness.ViewerConfig{})
	pushed.AwaitVideo(t, 30, 10*time.Second)
	pulled.AwaitVideo(t, 30, 10*time.Second)
	for _, c := range []harness.Config{cfg("", "console off"), cfg("rate 5\n setup_timeout 2s", ""), cfg("max_fails 7", "slate"), cfg("", "")} {
		g.MustReload(c)
		pulled.Record(t, 700*time.Millisecond)
	}
	for name, s := range map[string]harness.VendorState{"a": a.State(), "b": b.State()} {
		posts, role := s.Posts(behaviour.Publish), behaviour.Publish
		if name == "b" {
			posts, role = s.Posts(behaviour.Play), behaviour.Play
		}
		if len(posts) != 1 || s.Requests["DELETE"] != 0 {
			t.Errorf("vendor %s: %d %s sessions were asked for, %d deleted", name, len(posts), role, s.Requests["DELETE"])
		}
	}
	out.Silence()
	in.Silence()
	for _, v := range []struct {
		who string
		v   *harness.Viewer
		p   *harness.Publisher
	}{{"player of the push", pushed, out}, {"viewer of the pull", pulled, in}, {"viewer here", local, out}} {
		harness.Eventually(t, 5*time.Second, "the last packet at the "+v.who, func() bool { return v.v.HasLastOf(v.p) })
		requireIntact(t, v.who, v.p, v.v)
	}
	start := time.Now()
	g.Stop()
	t.Logf("the exit took %s", time.Since(start).Round(time.Millisecond))
	for name, v := range map[string]*harness.Vendor{"a": a, "b": b} {
		s := v.State() // the process has ended: nothing comes any more
		if n := s.Requests["DELETE"]; n != 1 {
			t.Errorf("vendor %s: %d DELETE requests until the exit, want 1", name, n)
		}
	}
	if n := len(a.State().Live(behaviour.Publish, "")) + len(b.State().Live(behaviour.Play, "")); n != 0 {
		t.Errorf("%d sessions are left at the vendors", n)
	}
}

// Somebody publishes here what is pulled: viewers go over, and the pull goes.
func TestUpstreamYieldsToPublisher(t *testing.T) {
	t.Parallel()
	p := pullFrom(t, "", "")
	v := p.view(t)
	v.AwaitSource(t, p.atA.Source, 5*time.Second)
	v.Record(t, time.Second)
	here := p.g.Publish(t, p.stream, harness.PublisherConfig{PeerOptions: harness.PeerOptions{URL: p.whip}, Bitrate: 400_000})
	v.AwaitSource(t, here.Source, 5*time.Second)
	p.requireGone(t, p.a)
	v.Record(t, time.Second)
	here.Vanish() // whom nobody publishes after: the vendor has the stream
	gone := time.Now()
	v.AwaitSource(t, p.atA.Source, 15*time.Second)
	t.Logf("the vendor's media again %s after the publisher vanished", time.Since(gone).Round(time.Millisecond))
	v.Record(t, time.Second)
	if v.HasEnded() || v.Tracks(webrtc.RTPCodecTypeVideo) != 1 {
		t.Error("the viewer did not keep its session")
	}
	v.Close()
	if code := here.Delete(t); code != http.StatusOK { // or it is waited for
		t.Errorf("DELETE of the publisher that vanished: %d", code)
	}
	// What the vendor had sent since its last key frame comes at once, with the time it has.
	requireTimelineOfMany(t, "viewer: video", v.Video(), harness.Rules{Codec: harness.H264, TornAtSwitch: true, Pace: time.Second})
	p.requireGone(t, p.a)
	if n := len(p.a.State().Posts(behaviour.Play)); n != 2 {
		t.Errorf("%d sessions were asked for, want 2", n)
	}
}
