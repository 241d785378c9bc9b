package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay"
)

// Admin is the module behind /wtn/ of Caddy's admin API:
//
//	GET    /wtn/streams        the streams, their tracks and sources, where they are pulled from and pushed to
//	GET    /wtn/sessions       the sessions, by their public ids
//	DELETE /wtn/sessions/{id}  ends one session
//	GET    /wtn/stats          the totals and the media sockets
//	POST   /wtn/drain          refuses or redirects all new sessions from now on
//	DELETE /wtn/drain          accepts sessions again
//	GET    /wtn/drain          whether it drains, and how many sessions are left
//	GET    /wtn/turn           the TURN server and who has an allocation
//	GET    /wtn/upstreams      the upstreams, and whether they are well
//	POST   /wtn/push           {"stream", "upstream", "on"}: starts or stops a push
//	POST   /wtn/sources        {"stream", "source", "held"} or {"stream", "source", "preferred"}
//	POST   /wtn/drill          {"stream", "source", "seconds"}: makes a source look dead, and tells what came of it
//	POST   /wtn/turn           makes a TURN credential: {"user", "ttl" (seconds), "host"}
//
// It reads the living gateway and never a configuration: Caddy sets up the
// admin API before the apps, and keeps it when they are refused.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.wtn", New: func() caddy.Module { return new(Admin) }}
}

// Routes implements caddy.AdminRouter.
func (a *Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: "/wtn/", Handler: caddy.AdminHandlerFunc(a.serve)}}
}

func (a *Admin) serve(w http.ResponseWriter, r *http.Request) error {
	s := livingState()
	if s == nil {
		return adminError(http.StatusNotFound, errors.New("the running configuration has no wtn app and no wtn handler"))
	}
	what, id, hasID := strings.Cut(strings.TrimPrefix(r.URL.Path, "/wtn/"), "/")
	switch {
	case what == "sessions" && hasID && id != "":
		return a.session(w, r, s, id)
	case hasID:
	case what == "streams":
		return adminGet(w, r, streamsOf(s.hub.Streams()))
	case what == "sessions":
		return adminGet(w, r, sessionsOf(s.hub.Sessions()))
	case what == "upstreams":
		return adminGet(w, r, upstreamsOf(s.hub.Upstreams()))
	case what == "push":
		return a.push(w, r, s)
	case what == "sources":
		return a.sources(w, r, s)
	case what == "drill":
		return a.drill(w, r, s)
	case what == "turn" && r.Method == http.MethodPost:
		return a.turnCredential(w, r, s)
	case what == "turn":
		return adminGet(w, r, s.turnView())
	case what == "drain":
		return a.drain(w, r, s)
	case what == "stats":
		stats := statsOf(s.stats(), s.media(), s.events.dropped.Load())
		stats.Draining = s.hub.Draining()
		return adminGet(w, r, stats)
	}
	return adminError(http.StatusNotFound, fmt.Errorf("%s does not exist: use /wtn/streams, /wtn/sessions, /wtn/upstreams, /wtn/push, /wtn/sources, /wtn/drill, /wtn/turn, /wtn/stats or /wtn/drain", r.URL.Path))
}

// session ends one session.
func (a *Admin) session(w http.ResponseWriter, r *http.Request, s *state, id string) error {
	if r.Method != http.MethodDelete {
		w.Header().Set("Allow", http.MethodDelete)
		return adminError(http.StatusMethodNotAllowed, fmt.Errorf("%s is not possible here: use DELETE to end the session", r.Method))
	}
	err := s.hub.Kick(id)
	if errors.Is(err, relay.ErrSessionNotFound) {
		return adminError(http.StatusNotFound, err)
	}
	if err != nil {
		return adminError(http.StatusInternalServerError, err)
	}
	return nil
}

// drain begins, ends or shows the refusal of new sessions. Those that live go
// on; that none is left is what whoever stops the gateway waits for.
func (a *Admin) drain(w http.ResponseWriter, r *http.Request, s *state) error {
	switch r.Method {
	case http.MethodPost:
		s.hub.Drain()
	case http.MethodDelete:
		s.hub.Resume()
	case http.MethodGet, http.MethodHead:
	default:
		w.Header().Set("Allow", "DELETE, GET, HEAD, POST")
		return adminError(http.StatusMethodNotAllowed, fmt.Errorf("%s is not possible here: use POST to drain, DELETE to accept sessions again", r.Method))
	}
	if r.Method == http.MethodPost || r.Method == http.MethodDelete {
		caddy.Log().Named("wtn").Info("draining is switched", zap.Bool("draining", s.hub.Draining()))
	}
	stats := s.hub.Stats()
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(drainJSON{s.hub.Draining(), stats.Publishers, stats.Subscribers})
}

// turnCredential mints a credential, for a test with another client.
func (a *Admin) turnCredential(w http.ResponseWriter, r *http.Request, s *state) error {
	var want credentialRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&want); err != nil {
		return adminError(http.StatusBadRequest, fmt.Errorf("reading the request: %w", err))
	}
	if want.User == "" {
		want.User = visitor()
	}
	if want.TTL <= 0 {
		want.TTL = visitorTTL.Seconds()
	}
	c, err := s.turn.mint(want.User, time.Duration(want.TTL*float64(time.Second)))
	switch {
	case errors.Is(err, errTURNOff):
		return adminError(http.StatusNotFound, err)
	case err != nil:
		return adminError(http.StatusBadRequest, err)
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(credentialJSON{
		Username: c.Username, Credential: c.Password, TTL: c.TTL.Seconds(),
		URLs: s.turn.urls(s.turn.live.Load(), want.Host),
	})
}

func adminGet(w http.ResponseWriter, r *http.Request, v any) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return adminError(http.StatusMethodNotAllowed, fmt.Errorf("%s is not possible here: use GET", r.Method))
	}
	return adminReply(w, v)
}

func adminError(status int, err error) error {
	return caddy.APIError{HTTPStatus: status, Err: err}
}

var _ caddy.AdminRouter = (*Admin)(nil)
