package caddymodule

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	"github.com/pion/webrtc/v4"

	"github.com/talwtn/caddy-wtn/relay"
)

// callTLS is call for a request that came by https.
func callTLS(t *testing.T, h *Handler, r *http.Request) (*httptest.ResponseRecorder, map[string]any, error) {
	t.Helper()
	r.TLS = new(tls.ConnectionState)
	return call(t, h, r)
}

const pub, sub = relay.RolePublish, relay.RoleSubscribe

func TestAdmissionLimits(t *testing.T) {
	a := newAdmission()
	q := quota{key: "/live", publishers: 1, viewers: 2}
	take := func(q quota, role relay.Role, stream string, want error) *slot {
		t.Helper()
		x, err := a.take(q, role, stream)
		if !errors.Is(err, want) || (x == nil) != (err != nil) {
			t.Fatalf("%s %s: %v, want %v", role, stream, err, want)
		}
		return x
	}
	one, two := newFakeSession("1", "a"), newFakeSession("2", "a")
	take(q, sub, "a", nil).keep(one)
	x := take(q, sub, "b", nil)
	take(q, sub, "b", relay.ErrLimit)
	take(quota{key: "/other", viewers: 2}, sub, "b", nil)
	x.free()
	x = take(q, sub, "b", nil)
	x.keep(two)
	x.free() // too late: a session came of it
	take(q, sub, "b", relay.ErrLimit)
	close(one.done)
	take(q, sub, "c", nil)
	take(q, sub, "c", relay.ErrLimit)

	p := take(q, pub, "a", nil)
	p.keep(newFakeSession("3", "a"))
	take(q, pub, "a", relay.ErrLimit)
	q.replace = true
	take(q, pub, "b", relay.ErrLimit)
	take(q, pub, "a", nil).free()
	take(q, pub, "b", relay.ErrLimit)
	q.viewers, q.publishers = 0, 0 // a newer configuration
	take(q, sub, "d", nil)
	q.viewers = 3
	take(q, sub, "d", relay.ErrLimit) // counts those of before

	var none *admission
	if x, err := none.take(q, pub, "a"); x != nil || err != nil {
		t.Error("no admission refuses")
	}
	(*slot)(nil).free()
	(*slot)(nil).keep(one)
}

// Sessions that have ended are forgotten without anybody who waits for that.
func TestAdmissionForgets(t *testing.T) {
	a := newAdmission()
	var living []*fakeSession
	for i := range 100 * leastClear {
		s := newFakeSession(strconv.Itoa(i), "a")
		x, err := a.take(quota{}, sub, "a")
		if err != nil {
			t.Fatal(err)
		}
		x.keep(s)
		living = append(living, s)
		if len(living) > 10 {
			close(living[0].done)
			living = living[1:]
		}
		if n := len(a.slots[""].taken); n > leastClear {
			t.Fatalf("%d remembered of 10", n)
		}
	}
	if _, err := a.take(quota{viewers: 11}, sub, "a"); err != nil {
		t.Error(err)
	}
	if _, err := a.take(quota{viewers: 11}, sub, "a"); !errors.Is(err, relay.ErrLimit) {
		t.Errorf("%v", err)
	}
}

// Many at once never exceed the limit, and all places come back.
func TestAdmissionTogether(t *testing.T) {
	a := newAdmission()
	q := quota{viewers: 5}
	for range 20 {
		var all sync.WaitGroup
		slots := make(chan *slot, 50)
		for range 50 {
			all.Go(func() {
				if x, err := a.take(q, sub, "a"); err == nil {
					slots <- x
				}
			})
		}
		all.Wait()
		if len(slots) != 5 {
			t.Fatalf("%d were let in", len(slots))
		}
		close(slots)
		for x := range slots {
			x.free()
		}
	}
}

// What the hub refuses takes no place.
func TestRefusedOffersTakeNoPlace(t *testing.T) {
	h := &Handler{gateway: &fakeGateway{err: relay.ErrNoPublisher}, admission: newAdmission(), Limits: &HandlerLimits{Publishers: 1, Viewers: 1}}
	h.quota = h.newQuota()
	for _, path := range []string{"/whip/a", "/whep/a", "/webrtc/pub-sub/a/b/c"} {
		for range 3 {
			if w, _, _ := call(t, h, offerTo(path)); w.Code != 409 {
				t.Fatalf("%s: %d", path, w.Code)
			}
		}
	}
	h.gateway = &fakeGateway{err: relay.ErrNoPublisher}
	h.CounterOffer = true
	for range 3 {
		r := httptest.NewRequest("POST", "/whep/a", nil)
		if w, _, _ := call(t, h, r); w.Code != 409 {
			t.Fatalf("asking for an offer: %d", w.Code)
		}
	}
}

func TestQuotaKeys(t *testing.T) {
	for want, h := range map[string]Handler{
		"/live": {Prefix: "/live"}, "": {}, "a": {Prefix: "/live", Limits: &HandlerLimits{Name: "a"}}, "/x": {Prefix: "/x", Limits: &HandlerLimits{Viewers: 3}},
	} {
		if q := h.newQuota(); q.key != want {
			t.Errorf("%+v: %q", h, q.key)
		}
	}
	a := new(App)
	for i, c := range []struct {
		q  quota
		ok bool
	}{
		{quota{key: "x", viewers: 3}, true}, {quota{key: "x", viewers: 3, replace: true}, true}, {quota{key: "x"}, true},
		{quota{key: "x", viewers: 4}, false}, {quota{key: "x", publishers: 3}, false}, {quota{key: "y", viewers: 4}, true},
	} {
		if err := a.agree(c.q); (err == nil) != c.ok {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// The limits of a handler count what lives, over reloads and on all faces.
func TestHandlerLimitsLive(t *testing.T) {
	s := newSite(t)
	post := func(path, offer string, want int) string {
		t.Helper()
		status, header, body := send(t, "POST", s.url(path), offer, "Content-Type", sdpType)
		if status != want || (status == 503) != (header.Get("Retry-After") == "10") {
			t.Fatalf("%s: %d %v %s, want %d", path, status, header, body, want)
		}
		return header.Get("Location")
	}
	publisher, viewer := string(publisherOffer(t)), viewerOffer(t)
	s.mustLoad(loopbackMedia, "\twtn /live/* {\n\t\thold\n\t}\n\twtn /free/*")
	first := post("/live/whip/a", publisher, 201)
	watching := post("/live/whep/a", viewer, 201)
	limited := "\twtn /live/* {\n\t\thold\n\t\tlimits {\n\t\t\tpublishers 1\n\t\t\tviewers 1\n\t\t}\n\t\tcounter_offer\n\t}\n\twtn /free/*"
	for _, directives := range []string{limited, limited + "\n\trespond /new ok"} {
		s.mustLoad(loopbackMedia, directives)
		for _, path := range []string{"/live/whip/b", "/live/pub/a/b", "/live/webrtc/pub-sub/a/b/c"} {
			post(path, publisher, 503)
		}
		post("/live/whep/a", viewer, 503)
		post("/live/whep/a", "", 503)
	}
	post("/free/whip/other", publisher, 201)
	again := post("/live/whip/a", publisher, 201) // in its own place
	for _, url := range []string{first, again} {
		send(t, "DELETE", url, "")
	}
	send(t, "DELETE", watching, "")
	both := post("/live/webrtc/pub-sub/a/b/c", string(talkerOffer(t)), 201)
	post("/live/whip/b", publisher, 503)
	post("/live/whep/b", viewer, 503)
	send(t, "DELETE", both, "")
	eventually(t, "the twin's place is free", func() bool {
		status, _, _ := send(t, "POST", s.url("/live/whep/b"), viewer, "Content-Type", sdpType)
		return status == 201
	})
	post("/live/whip/b", publisher, 201)
	differing := "\twtn /live/* {\n\t\tlimits {\n\t\t\tviewers 1\n\t\t}\n\t}\n\t@h host localhost\n\twtn @h {\n\t\tprefix /live\n\t\tlimits {\n\t\t\tviewers 2\n\t\t}\n\t}"
	if err := s.load(loopbackMedia, differing); err == nil {
		t.Error("two limits for one count were accepted")
	}
}

// talkerOffer is one of who sends and receives.
func talkerOffer(t *testing.T) []byte {
	t.Helper()
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendrecv}); err != nil {
		t.Fatal(err)
	}
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(offer.SDP)
}
