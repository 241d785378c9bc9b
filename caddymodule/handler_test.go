package caddymodule

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay"
)

// fakeGateway answers every offer with one error and knows no session. What a
// real answer looks like is tested with a real hub in lifecycle_test.go.
type fakeGateway struct {
	err     error
	got     relay.OfferRequest
	role    relay.Role
	streams []relay.StreamStats

	draining bool
}

func (f *fakeGateway) Publish(_ context.Context, r relay.OfferRequest) (*relay.Answer, error) {
	f.got, f.role = r, relay.RolePublish
	return nil, f.err
}

func (f *fakeGateway) Subscribe(_ context.Context, r relay.OfferRequest) (*relay.Answer, error) {
	f.got, f.role = r, relay.RoleSubscribe
	return nil, f.err
}

func (f *fakeGateway) PubSub(_ context.Context, pub, _ relay.OfferRequest) (*relay.Answer, error) {
	f.got, f.role = pub, relay.RolePublish
	return nil, f.err
}

func (f *fakeGateway) Counter(context.Context, relay.OfferRequest, any) (*relay.CounterOffer, error) {
	return nil, f.err
}

func (f *fakeGateway) CounterOffer(string) (*relay.CounterOffer, error) {
	return nil, relay.ErrSessionNotFound
}

func (f *fakeGateway) Accept(*relay.CounterOffer, []byte) (*relay.Session, error) { return nil, f.err }
func (f *fakeGateway) Withdraw(*relay.CounterOffer) bool                          { return false }

func (f *fakeGateway) Session(string) (*relay.Session, error) { return nil, relay.ErrSessionNotFound }
func (f *fakeGateway) EndSession(string, relay.Reason) (*relay.Session, error) {
	return nil, relay.ErrSessionNotFound
}
func (f *fakeGateway) Draining() bool               { return f.draining }
func (f *fakeGateway) Streams() []relay.StreamStats { return f.streams }

// call sends one request through h, as Caddy's server prepares it.
func call(t *testing.T, h *Handler, r *http.Request) (*httptest.ResponseRecorder, map[string]any, error) {
	t.Helper()
	if h.logger == nil {
		h.logger = zap.NewNop()
	}
	w := httptest.NewRecorder()
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, new(caddyhttp.Server))
	err := h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusTeapot) // the next handler
		return nil
	}))
	return w, r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any), err
}

func offerTo(path string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader("v=0\r\n"))
	r.Header.Set("Content-Type", "application/sdp")
	return r
}

func TestRouting(t *testing.T) {
	off := false
	cases := []struct {
		method, path string
		h            Handler
		status       int
		stream       string
		action       any
	}{
		{"POST", "/whip/room1", Handler{}, 409, "room1", "publish"},
		{"POST", "/whep/a/b/c", Handler{}, 409, "a/b/c", "play"},
		{"POST", "/pub/app/room", Handler{}, 409, "app/room", "publish"},
		{"POST", "/sub/app/room", Handler{}, 409, "app/room", "play"},
		{"POST", "/live/whip/room1", Handler{Prefix: "/live"}, 409, "room1", "publish"},
		{"POST", "/LIVE/whip/room1", Handler{Prefix: "/live"}, 409, "room1", "publish"},
		{"POST", "/lively/whip/room1", Handler{Prefix: "/live"}, 418, "", nil},
		{"POST", "/whip/room1", Handler{Prefix: "/live"}, 418, "", nil},
		{"POST", "/whip", Handler{}, 404, "", "publish"},
		{"POST", "/whip/", Handler{}, 404, "", "publish"},
		{"POST", "/pub/app", Handler{}, 404, "", "publish"},
		{"POST", "/pub/app/", Handler{}, 404, "", "publish"},
		{"POST", "/pub/a/b/c", Handler{}, 404, "", "publish"},
		{"POST", "/whipx/room1", Handler{}, 418, "", nil},
		{"POST", "/", Handler{}, 418, "", nil},
		{"POST", "/webrtc/pub-sub/a/b/c", Handler{}, 409, "a/b", "publish"},
		{"POST", "/webrtc/pub-sub/a/b", Handler{}, 404, "", "publish"},
		{"POST", "/webrtc/pub-sub/a/b/c/d", Handler{}, 404, "", "publish"},
		{"POST", "/webrtc/other/a/b/c", Handler{}, 404, "", "publish"},
		{"POST", "/webrtc/pub-sub/a/b/c", Handler{Play: &off}, 403, "", "publish"},
		{"POST", "/webrtc/pub-sub/a/b/c", Handler{Publish: &off}, 403, "", "publish"},
		{"POST", "/webrtc/pub-sub/a/b/c", Handler{Streams: []string{"a/b"}}, 404, "", "publish"},
		{"POST", "/webrtc/pub-sub/a/b/c?SubMuteVideo=1&PubMuteAudio=maybe", Handler{}, 400, "", "publish"},
		{"PATCH", "/webrtc/pub-sub/a/b/c", Handler{}, 405, "", "publish"},
		{"POST", "/whip/room1", Handler{Publish: &off}, 403, "", "publish"},
		{"POST", "/pub/app/room1", Handler{Publish: &off}, 403, "", "publish"},
		{"POST", "/whep/room1", Handler{Publish: &off}, 409, "room1", "play"},
		{"POST", "/whep/room1", Handler{Play: &off}, 403, "", "play"},
		{"GET", "/whep/room1", Handler{Play: &off}, 403, "", "play"},
		{"GET", "/whip/room1", Handler{}, 200, "", "publish"},
		{"HEAD", "/whep/room1", Handler{}, 200, "", "play"},
		{"PUT", "/whip/room1", Handler{}, 405, "", "publish"},
		{"PATCH", "/whip/room1", Handler{}, 405, "", "publish"},
		{"DELETE", "/whep/room1", Handler{}, 405, "", "play"},
		{"PATCH", "/session/abc", Handler{}, 404, "", "session"},
		{"POST", "/session/wtn/abc", Handler{}, 404, "", "session"},
		{"PATCH", "/session/wtn/abc", Handler{}, 404, "", "session"},
		{"POST", "/session/abc/events", Handler{}, 404, "", "session"},
		{"GET", "/session/abc/events", Handler{}, 405, "", "session"},
		{"GET", "/session/abc/events/x", Handler{}, 404, "", "session"},
		{"DELETE", "/session/abc/events/x", Handler{}, 404, "", "session"},
		{"POST", "/session/abc/events/x", Handler{}, 405, "", "session"},
		{"GET", "/session/abc/events/x/y", Handler{}, 404, "", "session"},
		{"GET", "/session/abc/events/", Handler{}, 404, "", "session"},
		{"POST", "/session/abc/layer", Handler{}, 404, "", "session"},
		{"POST", "/session/wtn/abc/layer", Handler{}, 404, "", "session"},
		{"DELETE", "/session/abc/layer", Handler{}, 405, "", "session"},
		{"POST", "/whip/room1", Handler{Streams: []string{"app/*", "lobby"}}, 404, "", "publish"},
		{"POST", "/whep/lobby", Handler{Streams: []string{"app/*", "lobby"}}, 409, "lobby", "play"},
		{"POST", "/sub/app/x", Handler{Streams: []string{"app/*", "lobby"}}, 409, "app/x", "play"},
		{"POST", "/whep/app/x/y", Handler{Streams: []string{"app/*", "lobby"}}, 404, "", "play"},
		{"GET", "/whep/other", Handler{Streams: []string{"app/*", "lobby"}}, 404, "", "play"},
		{"POST", "/sub/app/x?MuteAudio=perhaps", Handler{}, 400, "", "play"},
		{"POST", "/sub/app/x?RID=h", Handler{}, 409, "app/x", "play"},
		{"POST", "/whep/app/x?RID=h", Handler{}, 409, "app/x", "play"},
		{"POST", "/session/abc", Handler{}, 405, "", "session"},
		{"DELETE", "/session/abc", Handler{}, 404, "", "session"},
		{"GET", "/session/abc", Handler{}, 404, "", "session"},
		{"HEAD", "/session/abc", Handler{}, 404, "", "session"},
		{"DELETE", "/session/", Handler{}, 404, "", "session"},
		{"DELETE", "/session/abc/more", Handler{}, 404, "", "session"},
		{"OPTIONS", "/session/abc", Handler{}, 200, "", "session"},
		{"OPTIONS", "/sub/app/x", Handler{}, 200, "", "play"},
		{"GET", "/console/streams", Handler{}, 200, "", "streams"},
		{"POST", "/console/streams", Handler{}, 405, "", "streams"},
		{"GET", "/console/other", Handler{}, 404, "", "streams"},
		{"GET", "/console/streams", Handler{Console: &off}, 418, "", nil},
		{"GET", "/console/streams", Handler{ConsoleStreams: &off}, 418, "", nil},
		{"GET", "/wtn.js", Handler{}, 200, "", "console"},
		{"HEAD", "/wtn.js", Handler{}, 200, "", "console"},
		{"POST", "/wtn.js", Handler{}, 418, "", nil},
		{"GET", "/wtn.js", Handler{Console: &off}, 418, "", nil},
		{"GET", "/no.js", Handler{}, 418, "", nil},
		{"GET", "/../console.go", Handler{}, 418, "", nil},
		{"GET", "/live", Handler{Prefix: "/live"}, 308, "", nil},
	}
	for _, c := range cases {
		t.Run(c.method+c.path, func(t *testing.T) {
			fake := &fakeGateway{err: relay.ErrNoPublisher}
			c.h.gateway = fake
			r := offerTo(c.path)
			r.Method = c.method
			w, vars, err := call(t, &c.h, r)
			if err != nil || w.Code != c.status {
				t.Fatalf("%d, %v; want %d", w.Code, err, c.status)
			}
			if fake.got.Stream != c.stream {
				t.Errorf("stream %q, want %q", fake.got.Stream, c.stream)
			}
			if vars["wtn_action"] != c.action {
				t.Errorf("action %v, want %v", vars["wtn_action"], c.action)
			}
			if c.status == 405 && !strings.Contains(w.Header().Get("Allow"), "OPTIONS") {
				t.Errorf("Allow is %q", w.Header().Get("Allow"))
			}
			ours := c.status != 418 && c.status != 308
			if got := w.Header().Get("Access-Control-Expose-Headers"); (got != "") != ours {
				t.Errorf("exposed %q", got)
			}
			if strings.Contains(fmt.Sprint(vars), "abc") {
				t.Errorf("a variable holds the secret: %v", vars)
			}
		})
	}
}

// WHIP-11, WHIP-12 and the table of replies: what is wrong with a body.
func TestOfferBody(t *testing.T) {
	cases := []struct {
		name, contentType, body string
		status                  int
		slug, wtn               string
	}{
		{"no type", "", "v=0", 415, "media-type", "Content-Type Illegal"},
		{"other type", "text/plain", "v=0", 415, "media-type", "Content-Type Illegal"},
		{"prefix of type", "application/sdpx", "v=0", 415, "media-type", "Content-Type Illegal"},
		{"parameter", "Application/SDP; charset=utf-8", "v=0", 409, "no-publisher", "Stream Not Exist"},
		{"bad parameter", "application/sdp;;=", "v=0", 409, "no-publisher", "Stream Not Exist"},
		{"empty", "application/sdp", "", 400, "malformed-offer", "Unknown Request"},
		{"largest", "application/sdp", strings.Repeat("v", maxOfferSize), 409, "no-publisher", "Stream Not Exist"},
		{"too large", "application/sdp", strings.Repeat("v", maxOfferSize+1), 413, "too-large", "Request Entity Too Large"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := &Handler{gateway: &fakeGateway{err: relay.ErrNoPublisher}}
			for _, path := range []string{"/whip/a/b", "/pub/a/b"} {
				r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(c.body))
				r.Header.Set("Content-Type", c.contentType)
				w, vars, err := call(t, h, r)
				if err != nil || w.Code != c.status {
					t.Fatalf("%s: %d, %v; want %d", path, w.Code, err, c.status)
				}
				if vars["wtn_error"] != c.slug {
					t.Errorf("wtn_error is %v", vars["wtn_error"])
				}
				if path == "/pub/a/b" {
					if w.Body.String() != c.wtn || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
						t.Errorf("%q as %q", w.Body, w.Header().Get("Content-Type"))
					}
				} else if !strings.Contains(w.Body.String(), `"urn:wtn:error:`+c.slug+`"`) {
					t.Errorf("body %s", w.Body)
				}
				if got := w.Header().Get("Accept-Post"); (got == sdpType) != (c.status == 415) {
					t.Errorf("Accept-Post %q", got)
				}
			}
		})
	}
}

func TestProblems(t *testing.T) {
	cases := []struct {
		err        error
		status     int
		slug       string
		retry      string
		wtnStatus  int
		wtn        string
		detailHint string
	}{
		{relay.ErrNoPublisher, 409, "no-publisher", "2", 409, "Stream Not Exist", "start the publisher"},
		{fmt.Errorf("room: %w", relay.ErrNoPublisher), 409, "no-publisher", "2", 409, "Stream Not Exist", "start the publisher"},
		{relay.ErrStreamName, 400, "stream-name", "", 400, "Unknown Request", "letters"},
		{relay.ErrLimit, 503, "limit", "10", 503, "Service Temporarily Unavailable", "later"},
		{relay.ErrOverloaded, 503, "overloaded", "5", 503, "Service Temporarily Unavailable", "capacity"},
		{relay.ErrBitrate, 503, "bitrate", "10", 503, "Service Temporarily Unavailable", "later"},
		{relay.ErrPublished, 409, "published", "", 409, "Stream Already Exist", "another name"},
		{relay.ErrUpstreams, 502, "upstreams", "2", 503, "Service Temporarily Unavailable", "again"},
		{relay.ErrUpstreamTimeout, 504, "upstream-timeout", "2", 504, "Gateway Timeout", "again"},
		{relay.ErrNotReady, 503, "not-ready", "2", 503, "Service Temporarily Unavailable", "again"},
		{&relay.OfferError{Malformed: true, Detail: "line 3 is odd"}, 400, "malformed-offer", "", 400, "Unknown Request", "line 3 is odd"},
		{&relay.OfferError{Detail: "two videos"}, 422, "unacceptable-offer", "", 400, "Unknown Request", "two videos"},
		{errors.New("secret internals"), 500, "internal", "", 500, "Internal Error", "log"},
	}
	for _, c := range cases {
		t.Run(c.slug, func(t *testing.T) {
			h := &Handler{gateway: &fakeGateway{err: c.err}}
			w, _, err := call(t, h, offerTo("/whep/room"))
			if err != nil || w.Code != c.status || w.Header().Get("Retry-After") != c.retry {
				t.Fatalf("%d, Retry-After %q, %v", w.Code, w.Header().Get("Retry-After"), err)
			}
			if ct := w.Header().Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("Content-Type %q", ct)
			}
			var p struct {
				Type, Title, Detail string
				Status              int
			}
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatal(err)
			}
			if p.Type != "urn:wtn:error:"+c.slug || p.Status != c.status || p.Title == "" || !strings.Contains(p.Detail, c.detailHint) {
				t.Errorf("problem %+v", p)
			}
			if strings.Contains(w.Body.String(), "internals") {
				t.Error("the text of an unforeseen error reached the client")
			}
			w, _, err = call(t, h, offerTo("/sub/app/room"))
			if err != nil || w.Code != c.wtnStatus || w.Body.String() != c.wtn || w.Header().Get("Retry-After") != c.retry {
				t.Errorf("wtn: %d %q, %v", w.Code, w.Body, err)
			}
		})
	}
}

// WTN-31: the URL of an ended WTN session still knows how to say so.
func TestEndedSessionFaces(t *testing.T) {
	h := &Handler{gateway: &fakeGateway{}}
	w, _, _ := call(t, h, httptest.NewRequest(http.MethodDelete, "/session/wtn/abc", nil))
	if w.Code != 404 || w.Body.String() != "Resource Not Exist" {
		t.Errorf("wtn: %d %q", w.Code, w.Body)
	}
	w, _, _ = call(t, h, httptest.NewRequest(http.MethodDelete, "/session/abc", nil))
	if w.Code != 404 || !strings.Contains(w.Body.String(), "urn:wtn:error:session-not-found") {
		t.Errorf("whip: %d %q", w.Code, w.Body)
	}
}

// An error a handler around us made, such as request_body's, must reach
// handle_errors as it is.
func TestForeignErrorsPass(t *testing.T) {
	h := &Handler{gateway: &fakeGateway{}}
	r := offerTo("/whip/room")
	r.Body = io.NopCloser(errReader{caddyhttp.Error(http.StatusRequestEntityTooLarge, &http.MaxBytesError{Limit: 3})})
	w, _, err := call(t, h, r)
	he, ok := err.(caddyhttp.HandlerError)
	if !ok || he.StatusCode != 413 || w.Body.Len() > 0 {
		t.Errorf("error %T %v, body %q", err, err, w.Body)
	}
	r = offerTo("/whip/room")
	r.Body = io.NopCloser(errReader{io.ErrUnexpectedEOF})
	if w, _, err = call(t, h, r); err != nil || w.Code != 400 {
		t.Errorf("broken body: %d, %v", w.Code, err)
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

// WHIP-03, WHEP-01, WHEP-02: discovery.
func TestEndpointGet(t *testing.T) {
	h := &Handler{gateway: &fakeGateway{}}
	for path, want := range map[string]string{"/whip/x": "", "/whep/x": sdpType, "/sub/a/x": sdpType} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			w, _, err := call(t, h, httptest.NewRequest(method, path, nil))
			if err != nil || w.Code != 200 || w.Body.Len() > 0 || w.Header().Get("Content-Length") != "0" || w.Header().Get("Content-Type") != want {
				t.Errorf("%s %s: %d %v", method, path, w.Code, w.Header())
			}
		}
	}
}

// WHIP-41, WHIP-46, WHIP-47.
func TestCORS(t *testing.T) {
	h := &Handler{gateway: &fakeGateway{err: relay.ErrLimit}}
	r := httptest.NewRequest(http.MethodOptions, "/whip/x", nil)
	r.Header.Set("Origin", "https://elsewhere.example")
	r.Header.Set("Access-Control-Request-Method", "POST")
	w, _, _ := call(t, h, r)
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":  "*",
		"Access-Control-Allow-Methods": "OPTIONS, GET, HEAD, POST, PATCH, DELETE",
		"Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match, If-None-Match, ETag, Accept, X-WTN-Priority, *",
		"Accept-Post":                  "application/sdp",
		"Accept-Patch":                 "",
		"Allow":                        "GET, HEAD, OPTIONS, POST",
		"Cache-Control":                "no-store",
		"Link":                         "",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	w, _, _ = call(t, h, offerTo("/whip/x"))
	if w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header().Get("Access-Control-Expose-Headers") != corsExpose {
		t.Errorf("an error is not readable by other sites: %v", w.Header())
	}
	// A header directive in front may have set the same: never two values.
	w.Header().Set("Access-Control-Allow-Origin", "https://a.example")
	setCORS(w.Header())
	if got := w.Header().Values("Access-Control-Allow-Origin"); len(got) != 1 {
		t.Errorf("%v", got)
	}
	w, _, _ = call(t, h, httptest.NewRequest(http.MethodOptions, "/session/x", nil))
	if w.Header().Get("Accept-Post") != "" || w.Header().Get("Accept-Patch") != "application/trickle-ice-sdpfrag" || w.Header().Get("Allow") != "DELETE, GET, HEAD, OPTIONS, PATCH" {
		t.Errorf("session options: %v", w.Header())
	}
}

func TestExternalURL(t *testing.T) {
	cases := []struct {
		name           string
		orig, path     string // what the client asked for, what reaches the handler
		prefix         string
		host           string
		tls, trusted   bool
		proto, fwdHost string
		fwdPrefix      string
		want           string
	}{
		{name: "matcher", orig: "/live/whip/x", prefix: "/live", host: "a.example", tls: true, want: "https://a.example/live/session/s"},
		{name: "none", orig: "/whip/x", host: "localhost:8080", want: "http://localhost:8080/session/s"},
		{name: "handle_path", orig: "/live/whip/x", path: "/whip/x", host: "a.example", want: "http://a.example/live/session/s"},
		{name: "both", orig: "/a/live/whip/x", path: "/live/whip/x", prefix: "/live", host: "a.example", want: "http://a.example/a/live/session/s"},
		{name: "case", orig: "/LIVE/whip/x", prefix: "/live", host: "a.example", want: "http://a.example/LIVE/session/s"},
		{name: "rewritten", orig: "/old", path: "/live/whip/x", prefix: "/live", host: "a.example", want: "http://a.example/live/session/s"},
		{name: "query", orig: "/whip/x?token=1", host: "a.example", want: "http://a.example/session/s"},
		{name: "untrusted", orig: "/whip/x", host: "a.example", proto: "https", fwdHost: "evil.example", fwdPrefix: "/p", want: "http://a.example/session/s"},
		{name: "trusted", orig: "/whip/x", host: "10.0.0.1:80", trusted: true, proto: "https", fwdHost: "a.example", want: "https://a.example/session/s"},
		{name: "chain", orig: "/whip/x", host: "10.0.0.1", trusted: true, proto: "https, http", fwdHost: "a.example, b.example", want: "https://a.example/session/s"},
		{name: "prefix", orig: "/whip/x", host: "a.example", trusted: true, fwdPrefix: "/edge/", want: "http://a.example/edge/session/s"},
		{name: "nonsense", orig: "/whip/x", host: "a.example", trusted: true, proto: "javascript", fwdHost: "b/../c", fwdPrefix: "//d", want: "http://a.example/session/s"},
		{name: "v6", orig: "/whip/x", host: "[::1]:8080", want: "http://[::1]:8080/session/s"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, c.orig, nil)
			r.Host = c.host
			if c.tls {
				r.TLS = new(tls.ConnectionState)
			}
			for name, v := range map[string]string{"X-Forwarded-Proto": c.proto, "X-Forwarded-Host": c.fwdHost, "X-Forwarded-Prefix": c.fwdPrefix} {
				if v != "" {
					r.Header.Set(name, v)
				}
			}
			r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), new(caddyhttp.Server))
			caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, c.trusted)
			if c.path != "" {
				r.URL.Path = c.path
			}
			rest, ok := cutPrefix(r.URL.Path, c.prefix)
			if !ok {
				t.Fatal("not below the prefix")
			}
			x := &exchange{h: &Handler{Prefix: c.prefix}, r: r, rest: rest}
			if got := x.externalURL("/session/s"); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestLoopbackHost(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8080": true, "LOCALHOST.:80": true, "a.localhost:1": true,
		"127.0.0.1": true, "127.9.9.9:80": true, "[::1]:80": true, "[::1]": true, "::1": true,
		"": false, "a.example": false, "localhost.example": false, "notlocalhost": false,
		"10.0.0.1": false, "[2001:db8::1]:80": false, "127.0.0.1.example:1": false,
	} {
		if got := loopbackHost(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}

func TestHandlerValidate(t *testing.T) {
	for prefix, ok := range map[string]bool{"": true, "/live": true, "/a/b": true, "live": false, "/live/": false, "/": false} {
		if err := (&Handler{Prefix: prefix}).Validate(); (err == nil) != ok {
			t.Errorf("%q: %v", prefix, err)
		}
	}
	if (&Handler{Codecs: []string{""}}).Validate() == nil {
		t.Error("an empty codec name passed")
	}
}

// An OPTIONS that is no preflight costs an authorisation only if there is
// something to be told [WHIP-43, 44].
func TestOptionsAuthorises(t *testing.T) {
	for _, c := range []struct {
		name      string
		named     func(string) bool
		preflight bool
		err       error
		calls     int
		links     int
	}{
		{"nothing to name", func(string) bool { return false }, false, nil, 0, 0},
		{"servers", func(string) bool { return true }, false, nil, 1, 1},
		{"no right", func(string) bool { return true }, false, ErrForbidden, 1, 0},
		{"preflight", func(string) bool { return true }, true, nil, 0, 0},
	} {
		v := &verdict{err: c.err}
		h := &Handler{gateway: &fakeGateway{}, iceServers: func(string, string) []string { return []string{"<stun:x>"} }, iceNamed: c.named}
		h.Access.publish = v
		r := httptest.NewRequest(http.MethodOptions, "/whip/x", nil)
		if c.preflight {
			r.Header.Set("Origin", "https://elsewhere.example")
			r.Header.Set("Access-Control-Request-Method", "POST")
		}
		w, _, _ := call(t, h, r)
		if w.Code != 200 || v.calls != c.calls || len(w.Header().Values("Link")) != c.links {
			t.Errorf("%s: %d, asked %d times, links %q", c.name, w.Code, v.calls, w.Header().Values("Link"))
		}
	}
}
