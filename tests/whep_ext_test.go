package tests

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// linkOf finds the target of the Link header with a relation.
func linkOf(t *testing.T, h http.Header, rel string) string {
	t.Helper()
	for _, l := range h.Values("Link") {
		if target, params, ok := strings.Cut(l, ">"); ok && strings.Contains(params, `rel="`+rel+`"`) {
			return strings.TrimPrefix(target, "<")
		}
	}
	t.Fatalf("no Link with rel %s in %q", rel, h.Values("Link"))
	return ""
}

// eventLines follows an event stream until it ends.
func eventLines(t *testing.T, c *http.Client, url string) <-chan string {
	t.Helper()
	c = &http.Client{Transport: c.Transport} // without the time limit of a request
	resp, err := c.Get(url)
	for try := 0; err != nil && try < 10; try++ { // a listener that a reload closes takes what was queued along
		resp, err = c.Get(url)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if ct := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || ct != "text/event-stream" {
		t.Fatalf("%d %s", resp.StatusCode, ct)
	}
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(resp.Body); s.Scan(); {
			lines <- s.Text()
		}
	}()
	return lines
}

// awaitLine reads up to a line; false if the stream ends before.
func awaitLine(t *testing.T, lines <-chan string, want string) bool {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		select {
		case s, ok := <-lines:
			if !ok || s == want {
				return ok
			}
		case <-late:
			t.Fatalf("no %q within 10s", want)
		}
	}
}

const eventsRel = "urn:ietf:params:whep:ext:core:server-sent-events"

// Event streams over each HTTP version: active and inactive as the publisher
// goes and comes back, and the end with the session [WHEP-60..71].
func TestEventStreams(t *testing.T) {
	httpVersions(t, func(t *testing.T, g *harness.Gateway, c *http.Client) {
		stream := "events-" + strings.ToLower(t.Name()[len(t.Name())-4:])
		opts := harness.PeerOptions{HTTP: c}
		p := g.Publish(t, stream, harness.PublisherConfig{PeerOptions: opts, Bitrate: 300_000})
		v := g.View(t, stream, harness.ViewerConfig{PeerOptions: opts})
		v.AwaitVideo(t, 5, 10*time.Second)
		r := harness.Do(t, c, "POST", linkOf(t, v.Reply().Header, eventsRel), `["active","inactive"]`, "Content-Type", "application/json")
		if r.Status != 201 {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
		requireCORS(t, "event stream", r)
		lines := eventLines(t, c, r.Header.Get("Location"))
		if !awaitLine(t, lines, "event: active") {
			t.Error("not told that the stream is live")
		}
		p.Vanish()
		if !awaitLine(t, lines, "event: inactive") {
			t.Error("not told that the publisher vanished")
		}
		q := g.Publish(t, stream, harness.PublisherConfig{PeerOptions: opts, Bitrate: 300_000})
		if !awaitLine(t, lines, "event: active") {
			t.Error("not told that another publisher came")
		}
		if q.Delete(t) != 200 {
			t.Error("DELETE is not 200")
		}
		if awaitLine(t, lines, "event: never") {
			t.Error("the stream outlived the session")
		}
		if r := harness.Do(t, c, "GET", r.Header.Get("Location"), ""); r.Status != 404 {
			t.Errorf("GET after the end of the session: %d", r.Status)
		}
	})
}

// An open event stream holds up neither a reload nor the exit of the process,
// and at exit the player is told to connect again [WHEP-74].
func TestEventStreamAtShutdown(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	c := harness.NewHTTPClient(t, harness.HTTP1)
	g.Publish(t, "show", harness.PublisherConfig{Bitrate: 300_000})
	v := g.View(t, "show", harness.ViewerConfig{})
	v.AwaitVideo(t, 5, 10*time.Second)
	location := harness.Do(t, c, "POST", linkOf(t, v.Reply().Header, eventsRel), "").Header.Get("Location")
	lines := eventLines(t, c, location)
	if !awaitLine(t, lines, "event: active") {
		t.Fatal("no event")
	}
	begin := time.Now()
	g.MustReload(harness.Config{Handler: "strict_etags"})
	if d := time.Since(begin); d > 1500*time.Millisecond { // the grace period is 2s
		t.Errorf("the reload took %s", d)
	}
	if awaitLine(t, lines, "event: reconnect") {
		t.Error("the player was told to connect again at a reload")
	}
	lines = eventLines(t, c, location)
	if !awaitLine(t, lines, "event: layers") {
		t.Error("the event stream did not outlive the reload")
	}
	v.Record(t, 200*time.Millisecond)
	begin = time.Now()
	g.Stop()
	if d := time.Since(begin); d > 1500*time.Millisecond {
		t.Errorf("the exit took %s", d)
	}
	if !awaitLine(t, lines, "event: reconnect") {
		t.Error("the player was not told to connect again")
	}
}
