package caddymodule

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func TestTURNMetricsAndAdmin(t *testing.T) {
	srv := adminServer(t)
	s := newSite(t)
	s.mustLoad("\twtn {\n\t\tmedia udp/127.0.0.1:0\n"+loopbackTURN+"\n\t}", "\twtn")
	broadcast(t, s.url("/whip/x"), webrtc.ICETransportPolicyAll, noServers)
	v := listen(t, s.url("/whep/x"), webrtc.ICETransportPolicyRelay, only("tcp"))
	v.await(20)
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(&turnCollector{livingState().turn}); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`wtn_turn_allocations{transport="tcp"} 1`, `wtn_turn_allocations{transport="udp"} 0`, "wtn_turn_allocations_total 1", "wtn_turn_connections 1",
		`wtn_turn_rejected_total{reason="unauthenticated"} 1`, `wtn_turn_dropped_packets_total{reason="not_media"} 0`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("no line %s in\n%s", want, w.Body)
		}
	}
	_, _, body := do(t, "GET", srv.URL+"/wtn/turn", nil)
	j := decode[turnJSON](t, []byte(body))
	if !j.Enabled || len(j.Listeners) != 2 || len(j.Allocations) != 1 || len(j.Media) == 0 || j.PacketsOut < 20 || j.Connections != 1 {
		t.Fatalf("%s", body)
	}
	a := j.Allocations[0]
	if a.Transport != "tcp" || a.PacketsOut < 20 || !strings.HasPrefix(a.Client, "127.0.0.1:") || !strings.Contains(v.servers[0].Username, a.Session) {
		t.Errorf("%+v", a)
	}
	if strings.Contains(body, v.servers[0].Credential.(string)) || strings.Contains(body, v.servers[0].Username) {
		t.Error("the view shows a credential")
	}
}

func TestTURNCredentialsCommand(t *testing.T) {
	srv := adminServer(t)
	addr := strings.TrimPrefix(srv.URL, "http://")
	s := newSite(t)
	s.mustLoad("\twtn {\n\t\tmedia udp/127.0.0.1:0\n"+loopbackTURN+"\n\t}", "\twtn")
	c, err := askCredential(addr, credentialRequest{User: "tester", TTL: 60, Host: "127.0.0.1"})
	if err != nil || !strings.HasSuffix(c.Username, ":tester") || c.TTL != 60 || len(c.URLs) != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	var out bytes.Buffer
	if err := printCredential(&out, c, false); err != nil || !strings.Contains(out.String(), "credential  "+c.Credential+"\n") || strings.Count(out.String(), "url  ") != 2 {
		t.Errorf("%v\n%s", err, out.String())
	}
	out.Reset()
	if err := printCredential(&out, c, true); err != nil || len(decode[webrtc.ICEServer](t, out.Bytes()).URLs) != 2 {
		t.Errorf("%v\n%s", err, out.String())
	}
	for want, r := range map[string]credentialRequest{"user id must be": {User: "a b"}, "lifetime out of range": {TTL: 1e9}} {
		if _, err := askCredential(addr, r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	s.mustLoad("\twtn {\n\t\tmedia udp/127.0.0.1:0\n\t\tturn off\n\t}", "\twtn")
	if _, err := askCredential(addr, credentialRequest{}); err == nil || !strings.Contains(err.Error(), "no TURN server") {
		t.Errorf("off: %v", err)
	}
	if status, _, _ := do(t, http.MethodGet, srv.URL+"/wtn/turn/x", nil); status != http.StatusNotFound {
		t.Errorf("status %d", status)
	}
}
