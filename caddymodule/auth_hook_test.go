package caddymodule

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestAuthHook(t *testing.T) {
	cases := []struct {
		name   string
		status int
		body   string
		token  string
		want   error
		grant  Grant
	}{
		{name: "204", status: 204},
		{name: "200 without a body", status: 200},
		{name: "201 with an object", status: 201, body: "{}"},
		{name: "unknown fields", status: 200, body: `{"result":"ok"}`},
		{name: "rename", status: 200, body: `{"stream":"live/x"}`, grant: Grant{Stream: "live/x"}},
		{
			name: "everything", status: 200,
			body:  `{"allow":true,"stream":"s","principal":"alice","priority":-3,"max_viewers":9,"max_bitrate":4000000,"protect_play":true}`,
			grant: Grant{Stream: "s", Principal: "alice", Priority: -3, HasPriority: true, MaxViewers: 9, MaxBitrate: 4e6, ProtectPlay: true},
		},
		{name: "allow false", status: 200, body: `{"allow":false}`, want: ErrForbidden},
		{name: "401 without a token", status: 401, want: ErrNoCredentials},
		{name: "401", status: 401, token: "t", want: ErrTokenSignature},
		{name: "403", status: 403, want: ErrForbidden},
		{name: "404", status: 404, want: ErrForbidden},
		{name: "500", status: 500, want: ErrAuthUnavailable},
		{name: "302 is not followed", status: 302, want: ErrAuthUnavailable},
		{name: "no JSON", status: 200, body: "OK", want: ErrAuthUnavailable},
		{name: "stream of a wrong type", status: 200, body: `{"stream":1}`, want: ErrAuthUnavailable},
		{name: "negative lifetime", status: 200, body: `{"lifetime":-1}`, want: ErrAuthUnavailable},
		{name: "endless lifetime", status: 200, body: `{"lifetime":1e300}`, want: ErrAuthUnavailable},
		{name: "priority zero", status: 200, body: `{"priority":0}`, grant: Grant{HasPriority: true}},
		{name: "negative bitrate", status: 200, body: `{"max_bitrate":-1}`, want: ErrAuthUnavailable},
		{name: "absurd bitrate", status: 200, body: `{"max_bitrate":1e300}`, want: ErrAuthUnavailable},
		{name: "negative viewers", status: 200, body: `{"max_viewers":-1}`, want: ErrAuthUnavailable},
		{name: "long principal", status: 200, body: `{"principal":"` + strings.Repeat("a", 300) + `"}`, want: ErrAuthUnavailable},
		{name: "too large", status: 200, body: `{}` + strings.Repeat(" ", maxHookAnswer), want: ErrAuthUnavailable},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var got hookQuestion
			var header http.Header
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				header = r.Header
				if err := json.NewDecoder(r.Body).Decode(&got); err != nil || r.Method != http.MethodPost {
					t.Errorf("%s, %v", r.Method, err)
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
				w.Write([]byte(c.body))
			}))
			defer server.Close()
			a := provisioned(t, &AuthHook{URL: server.URL, Headers: map[string]string{"x-api-key": "k"}})
			g, err := a.Authorize(withUser("bob"), AuthRequest{Action: actionPlay, Stream: "a/b", Token: c.token, Client: netip.MustParseAddr("192.0.2.1")})
			if !errors.Is(err, c.want) || g != c.grant {
				t.Errorf("%+v, %v; want %+v, %v", g, err, c.grant, c.want)
			}
			if want := (hookQuestion{actionPlay, "a/b", c.token, "192.0.2.1", "bob"}); got != want {
				t.Errorf("asked %+v, want %+v", got, want)
			}
			if header.Get("X-Api-Key") != "k" || header.Get("Content-Type") != "application/json" {
				t.Errorf("headers %v", header)
			}
		})
	}
}

func TestAuthHookLifetime(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	g, err := readHookAnswer([]byte(`{"lifetime":1.5}`), now)
	if err != nil || !g.Expires.Equal(now.Add(1500*time.Millisecond)) {
		t.Errorf("%+v, %v", g, err)
	}
}

// TestAuthHookSilent: a hook that does not answer costs its timeout and no
// more, and the error does not tell the URL.
func TestAuthHookSilent(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	a := provisioned(t, &AuthHook{URL: server.URL + "/?secret=hunter2", Timeout: caddy.Duration(50 * time.Millisecond)})
	began := time.Now()
	_, err := a.Authorize(withUser(""), AuthRequest{Action: actionPlay, Stream: "a"})
	if !errors.Is(err, ErrAuthUnavailable) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("took %v", d)
	}
	unreachable := provisioned(t, &AuthHook{URL: "http://127.0.0.1:1/?secret=hunter2"})
	if _, err := unreachable.Authorize(withUser(""), AuthRequest{}); !errors.Is(err, ErrAuthUnavailable) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

func TestAuthHookProvision(t *testing.T) {
	for _, a := range []*AuthHook{
		{}, {URL: "example.com"}, {URL: "ftp://example.com"}, {URL: "http://h", Timeout: caddy.Duration(time.Minute)},
		{URL: "http://h", Timeout: -1}, {URL: "http://h", Headers: map[string]string{"A": "{env.WTN_TEST_NOTHING}"}},
	} {
		if err := a.Provision(authContext(t)); err == nil {
			t.Errorf("%+v accepted", a)
		}
	}
}
