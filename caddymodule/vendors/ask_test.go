package vendors

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/talwtn/caddy-wtn/relay"
)

// A watcher hears of every request, without addresses and secrets; and a session
// can be asked anything, with its own credentials only.
func TestWatchAndAsk(t *testing.T) {
	var match string
	s := newService(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPost:
			w.Header().Set("ETag", `"1"`)
			w.Header().Set("Server", "Fake")
			created(w, "/session/1", testSDP)
		case http.MethodPatch:
			match = r.Header.Get("If-Match")
			w.WriteHeader(http.StatusMethodNotAllowed)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	c := newClient(t, plainWHIP(t, s.URL, ""))
	var heard []Seen
	ctx := Watch(t.Context(), func(a Seen) { heard = append(heard, a) })
	res, err := c.Create(ctx, relay.UpstreamRequest{Role: relay.RolePush, Stream: "live/room1", Offer: []byte(testSDP)})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(ctx); err != nil {
		t.Fatal(err)
	}
	if len(heard) != 2 || heard[0].Method != http.MethodPost || heard[0].Status != 201 || !heard[0].Located || heard[0].ETag != `"1"` || heard[0].ServedBy != "Fake" || heard[0].Took <= 0 || heard[1].Method != http.MethodOptions {
		t.Fatalf("heard %+v", heard)
	}
	a, err := res.(Asker).Ask(t.Context(), http.MethodPatch, "application/trickle-ice-sdpfrag", `"1"`, []byte("x"))
	if err != nil || a.Status != http.StatusMethodNotAllowed || match != `"1"` {
		t.Errorf("%+v %v, If-Match %s", a, err, match)
	}
	if log := s.requests(); log[2].auth != "Bearer "+secretWord || log[2].body != "x" || log[2].ctype != "application/trickle-ice-sdpfrag" {
		t.Errorf("asked %+v", log[2])
	}
	if a, err = res.(Asker).Ask(t.Context(), http.MethodDelete, "", "", nil); err != nil || a.Status != http.StatusNoContent {
		t.Errorf("%+v %v", a, err)
	}
	before := len(s.requests())
	if err := res.Delete(t.Context()); err != nil || len(s.requests()) != before {
		t.Errorf("deleted twice: %v", err)
	}
	if text := fmt.Sprintf("%+v", heard); strings.Contains(text, "session/1") || strings.Contains(text, secretWord) || strings.Contains(text, "127.0.0.1") {
		t.Error(text)
	}
}

func TestAskWithoutURL(t *testing.T) {
	s := newService(t, func(w http.ResponseWriter, r *http.Request) { created(w, "", testSDP) })
	res, err := newClient(t, plainWHIP(t, s.URL, "")).Create(t.Context(), relay.UpstreamRequest{Role: relay.RolePull, Stream: "x", Offer: []byte(testSDP)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := res.(Asker).Ask(t.Context(), http.MethodPatch, "", "", nil); !errors.Is(err, ErrNoURL) {
		t.Errorf("%v", err)
	}
}

// Nothing is heard of a service that is not there but that it is not.
func TestWatchNobody(t *testing.T) {
	s := newService(t, nil)
	c := newClient(t, plainWHIP(t, s.URL, ""))
	s.Close()
	var heard []Seen
	_, err := c.Create(Watch(t.Context(), func(a Seen) { heard = append(heard, a) }), relay.UpstreamRequest{Role: relay.RolePull, Stream: "x", Offer: []byte(testSDP)})
	if err == nil || len(heard) != 1 || heard[0].Status != 0 || heard[0].Method != http.MethodPost {
		t.Errorf("%v %+v", err, heard)
	}
}
