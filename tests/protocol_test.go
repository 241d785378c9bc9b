package tests

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

const fragmentType = "application/trickle-ice-sdpfrag"

// PATCH over each HTTP version [WHIP-60..76, 80..82, 88; WHEP-31].
func TestPatchReplies(t *testing.T) {
	httpVersions(t, func(t *testing.T, g *harness.Gateway, c *http.Client) {
		opts := harness.PeerOptions{HTTP: c}
		p := g.Publish(t, "patch", harness.PublisherConfig{PeerOptions: opts, Bitrate: 300_000})
		v := g.View(t, "patch", harness.ViewerConfig{PeerOptions: opts})
		v.AwaitVideo(t, 5, 10*time.Second)
		etag := v.Reply().Header.Get("ETag")
		patch := func(body string, headers ...string) harness.Reply {
			return harness.Do(t, c, "PATCH", v.Location(), body, append([]string{"Content-Type", fragmentType}, headers...)...)
		}
		end := "a=end-of-candidates\r\n"
		for _, match := range []string{etag, "*", `"*"`} {
			if r := patch(end, "If-Match", match); r.Status != 204 || r.Body != "" || r.Header.Get("ETag") != "" {
				t.Errorf("If-Match %s: %d %q, ETag %q", match, r.Status, r.Body, r.Header.Get("ETag"))
			}
		}
		if r := patch(end); r.Status != 204 {
			t.Errorf("without If-Match: %d", r.Status)
		}
		if r := patch(end, "If-Match", `"stale"`); r.Status != 412 {
			t.Errorf("stale: %d", r.Status)
		}
		requireCORS(t, "412", patch(end, "If-Match", `"stale"`))
		if r := harness.Do(t, c, "PATCH", v.Location(), `{"candidate":""}`, "Content-Type", "application/json"); r.Status != 415 || r.Header.Get("Accept-Patch") != fragmentType {
			t.Errorf("JSON: %d %v", r.Status, r.Header)
		}
		if o := harness.Do(t, c, "OPTIONS", v.Location(), ""); o.Status != 200 || o.Header.Get("Accept-Patch") != fragmentType {
			t.Errorf("OPTIONS: %d %v", o.Status, o.Header)
		}
		restart := "a=ice-ufrag:abcdefgh\r\na=ice-pwd:0123456789012345678901\r\n"
		if r := patch(restart); r.Status != 428 {
			t.Errorf("restart without If-Match: %d", r.Status)
		}
		r := patch(restart, "If-Match", "*")
		if r.Status != 200 || r.Header.Get("Content-Type") != fragmentType || r.Header.Get("ETag") == "" || r.Header.Get("ETag") == etag ||
			!strings.Contains(r.Body, "a=ice-ufrag:") || !strings.Contains(r.Body, "a=candidate:") || strings.Contains(strings.ReplaceAll(r.Body, "\r\n", ""), "\n") {
			t.Errorf("restart: %d %v\n%s", r.Status, r.Header, r.Body)
		}
		if r := patch(end, "If-Match", etag); r.Status != 412 {
			t.Errorf("the ETag of before the restart: %d", r.Status)
		}
		v.AwaitVideo(t, 20, 10*time.Second) // the restart was not followed up: media stays on the old path
		stopAndDrain(t, p, v)
		requireOneTimeline(t, "viewer", harness.H264, v)
	})
}

// A thousand PATCHes of a thousand candidates beside a running session cost it
// no packet [WHIP-74, WHIP-76].
func TestPatchFlood(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	p := g.Publish(t, "flood", harness.PublisherConfig{Bitrate: 1_000_000})
	v := g.View(t, "flood", harness.ViewerConfig{})
	v.AwaitVideo(t, 20, 10*time.Second)
	var long, short strings.Builder
	for i := range 1000 {
		line := fmt.Sprintf("a=candidate:%d 1 udp 2130706431 192.0.%d.%d 4444 typ host\r\n", i, 2+i/250, 1+i%250)
		long.WriteString(line)
		if i < 60 {
			short.WriteString(line)
		}
	}
	var wg sync.WaitGroup
	for n := range 4 {
		c := harness.NewHTTPClient(t, harness.H2C)
		wg.Go(func() {
			for i := range 250 {
				body, want := long.String(), 413
				if (n+i)%2 == 0 {
					body, want = short.String(), 204
				}
				r, err := harness.Try(c, "PATCH", v.Location(), body, "Content-Type", fragmentType, "If-Match", "*")
				if err != nil || r.Status != want {
					t.Errorf("%d %s, %v; want %d", r.Status, r.Body, err, want)
					return
				}
			}
		})
	}
	wg.Wait()
	v.Record(t, 500*time.Millisecond)
	stopAndDrain(t, p, v)
	requireOneTimeline(t, "viewer", harness.H264, v)
}
