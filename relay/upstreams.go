package relay

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay/internal/discipline"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
)

// deleteTimeout bounds the deletion of a resource at an upstream.
const deleteTimeout = 2 * time.Second

// upstream is what the hub knows of an upstream: how it is to be reached now,
// and how it behaved so far. It stays when the configuration changes.
type upstream struct {
	hub    *Hub
	name   string
	config atomic.Pointer[UpstreamConfig] // nil: not configured any more

	mu      sync.Mutex
	bucket  discipline.Bucket
	breaker discipline.Breaker
	health  discipline.Health
	state   UpstreamState
	checkAt int64
	asking  bool // a check is under way

	users    atomic.Int32 // streams that are pulled from it or pushed to it
	sessions atomic.Int32
	requests [upstreamOutcomes]atomic.Uint64
}

// Outcomes of requests to an upstream: made, and the actions of UpstreamError.
const upstreamOutcomes = int(UpstreamBroken) + 1

// UpstreamState is how an upstream is, as far as requests to it and its media tell.
type UpstreamState string

const (
	UpstreamUp      UpstreamState = "up"
	UpstreamDown    UpstreamState = "down"    // its checks fail
	UpstreamOpen    UpstreamState = "open"    // left alone after failures of several streams
	UpstreamInvalid UpstreamState = "invalid" // it refuses what is configured
)

// setUpstreams puts the configured upstreams into force. Those that are gone
// lose their sessions.
func (h *Hub) setUpstreams(list map[string]UpstreamConfig) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, c := range list {
		u := h.upstreams[name]
		if u == nil {
			u = &upstream{hub: h, name: name, state: UpstreamUp}
			h.upstreams[name] = u
		}
		u.configure(c.withDefaults())
	}
	for name, u := range h.upstreams {
		if _, ok := list[name]; !ok {
			u.config.Store(nil)
			delete(h.upstreams, name)
		}
	}
	for _, st := range h.streams {
		st.wakeDocks()
	}
}

func (u *upstream) configure(c UpstreamConfig) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.config.Store(&c)
	u.bucket.Configure(c.Rate, c.Burst)
	u.breaker.Configure(c.MaxFails, c.FailDuration)
	u.health.Configure(c.HealthFails, c.HealthPasses)
	if u.state == UpstreamInvalid {
		u.state = UpstreamUp
	}
}

func (c UpstreamConfig) withDefaults() UpstreamConfig {
	if c.Rate == 0 {
		c.Rate = 20
	}
	if c.Burst == 0 {
		c.Burst = 20
	}
	if c.MaxFails == 0 {
		c.MaxFails = 3
	}
	if c.HealthFails == 0 {
		c.HealthFails = 2
	}
	if c.HealthPasses == 0 {
		c.HealthPasses = 3
	}
	setDuration(&c.FailDuration, 30*time.Second)
	setDuration(&c.HealthInterval, 5*time.Second)
	setDuration(&c.HealthTimeout, 2*time.Second)
	setDuration(&c.SetupTimeout, 3*time.Second)
	return c
}

// admit waits for a place among the requests to the upstream, as far as patience
// with it allows. last says that the stream has no other upstream to go to.
func (u *upstream) admit(ctx context.Context, last bool) error {
	u.mu.Lock()
	now := leg.Now()
	if !u.breaker.Allow(now, last) {
		u.mu.Unlock()
		return &UpstreamError{Action: UpstreamNext, Detail: "the upstream is left alone for a while, for several streams failed there"}
	}
	wait := u.bucket.Take(now)
	u.mu.Unlock()
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return &UpstreamError{Action: UpstreamNext, Detail: "too many sessions are being made there", Err: ctx.Err()}
		}
	}
	return nil
}

// create makes a resource.
func (u *upstream) create(ctx context.Context, r UpstreamRequest) (UpstreamResource, error) {
	c := u.config.Load()
	if c == nil {
		return nil, &UpstreamError{Action: UpstreamBroken, Detail: "the upstream is not configured any more"}
	}
	ctx, cancel := context.WithTimeout(ctx, c.SetupTimeout)
	defer cancel()
	res, err := c.Upstream.Create(ctx, r)
	u.note(r.Stream, err)
	return res, err
}

// note learns from the outcome of a request.
func (u *upstream) note(stream string, err error) {
	if err == nil {
		u.requests[0].Add(1)
		return // whether it is well shows when media flows, see flows
	}
	if errors.Is(err, context.Canceled) {
		return // we went away, it did nothing
	}
	e := upstreamError(err)
	u.requests[e.Action].Add(1)
	switch {
	case e.Action == UpstreamNext:
		u.failed(stream)
	case e.Action == UpstreamBroken && (e.Status == 401 || e.Status == 403):
		u.set(UpstreamInvalid, e.Error()) // of all streams; else it may be this one
	}
}

// upstreamError makes any error one of an upstream.
func upstreamError(err error) *UpstreamError {
	var e *UpstreamError
	if errors.As(err, &e) && e.Action >= UpstreamNext && int(e.Action) < upstreamOutcomes {
		return e
	}
	return &UpstreamError{Action: UpstreamNext, Detail: err.Error(), Err: err}
}

// failed counts a failure of a stream there: a request or the media.
func (u *upstream) failed(stream string) {
	u.mu.Lock()
	opened := u.breaker.Failure(leg.Now(), stream)
	u.mu.Unlock()
	if opened {
		u.set(UpstreamOpen, "several streams failed there")
	}
}

// flows notes that media of a stream flows there.
func (u *upstream) flows() {
	u.mu.Lock()
	u.breaker.Success(leg.Now())
	u.mu.Unlock()
	u.set(UpstreamUp, "media flows")
}

// set changes the state and tells about it.
func (u *upstream) set(to UpstreamState, why string) {
	u.mu.Lock()
	from := u.state
	u.state = to
	u.mu.Unlock()
	if from == to {
		return
	}
	env := u.hub.env.Load()
	log := env.Logger.Info
	if to != UpstreamUp {
		log = env.Logger.Warn
	}
	log("upstream is "+string(to), zap.String("upstream", u.name), zap.String("was", string(from)), zap.String("why", why))
	if env.Observer != nil { // the caller may hold locks
		u.hub.task(func() {
			env.Observer.UpstreamChanged(UpstreamChange{Upstream: u.name, From: from, To: to, Why: why})
		})
	}
}

// usable tells whether it is worth asking.
func (u *upstream) usable(now int64, last bool) bool {
	if u.config.Load() == nil {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return last || u.state != UpstreamDown && u.breaker.Ready(now)
}

// watchUpstreams checks the upstreams that are in use.
func (h *Hub) watchUpstreams(now int64) {
	h.mu.Lock()
	list := make([]*upstream, 0, len(h.upstreams))
	for _, u := range h.upstreams {
		list = append(list, u)
	}
	h.mu.Unlock()
	for _, u := range list {
		u.watch(now)
	}
}

func (u *upstream) watch(now int64) {
	c := u.config.Load()
	if c == nil || c.HealthInterval < 0 || u.users.Load() == 0 {
		return
	}
	u.mu.Lock()
	due := !u.asking && now >= u.checkAt
	if due {
		u.asking = true
		spread := 0.8 + 0.4*rand.Float64()
		u.checkAt = now + int64(float64(c.HealthInterval)*spread)
	}
	u.mu.Unlock()
	if due {
		u.hub.task(func() { u.check(c) })
	}
}

func (u *upstream) check(c *UpstreamConfig) {
	ctx, cancel := context.WithTimeout(context.Background(), c.HealthTimeout)
	defer cancel()
	stop := context.AfterFunc(u.hub.life, cancel)
	defer stop()
	err := c.Upstream.Check(ctx)
	u.mu.Lock()
	u.asking = false
	healthy, changed := u.health.Note(err == nil)
	state := u.state
	u.mu.Unlock()
	switch {
	case u.hub.life.Err() != nil || !changed:
	case healthy && state == UpstreamDown:
		u.set(UpstreamUp, "its checks pass again")
	case !healthy && state == UpstreamUp:
		u.set(UpstreamDown, err.Error())
	}
}

// UpstreamStats is a snapshot of one upstream.
type UpstreamStats struct {
	Name, Vendor string
	State        UpstreamState
	Streams      int               // that use it
	Sessions     int               // of ours there
	Requests     map[string]uint64 // by outcome: ok and the words of UpstreamAction
}

// Upstreams is a snapshot of all upstreams, by name.
func (h *Hub) Upstreams() []UpstreamStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]UpstreamStats, 0, len(h.upstreams))
	for _, u := range h.upstreams {
		s := UpstreamStats{
			Name: u.name, Streams: int(u.users.Load()), Sessions: int(u.sessions.Load()),
			Requests: map[string]uint64{"ok": u.requests[0].Load()},
		}
		if c := u.config.Load(); c != nil {
			s.Vendor = c.Vendor
		}
		for a := UpstreamNext; int(a) < upstreamOutcomes; a++ {
			s.Requests[a.String()] = u.requests[a].Load()
		}
		u.mu.Lock()
		s.State = u.state
		u.mu.Unlock()
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b UpstreamStats) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return list
}
