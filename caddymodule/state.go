package caddymodule

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay"
)

// closeTimeout bounds how long the end of the hub may hold up a reload or the
// exit of the process.
const closeTimeout = 5 * time.Second

// stateKey names the one gateway of a process. It says what the object is,
// never what is in it: any edit of the configuration finds the same gateway.
const stateKey = "wtn"

var pool = caddy.NewUsagePool()

// state is the living gateway. It outlasts configurations; see the package
// documentation.
type state struct {
	hub       *relay.Hub
	turn      *turnPool
	metrics   *collector
	events    *emitter
	watcher   *observers // the hub's observer: events and turn
	leases    *leases
	admission *admission // who may still come in

	mu      sync.Mutex
	queue   []*generation // started and not stopped, oldest first; the first one rules
	sockets map[mediaAddress]*mediaSocket
	closed  sync.Once
}

// generation is what one configuration wants of the gateway.
type generation struct {
	media  []mediaAddress
	config relay.Config
	turn   *turnSettings // nil: off
	ice    otherServers
	logger *zap.Logger
	target *eventTarget
}

// takeState returns the living gateway, made on first use, and counts the
// caller as one that needs it. Each call needs one releaseState.
func takeState(logger *zap.Logger) (*state, error) {
	v, _, err := pool.LoadOrNew(stateKey, func() (caddy.Destructor, error) { return newState(logger) })
	if err != nil {
		return nil, err
	}
	return v.(*state), nil
}

func releaseState() error {
	_, err := pool.Delete(stateKey)
	return err
}

// lastReference reports whether only one configuration needs the gateway.
func lastReference() bool {
	n, _ := pool.References(stateKey)
	return n == 1
}

// livingState finds the gateway without keeping it alive; nil if there is none.
func livingState() *state {
	var s *state
	pool.Range(func(_, v any) bool {
		s, _ = v.(*state)
		return s == nil
	})
	return s
}

func newState(logger *zap.Logger) (*state, error) {
	events := newEmitter()
	watcher := &observers{emitter: events}
	hub, err := relay.NewHub(relay.Env{Logger: logger, Observer: watcher})
	if err != nil {
		events.close()
		return nil, err
	}
	turn := newTURNPool(hub)
	watcher.turn.Store(turn)
	s := &state{
		hub:       hub,
		turn:      turn,
		events:    events,
		watcher:   watcher,
		leases:    newLeases(),
		admission: newAdmission(),
		sockets:   make(map[mediaAddress]*mediaSocket),
	}
	s.metrics = newCollector(s.stats, hub.Upstreams, events.dropped.Load)
	return s, nil
}

// stats are the counters of the hub, and what was refused before it was asked.
func (s *state) stats() relay.Stats {
	st := s.hub.Stats()
	st.JoinsRefused += s.admission.refused.Load()
	return st
}

// Destruct ends the gateway when no configuration refers to it any more.
func (s *state) Destruct() error {
	s.shutDown()
	return nil
}

// activate queues g, with its sockets bound, or changes nothing and says why.
func (s *state) activate(g *generation) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.acquire(g); err != nil {
		return err
	}
	s.queue = append(s.queue, g)
	if s.queue[0] != g {
		return nil // its turn comes when the one before it leaves
	}
	if err := s.rule(g); err != nil {
		s.queue = nil
		s.release(g)
		return err
	}
	return nil
}

// deactivate takes g out of the queue. It may be called again, and for a
// generation that never was active.
func (s *state) deactivate(g *generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.queue, g)
	if i < 0 {
		return
	}
	s.queue = slices.Delete(s.queue, i, i+1)
	switch {
	case len(s.queue) == 0:
		s.events.target.Store(nil)
	case i == 0:
		next := s.queue[0]
		if err := s.rule(next); err != nil {
			next.logger.Error("the new configuration is only partly in force: reload it", zap.Error(err))
		}
	}
	s.release(g)
}

// rule puts g's settings into force and gives its sockets to the hub. It fails
// on nothing but the hub refusing what Validate or the kernel accepted.
func (s *state) rule(g *generation) error {
	if err := s.hub.Apply(g.config); err != nil {
		return err
	}
	s.hub.SetEnv(relay.Env{Logger: g.logger, Observer: s.watcher})
	s.events.target.Store(g.target)
	for _, m := range g.media {
		if err := s.sockets[m].serve(s.hub); err != nil {
			return err
		}
	}
	return s.turn.rule(g.turn, g.ice, g.logger)
}

// acquire binds the sockets g wants and counts g as one that wants them. On
// error nothing is kept.
func (s *state) acquire(g *generation) error {
	s.forgetClosed()
	for i, m := range g.media {
		sock, err := s.socket(m)
		if err != nil {
			s.release(&generation{media: g.media[:i]})
			return err
		}
		sock.refs++
	}
	if err := s.turn.acquire(g.turn, g.logger); err != nil {
		s.release(&generation{media: g.media})
		return err
	}
	return nil
}

// socket finds or opens the socket of an address. A retired one that still
// carries sessions comes back.
func (s *state) socket(m mediaAddress) (*mediaSocket, error) {
	if sock := s.sockets[m]; sock != nil {
		return sock, nil
	}
	sock, err := openMedia(m)
	if err != nil {
		return nil, err
	}
	s.sockets[m] = sock
	caddy.Log().Named("wtn").Info("media socket opened", zap.String("address", sock.bound()))
	return sock, nil
}

// release gives g's sockets back and retires those nobody wants any more.
func (s *state) release(g *generation) {
	for _, m := range g.media {
		sock := s.sockets[m]
		if sock.refs--; sock.refs > 0 {
			continue
		}
		sock.retire(s.hub)
	}
	s.turn.release(g.turn)
	s.forgetClosed()
}

// forgetClosed drops retired sockets the hub has closed. Those that still carry
// sessions stay known.
func (s *state) forgetClosed() {
	for m, sock := range s.sockets {
		if sock.refs == 0 && !sock.open() {
			delete(s.sockets, m)
		}
	}
}

// media lists the bound addresses of the sockets that take new sessions.
func (s *state) media() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []string{}
	for _, sock := range s.sockets {
		if sock.served {
			out = append(out, sock.bound())
		}
	}
	slices.Sort(out)
	return out
}

// shutDown ends all sessions so that their peers know at once, then delivers
// the events of that. It happens once and takes a bounded time.
func (s *state) shutDown() {
	s.closed.Do(func() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.hub.Drain()
			s.hub.Close(relay.ReasonExit)
			ctx, cancel := context.WithTimeout(noContext, closeTimeout)
			defer cancel()
			s.turn.close(ctx)
		}()
		select {
		case <-done:
		case <-time.After(closeTimeout):
			caddy.Log().Named("wtn").Error("sessions did not end in time and are abandoned", zap.Duration("timeout", closeTimeout))
		}
		s.leases.close()
		s.events.close()
	})
}
