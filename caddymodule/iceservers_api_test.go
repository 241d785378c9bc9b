package caddymodule

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

const oneTURN = `{"urls":["stun:s.example.com","turn:t.example.com:3478?transport=udp"],"username":"u","credential":"p"}`

// fakeAPI answers with what it is told, and counts.
type fakeAPI struct {
	*httptest.Server
	asked atomic.Int32
}

func newFakeAPI(t *testing.T, answer http.HandlerFunc) *fakeAPI {
	f := new(fakeAPI)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.asked.Add(1)
		answer(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// sourceOf is a source with a clock of its own and a log that is kept.
func sourceOf(t *testing.T, a ICEServerAPI) (*iceSource, *time.Time, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	s, err := a.resolve(zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.CloseIdleConnections)
	if s.client.Timeout != 2*time.Second {
		t.Errorf("it may take %v", s.client.Timeout)
	}
	now := time.Now()
	s.now = func() time.Time { return now }
	return s, &now, logs
}

func TestICEServerAPIForms(t *testing.T) {
	for _, form := range []string{
		`{"iceServers":` + oneTURN + `}`,
		`{"iceServers":[` + oneTURN + `]}`,
		`{"iceServers":[{"urls":"stun:s.example.com"},{"urls":"turn:t.example.com:3478?transport=udp","username":"u","credential":"p"}],"more":1}`,
	} {
		f := newFakeAPI(t, func(w http.ResponseWriter, r *http.Request) {
			var q map[string]int
			if err := json.NewDecoder(r.Body).Decode(&q); err != nil || len(q) != 1 || q["ttl"] != 3600 || r.Method != "POST" ||
				r.Header.Get("Authorization") != "Bearer secret" || r.Header.Get("X-Key") != "k" || r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("asked %s %v %v, %v", r.Method, q, r.Header, err)
			}
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, form)
		})
		s, now, logs := sourceOf(t, ICEServerAPI{URL: f.URL + "/v1", Token: "secret", TTL: caddy.Duration(time.Hour), Headers: map[string]string{"X-Key": "k"}})
		for range 3 {
			var links []string
			for _, server := range s.get() {
				links = append(links, server.links("x", *now)...)
			}
			if len(links) != 2 || links[0] != iceLink("stun:s.example.com", "", "") || links[1] != iceLink("turn:t.example.com:3478?transport=udp", "u", "p") {
				t.Errorf("%s: %q", form, links)
			}
		}
		if n := f.asked.Load(); n != 1 {
			t.Errorf("asked %d times for one answer", n)
		}
		*now = now.Add(6*time.Minute + time.Second) // a tenth of the ttl
		if s.get(); f.asked.Load() != 2 {
			t.Error("an old answer was not renewed")
		}
		if logs.Len() != 0 {
			t.Errorf("log: %v", logs.All())
		}
	}
}

func TestICEServerAPIFailures(t *testing.T) {
	t.Setenv("WTN_TEST_SECRET", "leaked")
	hang := make(chan struct{})
	defer close(hang)
	stall := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"iceServers":`)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}
	redirect := func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }
	for want, answer := range map[string]http.HandlerFunc{
		"exceeded":          stall,
		"it answered 302":   redirect,
		"it answered 403":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) },
		"larger than 64":    says(`{"iceServers":` + oneTURN + strings.Repeat(" ", maxICEAPIAnswer) + `}`),
		"expected JSON":     says("<html>"),
		"cannot unmarshal":  says(`{"iceServers":7}`),
		"has no iceServers": says(`{}`),
		"has no URL":        says(`{"iceServers":[{}]}`),
		"is no URL":         says(`{"iceServers":{"urls":"http://x"}}`),
		"cannot hold":       says(`{"iceServers":{"urls":"turn:x","username":"u\r\nSet-Cookie: a","credential":"p"}}`),
		"needs a username":  says(`{"iceServers":{"urls":"turn:x"}}`),
		"more than 16 URLs": says(`{"iceServers":[` + strings.TrimSuffix(strings.Repeat(`{"urls":"stun:x"},`, 17), ",") + `]}`),
		"than 512 bytes":    says(`{"iceServers":{"urls":"stun:` + strings.Repeat("x", 600) + `"}}`),
	} {
		f := newFakeAPI(t, answer)
		s, now, logs := sourceOf(t, ICEServerAPI{URL: f.URL})
		s.client.Timeout = 300 * time.Millisecond
		for range 3 {
			if got := s.get(); got != nil {
				t.Errorf("%s: %v", want, got)
			}
		}
		if n := f.asked.Load(); n != 1 {
			t.Errorf("%s: asked %d times within the time to retry", want, n)
		}
		*now = now.Add(iceAPIRetry + time.Second)
		s.get()
		if f.asked.Load() != 2 || logs.Len() != 1 {
			t.Errorf("%s: asked %d times, %d warnings", want, f.asked.Load(), logs.Len())
		}
		*now = now.Add(iceAPIWarnEvery)
		s.get()
		if logs.Len() != 2 {
			t.Errorf("%s: %d warnings", want, logs.Len())
		}
		if text, _ := logs.All()[0].ContextMap()["error"].(string); !strings.Contains(text, want) {
			t.Errorf("warned of %q, want %q", text, want)
		}
	}
	// What a service says is data: no placeholder of it is replaced.
	servers, err := parseICEServers([]byte(`{"iceServers":{"urls":"turn:x","username":"{env.WTN_TEST_SECRET}","credential":"p"}}`))
	if err != nil || servers[0].Username != "{env.WTN_TEST_SECRET}" {
		t.Errorf("%v, %v", servers, err)
	}
}

// Many who come at once cause one question.
func TestICEServerAPISingleFlight(t *testing.T) {
	arrived, answer := make(chan struct{}), make(chan struct{})
	f := newFakeAPI(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived) // a second question would panic
		<-answer
		_, _ = io.WriteString(w, `{"iceServers":`+oneTURN+`}`)
	})
	s, _, _ := sourceOf(t, ICEServerAPI{URL: f.URL})
	var wg sync.WaitGroup
	var served atomic.Int32
	ask := func() {
		if len(s.get()) == 1 {
			served.Add(1)
		}
	}
	wg.Go(ask)
	<-arrived
	for range 20 {
		wg.Go(ask)
	}
	close(answer)
	wg.Wait()
	if served.Load() != 21 || f.asked.Load() != 1 {
		t.Errorf("%d served by %d questions", served.Load(), f.asked.Load())
	}
}

func TestICEServerAPIIsChecked(t *testing.T) {
	for want, a := range map[string]ICEServerAPI{
		"is empty":          {},
		"not an https URL":  {URL: "ftp://x"},
		"not an https":      {URL: "https://user:pass@x/"},
		"use https":         {URL: "http://turn.example.com/"},
		"one minute":        {URL: "https://x", TTL: caddy.Duration(time.Second)},
		"token of ice":      {URL: "https://x", Token: "{env.WTN_TEST_UNSET_VARIABLE}"},
		"header X-A of ice": {URL: "https://x", Headers: map[string]string{"X-A": ""}},
	} {
		if _, err := a.resolve(zap.NewNop()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q in it", a, err, want)
		}
	}
	for _, u := range []string{"http://127.0.0.1:1/x", "http://[::1]/", "http://localhost/", "https://x"} {
		if _, err := (ICEServerAPI{URL: u}).resolve(zap.NewNop()); err != nil {
			t.Error(err)
		}
	}
}

// The servers of a service come after ours, and a service that is down costs
// nothing but them.
func TestICEServerAPILinks(t *testing.T) {
	good, bad := newFakeAPI(t, says(`{"iceServers":`+oneTURN+`}`)), newFakeAPI(t, says("garbage"))
	s := newSite(t)
	s.mustLoad("\twtn {\n\t\tmedia udp/127.0.0.1:0\n"+loopbackTURN+"\n\t\tice_server_api "+bad.URL+"\n\t\tice_server_api "+good.URL+" {\n\t\t\ttoken x\n\t\t}\n\t\tice_server stun:own.example.com\n\t}", "\twtn")
	status, header, body := do(t, http.MethodPost, s.url("/whip/x"), publisherOffer(t))
	if status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	var urls []string
	for _, l := range header.Values("Link") {
		if u, _, ok := strings.Cut(strings.TrimPrefix(l, "<"), ">"); ok && strings.Contains(l, "ice-server") {
			urls = append(urls, u)
		}
	}
	if len(urls) != 5 || !strings.HasPrefix(urls[0], "turn:localhost:") || !strings.HasPrefix(urls[1], "turn:localhost:") ||
		!slices.Equal(urls[2:], []string{"stun:own.example.com", "stun:s.example.com", "turn:t.example.com:3478?transport=udp"}) {
		t.Errorf("servers: %q", urls)
	}
	if good.asked.Load() != 1 || bad.asked.Load() != 1 {
		t.Errorf("asked %d and %d times", good.asked.Load(), bad.asked.Load())
	}
}

// FuzzICEServerAnswer: what is accepted makes well-formed links.
func FuzzICEServerAnswer(f *testing.F) {
	for _, s := range []string{`{"iceServers":` + oneTURN + `}`, `{"iceServers":[` + oneTURN + `]}`, `{}`, `[`, `{"iceServers":null}`, `{"iceServers":{"urls":null}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		servers, err := parseICEServers(raw)
		if err == nil && len(servers) == 0 {
			t.Fatal("nothing, and no error")
		}
		for _, s := range servers {
			for _, l := range s.links("x", time.Now()) {
				if strings.ContainsAny(l, "\r\n\x00") || strings.Count(l, "<") != 1 || strings.Contains(l, ",") {
					t.Fatalf("%q", l)
				}
			}
		}
	})
}
