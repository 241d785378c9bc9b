package tests

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// The console shows what is live, in both themes, without an error on its
// page's console.
func TestConsole(t *testing.T) {
	g := harness.Start(t, harness.Config{})
	b := harness.NewBrowser(t)
	p := g.Publish(t, "studio", harness.PublisherConfig{Bitrate: 800_000, Picture: harness.Picture{Width: 640, Height: 360}})
	a := b.Open(t, g.URL(""))
	shot(t, a, "publish-idle")
	publish(t, a, "desk", "camera", "")
	v := b.Open(t, g.URL(""))
	watch(t, v, "desk")

	// The numbers fill in.
	for _, hook := range []string{"stat-resolution", "stat-fps", "stat-bitrate", "stat-pair", "stat-join"} {
		v.AwaitText(hook, 10*time.Second, func(s string) bool { return strings.ContainsAny(s, "0123456789") })
	}
	if pair := v.Text("stat-pair"); !strings.Contains(pair, "udp") || !strings.Contains(pair, strconv.Itoa(g.UDP)) {
		t.Errorf("the route is shown as %q", pair)
	}
	shotBothThemes(t, a, "publish-live")
	shotBothThemes(t, v, "watch-live")

	// The list names both streams, their viewers, codecs and picture.
	v.Click("tab-live")
	v.AwaitText("live-table", 10*time.Second, func(s string) bool { return strings.Contains(s, "studio") && strings.Contains(s, "desk") })
	v.AwaitText("live-table", 10*time.Second, func(s string) bool { return strings.Contains(s, "640") && strings.Contains(s, "H264") })
	v.AwaitText("live-streams", 5*time.Second, func(s string) bool { return s == "2" })
	shotBothThemes(t, v, "live")

	// It follows: a stream that ends leaves the list.
	p.Close()
	v.AwaitText("live-streams", 10*time.Second, func(s string) bool { return s == "1" })
	// The player asks again from now on, and browsers log each 409 as an error.
	requireNoErrors(t, "viewer", v)
	a.Click("publish-stop")
	v.AwaitText("live-streams", 10*time.Second, func(s string) bool { return s == "0" })
	requireNoErrors(t, "publisher", a)
}

// A player that comes first waits, and plays when the publisher comes.
func TestConsoleWaitsForPublisher(t *testing.T) {
	g := harness.Start(t, harness.Config{})
	b := harness.NewBrowser(t)
	v := b.Open(t, g.URL(""))
	v.Click("tab-watch")
	v.Set("watch-stream", "later")
	v.Click("watch-start")
	v.AwaitText("watch-state", 10*time.Second, func(s string) bool { return s == "waiting" })
	a := b.Open(t, g.URL(""))
	publish(t, a, "later", "test", "")
	awaitLive(t, v, "watch-state")
	requirePlays(t, v, watchVideo)
	v.Click("watch-stop")
	a.Click("publish-stop") // a browser that is killed would leave it to its grace time
	a.AwaitText("publish-state", 10*time.Second, func(s string) bool { return s == "idle" || s == "ended" })
}

func shotBothThemes(t *testing.T, p *harness.Page, name string) {
	t.Helper()
	theme := func() (s string) {
		p.Eval(`getComputedStyle(document.body).backgroundColor`, &s)
		return s
	}
	first := theme()
	shot(t, p, name+"-1")
	p.Click("theme-toggle")
	harness.Eventually(t, 5*time.Second, "the other theme looks different", func() bool { return theme() != first })
	shot(t, p, name+"-2")
	p.Click("theme-toggle")
	harness.Eventually(t, 5*time.Second, "the first theme is back", func() bool { return theme() == first })
}

// shot writes a screenshot when WTN_SCREENSHOTS names a folder.
func shot(t *testing.T, p *harness.Page, name string) {
	t.Helper()
	dir := os.Getenv("WTN_SCREENSHOTS")
	if dir == "" {
		return
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p.Screenshot(filepath.Join(dir, name+".png"))
}

// The console's files over HTTP, and the switch that takes them away.
func TestConsoleFiles(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	c := harness.NewHTTPClient(t, harness.HTTP1)
	page := harness.Do(t, c, "GET", g.URL(""), "")
	if page.Status != http.StatusOK || !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("the page: %d %s", page.Status, page.Header.Get("Content-Type"))
	}
	for _, host := range []string{"http://", "https://", "//cdn"} {
		if strings.Contains(page.Body, `src="`+host) || strings.Contains(page.Body, `href="`+host) {
			t.Errorf("the page loads from elsewhere (%s)", host)
		}
	}
	lib := harness.Do(t, c, "GET", g.URL("wtn.js"), "", "Origin", "https://elsewhere.example")
	if lib.Status != http.StatusOK || !strings.Contains(lib.Header.Get("Content-Type"), "javascript") {
		t.Errorf("wtn.js: %d %s", lib.Status, lib.Header.Get("Content-Type"))
	}
	if lib.Header.Get("Access-Control-Allow-Origin") == "" {
		t.Error("wtn.js cannot be imported by a page of another site: no Access-Control-Allow-Origin")
	}
	if again := harness.Do(t, c, "GET", g.URL("wtn.js"), "", "If-None-Match", lib.Header.Get("ETag")); again.Status != http.StatusNotModified {
		t.Errorf("wtn.js again: %d", again.Status)
	}
	bare := harness.Do(t, c, "GET", strings.TrimSuffix(g.URL(""), "/"), "")
	if bare.Status/100 != 3 && bare.Status != http.StatusNotFound {
		t.Errorf("the prefix without its slash: %d", bare.Status)
	}

	g.MustReload(harness.Config{Handler: "console off"})
	for _, path := range []string{"", "wtn.js", "index.html", "console/streams"} {
		if r := harness.Do(t, c, "GET", g.URL(path), ""); r.Status != http.StatusNotFound {
			t.Errorf("console off: GET /live/%s is %d", path, r.Status)
		}
	}
	g.MustReload(harness.Config{Handler: "console {\n streams off\n}"})
	if r := harness.Do(t, c, "GET", g.URL("console/streams"), ""); r.Status != http.StatusNotFound {
		t.Errorf("streams off: %d", r.Status)
	}
	if r := harness.Do(t, c, "GET", g.URL(""), ""); r.Status != http.StatusOK {
		t.Errorf("streams off, the page: %d", r.Status)
	}
}
