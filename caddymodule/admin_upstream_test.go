package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"

	"github.com/talwtn/caddy-wtn/relay"
)

// refusingUpstream is one that refuses the credentials, with a secret in its address.
func refusingUpstream(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no", http.StatusUnauthorized)
	}))
	t.Cleanup(srv.Close)
	return fmt.Sprintf("upstream a {\n vendor whip\n whip %s/whip/{stream}?key=hidden\n token hidden\n}\n", srv.URL)
}

// sendPictures publishes key frames until the test ends.
func (s *site) sendPictures(path string) {
	s.t.Helper()
	var se webrtc.SettingEngine
	se.SetIncludeLoopbackCandidate(true)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(se)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		s.t.Fatal(err)
	}
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "video", "test")
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err = pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
		s.t.Fatal(err)
	}
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := pc.SetLocalDescription(offer); err != nil {
		s.t.Fatal(err)
	}
	status, _, answer := do(s.t, http.MethodPost, s.url(path), []byte(offer.SDP))
	if status != http.StatusCreated {
		s.t.Fatalf("%d %s", status, answer)
	}
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		s.t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second / 30)
		defer tick.Stop()
		picture := append([]byte{0x10, 0x02, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0}, make([]byte, 100)...)
		for {
			select {
			case <-tick.C:
				_ = track.WriteSample(media.Sample{Data: picture, Duration: time.Second / 30})
			case <-stop:
				return
			}
		}
	}()
	s.t.Cleanup(func() {
		close(stop)
		<-done
		_ = pc.Close()
	})
}

// streamsNow asks the admin API.
func streamsNow(t *testing.T, srv *httptest.Server) []streamJSON {
	t.Helper()
	_, _, body := do(t, "GET", srv.URL+"/wtn/streams", nil)
	if strings.Contains(body, "hidden") {
		t.Fatalf("a secret is shown: %s", body)
	}
	return decode[[]streamJSON](t, []byte(body))
}

func post(t *testing.T, srv *httptest.Server, path, body string) (int, string) {
	t.Helper()
	resp, err := http.Post(srv.URL+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b.String()
}

func TestAdminUpstreams(t *testing.T) {
	srv := adminServer(t)
	s := newSite(t)
	global := strings.TrimSuffix(strings.TrimSpace(loopbackMedia), "}") + refusingUpstream(t) + "}"
	s.mustLoad(global+"\n events {\n on wtn.upstream_changed wtn_test_tap\n}", "\twtn")
	var list []upstreamJSON
	if err := askAdmin(strings.TrimPrefix(srv.URL, "http://"), "/wtn/upstreams", &list); err != nil || len(list) != 1 || list[0].Name != "a" || list[0].Vendor != "whip" || list[0].State != "up" {
		t.Fatalf("%+v, %v", list, err)
	}
	s.sendPictures("/whip/room")
	eventually(t, "the stream is live", func() bool { l := streamsNow(t, srv); return len(l) == 1 && l[0].Live })
	stream := streamsNow(t, srv)[0]
	if len(stream.Sources) != 1 || stream.Sources[0].Role != "publish" || !stream.Sources[0].Program || stream.Pushes != nil {
		t.Fatalf("stream: %+v", stream)
	}
	source := stream.Sources[0].Session

	status, body := post(t, srv, "/wtn/push", `{"stream": "room", "upstream": "a", "on": true}`)
	if pushed := decode[[]streamJSON](t, []byte(body)); status != 200 || len(pushed) != 1 || pushed[0].Name != "room" {
		t.Errorf("push: %d %s", status, body)
	}
	eventually(t, "the push has failed", func() bool {
		p := streamsNow(t, srv)[0].Pushes
		return len(p) == 1 && p[0].Upstream == "a" && p[0].State == "waiting" && strings.Contains(p[0].Error, "401")
	})
	if e := nextEvent(t, "wtn.upstream_changed"); e["upstream"] != "a" || e["from"] != "up" || e["to"] != "invalid" || e["why"] == "" || strings.Contains(fmt.Sprint(e), "hidden") {
		t.Errorf("event %v", e)
	}
	_, _, body = do(t, "GET", srv.URL+"/wtn/upstreams", nil)
	if u := decode[[]upstreamJSON](t, []byte(body)); u[0].Requests["broken"] == 0 || u[0].Requests["ok"] != 0 || u[0].State != "invalid" || strings.Contains(body, "hidden") {
		t.Errorf("upstreams: %s", body)
	}
	if status, body = post(t, srv, "/wtn/sources", fmt.Sprintf(`{"stream": "room", "source": %q, "held": true}`, source)); status != 200 || !decode[[]streamJSON](t, []byte(body))[0].Sources[0].Held {
		t.Errorf("hold: %d %s", status, body)
	}
	var out drillJSON
	if err := tellAdmin(strings.TrimPrefix(srv.URL, "http://"), "/wtn/drill", drillRequest{"room", source, 0.05}, &out); err != nil || out.Switched || out.Source != source {
		t.Errorf("drill: %+v %v", out, err)
	}
	for _, c := range []struct {
		path, body string
		status     int
		says       string
	}{
		{"push", `{"stream": "room", "upstream": "b", "on": true}`, 404, `there are ["a"]`},
		{"push", `{"stream": "other", "upstream": "a", "on": true}`, 404, "no such stream"},
		{"push", `{"stream": "room", "upstream": "a"}`, 400, `"on": true`},
		{"push", `{"stream": "room", "upstream": "a", "on": 3}`, 400, "reading the request"},
		{"push", `{"stream": "room", "upstream": "a", "onn": true}`, 400, "onn"},
		{"sources", `{"stream": "room", "source": "nobody", "held": true}`, 404, "no such source"},
		{"sources", `{"stream": "room", "source": "a"}`, 400, "one thing about it"},
		{"sources", `{"stream": "room", "source": "a", "held": true, "preferred": true}`, 400, "one thing about it"},
		{"sources", `{"stream": "room", "preferred": true}`, 400, "say which source"},
		{"sources", `{"stream": "gone", "source": "a", "preferred": true}`, 404, "no such stream"},
		{"drill", `{"stream": "room", "source": "a"}`, 404, "no such source"},
		{"drill", `{"stream": "room"}`, 400, "say which source"},
		{"drill", `{"stream": "room", "source": "a", "seconds": 61}`, 400, "use up to 60"},
		{"drill", `{"stream": "room", "source": "a", "seconds": -1}`, 400, "use up to 60"},
		{"drill", `{"stream": "room", "source": "a", "seconds": 1e300}`, 400, "use up to 60"},
	} {
		if status, body := post(t, srv, "/wtn/"+c.path, c.body); status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s %s: %d %s", c.path, c.body, status, body)
		}
	}
	for _, path := range []string{"push", "sources", "drill"} {
		if status, _, _ := do(t, "GET", srv.URL+"/wtn/"+path, nil); status != 405 {
			t.Errorf("GET %s: %d", path, status)
		}
	}
}

// One of two publishers dies in a drill: the stream goes on from the other, and
// everybody who is to know hears of it.
func TestAdminDrill(t *testing.T) {
	srv := adminServer(t)
	s := newSite(t)
	s.mustLoad(loopbackMedia+"\n events {\n on wtn.takeover wtn_test_tap\n}", "wtn {\n publishers backup\n}")
	s.sendPictures("/whip/room")
	eventually(t, "the stream is live", func() bool { l := streamsNow(t, srv); return len(l) == 1 && l[0].Live })
	s.sendPictures("/whip/room")
	eventually(t, "both flow", func() bool {
		l := streamsNow(t, srv)[0].Sources
		return len(l) == 2 && l[0].Flows && l[0].Program && l[1].Flows
	})
	before := streamsNow(t, srv)[0].Sources
	var d drillJSON
	if err := tellAdmin(strings.TrimPrefix(srv.URL, "http://"), "/wtn/drill", drillRequest{"room", before[0].Session, 10}, &d); err != nil {
		t.Fatal(err)
	}
	if !d.Switched || d.To != before[1].Session || d.Cause == "" || d.Detected <= 0 || d.Detected > 5000 || d.Lost != 0 {
		t.Errorf("%+v", d)
	}
	if e := nextEvent(t, "wtn.takeover"); e["stream"] != "room" || e["from"] != d.Source || e["to"] != d.To || e["cause"] != d.Cause || e["from_upstream"] != "" {
		t.Errorf("event %v, drill %+v", e, d)
	}
	if st := livingState().hub.Stats().Takeovers; st.Count != 1 || st.Causes[relay.Cause(d.Cause)] != 1 || st.GapSum <= 0 {
		t.Errorf("counted %+v", st)
	}
	var out bytes.Buffer
	printDrill(&out, d, 10*time.Second)
	t.Log("\n" + out.String())
	status, body := post(t, srv, "/wtn/sources", fmt.Sprintf(`{"stream": "room", "source": %q, "preferred": true}`, before[0].Session))
	if status != 200 {
		t.Errorf("prefer: %d %s", status, body)
	}
	if e := nextEvent(t, "wtn.takeover"); e["to"] != before[0].Session || e["cause"] != "operator" {
		t.Errorf("event %v", e)
	}
	if status, body = post(t, srv, "/wtn/sources", `{"stream": "room", "preferred": false}`); status != 200 {
		t.Errorf("ranks again: %d %s", status, body)
	}
}

// Two drills at once would hide what each of them does.
func TestAdminOneDrill(t *testing.T) {
	srv := adminServer(t)
	s := newSite(t)
	s.mustLoad(loopbackMedia, "\twtn")
	drilling.Lock()
	status, body := post(t, srv, "/wtn/drill", `{"stream": "room", "source": "a"}`)
	drilling.Unlock()
	if status != http.StatusConflict || !strings.Contains(body, "another drill") {
		t.Errorf("%d %s", status, body)
	}
}

func TestUpstreamGolden(t *testing.T) {
	for _, c := range []struct {
		v    any
		want string
	}{
		{
			upstreamsOf([]relay.UpstreamStats{{Name: "a", Vendor: "whip", State: relay.UpstreamOpen, Streams: 1, Sessions: 2, Requests: map[string]uint64{"ok": 3}}}),
			`[{"name":"a","vendor":"whip","state":"open","streams":1,"sessions":2,"requests":{"ok":3}}]`,
		},
		{
			streamsOf([]relay.StreamStats{{
				Name: "room", Sources: []relay.SourceStats{{Session: relay.SessionInfo{ID: "1", Role: relay.RolePull, Upstream: "a"}, Connected: true, Flows: true, Program: true, Priority: 2}},
				Pulls: []relay.DockStats{{Upstream: "a", State: "connected", Session: "1"}, {Upstream: "b", State: "waiting", Again: 1500 * time.Millisecond, Error: "no answer in time"}},
			}}),
			`[{"name":"room","since":"0001-01-01T00:00:00Z","live":false,"publisher":null,"viewers":0,"tracks":[],` +
				`"sources":[{"session":"1","role":"pull","upstream":"a","connected":true,"flows":true,"program":true,"held":false,"priority":2,"lossy":false}],` +
				`"pulls":[{"upstream":"a","state":"connected","session":"1"},{"upstream":"b","state":"waiting","again_seconds":1.5,"error":"no answer in time"}]}]`,
		},
		{
			drillOf(&relay.Drill{Stream: "room", Source: "a", Viewers: 3, Switched: true, To: "2", ToUpstream: "b", Cause: relay.CauseBehind, Detected: 180250 * time.Microsecond, Gap: 201 * time.Millisecond}),
			`{"stream":"room","source":"a","viewers":3,"lost":0,"switched":true,"to":"2","to_upstream":"b","cause":"relative","detected_ms":180.25,"gap_ms":201}`,
		},
	} {
		if got, err := json.Marshal(c.v); err != nil || string(got) != c.want {
			t.Errorf("%v\n%s\nwant\n%s", err, got, c.want)
		}
	}
}

func TestPrintUpstreams(t *testing.T) {
	var out bytes.Buffer
	printUpstreams(&out, nil, nil)
	printUpstreams(&out, []upstreamJSON{
		{Name: "a", Vendor: "whip", State: "up", Streams: 1, Sessions: 1, Requests: map[string]uint64{"ok": 4, "failing": 1, "busy": 0}},
		{Name: "b", Vendor: "livekit", State: "down"},
	}, []streamJSON{
		{Name: "room", Pulls: []dockJSON{{Upstream: "a", State: "connected"}}, Sources: []sourceJSON{{Upstream: "a", Program: true}}},
		{Name: "show", Pushes: []dockJSON{{Upstream: "b", State: "waiting", Again: 1.5, Error: "no answer in time"}}},
	})
	want := `no upstreams are configured
UPSTREAM  VENDOR   STATE  STREAMS  SESSIONS  REQUESTS
a         whip     up     1        1         1 failing, 4 ok
b         livekit  down   0        0         -

STREAM  WAY   UPSTREAM  STATE              ERROR
room    pull  a         connected, on air  
show    push  b         waiting 1.5 s      no answer in time
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestPrintDrill(t *testing.T) {
	var out bytes.Buffer
	d := drillJSON{Stream: "room", Source: "a", Viewers: 3, Switched: true, ToUpstream: "b", Cause: "relative", Detected: 180.25, Gap: 201}
	printDrill(&out, d, time.Second)
	d.Switched = false
	printDrill(&out, d, 10*time.Second)
	want := `drill: source a of stream room, 3 watching
noticed:      it stopped while another source went on (relative)
went over:    to b after 180 ms
interruption: 201 ms, as every viewer saw it
viewers lost: 0
drill: source a of stream room, 3 watching
not noticed:  within 10s no other source took over. Was it the one on air, and is there another one?
viewers lost: 0
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
