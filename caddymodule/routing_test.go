package caddymodule

import (
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/talwtn/caddy-wtn/relay"
)

// Every request of a handler carries its one routing.
func TestRoutingOfRequests(t *testing.T) {
	fake := &fakeGateway{err: relay.ErrPublished}
	h := &Handler{gateway: fake, Publishers: "backup"}
	h.routed = h.routing()
	for _, path := range []string{"/whip/a/b", "/whep/a/b", "/pub/a/b", "/sub/a/b", "/webrtc/pub-sub/a/b/c"} {
		fake.got = relay.OfferRequest{}
		call(t, h, offerTo(path))
		if fake.got.Routing != h.routed || fake.got.Routing.Publishers != relay.PublishBackup {
			t.Errorf("%s: %+v", path, fake.got.Routing)
		}
	}
	if r := (&Handler{}).routing(); !reflect.DeepEqual(r, &relay.Routing{Key: "handler "}) { // but for the key what no routing means
		t.Errorf("without options: %+v", r)
	}
}

func TestPriority(t *testing.T) {
	token := &verdict{grant: Grant{Priority: -7, HasPriority: true}}
	silent := &verdict{grant: Grant{Priority: 9}} // of a method that says nothing about it
	cases := []struct {
		name, policy  string
		auth          *verdict
		query, header string
		status, want  int
	}{
		{name: "nothing", policy: "backup", status: 409},
		{name: "query", policy: "backup", query: "priority=5", status: 409, want: 5},
		{name: "header", policy: "backup", header: "-1000", status: 409, want: -1000},
		{name: "query before header", policy: "backup", query: "priority=5", header: "6", status: 409, want: 5},
		{name: "token before both", policy: "backup", auth: token, query: "priority=5", header: "6", status: 409, want: -7},
		{name: "token before nonsense", policy: "backup", auth: token, query: "priority=x", status: 409, want: -7},
		{name: "silent token", policy: "backup", auth: silent, query: "priority=5", status: 409, want: 5},
		{name: "no number", policy: "backup", query: "priority=high", status: 400},
		{name: "fraction", policy: "backup", header: "1.5", status: 400},
		{name: "too high", policy: "backup", query: "priority=1001", status: 400},
		{name: "too low", policy: "backup", header: "-1001", status: 400},
		{name: "endless", policy: "backup", query: "priority=99999999999999999999", status: 400},
		{name: "replace", query: "priority=5", header: "x", status: 409},
		{name: "refuse", policy: "refuse", query: "priority=x", status: 409},
		{name: "refuse with a token", policy: "refuse", auth: token, status: 409, want: -7},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, path := range []string{"/whip/a/b", "/pub/a/b", "/webrtc/pub-sub/a/b/c"} {
				fake := &fakeGateway{err: relay.ErrPublished}
				h := &Handler{gateway: fake, Publishers: c.policy}
				if c.auth != nil {
					h.Access.publish = c.auth
				}
				r := offerTo(path + "?" + c.query)
				if c.header != "" {
					r.Header.Set(priorityHeader, c.header)
				}
				w, vars, err := call(t, h, r)
				if err != nil || w.Code != c.status || fake.got.Priority != c.want {
					t.Errorf("%s: %d, priority %d, %v; want %d, %d", path, w.Code, fake.got.Priority, err, c.status, c.want)
				}
				if c.status == http.StatusBadRequest && (vars["wtn_error"] != "priority" || fake.role != "") {
					t.Errorf("%s: %v, reached the hub: %q", path, vars["wtn_error"], fake.role)
				}
			}
		})
	}
	fake := &fakeGateway{err: relay.ErrNoPublisher}
	if call(t, &Handler{gateway: fake, Publishers: "backup"}, offerTo("/whep/a?priority=x")); fake.role != relay.RoleSubscribe {
		t.Error("a viewer was refused for a priority")
	}
}

// The lower one of the limits of the handler and of the grant counts.
func TestBitrateLimit(t *testing.T) {
	for _, c := range []struct{ handler, grant, want uint64 }{{0, 0, 0}, {8e6, 0, 8e6}, {0, 3e6, 3e6}, {8e6, 3e6, 3e6}, {2e6, 3e6, 2e6}} {
		fake := &fakeGateway{err: relay.ErrPublished}
		h := &Handler{gateway: fake, Limits: &HandlerLimits{Bitrate: c.handler, ViewersPerStream: 4}}
		h.Access.publish = &verdict{grant: Grant{MaxBitrate: c.grant, MaxViewers: 7}}
		if call(t, h, offerTo("/whip/a")); fake.got.MaxBitrate != c.want || fake.got.MaxSubscribers != 7 {
			t.Errorf("%+v: %+v", c, fake.got)
		}
		if call(t, h, offerTo("/whep/a")); fake.got.MaxBitrate != 0 || fake.got.MaxSubscribers != 4 {
			t.Errorf("a viewer: %+v", fake.got)
		}
	}
}

// What a second publisher of a stream is told, by the policy of the handler it
// comes to [WTN-60].
func TestPublishersLive(t *testing.T) {
	s := newSite(t)
	s.mustLoad(loopbackMedia, "\twtn /replace/*\n\twtn /refuse/* {\n\t\tpublishers refuse\n\t}\n\twtn /backup/* {\n\t\tpublishers backup\n\t}")
	offer := publisherOffer(t)
	second := func(path string, want int) (url, body string) {
		t.Helper()
		status, header, body := do(t, http.MethodPost, s.url(path), offer)
		if status != want {
			t.Errorf("%s: %d %s, want %d", path, status, body, want)
		}
		return header.Get("Location"), body
	}
	first := s.publish("/replace/pub/app/a") // goes on until another one sends
	never, _ := second("/replace/whip/app/a", 201)
	second("/replace/whip/app/a", 201)
	eventually(t, "the second one is replaced by the third", func() bool {
		status, _, _ := do(t, http.MethodGet, never, nil)
		return status == 404
	})
	assertSession(t, first)
	first = s.publish("/refuse/whip/app/b")
	if _, body := second("/refuse/whip/app/b", 409); !strings.Contains(body, `"urn:wtn:error:published"`) {
		t.Errorf("refused: %s", body)
	}
	if _, body := second("/refuse/pub/app/b", 409); body != "Stream Already Exist" {
		t.Errorf("refused: %s", body)
	}
	assertSession(t, first)
	do(t, http.MethodDelete, first, nil)
	second("/refuse/whip/app/b", 201)

	first = s.publish("/backup/whip/app/c?priority=5")
	other, _ := second("/backup/whip/app/c?priority=-1", 201)
	second("/backup/whip/app/c?priority=first", 400)
	assertSession(t, first)
	assertSession(t, other)
}
