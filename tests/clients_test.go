package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// skipWithout ends a test that lacks something of this machine: loudly, and as a
// failure where CI has to have it.
func skipWithout(t *testing.T, format string, args ...any) {
	t.Helper()
	what := fmt.Sprintf(format, args...)
	if os.Getenv("CI") == "true" {
		t.Fatalf("CI needs %s", what)
	}
	t.Skipf("SKIPPED, NOTHING TESTED: this needs %s", what)
}

// adminSession is one entry of /wtn/sessions.
type adminSession struct {
	ID     string `json:"id"`
	Stream string `json:"stream"`
	Role   string `json:"role"`
}

// adminSessions asks the admin API for the sessions there are.
func adminSessions(g *harness.Gateway) (list []adminSession, err error) {
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get(fmt.Sprintf("http://127.0.0.1:%d/wtn/sessions", g.Admin))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil || res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d: %s, %v", res.StatusCode, b, err)
	}
	return list, json.Unmarshal(b, &list)
}

// requireSessions waits until the gateway has that many sessions.
func requireSessions(t *testing.T, g *harness.Gateway, n int) {
	t.Helper()
	var list []adminSession
	var err error
	if !harness.Poll(10*time.Second, func() bool { list, err = adminSessions(g); return err == nil && len(list) == n }) {
		t.Fatalf("want %d sessions, there are %+v, %v", n, list, err)
	}
}

// clientPage installs the libraries as they were published, with the versions
// and hashes of the lock file, bundles them with the page and serves that from
// the directory it returns. Scripts of packages are not run.
func clientPage(t *testing.T) (url, dir string) {
	t.Helper()
	npm, err := exec.LookPath("npm")
	if err != nil {
		skipWithout(t, "npm: %v", err)
	}
	dir = t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "page.js", "index.html"} {
		b, err := os.ReadFile(filepath.Join("clients", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if out, err := runIn(dir, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"); err != nil {
		skipWithout(t, "a package registry: npm ci: %v\n%s", err, out)
	}
	bundle := filepath.Join(dir, "node_modules", ".bin", "esbuild")
	if out, err := runIn(dir, bundle, "page.js", "--bundle", "--format=esm", "--outfile=bundle.js", "--log-level=warning"); err != nil {
		t.Fatalf("bundle the page: %v\n%s", err, out)
	}
	s := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(s.Close)
	return s.URL, dir
}

// runIn runs a command to its end, a minute at most.
func runIn(dir, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.WaitDelay = dir, 5*time.Second
	return cmd.CombinedOutput()
}

// use starts a library on a page of its own.
func use(t *testing.T, b *harness.Browser, page, way, library, endpoint string) *harness.Page {
	t.Helper()
	p := b.Open(t, page)
	harness.Eventually(t, 10*time.Second, "the page has its libraries", func() bool {
		var there bool
		return p.TryEval(fmt.Sprintf("typeof window[%q] === 'object'", way), &there) == nil && there
	})
	p.Eval(fmt.Sprintf("(async () => { window.client = await window[%q][%q](%q); })()", way, library, endpoint), nil)
	return p
}

// requireClientPlays is requirePlays with the size of the picture.
func requireClientPlays(t *testing.T, p *harness.Page, width int) {
	t.Helper()
	harness.Eventually(t, 20*time.Second, "video arrives", func() bool { return p.InboundOf("video").FramesDecoded > 0 })
	requirePlays(t, p, "#video")
	harness.Eventually(t, 10*time.Second, fmt.Sprintf("the picture is %d wide", width), func() bool {
		var got int
		p.Eval("document.getElementById('video').videoWidth", &got)
		return got == width
	})
}

// Libraries that know nothing of this gateway, as their users would use them.
func TestClientLibraries(t *testing.T) {
	page, dir := clientPage(t)
	t.Run("publish and play", func(t *testing.T) { testLibrariesPublishAndPlay(t, page, dir) })
	t.Run("restart", func(t *testing.T) { testLibraryRestart(t, page) })
}

// Each library publishes or plays, and when it stops its session ends. Pages
// come from another origin than the gateway's, but for ovenlivekit's: it sends a
// request header (Oven-Capabilities) that only its own server's CORS knows. It is
// also the one that uses nothing but the relay once it is told of one.
func testLibrariesPublishAndPlay(t *testing.T, page, dir string) {
	own := fmt.Sprintf("http://127.0.0.1:%d", harness.FreePort(t))
	g := harness.Start(t, harness.Config{Sites: fmt.Sprintf(`%s {
	bind 127.0.0.1
	route {
		wtn /live/*
		root * %s
		file_server
	}
}`, own, dir)})
	b := harness.NewBrowser(t)
	for i, c := range []struct{ page, whip, publisher, player string }{
		{page, g.URL("whip"), "whip-whep", "@eyevinn/webrtc-player"},
		{page, g.URL("whip"), "@eyevinn/whip-web-client", "mediamtx-webrtc-react"},
		{own, own + "/live/whip", "ovenlivekit", "whip-whep"},
	} {
		t.Run(c.publisher+" to "+c.player, func(t *testing.T) {
			stream := fmt.Sprintf("library-%d", i)
			a := use(t, b, c.page, "publish", c.publisher, c.whip+"/"+stream)
			requireLive(t, g, a, stream)
			v := use(t, b, page, "play", c.player, g.WHEP(stream))
			requireClientPlays(t, v, 640)
			requireSessions(t, g, 2)
			v.Eval("window.client.stop()", nil)
			requireSessions(t, g, 1)
			a.Eval("window.client.stop()", nil)
			requireSessions(t, g, 0)
			requireNoErrors(t, c.publisher, a)
			requireNoErrors(t, c.player, v)
		})
	}
}

// requireLive waits until a page publishes a stream.
func requireLive(t *testing.T, g *harness.Gateway, p *harness.Page, stream string) {
	t.Helper()
	live := func() bool {
		for _, s := range g.Streams(t).Streams {
			if s.Name == stream && s.Publisher != nil && s.Publisher.Connected {
				return true
			}
		}
		return false
	}
	if !harness.Poll(20*time.Second, live) {
		t.Fatalf("%s is not live after 20s; errors of the page: %q", stream, p.Errors())
	}
}

// medooze's library restarts ICE by PATCH, and media goes on in the same
// sessions. That is so where the gateway has one address. It joins the lines of
// several candidates with commas, which no browser takes: then its restart fails,
// and the session has to go on by the old path for longer than consent lasts.
func testLibraryRestart(t *testing.T, page string) {
	for _, c := range []struct {
		name     string
		cfg      harness.Config
		restarts bool
	}{
		{"one address", harness.Config{TCPOnly: true}, true},
		{"two addresses", harness.Config{App: "timeouts {\n\tgrace 1s\n\tconsent 3s\n}"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := harness.Start(t, c.cfg)
			b := harness.NewBrowser(t)
			a := use(t, b, page, "publish", "whip-whep", g.WHIP("restart"))
			requireLive(t, g, a, "restart")
			v := use(t, b, page, "play", "whip-whep", g.WHEP("restart"))
			requireClientPlays(t, v, 640)
			was, err := adminSessions(g)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range []*harness.Page{a, v} {
				before := remoteUfrag(p)
				switch err := p.TryEval("window.client.restart()", nil); {
				case c.restarts && err != nil:
					t.Fatalf("restart: %v", err)
				case c.restarts:
					harness.Eventually(t, 10*time.Second, "the restarted connection is the one in use", func() bool {
						return remoteUfrag(p) != before && iceState(p) == "connected"
					})
				case err == nil:
					t.Fatal("the library has learnt to read several candidates: expect its restart to work")
				}
			}
			end := time.Now().Add(5 * time.Second)
			for first := true; first || !c.restarts && time.Now().Before(end); first = false {
				requireClientPlays(t, v, 640)
			}
			now, err := adminSessions(g)
			if err != nil || len(now) != 2 || len(was) != 2 || now[0].ID != was[0].ID || now[1].ID != was[1].ID {
				t.Errorf("sessions were %+v and are %+v, %v", was, now, err)
			}
			v.Eval("window.client.stop()", nil)
			a.Eval("window.client.stop()", nil)
			requireSessions(t, g, 0)
		})
	}
}

func remoteUfrag(p *harness.Page) (ufrag string) {
	p.Eval(`window.__pcs.at(-1).remoteDescription.sdp.match(/a=ice-ufrag:(.*)/)[1].trim()`, &ufrag)
	return ufrag
}

func iceState(p *harness.Page) (state string) {
	p.Eval(`window.__pcs.at(-1).iceConnectionState`, &state)
	return state
}
