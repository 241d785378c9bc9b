package vendors

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talwtn/caddy-wtn/relay"
)

// later answers offers, and everything else with a status.
func later(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Type") == sdpType {
			created(w, "/session/1", testSDP)
			return
		}
		w.WriteHeader(code)
	}
}

func TestRequestForm(t *testing.T) {
	s := newService(t, nil)
	c := newClient(t, plainWHIP(t, s.URL, ""))
	res, err := ask(t, c, relay.RolePush)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	log := s.requests()
	want := seen{http.MethodPost, "/whip/live/room1", "", "Bearer " + secretWord, secretWord, sdpType, userAgent, "application/sdp, text/plain", testSDP}
	if log[0] != want {
		t.Errorf("got %+v\nwant %+v", log[0], want)
	}
	if log[1].body != "" || log[1].ctype != "" || log[1].agent != userAgent {
		t.Errorf("DELETE is %+v", log[1])
	}
	if text := fmt.Sprintf("%v %+v %s", res, c, c); strings.Contains(text, "session/1") || strings.Contains(text, secretWord) {
		t.Error(text)
	}
}

func TestDelete(t *testing.T) {
	for code, done := range map[int]bool{200: true, 204: true, 404: true, 410: true, 405: true, 501: true, 302: false, 307: false, 400: false, 500: false, 503: false} {
		s := newService(t, later(code))
		for _, v := range profiles(t, s.URL) {
			res, err := ask(t, newClient(t, v), relay.RolePush)
			if err != nil {
				t.Fatal(err)
			}
			before := len(s.requests())
			first, second := res.Delete(t.Context()), res.Delete(t.Context())
			if (first == nil) != done || (second == nil) != done {
				t.Errorf("%s %d: %v, %v", Name(v), code, first, second)
			}
			want := 2
			if done {
				want = 1 // there is nothing to do the second time
			}
			if n := len(s.requests()) - before; n != want {
				t.Errorf("%s %d: %d requests, want %d", Name(v), code, n, want)
			}
		}
	}
}

// TestDeleteResigns: the token that made the session may have expired.
func TestDeleteResigns(t *testing.T) {
	s := newService(t, later(http.StatusForbidden))
	c := newClient(t, load(t, "wtn", configs(s.URL)["wtn"]))
	at := time.Unix(1800000000, 0)
	c.now = func() time.Time { at = at.Add(time.Second); return at }
	res, err := ask(t, c, relay.RolePush)
	if err != nil {
		t.Fatal(err)
	}
	mustFail(t, res.Delete(t.Context()), relay.UpstreamBroken, 403)
	log := s.requests()
	if len(log) != 3 || log[0].auth == log[1].auth || log[1].auth == log[2].auth {
		t.Errorf("%+v", log)
	}
}

// TestDeleteAfterClose: sessions outlive the configuration that made them.
func TestDeleteAfterClose(t *testing.T) {
	s := newService(t, nil)
	c := New(plainWHIP(t, s.URL, ""), "test", nil)
	res, err := ask(t, c, relay.RolePull)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := res.Delete(t.Context()); err != nil || len(s.requests()) != 2 {
		t.Errorf("%v, %d requests", err, len(s.requests()))
	}
}

func TestPause(t *testing.T) {
	for name, mutes := range map[string]bool{"wtn": true, "gateway": true, "whip": false, "tencent": false} {
		s := newService(t, later(http.StatusOK))
		c := newClient(t, load(t, name, configs(s.URL)[name]))
		res, err := ask(t, c, relay.RolePull)
		if err != nil {
			t.Fatal(err)
		}
		for _, on := range []bool{true, false} {
			err := res.Pause(t.Context(), on)
			if !mutes {
				if !errors.Is(err, relay.ErrNoPause) || len(s.requests()) != 1 {
					t.Errorf("%s: %v, %d requests", name, err, len(s.requests()))
				}
				continue
			}
			log := s.requests()
			last := log[len(log)-1]
			want := fmt.Sprintf(`{"MuteAudio":%v,"MuteVideo":%v}`, on, on)
			if err != nil || last.method != http.MethodPost || last.path != "/session/1" || last.body != want || last.ctype != jsonType || last.auth == "" {
				t.Errorf("%s: %v %+v", name, err, last)
			}
		}
		push, err := ask(t, c, relay.RolePush)
		if err != nil {
			t.Fatal(err)
		}
		if err := push.Pause(t.Context(), true); !errors.Is(err, relay.ErrNoPause) {
			t.Errorf("%s pauses what it sends: %v", name, err)
		}
	}
	for code, want := range map[int]relay.UpstreamAction{404: relay.UpstreamAbsent, 500: relay.UpstreamNext, 400: relay.UpstreamBroken, 405: 0, 415: 0, 501: 0} {
		s := newService(t, later(code))
		res, err := ask(t, newClient(t, load(t, "wtn", configs(s.URL)["wtn"])), relay.RolePull)
		if err != nil {
			t.Fatal(err)
		}
		if err = res.Pause(t.Context(), true); want != 0 {
			mustFail(t, err, want, code)
		} else if !errors.Is(err, relay.ErrNoPause) {
			t.Errorf("%d: %v", code, err)
		}
	}
	// Of one segment there is no WTN path.
	s := newService(t, later(http.StatusOK))
	r := request(relay.RolePull)
	r.Stream = "room1"
	res, err := newClient(t, load(t, "gateway", configs(s.URL)["gateway"])).Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Pause(t.Context(), true); !errors.Is(err, relay.ErrNoPause) || s.requests()[0].path != "/prefix/whep/room1" {
		t.Errorf("%v %+v", err, s.requests())
	}
}

func TestNoLocation(t *testing.T) {
	s := newService(t, func(w http.ResponseWriter, _ *http.Request) { created(w, "", testSDP) })
	core, logs := observer.New(zapcore.DebugLevel)
	c := New(plainWHIP(t, s.URL, ""), "test", zap.New(core))
	defer func() { _ = c.Close() }()
	for range 2 {
		res, err := ask(t, c, relay.RolePush)
		if err != nil {
			t.Fatal(err)
		}
		if err := res.Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.requests()) != 2 || logs.Len() != 1 {
		t.Errorf("%d requests, %d log entries", len(s.requests()), logs.Len())
	}
}

// TestBadAnswers: what is refused is not left behind.
func TestBadAnswers(t *testing.T) {
	const next, broken = relay.UpstreamNext, relay.UpstreamBroken
	for name, test := range map[string]struct {
		status      int
		ctype, body string
		want        relay.UpstreamAction
		deleted     bool
	}{
		"HTML":          {201, "text/html", "<html>", broken, true},
		"no type":       {200, "", testSDP, broken, true},
		"empty":         {201, sdpType, " \r\n", next, true},
		"not SDP":       {201, sdpType, "hello", next, true},
		"too long":      {201, sdpType, testSDP + strings.Repeat("a", maxAnswer), next, false},
		"counter-offer": {406, sdpType, testSDP, broken, true},
		"nothing":       {204, "", "", broken, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header()["Content-Type"] = nil
				if test.ctype != "" {
					w.Header().Set("Content-Type", test.ctype)
				}
				w.Header().Set("Location", "/session/1")
				w.WriteHeader(test.status)
				if test.status != 204 {
					_, _ = w.Write([]byte(test.body))
				}
			})
			c := newClient(t, plainWHIP(t, s.URL, ""))
			_, err := ask(t, c, relay.RolePull)
			mustFail(t, err, test.want, test.status)
			_ = c.Close() // waits for the deletion
			log := s.requests()
			if deleted := len(log) == 2 && log[1].method == http.MethodDelete && log[1].path == "/session/1"; deleted != test.deleted {
				t.Errorf("%+v", log)
			}
		})
	}
	s := newService(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte(testSDP))
	})
	if _, err := ask(t, newClient(t, load(t, "tencent", configs(s.URL)["tencent"])), relay.RolePull); err != nil {
		t.Errorf("tencent without a type: %v", err)
	}
}
