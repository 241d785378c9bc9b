package vendors

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/relay"
)

func FuzzLocation(f *testing.F) {
	for _, s := range []string{
		"", "/a", "a?b=c", "//h.example/a", "https://h.example:443/a", "https://x.d.example/a", "http://h.example/", "https://u@h.example/",
		"https://169.254.169.254/", "https://[::1]/", "https://h.example\\@x/", "\x00", "https://h.example:99999/", "%zz", "?", "#", "https:a", "https://H.EXAMPLE./",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, location string, tls bool) {
		base, _ := url.Parse("http://h.example/whip/live?x=y")
		if tls {
			base.Scheme = "https"
		}
		tr := newTrust([]*url.URL{base}, parsePatterns([]string{"*.d.example", "e.example:8443"}))
		u, public, err := tr.resolve(base, location)
		switch {
		case err != nil:
			if u != nil || len(location) > 3 && strings.Contains(err.Error(), location) {
				t.Fatalf("%q: %v %v", location, u, err)
			}
			return
		case u == nil:
			if location != "" {
				t.Fatalf("%q is nowhere", location)
			}
			return
		}
		host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
		below := strings.HasSuffix(host, ".d.example")
		if host != "h.example" && host != "e.example" && !below || public != below {
			t.Fatalf("%q leads to %s, public %v", location, u, public)
		}
		if u.Scheme != "https" && (tls || u.Scheme != "http") || u.User != nil || u.Fragment != "" {
			t.Fatalf("%q became %s", location, u)
		}
		again, err := url.Parse(u.String())
		if err != nil || again.Host != u.Host {
			t.Fatalf("%q is not sent as it was checked: %s, %v", location, u, err)
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "0", "120", "-5", "99999999999999999999999", "Fri, 31 Dec 1999 23:59:59 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "1e9", "\t5 "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		if d := retryAfter(v, testNow); d < 0 || d > maxRetryAfter {
			t.Fatalf("%q is %v", v, d)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// FuzzAnswer lets the service answer anything to everything.
func FuzzAnswer(f *testing.F) {
	f.Add(201, sdpType, "/session/1", "", []byte(testSDP))
	f.Add(200, "Application/SDP ; x=y", "", "5", []byte(testSDP))
	f.Add(307, "", "/elsewhere", "", []byte{})
	f.Add(308, "", "https://evil.example/", "", []byte{})
	f.Add(406, sdpType, "//h", "x", []byte("v=0"))
	f.Add(503, "text/plain", "", "Fri, 31 Dec 1999 23:59:59 GMT", []byte("Service Temporarily Unavailable"))
	f.Add(404, "application/problem+json", "", "", []byte(`{"title":"No","error":{}}`))
	f.Add(0, "json", "\n", "\r", []byte("null"))
	whip, wtn := load(f, "whip", configs("http://h.example")["whip"]), load(f, "wtn", configs("http://h.example")["wtn"])
	f.Fuzz(func(t *testing.T, code int, ctype, location, retry string, body []byte) {
		for _, v := range []Vendor{whip, wtn} {
			c := New(v, "fuzz", nil)
			c.http.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				host := strings.TrimSuffix(strings.ToLower(r.URL.Hostname()), ".")
				if host != "h.example" && !vendorsOwn(v, r.URL) {
					t.Fatalf("%q led to %s", location, r.URL)
				}
				h := http.Header{"Content-Type": {ctype}, "Location": {location}, "Retry-After": {retry}}
				return &http.Response{StatusCode: code, Header: h, Body: io.NopCloser(strings.NewReader(string(body))), Request: r}, nil
			})
			res, err := c.Create(t.Context(), request(relay.RolePull))
			if err != nil {
				var e *relay.UpstreamError
				if !errors.As(err, &e) || e.Action < relay.UpstreamNext || e.Action > relay.UpstreamBroken || e.Detail == "" || e.RetryAfter < 0 || e.RetryAfter > maxRetryAfter {
					t.Fatalf("%#v", err)
				}
			} else {
				if code != 200 && code != 201 || len(res.Answer()) > maxAnswer || !strings.HasPrefix(string(res.Answer()), "v=0") {
					t.Fatalf("%d with %q was taken", code, res.Answer())
				}
				_ = res.Pause(t.Context(), true)
				_ = res.Delete(t.Context())
			}
			done := make(chan struct{})
			go func() { _ = c.Close(); close(done) }()
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Fatal("it does not end")
			}
		}
	})
}

func vendorsOwn(v Vendor, u *url.URL) bool {
	for _, p := range parsePatterns(v.Quirks().Hosts) {
		if p.matches(u) {
			return true
		}
	}
	return false
}
