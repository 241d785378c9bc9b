package caddymodule

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/talwtn/caddy-wtn/relay"
)

// WHIP-23: too many offers of one client are 429 with Retry-After; others go on.
func TestRateLimit(t *testing.T) {
	h := &Handler{gateway: &fakeGateway{err: relay.ErrNoPublisher}, clients: newClientLimits(&RateLimit{Rate: 0.001, Burst: 3})}
	post := func(client, path string) (int, http.Header) {
		r := offerTo(path)
		r.RemoteAddr = client
		w, _, err := call(t, h, r)
		if err != nil {
			t.Fatal(err)
		}
		return w.Code, w.Header()
	}
	for i := range 5 {
		status, header := post("192.0.2.1:1000", "/whep/x")
		if want := map[bool]int{true: 409, false: 429}[i < 3]; status != want || header.Get("Retry-After") == "" || header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("offer %d: %d %v", i, status, header)
		}
	}
	if status, _ := post("192.0.2.1:2000", "/pub/a/b"); status != 429 {
		t.Errorf("another port and dialect: %d", status)
	}
	if status, _ := post("192.0.2.2:1000", "/whep/x"); status != 409 {
		t.Errorf("another client: %d", status)
	}
	for i := range 4 { // one customer's network
		status, _ := post("[2001:db8::"+string(rune('1'+i))+"]:1", "/whep/x")
		if want := map[bool]int{true: 409, false: 429}[i < 3]; status != want {
			t.Errorf("address %d of the /64: %d", i, status)
		}
	}
}

// The table of clients is bounded, and forgets first who came last long ago.
func TestClientLimitsAreBounded(t *testing.T) {
	c := newClientLimits(&RateLimit{Rate: 0.001, Burst: 1})
	loyal := netip.MustParseAddr("198.51.100.1")
	if !c.allow(loyal) || c.allow(loyal) {
		t.Fatal("the limit is not that of the configuration")
	}
	for i := range 3 * maxClients {
		c.allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		if i%(maxClients/4) == 0 && c.allow(loyal) {
			t.Fatalf("a client that keeps coming was forgotten after %d others", i)
		}
		if n := len(c.now) + len(c.old); n > 2*maxClients {
			t.Fatalf("%d clients held", n)
		}
	}
	var none *clientLimits
	if !none.allow(loyal) || newClientLimits(nil) != nil {
		t.Error("no limit limits")
	}
}

func TestPolicyValidate(t *testing.T) {
	for name, h := range map[string]Handler{
		"rate":    {RateLimit: &RateLimit{}},
		"burst":   {RateLimit: &RateLimit{Rate: 1, Burst: -1}},
		"pattern": {Streams: []string{"a["}},
		"empty":   {Streams: []string{""}},
		"viewers": {Limits: &HandlerLimits{ViewersPerStream: -1}},
		"total":   {Limits: &HandlerLimits{Viewers: -1}},
		"sources": {Limits: &HandlerLimits{Publishers: -1}},
		"bitrate": {Limits: &HandlerLimits{Bitrate: 8}},
		"policy":  {Publishers: "both"},
	} {
		if h.Validate() == nil {
			t.Errorf("%s: passed", name)
		}
	}
	if err := (&Handler{RateLimit: &RateLimit{Rate: 0.1}, Streams: []string{"a/*"}, Publishers: "backup", Limits: &HandlerLimits{Publishers: 1, Viewers: 1, ViewersPerStream: 1, Bitrate: 1e6}}).Validate(); err != nil {
		t.Error(err)
	}
}

// RFC 9110 section 13.1.1, and what clients make of it [WHIP-88, D-1].
func TestEntityTags(t *testing.T) {
	for field, want := range map[string]string{
		`*`: "*", `"*"`: "*", `"ab12"`: "ab12", `ab12`: "ab12", ` "x" , "ab12"`: "x ab12", `W/"ab12"`: `W/"ab12"`, ``: "",
		`"`: `"`, `"a`: `"a`, "`a`": "`a`", `'a'`: `'a'`,
	} {
		got := ""
		for i, tag := range entityTags([]string{field}) {
			if i > 0 {
				got += " "
			}
			got += tag
		}
		if got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	if entityTags(nil) != nil {
		t.Error("tags out of nothing")
	}
}

// The app's limits reach the relay, and one that cannot be meant is refused.
func TestAppBitrate(t *testing.T) {
	for bitrate, ok := range map[uint64]bool{0: true, 8e8: true, 800: false} {
		c, err := (&App{Limits: &Limits{Bitrate: bitrate}}).relayConfig()
		if err != nil || c.MaxBitrate != bitrate || (c.Validate() == nil) != ok {
			t.Errorf("%d: %d, %v, %v", bitrate, c.MaxBitrate, err, c.Validate())
		}
	}
}
