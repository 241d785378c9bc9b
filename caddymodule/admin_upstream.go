package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay"
)

const (
	defaultDrill = 10 * time.Second
	// maxDrill bounds how long a source is made look dead: viewers of a stream
	// that has no other one see nothing meanwhile.
	maxDrill = 60 * time.Second
)

// pushRequest switches one push of a stream on or off, beside what its route says.
type pushRequest struct {
	Stream   string `json:"stream"`
	Upstream string `json:"upstream"`
	On       *bool  `json:"on"`
}

// sourceRequest takes a source out of its stream or back (held), or makes the
// stream go over to it (preferred); preferred false gives the ranks back their
// say and names no source.
type sourceRequest struct {
	Stream    string `json:"stream"`
	Source    string `json:"source"`
	Held      *bool  `json:"held"`
	Preferred *bool  `json:"preferred"`
}

// drillRequest makes a source look dead for a while.
type drillRequest struct {
	Stream  string  `json:"stream"`
	Source  string  `json:"source"`
	Seconds float64 `json:"seconds"`
}

// push switches a push.
func (a *Admin) push(w http.ResponseWriter, r *http.Request, s *state) error {
	var q pushRequest
	if err := adminRequest(w, r, &q); err != nil {
		return err
	}
	if q.Stream == "" || q.Upstream == "" || q.On == nil {
		return adminError(http.StatusBadRequest, errors.New(`say which stream and upstream: {"stream": "room", "upstream": "a", "on": true}`))
	}
	if err := s.hub.Push(q.Stream, q.Upstream, *q.On); err != nil {
		return controlError(s, err)
	}
	operated("push is switched", zap.String("stream", q.Stream), zap.String("upstream", q.Upstream), zap.Bool("on", *q.On))
	return streamReply(w, s, q.Stream)
}

// sources holds or prefers a source.
func (a *Admin) sources(w http.ResponseWriter, r *http.Request, s *state) error {
	var q sourceRequest
	if err := adminRequest(w, r, &q); err != nil {
		return err
	}
	var err error
	switch {
	case q.Stream == "" || (q.Held == nil) == (q.Preferred == nil) || q.Source == "" && (q.Held != nil || *q.Preferred):
		return adminError(http.StatusBadRequest, errors.New(`say which source, and one thing about it: {"stream": "room", "source": "a", "held": true} or "preferred": true`))
	case q.Held != nil:
		err = s.hub.Hold(q.Stream, q.Source, *q.Held)
	case *q.Preferred:
		err = s.hub.Prefer(q.Stream, q.Source)
	default:
		err = s.hub.Prefer(q.Stream, "")
	}
	if err != nil {
		return controlError(s, err)
	}
	operated("source is switched", zap.String("stream", q.Stream), zap.String("source", q.Source),
		zap.Boolp("held", q.Held), zap.Boolp("preferred", q.Preferred))
	return streamReply(w, s, q.Stream)
}

// drilling lets one drill run at a time: two would hide what each other does.
var drilling sync.Mutex

// drill takes a source away as a power cut would, and tells what came of it.
func (a *Admin) drill(w http.ResponseWriter, r *http.Request, s *state) error {
	var q drillRequest
	if err := adminRequest(w, r, &q); err != nil {
		return err
	}
	limit := defaultDrill
	if q.Seconds != 0 {
		limit = time.Duration(q.Seconds * float64(time.Second))
	}
	switch {
	case q.Stream == "" || q.Source == "":
		return adminError(http.StatusBadRequest, errors.New(`say which source: {"stream": "room", "source": "a", "seconds": 10}`))
	case !(q.Seconds >= 0) || limit > maxDrill || limit <= 0:
		return adminError(http.StatusBadRequest, fmt.Errorf("seconds is out of range: use up to %.0f", maxDrill.Seconds()))
	case !drilling.TryLock():
		return adminError(http.StatusConflict, errors.New("another drill is running: wait until it is over"))
	}
	defer drilling.Unlock()
	operated("drill: a source is made to look dead", zap.String("stream", q.Stream), zap.String("source", q.Source), zap.Duration("limit", limit))
	d, err := s.hub.Drill(r.Context(), q.Stream, q.Source, limit)
	switch {
	case errors.Is(err, context.Canceled):
		return nil // nobody listens any more; the source lives again
	case err != nil:
		return controlError(s, err)
	}
	return adminReply(w, drillOf(d))
}

// adminRequest reads the JSON of a POST.
func adminRequest(w http.ResponseWriter, r *http.Request, into any) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return adminError(http.StatusMethodNotAllowed, fmt.Errorf("%s is not possible here: use POST", r.Method))
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return adminError(http.StatusBadRequest, fmt.Errorf("reading the request: %w", err))
	}
	return nil
}

func adminReply(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}

// streamReply is the stream as it is now.
func streamReply(w http.ResponseWriter, s *state, name string) error {
	list := streamsOf(s.hub.Streams())
	return adminReply(w, slices.DeleteFunc(list, func(j streamJSON) bool { return j.Name != name }))
}

// controlError is the status of what operators cannot do.
func controlError(s *state, err error) error {
	switch {
	case errors.Is(err, relay.ErrNoUpstream):
		names := []string{}
		for _, u := range s.hub.Upstreams() {
			names = append(names, u.Name)
		}
		return adminError(http.StatusNotFound, fmt.Errorf("%w: there are %q", err, names))
	case errors.Is(err, relay.ErrNoStream), errors.Is(err, relay.ErrNoSource):
		return adminError(http.StatusNotFound, err)
	}
	return adminError(http.StatusInternalServerError, err)
}

// operated logs what somebody did by hand.
func operated(what string, fields ...zap.Field) { caddy.Log().Named("wtn").Info(what, fields...) }
