package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/talwtn/caddy-wtn/relay"
)

func TestMetrics(t *testing.T) {
	stats := relay.Stats{
		Publishers: 1, Subscribers: 2, Streams: 1, PacketsIn: 10, BytesOut: 300, Busy: 0.5, Lag: 20 * time.Millisecond,
		SessionsEnded: map[string]uint64{"subscribe/delete": 4, "publish/takeover": 1},
		Pulls:         3, Pushes: 4,
		Takeovers: relay.TakeoverStats{
			Causes: map[relay.Cause]uint64{relay.CauseBehind: 2}, Count: 2, GapSum: 300 * time.Millisecond,
			Gaps: [len(relay.TakeoverGaps)]uint64{0, 1, 1, 1, 2, 2, 2, 2, 2, 2},
		},
	}
	upstreams := []relay.UpstreamStats{
		{Name: "a", State: relay.UpstreamUp, Sessions: 2, Streams: 1, Requests: map[string]uint64{"ok": 5, "failing": 1}},
		{Name: "b", State: relay.UpstreamDown},
	}
	c := newCollector(func() relay.Stats { return stats }, func() []relay.UpstreamStats { return upstreams }, func() uint64 { return 3 })
	// A pedantic registry, as Caddy's, once per configuration: the collector
	// is registered in each.
	for range 2 {
		reg := prometheus.NewPedanticRegistry()
		if err := reg.Register(c); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		for _, want := range []string{
			`wtn_sessions{role="publish"} 1`,
			`wtn_sessions{role="subscribe"} 2`,
			`wtn_sessions_ended_total{reason="delete",role="subscribe"} 4`,
			`wtn_sessions_ended_total{reason="takeover",role="publish"} 1`,
			`wtn_events_dropped_total 3`,
			`wtn_streams 1`,
			`wtn_received_packets_total 10`,
			`wtn_sent_bytes_total 300`,
			`wtn_busy_ratio 0.5`,
			`wtn_pulls 3`,
			`wtn_pushes 4`,
			`wtn_takeovers_total{cause="relative"} 2`,
			`wtn_takeover_gap_seconds_bucket{le="0.05"} 1`,
			`wtn_takeover_gap_seconds_sum 0.3`,
			`wtn_takeover_gap_seconds_count 2`,
			`wtn_upstream_up{upstream="a"} 1`,
			`wtn_upstream_up{upstream="b"} 0`,
			`wtn_upstream_state{state="down",upstream="b"} 1`,
			`wtn_upstream_state{state="up",upstream="b"} 0`,
			`wtn_upstream_sessions{upstream="a"} 2`,
			`wtn_upstream_streams{upstream="a"} 1`,
			`wtn_upstream_requests_total{outcome="failing",upstream="a"} 1`,
			`wtn_lag_seconds 0.02`,
			`# TYPE wtn_sent_bytes_total counter`,
			`# TYPE wtn_lag_seconds gauge`,
		} {
			if !strings.Contains(w.Body.String(), want+"\n") {
				t.Errorf("no line %s in\n%s", want, w.Body)
			}
		}
	}
}

// The observer must not block the hub when event handlers hang.
func TestEmitterDropsAndCounts(t *testing.T) {
	e := &emitter{queue: make(chan event, 2)} // nobody takes events out
	for range 5 {
		e.StreamLive("x")
	}
	if got := e.dropped.Load(); got != 3 {
		t.Errorf("dropped %d, want 3", got)
	}
	e = newEmitter()
	e.Takeover(relay.TakeoverInfo{}) // no target: nothing to deliver to
	e.close()
	e.close()
	select {
	case <-e.done:
	default:
		t.Error("the emitter's goroutine runs on")
	}
}

func TestEvents(t *testing.T) {
	s := newSite(t)
	global := loopbackMedia + "\n\tevents {\n\t\ton wtn.session_started wtn_test_tap\n\t\ton wtn.session_ended wtn_test_tap\n\t}"
	s.mustLoad(global, "\twtn")
	session := s.publish("/whip/room")
	started := nextEvent(t, "wtn.session_started")
	s.mustLoad(global+"\n\tshutdown_delay 0s", "\twtn") // events go to the new configuration from now on
	do(t, http.MethodDelete, session, nil)
	ended := nextEvent(t, "wtn.session_ended")
	for key, want := range map[string]any{"stream": "room", "role": "publish", "reason": "delete", "session": started["session"], "client": "127.0.0.1"} {
		if key == "client" && ended[key] == "::1" {
			continue
		}
		if ended[key] != want {
			t.Errorf("%s is %v, want %v", key, ended[key], want)
		}
	}
	s.publish("/whip/last")
	nextEvent(t, "wtn.session_started")
	s.mustLoad("", "\trespond ok") // the gateway ends while its events can still be delivered
	if got := nextEvent(t, "wtn.session_ended")["reason"]; got != "exit" {
		t.Errorf("reason %v", got)
	}
}

func nextEvent(t *testing.T, name string) map[string]any {
	t.Helper()
	select {
	case e := <-tapped:
		if e.Name() != name || e.Origin().CaddyModule().ID != "wtn" {
			t.Fatalf("event %s of %s, want %s", e.Name(), e.Origin().CaddyModule().ID, name)
		}
		return e.Data
	case <-time.After(10 * time.Second):
		t.Fatal("no event ", name)
		return nil
	}
}

// adminServer is the admin API's route without the rest of it.
func adminServer(t *testing.T) *httptest.Server {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := new(Admin).Routes()[0].Handler.ServeHTTP(w, r)
		var api caddy.APIError
		if errors.As(err, &api) {
			http.Error(w, api.Err.Error(), api.HTTPStatus)
		} else if err != nil {
			t.Errorf("%s: %v", r.URL, err)
		}
	}))
	t.Cleanup(srv.Close)
	return srv
}

func TestAdmin(t *testing.T) {
	srv := adminServer(t)
	if status, _, body := do(t, "GET", srv.URL+"/wtn/streams", nil); status != 404 || !strings.Contains(body, "no wtn app") {
		t.Errorf("without an app: %d %s", status, body)
	}
	s := newSite(t)
	s.mustLoad(loopbackMedia, "\twtn")
	if _, _, body := do(t, "GET", srv.URL+"/wtn/sessions", nil); strings.TrimSpace(body) != "[]" {
		t.Errorf("no sessions: %s", body)
	}
	session := s.publish("/pub/app/room")
	secret := session[strings.LastIndexByte(session, '/')+1:]
	_, header, body := do(t, "GET", srv.URL+"/wtn/sessions", nil)
	list := decode[[]sessionJSON](t, []byte(body))
	if len(list) != 1 || list[0].Stream != "app/room" || list[0].Role != "publish" || list[0].ID == "" || list[0].Connected != nil || list[0].Client == "" {
		t.Fatalf("sessions: %s", body)
	}
	if strings.Contains(body, secret) || header.Get("Content-Type") != "application/json" {
		t.Errorf("the secret is shown: %s", body)
	}
	_, _, body = do(t, "GET", srv.URL+"/wtn/streams", nil)
	streams := decode[[]streamJSON](t, []byte(body))
	if len(streams) != 1 || streams[0].Name != "app/room" || streams[0].Publisher == nil || streams[0].Publisher.ID != list[0].ID || strings.Contains(body, secret) {
		t.Errorf("streams: %s", body)
	}
	_, _, body = do(t, "GET", srv.URL+"/wtn/stats", nil)
	if st := decode[statsJSON](t, []byte(body)); st.Publishers != 1 || len(st.Media) != 2 {
		t.Errorf("stats: %s", body)
	}
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"POST", "/wtn/stats", 405},
		{"GET", "/wtn/sessions/" + list[0].ID, 405},
		{"DELETE", "/wtn/sessions/nobody", 404},
		{"DELETE", "/wtn/sessions/" + secret, 404}, // the secret is no id
		{"DELETE", "/wtn/sessions/" + list[0].ID, 200},
		{"DELETE", "/wtn/sessions/" + list[0].ID, 404},
		{"GET", "/wtn/other", 404},
		{"GET", "/wtn/streams/x", 404},
		{"GET", "/wtn/", 404},
	} {
		if status, _, body := do(t, c.method, srv.URL+c.path, nil); status != c.status {
			t.Errorf("%s %s: %d %s", c.method, c.path, status, body)
		}
	}
	if status, _, _ := do(t, "GET", session, nil); status != 404 {
		t.Errorf("a kicked session answers %d", status)
	}
}

// What scripts read of the admin API does not change unnoticed.
func TestAdminGolden(t *testing.T) {
	for _, c := range []struct {
		v    any
		want string
	}{
		{drainJSON{true, 2, 30}, `{"draining":true,"publishers":2,"subscribers":30}`},
		{
			statsOf(relay.Stats{Publishers: 1, JoinsRefused: 4, SessionsEnded: map[string]uint64{"publish/expired": 1}}, []string{"udp/[::]:5004"}, 5),
			`{"media":["udp/[::]:5004"],"publishers":1,"subscribers":0,"streams":0,"pulls":0,"pushes":0,"draining":false,"packets_in":0,"bytes_in":0,` +
				`"packets_out":0,"bytes_out":0,"nacks_in":0,"retransmitted":0,"plis_in":0,"plis_out":0,"packets_shed":0,"joins_refused":4,` +
				`"busy":0,"lag_seconds":0,"sessions_ended":{"publish/expired":1},"events_dropped":5}`,
		},
	} {
		if got, err := json.Marshal(c.v); err != nil || string(got) != c.want {
			t.Errorf("%v\n%s\nwant\n%s", err, got, c.want)
		}
	}
}

func TestStatusCommand(t *testing.T) {
	srv := adminServer(t)
	addr := strings.TrimPrefix(srv.URL, "http://")
	var stats statsJSON
	if err := askAdmin(addr, "/wtn/stats", &stats); err == nil || !strings.Contains(err.Error(), "no wtn app") {
		t.Errorf("without an app: %v", err)
	}
	s := newSite(t)
	s.mustLoad(loopbackMedia, "\twtn")
	if err := askAdmin(addr, "/wtn/stats", &stats); err != nil || len(stats.Media) != 2 {
		t.Errorf("%+v, %v", stats, err)
	}
}

func TestPrintStatus(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 1, 30, 0, time.UTC)
	stats := statsJSON{Media: []string{"udp/[::]:5004"}, Publishers: 1, Subscribers: 3, Busy: 0.25}
	var out bytes.Buffer
	printStatus(&out, stats, nil, now)
	printStatus(&out, stats, []streamJSON{
		{Name: "app/room", Since: now.Add(-90 * time.Second), Live: true, Viewers: 3, Publisher: &sessionJSON{}, Tracks: []trackJSON{{Codec: "opus", Bitrate: 32000}, {Codec: "H264", Bitrate: 2e6, Width: 1280, Height: 720}}},
		{Name: "x", Since: now, Publisher: &sessionJSON{}},
		{Name: "y", Since: now},
	}, now)
	want := `media udp/[::]:5004, 1 publishing, 3 watching, 25 % busy
no streams
media udp/[::]:5004, 1 publishing, 3 watching, 25 % busy
STREAM    STATE       FOR    VIEWERS  CODECS     PICTURE   KBIT/S
app/room  live        1m30s  3        opus+H264  1280x720  2032
x         connecting  0s     0        -          -         0
y         quiet       0s     0        -          -         0
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
