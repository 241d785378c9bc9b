package caddymodule

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/relay"
)

func TestConsoleFile(t *testing.T) {
	h := &Handler{Prefix: "/live", gateway: &fakeGateway{}}
	w, _, err := call(t, h, httptest.NewRequest("GET", "/live/wtn.js", nil))
	if err != nil || w.Code != 200 || w.Header().Get("Content-Type") != "text/javascript; charset=utf-8" || w.Body.Len() == 0 {
		t.Fatalf("%d %v, %v", w.Code, w.Header(), err)
	}
	etag := w.Header().Get("ETag")
	r := httptest.NewRequest("GET", "/live/wtn.js", nil)
	r.Header.Set("If-None-Match", etag)
	if w, _, _ = call(t, h, r); w.Code != 304 || etag == "" {
		t.Errorf("revalidation with %s: %d", etag, w.Code)
	}
	w, _, _ = call(t, h, httptest.NewRequest("GET", "/live/", nil))
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Errorf("the page: %d %v", w.Code, w.Header())
	}
	w, _, _ = call(t, h, httptest.NewRequest("GET", "/live", nil))
	if w.Code != 308 || w.Header().Get("Location") != "http://example.com/live/" {
		t.Errorf("without the slash: %d %v", w.Code, w.Header())
	}
}

func TestConsoleStreams(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	fake := &fakeGateway{}
	h := &Handler{gateway: fake}
	body := func() string {
		w, _, err := call(t, h, httptest.NewRequest("GET", "/console/streams", nil))
		if err != nil || w.Code != 200 || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
			t.Fatalf("%d %v, %v", w.Code, w.Header(), err)
		}
		return w.Body.String()
	}
	if got := body(); got != `{"streams":[],"viewers":0}` {
		t.Errorf("no streams: %s", got)
	}
	fake.streams = []relay.StreamStats{
		{
			Name: "a/b", Since: since, Subscribers: 3,
			Publisher: &relay.SessionInfo{ID: "public-id", Connected: since, Role: relay.RolePull, Upstream: "not-shown"},
			Sources:   []relay.SourceStats{{Connected: true, Program: true}, {Connected: true}, {Connected: true, Held: true}, {}},
			Pushes:    []relay.DockStats{{State: "connected"}, {State: "waiting"}},
			Tracks: []relay.TrackStats{
				{Kind: "audio", Codec: "opus", Bitrate: 32000},
				{Kind: "video", Codec: "H264", Bitrate: 2500000, Width: 1280, Height: 720},
			},
		},
		{Name: "quiet", Since: since, Subscribers: 1},
	}
	want := `{"streams":[{"name":"a/b","since":"2026-01-02T03:04:05Z","publisher":{"connected":true,"codecs":["opus","H264"],"bitrate":2532000},"viewers":3,"pulled":true,"standby":1,"pushed":1,"width":1280,"height":720},` +
		`{"name":"quiet","since":"2026-01-02T03:04:05Z","publisher":null,"viewers":1,"width":0,"height":0}],"viewers":4}`
	if got := body(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
