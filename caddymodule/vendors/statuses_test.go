package vendors

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/relay"
)

// profiles are the columns of the table: one vendor of each kind.
func profiles(t *testing.T, url string) []Vendor {
	c := configs(url)
	return []Vendor{
		load(t, "wtn", c["wtn"]), load(t, "tencent", c["tencent"]),
		load(t, "millicast", strings.Replace(backupConfig, "URL", url, 1)), load(t, "whip", c["whip"]),
	}
}

func TestStatuses(t *testing.T) {
	const (
		next, absent, busy, broken = relay.UpstreamNext, relay.UpstreamAbsent, relay.UpstreamBusy, relay.UpstreamBroken
	)
	type columns [4]relay.UpstreamAction
	all := func(a relay.UpstreamAction) columns { return columns{a, a, a, a} }
	rows := []struct {
		status     int
		push, pull columns
		requests   int
	}{
		{500, all(next), all(next), 1},
		{501, all(next), all(next), 1},
		{502, all(next), all(next), 1},
		{503, all(next), all(next), 1},
		{504, all(next), all(next), 1},
		{429, all(next), all(next), 1},
		{401, all(broken), all(broken), 2},
		{403, all(broken), all(broken), 2},
		{404, all(broken), all(absent), 1},
		{409, columns{next, busy, next, busy}, all(absent), 1},
		{400, all(broken), all(broken), 1},
		{405, all(broken), all(broken), 1},
		{406, all(broken), all(broken), 1},
		{415, all(broken), all(broken), 1},
		{422, all(broken), all(broken), 1},
		{499, all(broken), all(broken), 1},
		{204, all(broken), all(broken), 1},
		{304, all(broken), all(broken), 1},
	}
	for _, row := range rows {
		for role, want := range map[relay.Role]columns{relay.RolePush: row.push, relay.RolePull: row.pull} {
			for i := range want {
				s := newService(t, status(row.status, "Retry-After", "7"))
				v := profiles(t, s.URL)[i]
				t.Run(fmt.Sprint(row.status, role, Name(v)), func(t *testing.T) {
					_, err := ask(t, newClient(t, v), role)
					e := mustFail(t, err, want[i], row.status)
					if n := len(s.requests()); n != row.requests {
						t.Errorf("%d requests, want %d", n, row.requests)
					}
					if row.status >= 400 && e.RetryAfter != 7*time.Second {
						t.Errorf("Retry-After is %v", e.RetryAfter)
					}
				})
			}
		}
	}
}

// TestMillicastBusy: the other service of Millicast is plain WHIP.
func TestMillicastBusy(t *testing.T) {
	s := newService(t, status(409))
	_, err := ask(t, newClient(t, load(t, "millicast", configs(s.URL)["millicast"])), relay.RolePush)
	mustFail(t, err, relay.UpstreamBusy, 409)
}

func TestOKIsAccepted(t *testing.T) {
	for _, code := range []int{200, 201} {
		s := newService(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "Application/SDP; charset=utf-8")
			w.Header().Set("Location", "/session/1")
			w.WriteHeader(code)
			_, _ = w.Write([]byte(testSDP))
		})
		for _, v := range profiles(t, s.URL) {
			res, err := ask(t, newClient(t, v), relay.RolePush)
			if err != nil || string(res.Answer()) != testSDP {
				t.Errorf("%s %d: %v", Name(v), code, err)
			}
		}
	}
}

func TestNoReply(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	defer untrusted.Close()
	notTLS := httptest.NewServer(http.NotFoundHandler())
	defer notTLS.Close()
	cut := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer cut.Close()
	for url, want := range map[string]string{
		gone.URL:      "connection refused",
		untrusted.URL: "the certificate is not trusted",
		strings.Replace(notTLS.URL, "http:", "https:", 1): "the server does not speak TLS at this port",
		cut.URL: "the connection broke",
	} {
		for _, v := range profiles(t, url) {
			_, err := ask(t, newClient(t, v), relay.RolePull)
			if e := mustFail(t, err, relay.UpstreamNext, 0); e.Detail != want {
				t.Errorf("%s: %q, want %q", Name(v), e.Detail, want)
			}
		}
	}
}

func TestHang(t *testing.T) {
	s := newService(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	for _, v := range profiles(t, s.URL) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := newClient(t, v).Create(ctx, request(relay.RolePull))
		cancel()
		if e := mustFail(t, err, relay.UpstreamNext, 0); e.Detail != "no answer in time" || e.Err != context.DeadlineExceeded {
			t.Errorf("%s: %q %v", Name(v), e.Detail, e.Err)
		}
	}
}

// TestResignHelps counts: the second signature is a new one and is accepted.
func TestResignHelps(t *testing.T) {
	var s *service
	s = newService(t, func(w http.ResponseWriter, r *http.Request) {
		if len(s.requests()) == 1 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		created(w, "/session/1", testSDP)
	})
	c := newClient(t, load(t, "wtn", configs(s.URL)["wtn"]))
	at := time.Unix(1800000000, 0)
	c.now = func() time.Time { at = at.Add(time.Second); return at }
	if _, err := ask(t, c, relay.RolePush); err != nil {
		t.Fatal(err)
	}
	log := s.requests()
	if len(log) != 2 || log[0].auth == log[1].auth || log[0].body != testSDP || log[1].body != testSDP {
		t.Fatalf("%d requests: %+v", len(log), log)
	}
}

// TestNextURL: one domain hangs and another one fails, the third one answers,
// and is asked first for a minute.
func TestNextURL(t *testing.T) {
	hangs := newService(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	fails := newService(t, status(503))
	works := newService(t, nil)
	c := newClient(t, load(t, "wtn", fmt.Sprintf(`{"urls":[%q,%q,%q],"app_id":"app","app_key":"k"}`, hangs.URL, fails.URL, works.URL)))
	now := time.Now()
	c.now = func() time.Time { return now }
	try := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		if _, err := c.Create(ctx, request(relay.RolePull)); err != nil {
			t.Fatal(err)
		}
	}
	try()
	try()
	if a, b, n := len(hangs.requests()), len(fails.requests()), len(works.requests()); a != 1 || b != 1 || n != 2 {
		t.Errorf("%d, %d and %d requests, want 1, 1 and 2", a, b, n)
	}
	now = now.Add(detour)
	try()
	if n := len(hangs.requests()); n != 2 {
		t.Errorf("the first domain got no second chance: %d requests", n)
	}
}

// TestOnlyFailuresMoveOn: a 4xx is the same everywhere.
func TestOnlyFailuresMoveOn(t *testing.T) {
	a, b := newService(t, status(404)), newService(t, nil)
	c := newClient(t, load(t, "wtn", fmt.Sprintf(`{"urls":[%q,%q],"app_id":"app"}`, a.URL, b.URL)))
	_, err := ask(t, c, relay.RolePull)
	mustFail(t, err, relay.UpstreamAbsent, 404)
	if len(b.requests()) != 0 {
		t.Error("the second domain was asked")
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"": 0, "0": 0, "5": 5 * time.Second, " 7 ": 7 * time.Second, "-1": 0, "1.5": 0, "soon": 0,
		"600": maxRetryAfter, "601": maxRetryAfter, "99999999999999999999": maxRetryAfter,
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		now.Add(-time.Hour).Format(http.TimeFormat):       0,
		now.Add(time.Hour).Format(http.TimeFormat):        maxRetryAfter,
	} {
		if got := retryAfter(v, now); got != want {
			t.Errorf("%q: %v, want %v", v, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	for code, well := range map[int]bool{200: true, 204: true, 307: true, 401: true, 404: true, 405: true, 499: true, 500: false, 502: false, 503: false} {
		s := newService(t, status(code, "Location", "http://elsewhere.example/"))
		for name, config := range configs(s.URL) {
			err := newClient(t, load(t, name, config)).Check(t.Context())
			if (err == nil) != well {
				t.Errorf("%s %d: %v", name, code, err)
			}
			if !well {
				mustFail(t, err, relay.UpstreamNext, code)
			}
		}
		for _, r := range s.requests() {
			if r.method != http.MethodOptions || r.auth != "" || r.key != "" || strings.Contains(r.path+r.query, secretWord) {
				t.Fatalf("a check is %+v", r)
			}
		}
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	mustFail(t, newClient(t, load(t, "gateway", configs(gone.URL)["gateway"])).Check(t.Context()), relay.UpstreamNext, 0)
}

func TestOnlyIn(t *testing.T) {
	for name, config := range map[string]string{
		"livekit": `{"url":"https://x.example/w","stream_keys":{"*":"k"}}`,
		"agora":   `{"region":"eu","stream_keys":{"*":"k"}}`,
		"whip":    `{"whip":"https://x.example/{stream}"}`,
	} {
		_, err := ask(t, newClient(t, load(t, name, config)), relay.RolePull)
		e := mustFail(t, err, relay.UpstreamBroken, 0)
		if !strings.Contains(e.Detail, ErrRole.Error()) {
			t.Errorf("%s: %s", name, e.Detail)
		}
	}
	c := newClient(t, load(t, "livekit", `{"url":"https://x.example/w","stream_keys":{"other":"k"}}`))
	_, err := ask(t, c, relay.RolePush)
	mustFail(t, err, relay.UpstreamAbsent, 0)
}
