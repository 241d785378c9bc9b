package relay

import (
	"context"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay/internal/leg"
	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

// patrolInterval is how often sessions are checked for having outlived
// themselves; every timeout is late by up to this much.
const patrolInterval = 250 * time.Millisecond

// lateDelete is how long after its peer hung up a session can still be deleted.
const lateDelete = 30 * time.Second

// Hub holds the streams and sessions of a process, the sockets they share and
// the loops that send. It outlives configurations: Apply and SetEnv change what
// may change while sessions live. Its methods are safe for concurrent use.
type Hub struct {
	env    atomic.Pointer[Env]
	config atomic.Pointer[Config]

	transport *leg.Transport
	workers   []*worker
	stats     hubStats

	mu        sync.Mutex // the control plane: everything below
	streams   map[string]*stream
	sessions  map[string]*Session      // by secret
	departed  map[string]*Session      // by secret: the peer hung up, its DELETE may follow
	offers    map[string]*CounterOffer // by secret: ours, not answered yet
	upstreams map[string]*upstream
	udp       []*udpSocket
	retired   []*udpSocket // retired while sessions still used them
	tcp       []net.Listener
	arrivals  uint64 // publishers ever seen
	turn      int    // which socket the next session gets
	draining  bool
	closed    bool

	life   context.Context // ends with the hub: of everything that waits for others
	end    context.CancelFunc
	quit   chan struct{}
	gone   chan struct{}  // closed when Close has done its work
	taskMu sync.Mutex     // orders the last task and Close
	idle   bool           // no more tasks
	tasks  sync.WaitGroup // patrol, sessions that are ending, news of programs
}

// hubStats are the counters that no session or loop owns.
type hubStats struct {
	packetsIn, bytesIn atomic.Uint64 // of ended publishers
	plisIn, plisOut    atomic.Uint64
	joinsRefused       atomic.Uint64
	takeovers          takeovers
	mu                 sync.Mutex
	ended              map[string]uint64
}

// udpSocket is a media socket as it was given and as it is used.
type udpSocket struct {
	given net.PacketConn
	sock  *udpio.Socket
}

// NewHub makes a hub. It opens no socket: ServeUDP and ServeTCP give it some.
func NewHub(env Env) (*Hub, error) {
	cert, err := leg.NewCertificate()
	if err != nil {
		return nil, err
	}
	h := &Hub{
		streams: make(map[string]*stream), sessions: make(map[string]*Session),
		departed: make(map[string]*Session), offers: make(map[string]*CounterOffer),
		upstreams: make(map[string]*upstream),
		quit:      make(chan struct{}), gone: make(chan struct{}),
		stats: hubStats{ended: make(map[string]uint64)},
	}
	h.life, h.end = context.WithCancel(context.Background())
	h.SetEnv(env)
	h.config.Store(&Config{})
	_ = h.Apply(Config{}) // the zero value is valid
	if h.transport, err = leg.NewTransport(leg.Config{Logger: h.env.Load().Logger, Certificate: cert}); err != nil {
		return nil, err
	}
	for range runtime.GOMAXPROCS(0) {
		h.workers = append(h.workers, newWorker())
	}
	h.task(h.patrol)
	h.task(h.direct)
	return h, nil
}

// SetEnv replaces what living sessions use of the outside.
func (h *Hub) SetEnv(env Env) {
	if env.Logger == nil {
		env.Logger = zap.NewNop()
	}
	h.env.Store(&env)
}

// Apply puts a configuration into force, for living sessions too where it
// concerns them.
func (h *Hub) Apply(c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	c = c.withDefaults()
	h.config.Store(&c)
	h.setUpstreams(c.Upstreams)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, st := range h.streams {
		st.prog.cache.Store(c.GOPCache)
		st.routing.renew(c.Routes)
		if st.isPushed() && st.published() > 0 {
			h.startPush(st)
		}
		st.wakeDocks()
	}
	return nil
}

// ServeUDP takes a socket over for media. With several, each new session is
// given one of them in turn. A socket that was retired and still carries
// sessions is put back to use.
func (h *Hub) ServeUDP(pc net.PacketConn) error {
	if h.revive(pc) {
		return nil
	}
	s, err := udpio.New(pc, udpio.Options{})
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		_ = s.Close()
		return ErrNotReady
	}
	h.udp = append(h.udp, &udpSocket{given: pc, sock: s})
	h.transport.ServeUDP(s)
	return nil
}

// ServeTCP takes a listener over for ICE-TCP.
func (h *Hub) ServeTCP(l net.Listener) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		_ = l.Close()
		return ErrNotReady
	}
	h.tcp = append(h.tcp, l)
	h.transport.ServeTCP(l)
	return nil
}

// RetireUDP stops giving the socket to new sessions. It is closed when the last
// session that may use it has ended.
func (h *Hub) RetireUDP(pc net.PacketConn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, s := range h.udp {
		if s.given == pc {
			h.udp = append(h.udp[:i:i], h.udp[i+1:]...)
			h.transport.RetireUDP(s.sock)
			h.forgetClosed()
			h.retired = append(h.retired, s)
			return
		}
	}
}

// RetireTCP stops accepting on the listener; its connections live on.
func (h *Hub) RetireTCP(l net.Listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tcp = without(h.tcp, l)
	h.transport.RetireTCP(l)
}

// Session finds a session by the secret of its URL.
func (h *Hub) Session(secret string) (*Session, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.sessions[secret]; s != nil {
		return s, nil
	}
	return nil, ErrSessionNotFound
}

// EndSession ends a session by the secret of its URL. A session whose peer has
// just hung up counts as there, once: many players close the connection first
// and delete the resource afterwards.
func (h *Hub) EndSession(secret string, r Reason) (*Session, error) {
	h.mu.Lock()
	s := h.sessions[secret]
	if s == nil {
		s = h.departed[secret]
	}
	delete(h.departed, secret)
	h.mu.Unlock()
	if s == nil {
		return nil, ErrSessionNotFound
	}
	s.End(r)
	return s, nil
}

// Kick ends a session by its public id.
func (h *Hub) Kick(id string) error {
	h.mu.Lock()
	var found *Session
	for _, s := range h.sessions {
		if s.id == id {
			found = s
		}
	}
	h.mu.Unlock()
	if found == nil {
		return ErrSessionNotFound
	}
	found.End(ReasonKicked)
	return nil
}

// Drain refuses new sessions from now on; those that live go on.
func (h *Hub) Drain() {
	h.mu.Lock()
	h.draining = true
	h.mu.Unlock()
}

// Resume takes a Drain back.
func (h *Hub) Resume() {
	h.mu.Lock()
	h.draining = h.closed
	h.mu.Unlock()
}

// Draining tells whether new sessions are refused.
func (h *Hub) Draining() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.draining
}

// Close ends every session with this reason, closes the sockets and waits for
// all goroutines.
func (h *Hub) Close(r Reason) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		<-h.gone
		return
	}
	h.closed, h.draining = true, true
	sessions := make([]*Session, 0, len(h.sessions))
	for _, s := range h.sessions {
		sessions = append(sessions, s)
	}
	h.mu.Unlock()
	close(h.quit)
	h.end()
	var ends sync.WaitGroup
	for _, s := range sessions {
		ends.Go(func() { s.End(r) })
	}
	ends.Wait()         // and has asked upstreams to delete what is theirs
	h.transport.Close() // waits for all callbacks; whose tasks are the last
	h.taskMu.Lock()
	h.idle = true
	h.taskMu.Unlock()
	h.tasks.Wait()
	for _, w := range h.workers {
		w.close()
	}
	close(h.gone)
}

// task runs fn on a goroutine that Close waits for; not at all when Close has
// ended everything. It never blocks.
func (h *Hub) task(fn func()) {
	h.taskMu.Lock()
	defer h.taskMu.Unlock()
	if !h.idle {
		h.tasks.Go(fn)
	}
}

// endLater ends a session on a goroutine of its own.
func (h *Hub) endLater(s *Session, r Reason) {
	if !s.ended.Load() {
		h.task(func() { s.End(r) })
	}
}

// forget makes the session's URL a 404. It returns false for a session whose
// offer was never answered: nobody has heard of it.
func (h *Hub) forget(s *Session, r Reason) (known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if known = h.sessions[s.secret] == s; !known {
		return false
	}
	delete(h.sessions, s.secret)
	if r == ReasonPeerClosed {
		h.departed[s.secret] = s
	}
	if s.role == RolePublish || s.role == RolePull { // in one step, for counters must not go back
		packets, bytes := s.owner.counters()
		h.stats.packetsIn.Add(packets)
		h.stats.bytesIn.Add(bytes)
	}
	return true
}

// ended tells the world that a session has ended.
func (h *Hub) ended(s *Session, r Reason) {
	i := s.Info()
	h.stats.mu.Lock()
	h.stats.ended[string(s.role)+"/"+string(r)]++
	h.stats.mu.Unlock()
	env := h.env.Load()
	env.Logger.Info("session ended", zap.String("session", s.id), zap.String("stream", s.Stream()),
		zap.String("role", string(s.role)), zap.String("reason", string(r)),
		zap.Duration("duration", time.Since(s.started)), zap.Uint64("packets", i.Packets), zap.Uint64("bytes", i.Bytes))
	if env.Observer != nil {
		env.Observer.SessionEnded(i, r)
	}
}

// patrol ends sessions that never connected or were not heard of for too long.
func (h *Hub) patrol() {
	tick := time.NewTicker(patrolInterval)
	defer tick.Stop()
	for {
		select {
		case <-h.quit:
			return
		case <-tick.C:
		}
		now, c := leg.Now(), h.config.Load()
		h.mu.Lock()
		list := make([]*Session, 0, len(h.sessions))
		for _, s := range h.sessions {
			list = append(list, s)
		}
		for secret, s := range h.departed {
			if now-s.closedAt.Load() > int64(lateDelete) {
				delete(h.departed, secret)
			}
		}
		h.forgetOffers(now)
		h.mu.Unlock()
		h.watchUpstreams(now)
		for _, s := range list {
			if r, overdue := s.owner.overdue(now, c); overdue {
				h.endLater(s, r)
			}
		}
	}
}
