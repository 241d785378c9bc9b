package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
	"github.com/talwtn/caddy-wtn/tests/internal/vendorcmd/behaviour"
)

// upstreamBlock is an upstream behind a vendor, for the global block. lines are
// more options of it.
func upstreamBlock(name string, v *harness.Vendor, lines ...string) string {
	return fmt.Sprintf("upstream %s {\n vendor whip\n whip %s\n whep %s\n health_interval off\n %s\n}\n",
		name, v.WHIP("{stream}"), v.WHEP("{stream}"), strings.Join(lines, "\n "))
}

// startBefore runs a gateway ahead of vendors. They go before its resources are
// counted: it keeps connections to them for a while.
func startBefore(t *testing.T, cfg harness.Config, vendors ...*harness.Vendor) *harness.Gateway {
	t.Helper()
	g := harness.Start(t, cfg)
	t.Cleanup(func() {
		for _, v := range vendors {
			v.Kill()
		}
	})
	return g
}

// refusals counts the failed attempts to make a session at an upstream.
func refusals(g *harness.Gateway, upstream string) (n int) {
	for line := range strings.Lines(g.Log()) {
		if strings.Contains(line, "upstream refused") && strings.Contains(line, fmt.Sprintf("%q", upstream)) {
			n++
		}
	}
	return n
}

// requireFewPLIs: at most about two requests for key frames a second, whoever
// asks for them.
func requireFewPLIs(t *testing.T, p *harness.Publisher, from, to time.Time) {
	t.Helper()
	n := 0
	for _, at := range p.PLIs() {
		if at.After(from) && at.Before(to) {
			n++
		}
	}
	most := int(2*to.Sub(from).Seconds()) + 2
	t.Logf("%d requests for key frames at the publisher in %s", n, to.Sub(from).Round(time.Millisecond))
	if n > most {
		t.Errorf("the publisher was asked for %d key frames in %s, at most %d are right", n, to.Sub(from), most)
	}
}

// One of two vendors dies and comes back. Who plays at the other one, and the
// publisher, do not notice.
func TestPushMirror(t *testing.T) {
	t.Parallel()
	a, b := harness.StartVendor(t, harness.VendorOptions{}), harness.StartVendor(t, harness.VendorOptions{})
	g := startBefore(t, harness.Config{App: upstreamBlock("a", a) + upstreamBlock("b", b), Handler: "push mirror a b"}, a, b)
	p := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 1_000_000})
	a.AwaitStream("show")
	b.AwaitStream("show")
	atA := a.View(t, "show", harness.ViewerConfig{})
	atB := b.View(t, "show", harness.ViewerConfig{})
	local := g.View(t, "show", harness.ViewerConfig{})
	atA.AwaitVideo(t, 50, 10*time.Second)
	atB.AwaitVideo(t, 50, 10*time.Second)
	if n, m := len(a.State().Posts("")), len(b.State().Posts("")); n != 2 || m != 2 { // the push and our viewer
		t.Errorf("%d and %d sessions were asked for, want one push and one player each", n, m)
	}

	died := time.Now()
	meter := harness.Measure(atB, p)
	a.Kill()
	harness.Eventually(t, 20*time.Second, "the gateway tries the dead vendor again", func() bool { return refusals(g, "a") >= 2 })
	atB.Record(t, 2*time.Second)
	if n := refusals(g, "a"); n > 12 {
		t.Errorf("%d attempts at a vendor that refuses", n)
	}
	before := refusals(g, "a")
	a.Restart()
	back := time.Now()
	// The wait after n failures is up to 250 ms << n.
	within := min(250*time.Millisecond<<before, 15*time.Second) + 3*time.Second
	a.Await(within, "the stream again", func(s harness.VendorState) bool {
		l := s.Live(behaviour.Publish, "show")
		return len(l) == 1 && l[0].Connected && l[0].Packets > 20
	})
	t.Logf("vendor a has the stream again %s after it is back (%d failed attempts before)", time.Since(back).Round(time.Millisecond), before)
	again := a.View(t, "show", harness.ViewerConfig{})
	again.AwaitVideo(t, 100, 10*time.Second)
	if n := len(a.State().Posts(behaviour.Publish)); n != 1 {
		t.Errorf("%d sessions were asked for at the vendor that is back, want 1", n)
	}
	if n := len(b.State().Posts(behaviour.Publish)); n != 1 {
		t.Errorf("%d sessions were asked for at the vendor that stayed, want 1", n)
	}
	t.Logf("at b around the death of a: %s", meter.Interruption(died))
	now := time.Now()
	stopAndDrain(t, p, atB, again, local)
	requireIntact(t, "player at b", p, atB)
	requireIntact(t, "player at a, after its return", p, again)
	requireIntact(t, "viewer here", p, local)
	if n := p.NACKs(); n > 0 {
		t.Errorf("the publisher was asked for lost packets %d times", n)
	}
	requireFewPLIs(t, p, died, now)
	for _, v := range []*harness.Vendor{a, b} {
		v.Await(5*time.Second, "the push is deleted with its publisher", func(s harness.VendorState) bool { return len(s.Live(behaviour.Publish, "")) == 0 })
	}
}

// What vendors and viewers ask for comes to the publisher once.
func TestPushMergesKeyframeRequests(t *testing.T) {
	t.Parallel()
	a, b := harness.StartVendor(t, harness.VendorOptions{}), harness.StartVendor(t, harness.VendorOptions{})
	g := startBefore(t, harness.Config{App: upstreamBlock("a", a) + upstreamBlock("b", b), Handler: "push a b"}, a, b)
	p := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 500_000, KeyframeEvery: -1})
	a.AwaitStream("show")
	b.AwaitStream("show")
	players := []*harness.Viewer{
		a.View(t, "show", harness.ViewerConfig{}), b.View(t, "show", harness.ViewerConfig{}), g.View(t, "show", harness.ViewerConfig{}),
	}
	for _, v := range players {
		v.AwaitVideo(t, 30, 10*time.Second)
	}
	from, asked := time.Now(), 0
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for range 20 {
		for _, v := range players {
			if err := v.SendPLI(); err != nil {
				t.Fatal(err)
			}
			asked++
		}
		<-tick.C
	}
	to := time.Now()
	got := a.State().PLIForwarded + b.State().PLIForwarded
	t.Logf("%d requests by players, %d passed on by the vendors", asked, got)
	if got < 30 {
		t.Errorf("the vendors have passed %d requests on: nothing is tested", got)
	}
	requireFewPLIs(t, p, from, to)
	stopAndDrain(t, p, players...)
	for i, v := range players {
		requireIntact(t, fmt.Sprintf("player %d", i), p, v)
	}
}

// With push first only one vendor has the stream: the first that works.
func TestPushFirst(t *testing.T) {
	t.Parallel()
	a, b := harness.StartVendor(t, harness.VendorOptions{}), harness.StartVendor(t, harness.VendorOptions{})
	g := startBefore(t, harness.Config{
		App:     upstreamBlock("a", a) + upstreamBlock("b", b),
		Handler: "push first a b\nfailover {\n failback_delay 1s\n}",
	}, a, b)
	p := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 500_000})
	local := g.View(t, "show", harness.ViewerConfig{})
	a.AwaitStream("show")
	local.Record(t, time.Second)
	if n := len(b.State().Posts("")); n != 0 {
		t.Errorf("%d requests for a session at the second vendor while the first one works", n)
	}

	killed := time.Now()
	a.Kill()
	b.AwaitStream("show")
	t.Logf("the second vendor has the stream %s after the first one died", time.Since(killed).Round(time.Millisecond))
	atB := b.View(t, "show", harness.ViewerConfig{})
	atB.AwaitVideo(t, 50, 10*time.Second)

	a.Restart()
	returned := time.Now()
	a.Await(25*time.Second, "the stream again", func(s harness.VendorState) bool { return s.Connected(behaviour.Publish, "show") == 1 })
	atA := a.View(t, "show", harness.ViewerConfig{})
	b.Await(15*time.Second, "the stream is taken away and its session deleted", func(s harness.VendorState) bool {
		return len(s.Live(behaviour.Publish, "")) == 0 && s.Requests["DELETE"] == 1
	})
	t.Logf("only the first vendor has the stream %s after its return", time.Since(returned).Round(time.Millisecond))
	if n := len(b.State().Posts(behaviour.Publish)); n != 1 {
		t.Errorf("%d sessions were asked for at the second vendor", n)
	}
	atA.AwaitVideo(t, 50, 10*time.Second)
	stopAndDrain(t, p, local, atA)
	requireIntact(t, "viewer here", p, local)
	requireIntact(t, "player at a", p, atA)
	requireIntact(t, "player at b, until it was taken away", p, atB)
	if n := p.NACKs(); n > 0 {
		t.Errorf("the publisher was asked for lost packets %d times", n)
	}
}

// The publisher is replaced, and the one after it sends another codec. Vendors
// keep their session as long as it can carry what comes.
func TestPushFollowsPublishers(t *testing.T) {
	t.Parallel()
	a := harness.StartVendor(t, harness.VendorOptions{})
	g := startBefore(t, harness.Config{App: upstreamBlock("a", a), Handler: "push a"}, a)
	first := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 400_000})
	a.AwaitStream("show")
	v := a.View(t, "show", harness.ViewerConfig{})
	v.Record(t, time.Second)
	second := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 400_000, FPS: 25})
	v.AwaitSource(t, second.Source, 5*time.Second)
	v.Record(t, time.Second)
	if n := len(a.State().Posts(behaviour.Publish)); n != 1 {
		t.Errorf("%d sessions were asked for while the codec stayed, want 1", n)
	}
	second.Silence()
	harness.Eventually(t, 5*time.Second, "the last packet at the vendor's player", func() bool { return v.HasLastOf(second) })
	requireOneTimeline(t, "the vendor's player", harness.H264, v)
	v.Close()
	requireEnded(t, first)

	third := g.Publish(t, "show", harness.PublisherConfig{Video: harness.VP8, Bitrate: 400_000})
	a.Await(10*time.Second, "a session for the other codec", func(s harness.VendorState) bool {
		l := s.Live(behaviour.Publish, "show")
		return len(s.Posts(behaviour.Publish)) == 2 && len(l) == 1 && l[0].Packets > 50
	})
	w := a.View(t, "show", harness.ViewerConfig{})
	w.AwaitVideo(t, 30, 5*time.Second)
	w.AwaitAudio(t, 5, 5*time.Second)
	stopAndDrain(t, third, w)
	requireIntact(t, "the vendor's player", third, w)
	a.Await(5*time.Second, "the push is deleted with its publisher", func(s harness.VendorState) bool { return len(s.Sessions) == 0 })
	if n := len(a.State().Posts(behaviour.Publish)); n != 2 {
		t.Errorf("%d sessions were asked for in all, want 2", n)
	}
}

// A reload that changes where streams are pushed to is for those that live, too.
func TestPushFollowsReload(t *testing.T) {
	t.Parallel()
	a, b := harness.StartVendor(t, harness.VendorOptions{}), harness.StartVendor(t, harness.VendorOptions{})
	cfg := func(handler string) harness.Config {
		return harness.Config{App: upstreamBlock("a", a) + upstreamBlock("b", b), Handler: handler}
	}
	g := startBefore(t, cfg(""), a, b)
	p := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 400_000})
	v := g.View(t, "show", harness.ViewerConfig{})
	v.AwaitVideo(t, 20, 5*time.Second)
	g.MustReload(cfg("push a"))
	a.AwaitStream("show")
	g.MustReload(cfg("push b a"))
	b.AwaitStream("show")
	g.MustReload(cfg("push b"))
	a.Await(5*time.Second, "the push is taken away", func(s harness.VendorState) bool { return len(s.Sessions) == 0 && s.Requests["DELETE"] == 1 })
	g.MustReload(harness.Config{App: upstreamBlock("a", a)}) // without the upstream itself
	b.Await(5*time.Second, "the push is taken away", func(s harness.VendorState) bool { return len(s.Sessions) == 0 && s.Requests["DELETE"] == 1 })
	for name, v := range map[string]*harness.Vendor{"a": a, "b": b} {
		if n := len(v.State().Posts(behaviour.Publish)); n != 1 {
			t.Errorf("vendor %s: %d sessions were asked for, want 1", name, n)
		}
	}
	stopAndDrain(t, p, v)
	requireIntact(t, "viewer", p, v)
}
