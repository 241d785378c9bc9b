package turnsvc

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Server is a TURN server without sockets of its own: ServeUDP, Serve and Inlet give it places
// where clients arrive, MediaConn is where their packets go. All methods are safe for concurrent use.
type Server struct {
	log      *zap.Logger
	clock    func() time.Time
	epoch    time.Time
	observer Observer

	settings   atomic.Pointer[settings]
	applying   sync.Mutex   // serialises Apply and SetMediaAddrs
	longestTTL atomic.Int64 // the greatest MaxTTL there has been, in nanoseconds

	engine   *engine
	hub      *hub
	media    *mediaConn
	inlet    *Inlet
	nonces   *nonces
	limiter  *replyLimiter
	quota    *quota
	conns    *connQuota
	revoked  *revocations
	registry *registry
	counts   counters

	mu        sync.Mutex
	endpoints map[*Endpoint]struct{}
	closing   atomic.Bool
	closed    chan struct{}
	closeOnce sync.Once
}

// New returns a running server, or an ErrConfig. It starts the goroutine of the library; Close ends it.
func New(c Config, opts ...Option) (*Server, error) {
	set, err := compile(c)
	if err != nil {
		return nil, err
	}
	s := &Server{
		log: zap.NewNop(), clock: time.Now, nonces: &nonces{key: make([]byte, 32)}, limiter: newReplyLimiter(),
		quota: newQuota(), conns: newConnQuota(), revoked: newRevocations(), registry: newRegistry(),
		endpoints: map[*Endpoint]struct{}{}, closed: make(chan struct{}),
	}
	for _, o := range opts {
		o(s)
	}
	_, _ = rand.Read(s.nonces.key)
	s.epoch = s.clock()
	s.settings.Store(set)
	s.longestTTL.Store(int64(set.MaxTTL))
	s.hub = newHub(s)
	s.media = &mediaConn{hub: s.hub, changed: make(chan struct{})}
	if s.engine, err = newEngine(&libraryLog{log: s.log}, s.hub.lookup); err != nil {
		return nil, err
	}
	e := s.newEndpoint(nil)
	e.conns, e.shut = map[*streamPort]struct{}{}, func() {}
	if err := s.addEndpoint(e); err != nil {
		return nil, err
	}
	e.run(func() { <-e.stop })
	s.inlet = &Inlet{e}
	return s, nil
}

// Apply replaces the configuration on the living server, or returns an ErrConfig and changes
// nothing. Limits and secrets hold from the next request, media addresses and bandwidth from
// the next packet; established allocations stay, even beyond a lowered quota, and even across a change
// of secret, realm or Open.
func (s *Server) Apply(c Config) error {
	set, err := compile(c)
	if err != nil {
		return err
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	s.longestTTL.Store(max(s.longestTTL.Load(), int64(set.MaxTTL)))
	s.settings.Store(set)
	return nil
}

// SetMediaAddrs replaces Config.MediaAddrs alone. What an established allocation may reach
// changes with the next packet.
func (s *Server) SetMediaAddrs(addrs []netip.AddrPort) error {
	media, err := mediaSet(addrs)
	if err != nil {
		return err
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	s.settings.Store(s.settings.Load().withMedia(media))
	return nil
}

// nanos is the time since the server began, for everything that measures and does not name a date.
func (s *Server) nanos() int64 { return int64(s.clock().Sub(s.epoch)) }

func (s *Server) newEndpoint(addr net.Addr) *Endpoint {
	return &Endpoint{srv: s, addr: addr, stop: make(chan struct{}), done: make(chan struct{})}
}

func (s *Server) addEndpoint(e *Endpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return ErrClosed
	}
	s.endpoints[e] = struct{}{}
	return nil
}

// run starts the arriving goroutine of an endpoint, and one that waits for all of its goroutines.
func (e *Endpoint) run(arrive func()) {
	e.wg.Add(1)
	go func() {
		defer e.wg.Done()
		arrive()
	}()
	go func() {
		e.wg.Wait()
		e.srv.mu.Lock()
		delete(e.srv.endpoints, e)
		e.srv.mu.Unlock()
		close(e.done)
	}()
}

// Close ends every allocation, connection and socket and waits for the goroutines, or for ctx, in
// which case it returns the error of ctx and the closing goes on. Idempotent: further calls wait too.
func (s *Server) Close(ctx context.Context) error {
	s.closeOnce.Do(func() { go s.shutdown() })
	select {
	case <-s.closed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Server) shutdown() {
	defer close(s.closed)
	s.mu.Lock()
	s.closing.Store(true)
	var all []*Endpoint
	for e := range s.endpoints {
		all = append(all, e)
	}
	s.mu.Unlock()
	for _, a := range s.registry.close() {
		a.end(EndShutdown)
	}
	var wg sync.WaitGroup
	for _, e := range all {
		wg.Go(e.Close)
	}
	wg.Wait()
	s.engine.close()
	s.hub.close()
}
