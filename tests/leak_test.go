package tests

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// 200 sessions, opened, used and deleted in batches, leave nothing behind.
// The check itself is the harness's, at the end of each test.
func TestSessionsLeaveNothing(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	const batches, size = 10, 10
	for b := range batches {
		var pubs []*harness.Publisher
		var viewers []*harness.Viewer
		for i := range size {
			stream := fmt.Sprintf("s%d-%d", b, i)
			pubs = append(pubs, g.Publish(t, stream, harness.PublisherConfig{Bitrate: 100_000, FPS: 10}))
			viewers = append(viewers, g.View(t, stream, harness.ViewerConfig{PeerOptions: harness.PeerOptions{TCP: i%3 == 0}}))
		}
		for i := range size {
			viewers[i].AwaitVideo(t, 3, 10*time.Second)
			viewers[i].Close()
			pubs[i].Close()
		}
		g.CheckLeaks()
		if t.Failed() {
			t.Fatalf("after batch %d of %d", b+1, batches)
		}
	}
}

// Sessions that were opened and never connected are gone after DELETE too.
func TestUnconnectedSessionsLeaveNothing(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	p := g.Publish(t, "live", harness.PublisherConfig{Bitrate: 100_000})
	c := harness.NewHTTPClient(t, harness.HTTP1)
	pub, sub := g.PublisherOffer(t, harness.PublisherConfig{}), g.ViewerOffer(t, harness.ViewerConfig{})
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			u, offer := g.WHIP(fmt.Sprintf("s%d", i)), pub
			if i%2 == 0 {
				u, offer = g.WHEP("live"), sub
			}
			r, err := harness.Try(c, http.MethodPost, u, offer, "Content-Type", sdpType)
			if err != nil || r.Status != http.StatusCreated {
				t.Errorf("session %d: %v, status %d: %s", i, err, r.Status, r.Body)
				return
			}
			if d, err := harness.Try(c, http.MethodDelete, r.Header.Get("Location"), ""); err != nil || d.Status != http.StatusOK {
				t.Errorf("DELETE %d: %v, status %d", i, err, d.Status)
			}
		})
	}
	wg.Wait()
	if p.HasEnded() {
		t.Error("the publisher in between has ended")
	}
}

// And those that are never deleted are reaped when their time to connect is over.
func TestUnconnectedSessionsAreReaped(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{App: "timeouts {\n publisher_connect 2s\n subscriber_connect 1s\n}"})
	p := g.Publish(t, "live", harness.PublisherConfig{Bitrate: 100_000})
	c := harness.NewHTTPClient(t, harness.HTTP1)
	var locations []string
	for i, u := range []string{g.WHIP("a"), g.WHEP("live"), g.WHIP("b"), g.WHEP("live")} {
		offer := g.PublisherOffer(t, harness.PublisherConfig{})
		if i%2 == 1 {
			offer = g.ViewerOffer(t, harness.ViewerConfig{})
		}
		r := harness.PostOffer(t, c, u, offer)
		if r.Status != http.StatusCreated {
			t.Fatalf("%s: %d %s", u, r.Status, r.Body)
		}
		locations = append(locations, r.Header.Get("Location"))
	}
	for _, l := range locations {
		harness.Eventually(t, 8*time.Second, "the session is reaped", func() bool {
			return harness.Do(t, c, "GET", l, "").Status == http.StatusNotFound
		})
	}
	if p.HasEnded() {
		t.Error("the connected publisher was reaped with them")
	}
}

// A viewer that is killed, without DELETE and without a DTLS close, is ended
// when its consent runs out, and its resources come back.
func TestVanishedViewerIsReaped(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{App: "timeouts {\n consent 3s\n}"})
	p := g.Publish(t, "live", harness.PublisherConfig{Bitrate: 300_000})
	stays := g.View(t, "live", harness.ViewerConfig{})
	v := g.View(t, "live", harness.ViewerConfig{})
	v.AwaitVideo(t, 10, 10*time.Second)
	c := harness.NewHTTPClient(t, harness.HTTP1)
	v.Vanish()
	harness.Eventually(t, 15*time.Second, "the vanished viewer's session is gone", func() bool {
		return harness.Do(t, c, "GET", v.Location(), "").Status == http.StatusNotFound
	})
	stays.Record(t, time.Second)
	stopAndDrain(t, p, stays)
	requireIntact(t, "the viewer that stays", p, stays)
}

// One that closes DTLS and forgets the DELETE is gone at once, or its DELETE
// afterwards still is answered 200 (some players send it last).
func TestClosedViewerIsReaped(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	p := g.Publish(t, "live", harness.PublisherConfig{Bitrate: 300_000})
	v := g.View(t, "live", harness.ViewerConfig{})
	v.AwaitVideo(t, 10, 10*time.Second)
	before := g.Streams(t)
	v.CloseWithoutDelete()
	harness.Eventually(t, 5*time.Second, "the viewer is not counted any more", func() bool {
		return g.Streams(t).Viewers == before.Viewers-1
	})
	if code := v.Delete(t); code != http.StatusOK && code != http.StatusNotFound {
		t.Errorf("DELETE after the DTLS close: %d", code)
	}
	p.Close()
}
