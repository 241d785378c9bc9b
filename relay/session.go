package relay

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
)

// Session is one peer connection with its HTTP resource. It ends exactly once,
// with one reason. Its methods are safe for concurrent use.
type Session struct {
	hub     *Hub
	id      string
	secret  string
	stream  string
	role    Role
	client  netip.Addr
	started time.Time
	created int64                   // the same in monotonic ns
	leg     atomic.Pointer[leg.Leg] // nil while the offer is being answered
	owner   owner
	counter *CounterOffer // this session answers it, nil: there was none
	twin    *Session      // the other side of the same connection, nil: there is none

	readyAt  atomic.Int64 // monotonic ns, 0: not connected yet
	closedAt atomic.Int64 // the peer closed DTLS
	ice      iceSession
	ended    atomic.Bool
	endMu    sync.Mutex // orders the begin of End and what must not follow it

	eventsMu sync.Mutex
	events   []*EventStream

	once   sync.Once
	done   chan struct{}
	reason Reason // valid once done is closed
}

// owner is the side of a session: publisher or subscriber.
type owner interface {
	// release takes the session out of its stream. The hub's lock is not held.
	release(Reason)
	// closed stops what works for the session, now that its leg is closed.
	closed()
	// counters are the RTP packets and bytes of the session.
	counters() (packets, bytes uint64)
	// mute stops or goes on with what the session carries of one kind.
	mute(kind codec.Kind, on bool)
	// layers are the video layers that p, if not nil, offers the session.
	layers(p *publisher) []Layer
	// overdue tells whether, and why, the session should end now.
	overdue(now int64, c *Config) (Reason, bool)
}

func newSession(h *Hub, r OfferRequest, role Role) *Session {
	return &Session{
		hub: h, id: randomID(), secret: randomSecret(), stream: r.Stream, role: role,
		client: r.Client, started: time.Now(), created: leg.Now(), done: make(chan struct{}),
	}
}

func randomID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// randomSecret makes a capability of 192 random bits.
func randomSecret() string {
	var b [24]byte
	_, _ = rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// ID is public and may be logged.
func (s *Session) ID() string { return s.id }

// Secret names the session in its URL. Who knows it controls the session:
// never log it.
func (s *Session) Secret() string { return s.secret }

// Stream is the name of the session's stream.
func (s *Session) Stream() string { return publicName(s.stream) }

// Role is the side the peer takes.
func (s *Session) Role() Role { return s.role }

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Info is a snapshot.
func (s *Session) Info() SessionInfo {
	i := SessionInfo{ID: s.id, Stream: s.Stream(), Role: s.role, Client: s.client, Started: s.started}
	if at := s.readyAt.Load(); at != 0 {
		i.Connected = s.started.Add(time.Duration(at - s.created))
	}
	if l := s.leg.Load(); l != nil {
		i.Local, i.Remote, i.Network = l.Pair()
	}
	i.Packets, i.Bytes = s.owner.counters()
	switch o := s.owner.(type) {
	case *pull:
		i.Upstream = o.up.name
	case *push:
		i.Upstream = o.up.name
	}
	return i
}

// End ends the session. The first reason counts. Ending the last publisher of a
// stream ends its subscribers. It waits for the session's goroutines.
func (s *Session) End(r Reason) {
	s.once.Do(func() {
		s.reason = r
		s.endMu.Lock()
		s.ended.Store(true)
		s.endMu.Unlock()
		known := s.hub.forget(s, r)
		s.owner.release(r)
		if l := s.leg.Load(); l != nil {
			l.Close()
		}
		s.owner.closed()
		if known {
			s.hub.ended(s, r)
		}
		if s.twin != nil {
			s.hub.endLater(s.twin, r)
		}
		close(s.done)
	})
	<-s.done
}

// unlessEnded runs fn if End was not called yet, which then waits for it. It
// returns false if the session is over. fn must be short and must not call End.
func (s *Session) unlessEnded(fn func()) bool {
	s.endMu.Lock()
	defer s.endMu.Unlock()
	if s.ended.Load() {
		return false
	}
	fn()
	return true
}

// ready notes that media can flow.
func (s *Session) ready() {
	s.readyAt.Store(leg.Now())
	env := s.hub.env.Load()
	i := s.Info()
	env.Logger.Debug("session connected", zap.String("session", s.id), zap.String("stream", s.stream),
		zap.String("role", string(s.role)), zap.String("network", i.Network), zap.Stringer("remote", i.Remote))
	if env.Observer != nil {
		env.Observer.SessionConnected(i)
	}
}

// connected tells whether DTLS is up.
func (s *Session) connected() bool { return s.readyAt.Load() != 0 }

// silence is how long nothing authenticated was heard from the peer.
func (s *Session) silence(now int64) time.Duration {
	return time.Duration(now - max(s.leg.Load().LastReceived(), s.created))
}
