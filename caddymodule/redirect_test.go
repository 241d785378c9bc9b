package caddymodule

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/talwtn/caddy-wtn/relay"
)

func redirecting(t *testing.T, h *Handler, to ...string) *Handler {
	t.Helper()
	h.Redirect = to
	if err := h.provisionRedirect(); err != nil {
		t.Fatal(err)
	}
	return h
}

// Item 13 [WHIP-131..133, WHEP-50]: 307 with the way and the query of the offer.
func TestRedirect(t *testing.T) {
	for _, c := range []struct {
		name     string
		err      error
		draining bool
		status   int
	}{
		{"limit", relay.ErrLimit, false, 307},
		{"overload", relay.ErrOverloaded, false, 307},
		{"bitrate", relay.ErrBitrate, false, 307},
		{"draining", relay.ErrNotReady, true, 307},
		{"starting", relay.ErrNotReady, false, 503},
		{"no publisher", relay.ErrNoPublisher, true, 409},
		{"published", relay.ErrPublished, false, 409},
		{"offer", &relay.OfferError{}, false, 422},
	} {
		for path, rest := range map[string]string{
			"/live/whip/a":                        "/whip/a?wtn-redirected=1",
			"/LIVE/whip/a?token=x%2Cy&b":          "/whip/a?token=x%2Cy&b&wtn-redirected=1",
			"/live/whep/a/b?":                     "/whep/a/b?wtn-redirected=1",
			"/live/pub/a/b?MuteAudio=true":        "/pub/a/b?MuteAudio=true&wtn-redirected=1",
			"/live/sub/a/b":                       "/sub/a/b?wtn-redirected=1",
			"/live/webrtc/pub-sub/a/b/c?ClientID": "/webrtc/pub-sub/a/b/c?ClientID&wtn-redirected=1",
		} {
			h := redirecting(t, &Handler{Prefix: "/live", gateway: &fakeGateway{err: c.err, draining: c.draining}}, "https://b.example.com:8443/edge/")
			w, vars, err := call(t, h, offerTo(path))
			wtn422 := c.status == 422 && w.Code == 400
			if err != nil || w.Code != c.status && !wtn422 {
				t.Errorf("%s %s: %d %v %s", c.name, path, w.Code, err, w.Body)
				continue
			}
			if got := w.Header().Get("Location"); c.status == 307 && got != "https://b.example.com:8443/edge"+rest || c.status != 307 && got != "" {
				t.Errorf("%s %s: Location %q", c.name, path, got)
			}
			if c.status != 307 {
				continue
			}
			if w.Body.Len() > 0 || w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Length") != "0" {
				t.Errorf("%s %s: %v", c.name, path, w.Header())
			}
			if vars["wtn_redirect"] != "b.example.com:8443" || vars["wtn_error"] == nil {
				t.Errorf("%s %s: variables %v", c.name, path, vars)
			}
		}
	}
}

// Gateways that are all full do not pass a client around for ever, and none
// sends it to itself.
func TestRedirectEnds(t *testing.T) {
	a, b, c, d := "https://a.example/live", "https://b.example/live", "https://c.example/live", "https://d.example/live"
	for _, tc := range []struct {
		name  string
		list  []string
		query string
		want  int
		to    string // hosts
		next  string
	}{
		{"none", nil, "", 503, "", ""},
		{"only itself", []string{a}, "", 503, "", ""},
		{"one other", []string{a, b}, "", 307, "b", "1"},
		{"one other, came from it", []string{a, b}, "wtn-redirected=1", 503, "", ""},
		{"three others", []string{a, b, c, d}, "x=1&wtn-redirected=2&y=2", 307, "bcd", "3"},
		{"three others, tried", []string{a, b, c, d}, "wtn-redirected=3", 503, "", ""},
		{"absurd count", []string{b, c}, "wtn-redirected=99999999999999999999", 503, "", ""},
		{"negative count", []string{b, c}, "wtn-redirected=-4", 503, "", ""},
		{"empty count", []string{b, c}, "wtn-redirected=", 503, "", ""},
		{"two counts", []string{b, c}, "wtn-redirected=1&wtn-redirected=1", 503, "", ""},
		{"many others", []string{b, c, d, b + "1", b + "2", b + "3", b + "4"}, "wtn-redirected=5", 503, "", ""},
	} {
		h := redirecting(t, &Handler{Prefix: "/live", gateway: &fakeGateway{err: relay.ErrLimit}}, tc.list...)
		for range 8 {
			r := offerTo("http://A.example/live/whip/x?" + tc.query)
			r.Header.Set("X-Forwarded-Proto", "https")
			w, _, err := callTLS(t, h, r)
			if err != nil || w.Code != tc.want || (w.Code == 503) != (w.Header().Get("Retry-After") != "") {
				t.Fatalf("%s: %d %v %v", tc.name, w.Code, w.Header(), err)
			}
			if tc.want != 307 {
				continue
			}
			u, err := w.Result().Location()
			if err != nil || !strings.Contains(tc.to, u.Host[:1]) || len(u.Query()[hopsParameter]) != 1 || u.Query().Get(hopsParameter) != tc.next {
				t.Errorf("%s: %v, %v", tc.name, u, err)
			}
			if strings.Contains(tc.query, "x=1") && (u.Query().Get("x") != "1" || u.Query().Get("y") != "2") {
				t.Errorf("%s: the query is %s", tc.name, u.RawQuery)
			}
		}
	}
}

// Session URLs are final [WHIP-132], and nothing but an offer moves.
func TestRedirectOnlyOffers(t *testing.T) {
	h := redirecting(t, &Handler{gateway: &fakeGateway{err: relay.ErrLimit}}, "https://b.example")
	for _, r := range []*http.Request{
		httptest.NewRequest("GET", "/whip/a", nil), httptest.NewRequest("OPTIONS", "/whip/a", nil),
		httptest.NewRequest("PATCH", "/session/x", nil), httptest.NewRequest("DELETE", "/session/x", nil), httptest.NewRequest("POST", "/session/x/events", nil),
	} {
		if w, _, _ := call(t, h, r); w.Code/100 == 3 || w.Header().Get("Location") != "" {
			t.Errorf("%s %s: %d", r.Method, r.URL, w.Code)
		}
	}
	for _, rt := range []*route{eventsRoute, layerRoute, wtnSessionRoute} {
		w := httptest.NewRecorder()
		if x := (&exchange{h: h, w: w, r: offerTo("/session/x"), rest: "/session/x", route: rt}); x.redirect() {
			t.Errorf("a POST on a session is sent to %s", w.Header().Get("Location"))
		}
	}
	h.Access.publish = &verdict{err: ErrForbidden}
	if w, _, _ := call(t, h, offerTo("/whip/a")); w.Code != 403 {
		t.Errorf("somebody without the right: %d", w.Code)
	}
}

func TestRedirectValidate(t *testing.T) {
	t.Setenv("WTN_TEST_GATEWAY", "c.example")
	for s, ok := range map[string]bool{
		"https://b.example": true, "http://b.example:8080/live/": true, "https://{env.WTN_TEST_GATEWAY}/live": true,
		"": false, "b.example": false, "/live": false, "ftp://b.example": false, "https://": false, "https://u:p@b.example": false,
		"https://b.example?x=1": false, "https://b.example#x": false, "https://{env.WTN_TEST_NOTHING}": false, "https://b example": false,
	} {
		if err := (&Handler{Redirect: []string{s}}).provisionRedirect(); (err == nil) != ok {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// Whoever is told 503 is told when to come again.
func TestRetryAfter(t *testing.T) {
	for _, p := range problems {
		if p.status == http.StatusServiceUnavailable && p.retryAfter == 0 {
			t.Errorf("%s: no Retry-After", p.slug)
		}
	}
	for _, p := range authProblems {
		if p.status == http.StatusServiceUnavailable && p.retryAfter == 0 {
			t.Errorf("%s: no Retry-After", p.slug)
		}
	}
}

// A real client follows with the whole offer while the gateway drains, and is
// served here again afterwards.
func TestDrain(t *testing.T) {
	got := make(chan string, 1)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.Method + " " + r.RequestURI + " " + r.Header.Get("Content-Type") + " " + string(body)
		w.WriteHeader(http.StatusCreated)
	}))
	defer other.Close()
	admin := adminServer(t)
	s := newSite(t)
	s.mustLoad(loopbackMedia, "\twtn /live/*\n\twtn /moved/* {\n\t\tredirect "+other.URL+"/there\n\t}")
	session := s.publish("/live/whip/room")
	state := func(method, want string) {
		t.Helper()
		if status, _, body := do(t, method, admin.URL+"/wtn/drain", nil); status != 200 || strings.TrimSpace(body) != want {
			t.Errorf("%s: %d %s", method, status, body)
		}
	}
	state("GET", `{"draining":false,"publishers":1,"subscribers":0}`)
	state("POST", `{"draining":true,"publishers":1,"subscribers":0}`)
	_, _, body := do(t, "GET", admin.URL+"/wtn/stats", nil)
	if !decode[statsJSON](t, []byte(body)).Draining {
		t.Errorf("stats: %s", body)
	}
	for _, path := range []string{"/live/whip/b", "/live/whep/room", "/live/pub/a/b", "/live/sub/a/b", "/live/webrtc/pub-sub/a/b/c"} {
		status, header, body := do(t, "POST", s.url(path), publisherOffer(t))
		if status != 503 || header.Get("Retry-After") == "" || strings.Contains(path, "/sub/") && body != "Service Temporarily Unavailable" {
			t.Errorf("%s: %d %v %s", path, status, header, body)
		}
	}
	assertSession(t, session)
	s.mustLoad(loopbackMedia, "\twtn /live/*\n\twtn /moved/* {\n\t\tredirect "+other.URL+"/there\n\t\tlimits {\n\t\t\tviewers 9\n\t\t}\n\t}")
	offer := publisherOffer(t)
	if status, _, body := do(t, "POST", s.url("/moved/whip/b?x=1"), offer); status != 201 {
		t.Errorf("redirected: %d %s", status, body)
	}
	if want := "POST /there/whip/b?x=1&wtn-redirected=1 application/sdp " + string(offer); <-got != want {
		t.Error("the offer did not arrive as it was sent")
	}
	state("DELETE", `{"draining":false,"publishers":1,"subscribers":0}`)
	s.publish("/moved/whip/b")
	if status, header, _ := do(t, "PUT", admin.URL+"/wtn/drain", nil); status != 405 || header.Get("Allow") == "" {
		t.Errorf("PUT: %d %v", status, header)
	}
}
