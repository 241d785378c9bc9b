package relay

import (
	"errors"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

func TestConfigValidate(t *testing.T) {
	addr := netip.MustParseAddr
	for _, c := range []struct {
		name string
		c    Config
		bad  string // in the error; empty: valid
	}{
		{"zero", Config{}, ""},
		{"full", Config{PublicAddresses: []netip.Addr{addr("192.0.2.1"), addr("2001:db8::1")}, Grace: time.Hour, GOPCache: CacheOff, MaxBusy: 1, MaxPublishers: 1}, ""},
		{"negative grace", Config{Grace: -1}, "grace"},
		{"long consent", Config{ConsentTimeout: time.Hour + 1}, "consent"},
		{"publisher timeout", Config{PublisherConnectTimeout: -1}, "publisher connect"},
		{"subscriber timeout", Config{SubscriberConnectTimeout: -1}, "subscriber connect"},
		{"cache", Config{GOPCache: "maybe"}, "maybe"},
		{"publishers", Config{MaxPublishers: -1}, "limits"},
		{"subscribers", Config{MaxSubscribers: -1}, "limits"},
		{"per stream", Config{MaxSubscribersPerStream: -1}, "limits"},
		{"busy above 1", Config{MaxBusy: 1.01}, "busy"},
		{"busy below 0", Config{MaxBusy: -0.1}, "busy"},
		{"busy is no number", Config{MaxBusy: math.NaN()}, "busy"},
		{"unspecified", Config{PublicAddresses: []netip.Addr{addr("0.0.0.0")}}, "0.0.0.0"},
		{"multicast", Config{PublicAddresses: []netip.Addr{addr("ff02::1")}}, "ff02::1"},
		{"no address", Config{PublicAddresses: []netip.Addr{{}}}, "public address"},
	} {
		err := c.c.Validate()
		if (err == nil) != (c.bad == "") || err != nil && !strings.Contains(err.Error(), c.bad) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	d := Config{}.withDefaults()
	if d.Grace != 30*time.Second || d.SubscriberConnectTimeout != 15*time.Second || d.GOPCache != CacheAuto || d.MaxBusy != 0.85 {
		t.Errorf("defaults are %+v", d)
	}
	if k := (Config{Grace: time.Second, GOPCache: CacheOn, MaxBusy: 0.5}).withDefaults(); k.Grace != time.Second || k.GOPCache != CacheOn || k.MaxBusy != 0.5 {
		t.Errorf("values gave way to defaults: %+v", k)
	}
}

func TestBadConfigChangesNothing(t *testing.T) {
	h := newHub(t)
	before := h.config.Load()
	if err := h.Apply(Config{MaxBusy: 2}); err == nil || h.config.Load() != before {
		t.Errorf("%v", err)
	}
}

func TestStreamNames(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "live/cam-1_a.b~c@d": true, "a/b/c": true, strings.Repeat("a", 256): true, "...": true, "a..b": true,
		"": false, "/a": false, "a/": false, "a//b": false, "a/../b": false, ".": false, "..": false, "a/.": false,
		strings.Repeat("a", 257): false, "a b": false, "a%2fb": false, "ä": false, "a\x00": false, "a?b": false, "a\\b": false,
	} {
		if validName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
	h := newHub(t)
	if _, err := h.Publish(t.Context(), OfferRequest{Stream: ".."}); !errors.Is(err, ErrStreamName) {
		t.Errorf("%v", err)
	}
}

func TestAdvertised(t *testing.T) {
	list := func(s ...string) (out []netip.Addr) {
		for _, a := range s {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	public := list("203.0.113.7", "2001:db8::7", "::ffff:198.51.100.9")
	for _, c := range []struct {
		name     string
		c        Config
		bound    string
		loopback bool
		want     []netip.Addr
	}{
		{"loopback only", Config{PublicAddresses: public}, "127.0.0.1", true, list("127.0.0.1")},
		{"loopback v6", Config{}, "::1", false, list("::1")},
		{"one address", Config{}, "192.0.2.5", false, list("192.0.2.5")},
		{"one address, local site", Config{}, "192.0.2.5", true, list("192.0.2.5")},
		{"one mapped address", Config{}, "::ffff:192.0.2.5", false, list("192.0.2.5")},
		{"public, IPv4 wildcard", Config{PublicAddresses: public}, "0.0.0.0", false, list("203.0.113.7", "198.51.100.9")},
		{"public, dual stack", Config{PublicAddresses: public}, "::", false, list("203.0.113.7", "2001:db8::7", "198.51.100.9")},
		{"public, IPv6 address", Config{PublicAddresses: public}, "2001:db8::1", false, list("2001:db8::7")},
		{"public, local site", Config{PublicAddresses: public[:1]}, "::", true, list("203.0.113.7", "127.0.0.1", "::1")},
		{"public, local site, IPv4", Config{PublicAddresses: public[:1]}, "0.0.0.0", true, list("203.0.113.7", "127.0.0.1")},
		{"public of the other family", Config{PublicAddresses: public[1:2]}, "0.0.0.0", false, nil},
		{"everything denied", Config{DenyAddresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}, "::", false, nil},
		{"unknown interface", Config{Interfaces: []string{"no-such-interface"}}, "::", false, nil},
	} {
		if got := advertised(&c.c, netip.MustParseAddr(c.bound), c.loopback); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestPermits(t *testing.T) {
	p := netip.MustParsePrefix
	c := Config{AllowAddresses: []netip.Prefix{p("10.0.0.0/8"), p("2001:db8::/32")}, DenyAddresses: []netip.Prefix{p("10.1.0.0/16")}}
	for a, want := range map[string]bool{
		"10.2.3.4": true, "10.1.2.3": false, "192.0.2.1": false, "2001:db8::1": true, "2001:db9::1": false,
		"fe80::1": false, "127.0.0.1": false, "::1": false, "169.254.1.1": false,
	} {
		if c.permits(netip.MustParseAddr(a)) != want {
			t.Errorf("%s: %v", a, !want)
		}
	}
	if !(&Config{}).permits(netip.MustParseAddr("192.168.1.1")) {
		t.Error("a private address is not permitted without filters")
	}
}

// Sockets take turns, TCP listeners are all told of, and no address at all is
// an error that names the remedy.
func TestCandidates(t *testing.T) {
	h := newHub(t)
	c, err := h.candidates(true)
	if err != nil || len(c) != 1 || c[0].Network != "udp" || c[0].Addr.Addr() != netip.MustParseAddr("127.0.0.1") {
		t.Fatalf("%v, %v", c, err)
	}
	serveLoopback(t, h)
	ports := map[uint16]int{}
	for range 6 {
		c, err = h.candidates(false)
		if err != nil || len(c) != 1 {
			t.Fatalf("%v, %v", c, err)
		}
		ports[c[0].Addr.Port()]++
	}
	if len(ports) != 2 || ports[c[0].Addr.Port()] != 3 {
		t.Errorf("sockets are used unevenly: %v", ports)
	}
	h2, err := NewHub(Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer h2.Close(ReasonExit)
	if _, err := h2.candidates(true); !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "public address") {
		t.Errorf("%v", err)
	}
}

func TestAllowed(t *testing.T) {
	if allowed(nil) != nil {
		t.Error("no names are a filter")
	}
	f := allowed([]string{"h264", "OPUS"})
	if !f(codecH264) || !f(codecOpus) || f(codecVP8) || f(codec.Codec{}) {
		t.Error("the filter by name is wrong")
	}
}

func TestLoadMeter(t *testing.T) {
	var m loadMeter
	m.windowStart = first
	for i := range int64(110) { // busy 3 of 10 ms
		m.lag(2 * ms)
		m.worked(first+i*10*ms, first+i*10*ms+3*ms)
	}
	now := first + 1100*ms
	if b := m.busy(now); b < 0.29 || b > 0.31 {
		t.Errorf("busy %.3f, want 0.3", b)
	}
	if m.worstLag(now) != 2*time.Millisecond {
		t.Errorf("worst lag %s", m.worstLag(now))
	}
	m.lag(80 * ms)
	for i := range int64(110) {
		m.lag(ms)
		m.worked(now+i*10*ms, now+i*10*ms+10*ms)
	}
	if now += 1100 * ms; m.busy(now) < 0.9 || m.worstLag(now) != 80*time.Millisecond {
		t.Errorf("busy %.3f, lag %s", m.busy(now), m.worstLag(now))
	}
	if now += 4000 * ms; m.busy(now) != 0 || m.worstLag(now) != 0 {
		t.Error("a loop that sleeps is busy")
	}
}

func TestTrackMeter(t *testing.T) {
	var m trackMeter
	for i := range int64(100) {
		m.add(first+i*25*ms, 2500) // 800 kbit/s
	}
	if r := m.rate(first + 2500*ms); r < 780e3 || r > 820e3 {
		t.Errorf("%.0f bit/s, want 800000", r)
	}
	if m.rate(first+10_000*ms) != 0 {
		t.Error("a track that fell silent has a rate")
	}
	m.keyframe(first)
	m.keyframe(first + 2000*ms)
	if m.keyEvery != 2*time.Second || m.packets != 100 || m.bytes != 250000 {
		t.Errorf("%+v", m)
	}
}
