package harness

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/vendorcmd/behaviour"
)

// Addr is host and port of WHIP and WHEP, MediaAddr those of the UDP socket.
func (v *Vendor) Addr() string      { return v.addrs.HTTP }
func (v *Vendor) MediaAddr() string { return v.addrs.Media }

// Origin is scheme, host and port.
func (v *Vendor) Origin() string {
	if v.o.TLS {
		return "https://" + v.addrs.HTTP
	}
	return "http://" + v.addrs.HTTP
}

// WHIP and WHEP are the endpoints of a stream.
func (v *Vendor) WHIP(stream string) string { return v.Origin() + "/whip/" + stream }
func (v *Vendor) WHEP(stream string) string { return v.Origin() + "/whep/" + stream }

// Set replaces the behaviour; it holds when Set returns.
func (v *Vendor) Set(b Behaviour) VendorState {
	v.t.Helper()
	body, err := json.Marshal(b)
	if err != nil {
		v.t.Fatal(err)
	}
	return v.control(http.MethodPost, string(body))
}

// State asks what the vendor saw since it was last started.
func (v *Vendor) State() VendorState {
	v.t.Helper()
	return v.control(http.MethodGet, "")
}

func (v *Vendor) control(method, body string) (s VendorState) {
	v.t.Helper()
	r := Do(v.t, v.client, method, "http://"+v.addrs.Control+"/control", body)
	if r.Status != http.StatusOK {
		v.t.Fatalf("the vendor's control: %d: %s", r.Status, r.Body)
	}
	if err := json.Unmarshal([]byte(r.Body), &s); err != nil {
		v.t.Fatalf("the vendor's state: %v in %.200q", err, r.Body)
	}
	return s
}

// Await waits until the state satisfies want.
func (v *Vendor) Await(within time.Duration, what string, want func(VendorState) bool) (s VendorState) {
	v.t.Helper()
	if !Poll(within, func() bool { s = v.State(); return want(s) }) {
		v.t.Fatalf("the vendor, not within %s: %s; sessions %+v, requests %v", within, what, s.Sessions, s.Requests)
	}
	return s
}

// Publish starts a publisher at the vendor itself and fails the test when it
// does not connect.
func (v *Vendor) Publish(t testing.TB, stream string, cfg PublisherConfig) *Publisher {
	t.Helper()
	p, err := v.TryPublish(t, stream, cfg)
	if err != nil {
		t.Fatalf("publish %s at the vendor: %v", stream, err)
	}
	return p
}

// TryPublish is Publish for a vendor that may refuse.
func (v *Vendor) TryPublish(t testing.TB, stream string, cfg PublisherConfig) (*Publisher, error) {
	t.Helper()
	if cfg.URL == "" {
		cfg.URL = v.WHIP(stream)
	}
	p, err := (&Gateway{client: v.client}).TryPublish(t, stream, cfg)
	if p != nil {
		p.resolveLocation(cfg.URL)
	}
	return p, err
}

// View starts a viewer at the vendor itself and fails the test when it does
// not connect.
func (v *Vendor) View(t testing.TB, stream string, cfg ViewerConfig) *Viewer {
	t.Helper()
	w, err := v.TryView(t, stream, cfg)
	if err != nil {
		t.Fatalf("view %s at the vendor: %v", stream, err)
	}
	return w
}

// TryView is View for a vendor that may refuse.
func (v *Vendor) TryView(t testing.TB, stream string, cfg ViewerConfig) (*Viewer, error) {
	t.Helper()
	if cfg.URL == "" {
		cfg.URL = v.WHEP(stream)
	}
	w, err := (&Gateway{client: v.client}).TryView(t, stream, cfg)
	if w != nil {
		w.resolveLocation(cfg.URL)
	}
	return w, err
}

// resolveLocation makes a session URL absolute, as it may be relative to the
// endpoint (RFC 9725 section 4.2).
func (p *peer) resolveLocation(endpoint string) {
	base, err := url.Parse(endpoint)
	if err != nil || p.location == "" {
		return
	}
	if at, err := base.Parse(p.location); err == nil {
		p.location = at.String()
	}
}

// AwaitStream waits until a publisher of the stream is connected and its media
// arrives, so that players are admitted and served.
func (v *Vendor) AwaitStream(stream string) {
	v.t.Helper()
	v.Await(10*time.Second, "media of "+stream, func(s VendorState) bool {
		for _, l := range s.Live(behaviour.Publish, stream) {
			if l.Connected && l.Packets > 20 {
				return true
			}
		}
		return false
	})
}
