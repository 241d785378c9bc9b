package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const authGlobal = "wtn {\n media udp/127.0.0.1:0 tcp/127.0.0.1:0\n}"

// as sends a request with an Authorization header, which may be empty. A
// connection lost before an answer is made again, as do does after a reload.
func as(t *testing.T, authorization, method, url string, body []byte) (int, http.Header, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	var resp *http.Response
	for try := 0; resp == nil; try++ {
		req, err := http.NewRequest(method, url, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body != nil {
			req.Header.Set("Content-Type", sdpType)
		}
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		if resp, err = client.Do(req); err != nil && try == 10 {
			t.Fatal(err)
		}
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(out)
}

// publishAs creates a session and returns its URL.
func (s *site) publishAs(authorization, path string) string {
	s.t.Helper()
	status, header, body := as(s.t, authorization, http.MethodPost, s.url(path), publisherOffer(s.t))
	if status != http.StatusCreated {
		s.t.Fatalf("%s: %d %s", path, status, body)
	}
	return header.Get("Location")
}

// TestAuthLive: a session's URL and its token, also over a reload (WHIP-145).
func TestAuthLive(t *testing.T) {
	s := newSite(t)
	token := func(sub string) string {
		return "Bearer " + sign(t, jose.HS256, []byte(testSecret), "", claimsJSON(t, time.Now(), map[string]any{"sub": sub}))
	}
	s.mustLoad(authGlobal, "wtn {\n auth publish jwt {\n secret "+testSecret+"\n }\n}")
	if status, h, _ := as(t, "", http.MethodPost, s.url("/whip/live/a"), publisherOffer(t)); status != 401 || h.Get("WWW-Authenticate") != `Bearer realm="wtn"` {
		t.Errorf("without a token: %d %v", status, h)
	}
	if status, _, _ := as(t, token("alice"), http.MethodPost, s.url("/whip/other"), publisherOffer(t)); status != 403 {
		t.Errorf("another stream: %d", status)
	}
	if status, _, _ := as(t, "", http.MethodPost, s.url("/whep/live/none"), publisherOffer(t)); status == 401 {
		t.Error("playing needs a token")
	}
	one, two := s.publishAs(token("alice"), "/whip/live/one"), s.publishAs(token("alice"), "/whip/live/two")
	s.mustLoad(authGlobal, "wtn {\n auth publish jwt {\n secret "+testSecret+"\n audiences x\n }\n}")
	s.mustLoad(authGlobal, "wtn {\n auth publish jwt {\n secret "+testSecret+"\n }\n}")
	for authorization, want := range map[string]int{"Bearer wrong": 401, token("bob"): 403} {
		if status, _, body := as(t, authorization, http.MethodDelete, one, nil); status != want {
			t.Errorf("DELETE with %.20s: %d %s, want %d", authorization, status, body, want)
		}
	}
	if status, _, _ := as(t, token("alice"), http.MethodDelete, one, nil); status != 200 {
		t.Errorf("DELETE with a newer token: %d", status)
	}
	s.mustLoad(authGlobal, "wtn {\n strict_sessions\n auth publish jwt {\n secret "+testSecret+"\n }\n}")
	if status, _, _ := as(t, "", http.MethodDelete, two, nil); status != 401 {
		t.Errorf("strict DELETE without a token: %d", status)
	}
	s.mustLoad(authGlobal, "wtn {\n auth publish jwt {\n secret "+testSecret+"\n }\n}")
	if status, _, _ := as(t, "", http.MethodDelete, two, nil); status != 200 {
		t.Errorf("DELETE without a token: %d", status)
	}
	eventually(t, "the grants are forgotten", func() bool {
		l := livingState().leases
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.grants) == 0
	})
}

// TestAuthLiveHook: the hook renames a stream and ends the session.
func TestAuthLiveHook(t *testing.T) {
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"stream":"real/name","lifetime":0.3}`)
	}))
	defer hook.Close()
	s := newSite(t)
	s.mustLoad(authGlobal, "wtn {\n auth publish hook "+hook.URL+"\n}")
	began := time.Now()
	url := s.publishAs("", "/whip/alias")
	if names := livingState().hub.Streams(); len(names) != 1 || names[0].Name != "real/name" {
		t.Errorf("streams %+v", names)
	}
	eventually(t, "the session is ended", func() bool {
		status, _, _ := as(t, "", http.MethodGet, url, nil)
		return status == 404
	})
	if d := time.Since(began); d < 300*time.Millisecond {
		t.Errorf("ended after %v", d)
	}
	if ended := livingState().stats().SessionsEnded; ended["publish/expired"] != 1 {
		t.Errorf("ended by %v", ended)
	}
}

// TestAuthLiveWTN: enableSubAuth of the publisher's token makes viewers need
// one (generation 1), with the texts of the WTN documents.
func TestAuthLiveWTN(t *testing.T) {
	s := newSite(t)
	s.mustLoad(authGlobal, "wtn {\n auth wtn app key {\n generation 1\n }\n}")
	mint := func(stream, action string, protect bool) string {
		o := mintOptions{kind: "wtn", streams: []string{stream}, actions: []string{action}, protect: protect, lifetime: time.Hour}
		token, err := o.mint([]byte("key"), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + token
	}
	s.publishAs(mint("app/open", actionPublish, false), "/pub/app/open")
	guarded := s.publishAs(mint("app/closed", actionPublish, true), "/whip/app/closed")
	play := func(authorization, path string) string {
		status, _, body := as(t, authorization, http.MethodPost, s.url(path), []byte("v=0\r\n"))
		return fmt.Sprintf("%d %s", status, body)
	}
	cases := []struct{ authorization, path, want string }{
		{"", "/pub/app/x", "401 Token Missing"},
		{"Bearer x", "/pub/app/x", "401 Token Illegal"},
		{mint("app/y", actionPublish, false), "/pub/app/x", "401 Token Check Failed"},
		{"", "/sub/app/open", "400 Unknown Request"}, // allowed: the offer is read
		{"", "/sub/app/closed", "401 Token Missing"},
		{mint("app/closed", actionPublish, false), "/sub/app/closed", "401 Token Check Failed"},
		{mint("app/closed", actionPlay, false), "/sub/app/closed", "400 Unknown Request"},
	}
	for _, c := range cases {
		if got := play(c.authorization, c.path); got != c.want {
			t.Errorf("%s with %.12s: %q, want %q", c.path, c.authorization, got, c.want)
		}
	}
	if status, _, body := as(t, "Bearer x", http.MethodDelete, guarded, nil); status != 401 || !strings.Contains(body, "urn:wtn:error:token-invalid") {
		t.Errorf("%d %s", status, body)
	}
}

// TestAuthLiveBasic: Caddy's own authentication in front, whose user is the
// session's principal.
func TestAuthLiveBasic(t *testing.T) {
	const hash = "$2a$04$V5orLwiXN0MMNtu4uXAGOuyd4WPQtQv5yJ0qW5jnyg3QM/bjhu6C." // of pw, with the least cost
	s := newSite(t)
	s.mustLoad(authGlobal, fmt.Sprintf("@auth not method OPTIONS\nbasic_auth @auth {\n bob %s\n eve %s\n}\nwtn", hash, hash))
	bob, eve := "Basic Ym9iOnB3", "Basic ZXZlOnB3"
	if status, _, _ := as(t, "", http.MethodPost, s.url("/whip/a"), publisherOffer(t)); status != 401 {
		t.Errorf("without a user: %d", status)
	}
	if status, _, _ := as(t, "", http.MethodOptions, s.url("/whip/a"), nil); status/100 != 2 {
		t.Errorf("OPTIONS: %d", status)
	}
	url := s.publishAs(bob, "/whip/a")
	for _, c := range []struct {
		who  string
		want int
	}{{eve, 403}, {bob, 200}} {
		if status, _, body := as(t, c.who, http.MethodDelete, url, nil); status != c.want {
			t.Errorf("%s: %d %s, want %d", c.who, status, body, c.want)
		}
	}
}

// TestAuthLiveRefused: a method that cannot work refuses the configuration.
func TestAuthLiveRefused(t *testing.T) {
	s := newSite(t)
	for _, option := range []string{"auth jwt", "auth keys {env.WTN_TEST_NOTHING}", "auth hook example.com", "auth any {\n jwt\n }"} {
		if err := s.load(authGlobal, "wtn {\n "+option+"\n}"); err == nil {
			t.Errorf("%s: accepted", option)
		}
	}
}
