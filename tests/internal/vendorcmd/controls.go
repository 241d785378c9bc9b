package main

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/vendorcmd/behaviour"
)

// controls hold how to behave and what was seen.
type controls struct {
	media atomic.Pointer[mediaRules]

	pli, pliForwarded, dropped, overflowed atomic.Int64

	mu       sync.Mutex
	b        behaviour.Behaviour
	requests map[string]int
	log      []behaviour.Request
}

// mediaRules is what is done to media at present.
type mediaRules struct {
	behaviour.Media
	pausedAt, pausedUntil time.Time
	replaced              chan struct{} // closed when other rules hold
}

// paused says whether a moment is inside the pause.
func (m *mediaRules) paused(now time.Time) bool {
	return now.Before(m.pausedUntil) && !now.Before(m.pausedAt)
}

func newControls() *controls {
	c := &controls{requests: map[string]int{}}
	c.media.Store(&mediaRules{replaced: make(chan struct{})})
	return c
}

// set replaces the behaviour. A pause that has begun goes on to its end.
func (c *controls) set(b behaviour.Behaviour) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.b = b
	old := c.media.Load()
	rules := &mediaRules{Media: b.Media, pausedAt: old.pausedAt, pausedUntil: old.pausedUntil, replaced: make(chan struct{})}
	now := time.Now()
	switch {
	case b.Media.Pause > 0:
		rules.pausedAt, rules.pausedUntil = now, now.Add(b.Media.Pause.Duration())
	case old.paused(now):
		rules.PauseLoses = old.PauseLoses
	}
	c.media.Store(rules)
	close(old.replaced)
}

func (c *controls) behaviour() behaviour.Behaviour {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b
}

// fault is what to do wrong with a request. It uses up one of the times the
// fault is for.
func (c *controls) fault(role, method string) behaviour.HTTP {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := &c.b.HTTP
	wanted := h.Method
	if wanted == "" {
		wanted = http.MethodPost
	}
	if wanted != "*" && wanted != method || h.Role != "" && h.Role != role {
		return behaviour.HTTP{}
	}
	f := *h
	if h.Times > 0 {
		if h.Times--; h.Times == 0 {
			*h = behaviour.HTTP{}
		}
	}
	return f
}

func (c *controls) record(r behaviour.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests[r.Method]++
	if len(c.log) >= behaviour.LogSize {
		c.log = slices.Delete(c.log, 0, behaviour.LogSize/10)
	}
	c.log = append(c.log, r)
}

func (c *controls) state() behaviour.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.media.Load()
	return behaviour.State{
		Requests: maps.Clone(c.requests), Log: slices.Clone(c.log),
		PLI: int(c.pli.Load()), PLIForwarded: int(c.pliForwarded.Load()),
		Dropped: int(c.dropped.Load()), Overflowed: int(c.overflowed.Load()),
		PausedAt: m.pausedAt, PausedUntil: m.pausedUntil,
	}
}

// controlHandler serves the control endpoint.
type controlHandler struct {
	controls *controls
	hub      *hub
}

func (h *controlHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/control" {
		http.NotFound(w, r)
		return
	}
	switch r.Method {
	case http.MethodPost:
		var b behaviour.Behaviour
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16))
		d.DisallowUnknownFields()
		if err := d.Decode(&b); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		h.controls.set(b)
	case http.MethodGet:
	default:
		http.Error(w, "GET or POST", http.StatusMethodNotAllowed)
		return
	}
	s := h.controls.state()
	s.Sessions = h.hub.live()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s)
}
