package tests

import (
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// 100 packets a second in, five viewers out, while the configuration is
// reloaded three times and refused twice: not one packet is lost, and no
// session ends.
func TestReloadLosesNothing(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	p := g.Publish(t, "show", harness.PublisherConfig{FPS: 50, Bitrate: 300_000}) // 50 video and 50 audio packets/s
	var viewers []*harness.Viewer
	for i := range 5 {
		viewers = append(viewers, g.View(t, "show", harness.ViewerConfig{PeerOptions: harness.PeerOptions{TCP: i == 4}}))
	}
	for _, v := range viewers {
		v.AwaitVideo(t, 20, 10*time.Second)
	}

	busy, err := net.Listen("tcp4", "127.0.0.1:0") // refused in Start: a port that is taken
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	steps := []struct {
		name string
		cfg  harness.Config
		ok   bool
	}{
		{"a changed handler", harness.Config{Handler: "console off"}, true},
		{"refused by the app", harness.Config{App: "public_address 0.0.0.0"}, false},
		{"nothing changed, by force", harness.Config{Handler: "console off"}, true},
		{"refused in Start", harness.Config{App: "limits {\n subscribers 7\n}", Sites: fmt.Sprintf("http://%s {\n respond 200\n}", busy.Addr())}, false},
		{"changed limits", harness.Config{App: "limits {\n subscribers 50\n}"}, true},
	}
	for _, s := range steps {
		code, body := g.Reload(g.Caddyfile(s.cfg))
		if ok := code == http.StatusOK; ok != s.ok {
			t.Errorf("%s: status %d: %s", s.name, code, body)
		}
		viewers[0].Record(t, 500*time.Millisecond)
	}
	// New ones are welcome, and old session URLs still work.
	late := g.View(t, "show", harness.ViewerConfig{})
	late.AwaitVideo(t, 20, 10*time.Second)
	if code := viewers[1].Delete(t); code != http.StatusOK {
		t.Errorf("DELETE of a session made five reloads ago: %d", code)
	}
	viewers[0].Record(t, 500*time.Millisecond)
	stopAndDrain(t, p, append(viewers, late)...)
	for i, v := range viewers {
		requireIntact(t, fmt.Sprintf("viewer %d", i), p, v)
	}
	requireIntact(t, "late viewer", p, late)
}

// A limit that a reload brought counts, and one whose reload was refused does
// not.
func TestReloadAppliesLimits(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	c := harness.NewHTTPClient(t, harness.HTTP1)
	p := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 300_000})
	v := g.View(t, "show", harness.ViewerConfig{})
	v.AwaitVideo(t, 10, 10*time.Second)
	offer := g.ViewerOffer(t, harness.ViewerConfig{})
	view := func() int {
		r := harness.PostOffer(t, c, g.WHEP("show"), offer)
		if r.Status == http.StatusCreated {
			harness.Do(t, c, "DELETE", r.Header.Get("Location"), "")
		} else if r.Header.Get("Retry-After") == "" {
			t.Errorf("%d without Retry-After", r.Status)
		}
		return r.Status
	}

	busy, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	limit := "limits {\n subscribers 1\n}"
	code, _ := g.Reload(g.Caddyfile(harness.Config{App: limit, Sites: fmt.Sprintf("http://%s {\n respond 200\n}", busy.Addr())}))
	if code == http.StatusOK {
		t.Fatal("a configuration with a taken port was accepted")
	}
	if got := view(); got != http.StatusCreated {
		t.Errorf("after a refused reload: %d, want 201: the refused limit is in force", got)
	}
	g.MustReload(harness.Config{App: limit})
	if got := view(); got != http.StatusServiceUnavailable {
		t.Errorf("above the new limit: %d, want 503", got)
	}
	g.MustReload(harness.Config{})
	if got := view(); got != http.StatusCreated {
		t.Errorf("without the limit: %d, want 201", got)
	}
	v.Record(t, 200*time.Millisecond)
	stopAndDrain(t, p, v)
	requireIntact(t, "viewer", p, v)
}

// New media addresses are for new sessions; the old ones go on where they are.
func TestReloadMovesMedia(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	p := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 300_000})
	old := g.View(t, "show", harness.ViewerConfig{})
	old.AwaitVideo(t, 10, 10*time.Second)
	was := g.UDP
	g.UDP, g.TCP = harness.FreePort(t), harness.FreePort(t)
	g.MustReload(harness.Config{})
	moved := g.View(t, "show", harness.ViewerConfig{})
	moved.AwaitVideo(t, 20, 10*time.Second)
	if _, remote := moved.Pair(); remote != g.UDP {
		t.Errorf("a viewer made after the reload uses port %d, want %d", remote, g.UDP)
	}
	if _, remote := old.Pair(); remote != was {
		t.Errorf("a viewer made before the reload uses port %d, want %d", remote, was)
	}
	old.Record(t, time.Second)
	stopAndDrain(t, p, old, moved)
	requireIntact(t, "viewer on the old port", p, old)
	requireIntact(t, "viewer on the new port", p, moved)
}

// 50 reloads while media flows leave the counts of goroutines and sockets
// where they were.
func TestReloadsLeakNothing(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	p := g.Publish(t, "show", harness.PublisherConfig{FPS: 50, Bitrate: 300_000})
	v := g.View(t, "show", harness.ViewerConfig{})
	v.AwaitVideo(t, 10, 10*time.Second)
	reload := func(i int) {
		cfg := harness.Config{}
		if i%2 == 0 {
			cfg = harness.Config{Handler: "console off", App: "limits {\n subscribers 100\n}"}
		}
		g.MustReload(cfg)
	}
	for i := range 4 {
		reload(i)
	}
	before := g.SettledCounts()
	for i := range 50 {
		reload(i)
	}
	var after harness.Counts
	if !harness.Poll(10*time.Second, func() bool {
		after = g.SettledCounts()
		return after.Goroutines <= before.Goroutines && after.Sockets <= before.Sockets
	}) {
		t.Errorf("50 reloads: %s before, %s after", before, after)
	}
	if code := v.Delete(t); code != http.StatusOK {
		t.Errorf("DELETE after 54 reloads: %d", code)
	}
	stopAndDrain(t, p, v)
	requireIntact(t, "viewer", p, v)
}

// The process ends cleanly and in time with sessions open, and says goodbye.
func TestExitEndsSessions(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	p := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 300_000})
	v := g.View(t, "show", harness.ViewerConfig{})
	v.AwaitVideo(t, 10, 10*time.Second)
	start := time.Now()
	g.Stop()
	if took := time.Since(start); took > 8*time.Second {
		t.Errorf("the exit took %s", took)
	}
	harness.Eventually(t, 3*time.Second, "publisher and viewer see the end", func() bool { return p.HasEnded() && v.HasEnded() })
}
