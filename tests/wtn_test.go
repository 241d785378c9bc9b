package tests

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// requireText checks an error reply of the WTN face.
func requireText(t *testing.T, what string, r harness.Reply, status int, text string) {
	t.Helper()
	if r.Status != status || strings.TrimSpace(r.Body) != text {
		t.Errorf("%s: %d %q, want %d %q", what, r.Status, r.Body, status, text)
	}
	if ct := r.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/plain") {
		t.Errorf("%s: Content-Type %q", what, ct)
	}
	requireCORS(t, what, r)
}

// The codes and texts of the WTN documents [WTN-10..31, 70, 71].
func TestWTNReplies(t *testing.T) {
	httpVersions(t, func(t *testing.T, g *harness.Gateway, c *http.Client) {
		pub, sub := g.PublisherOffer(t, harness.PublisherConfig{}), g.ViewerOffer(t, harness.ViewerConfig{})
		post := func(path, body, contentType string) harness.Reply {
			return harness.Do(t, c, "POST", g.URL(path), body, "Content-Type", contentType)
		}
		requireText(t, "nobody publishes", post("sub/app/none", sub, sdpType), 409, "Stream Not Exist")
		requireText(t, "media type", post("pub/app/one", pub, "text/plain"), 415, "Content-Type Illegal")
		requireText(t, "garbage", post("pub/app/one", "garbage", sdpType), 400, "Unknown Request")
		requireText(t, "empty", post("pub/app/one", "", sdpType), 400, "Unknown Request")
		requireText(t, "no stream", post("pub/app", pub, sdpType), 404, "Not Found")
		requireText(t, "one segment too many", post("pub/app/one/more", pub, sdpType), 404, "Not Found")
		requireText(t, "destroy of nothing", harness.Do(t, c, "DELETE", g.URL("session/wtn/AAAAAAAAAAAAAAAAAAAAAAAAAA"), ""), 404, "Resource Not Exist")

		r := post("pub/app/one?SessionID=trace&ClientIP=192.0.2.1&MuteAudio=false", pub, sdpType)
		requireCreatedWTN(t, g, r)
		location := r.Header.Get("Location")
		if d := harness.Do(t, c, "DELETE", location, ""); d.Status != 200 {
			t.Errorf("destroy: %d", d.Status)
		}
		requireText(t, "destroy again", harness.Do(t, c, "DELETE", location, ""), 404, "Resource Not Exist")
	})
}

func requireCreatedWTN(t *testing.T, g *harness.Gateway, r harness.Reply) {
	t.Helper()
	if r.Status != http.StatusCreated || r.Header.Get("Content-Type") != sdpType {
		t.Fatalf("status %d, Content-Type %q: %s", r.Status, r.Header.Get("Content-Type"), r.Body)
	}
	requireLocation(t, g, r.Header.Values("Location"))
	requireAnswer(t, r.Body, "recvonly")
}

// All dialects meet on one stream: pub/a/b and whip/a/b publish it, sub/a/b
// and whep/a/b play it; a re-publish through another dialect is a takeover.
func TestDialectsMeet(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	wtn := g.Publish(t, "", harness.PublisherConfig{PeerOptions: harness.PeerOptions{URL: g.URL("pub/app/show")}, Bitrate: 1_000_000})
	whep := g.View(t, "app/show", harness.ViewerConfig{})
	sub := g.View(t, "", harness.ViewerConfig{PeerOptions: harness.PeerOptions{URL: g.URL("sub/app/show")}})
	whep.AwaitVideo(t, 100, 10*time.Second)
	sub.AwaitVideo(t, 50, 10*time.Second)

	whip := g.Publish(t, "app/show", harness.PublisherConfig{Bitrate: 1_000_000})
	requireEnded(t, wtn)
	for _, v := range []*harness.Viewer{whep, sub} {
		v.AwaitSource(t, whip.Source, 5*time.Second)
	}
	whep.Record(t, time.Second)
	stopAndDrain(t, whip, whep, sub)
	requireOneTimeline(t, "whep viewer", harness.H264, whep)
	requireOneTimeline(t, "wtn viewer", harness.H264, sub)
}

// Destroying the WTN publish resource destroys its subscribers [WTN-32].
func TestWTNDestroy(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	p := g.Publish(t, "", harness.PublisherConfig{PeerOptions: harness.PeerOptions{URL: g.URL("pub/app/show")}, Bitrate: 300_000})
	leaves := g.View(t, "", harness.ViewerConfig{PeerOptions: harness.PeerOptions{URL: g.URL("sub/app/show")}})
	stays := g.View(t, "", harness.ViewerConfig{PeerOptions: harness.PeerOptions{URL: g.URL("sub/app/show")}})
	leaves.AwaitVideo(t, 10, 10*time.Second)
	stays.AwaitVideo(t, 10, 10*time.Second)
	if code := leaves.Delete(t); code != 200 {
		t.Errorf("destroy sub: %d", code)
	}
	stays.Record(t, 500*time.Millisecond)
	if p.HasEnded() || stays.HasEnded() {
		t.Error("destroying one subscriber ended another session")
	}
	if code := p.Delete(t); code != 200 {
		t.Errorf("destroy pub: %d", code)
	}
	harness.Eventually(t, 2*time.Second, "the subscriber is cut", stays.HasEnded)
	c := harness.NewHTTPClient(t, harness.HTTP1)
	requireText(t, "destroy sub after pub", harness.Do(t, c, "DELETE", stays.Location(), ""), 404, "Resource Not Exist")
}
