package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay"
	"github.com/talwtn/caddy-wtn/turnsvc"
)

// maxTURNMedia is how many media addresses the TURN server can be told.
const maxTURNMedia = 64

// turnPool is the TURN part of the living gateway: the server, the sockets it
// is reached at and the shared HTTPS ports. The server comes into being with
// the first configuration that wants it, and lives as long as the gateway, so
// that allocations survive reloads.
type turnPool struct {
	hub     *relay.Hub
	server  atomic.Pointer[turnsvc.Server]
	live    atomic.Pointer[turnLive]    // never nil
	tls     atomic.Pointer[turnTLS]     // of the configuration that rules
	sockets map[turnAddress]*turnSocket // guarded by the state's lock

	mu       sync.Mutex
	told     []netip.AddrPort // what the server was told
	config   turnsvc.Config   // that rules, without the addresses of this host
	fronts   map[*front]struct{}
	fallback string // secret of this process, if the storage has none
}

// turnLive is what new sessions are told.
type turnLive struct {
	on            bool
	udp, tcp, tls int // ports, 0: none
	hosts         []string
	others        otherServers
	logger        *zap.Logger
}

func newTURNPool(hub *relay.Hub) *turnPool {
	p := &turnPool{hub: hub, sockets: make(map[turnAddress]*turnSocket), fronts: make(map[*front]struct{})}
	p.live.Store(new(turnLive))
	return p
}

// rule puts a configuration's settings into force; t is nil when it has TURN
// switched off. Allocations that exist go on either way.
func (p *turnPool) rule(t *turnSettings, others otherServers, logger *zap.Logger) error {
	live := &turnLive{others: others, logger: logger}
	if t == nil {
		p.live.Store(live)
		return nil
	}
	if err := p.apply(t.config); err != nil {
		return fmt.Errorf("turn: %w", err)
	}
	warnOpen(t.config.Open, logger)
	p.tls.Store(t.tls)
	live.on, live.hosts = true, t.hosts
	for _, a := range t.held {
		sock := p.sockets[a]
		if err := sock.serve(p); err != nil {
			return fmt.Errorf("turn listener %s: %w", a, err)
		}
		for network, port := range map[string]*int{"udp": &live.udp, "tcp": &live.tcp, "tls": &live.tls} {
			if a.kind() == network && *port == 0 {
				*port = sock.port()
			}
		}
	}
	p.live.Store(live)
	return nil
}

// apply makes the server, or changes the one that lives.
func (p *turnPool) apply(c turnsvc.Config) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	plain := c
	c = withOwn(c, p.mediaAddresses())
	if s := p.server.Load(); s != nil {
		err := s.Apply(c)
		if err == nil {
			p.told, p.config = c.MediaAddrs, plain
		}
		return err
	}
	s, err := turnsvc.New(c, turnsvc.WithLogger(followingLogger("wtn.turn")))
	if err != nil {
		return err
	}
	hop := &memoryHop{PacketConn: s.MediaConn()}
	if err := p.hub.ServePacketConn(hop); err != nil {
		_ = s.Close(context.Background())
		return err
	}
	p.told, p.config = c.MediaAddrs, plain
	p.server.Store(s)
	return nil
}

// mediaAddresses are those of now and, while there are sessions, those of
// before: a session goes on sending to the address it was told when it was
// made. Relayed packets end inside this process whatever the list says.
func (p *turnPool) mediaAddresses() []netip.AddrPort {
	list := worthwhile(p.hub.MediaAddresses())
	former := slices.DeleteFunc(slices.Clone(p.told), func(a netip.AddrPort) bool { return slices.Contains(list, a) })
	if len(former) > 0 && len(p.hub.Sessions()) > 0 {
		list = append(list, former...)
	}
	return list[:min(len(list), maxTURNMedia)]
}

// worthwhile leaves out loopback addresses of a family in which there is
// nothing else: a client that does not say which family it wants would get a
// relayed address of one in which it has nobody to talk to.
func worthwhile(list []netip.AddrPort) []netip.AddrPort {
	outside := map[bool]bool{} // by whether it is IPv4
	for _, a := range list {
		if !a.Addr().IsLoopback() {
			outside[a.Addr().Is4()] = true
		}
	}
	if len(outside) == 0 {
		return list
	}
	return slices.DeleteFunc(list, func(a netip.AddrPort) bool { return !outside[a.Addr().Is4()] })
}

// refresh tells the server when addresses of the host have come or gone.
func (p *turnPool) refresh(s *turnsvc.Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.mediaAddresses()
	if slices.Equal(now, p.told) {
		return
	}
	if err := s.Apply(withOwn(p.config, now)); err != nil {
		p.live.Load().logger.Error("TURN clients cannot reach the current media addresses", zap.Error(err))
		return
	}
	p.told = now
}

// mint makes the credential of a session. It is revoked when the session ends.
func (p *turnPool) mint(user string, ttl time.Duration) (turnsvc.Credential, error) {
	s := p.server.Load()
	if s == nil || !p.live.Load().on {
		return turnsvc.Credential{}, errTURNOff
	}
	p.refresh(s)
	return s.Mint(user, ttl)
}

var errTURNOff = errors.New("the running configuration has no TURN server: take `turn off` out of the wtn option")

// sessionEnded ends the allocations of a session and its credential.
func (p *turnPool) sessionEnded(id string) {
	if s := p.server.Load(); s != nil {
		_ = s.Revoke(id) // fails for malformed ids only
	}
}

// push gives the server a connection that speaks TURN.
func (p *turnPool) push(c net.Conn) {
	s := p.server.Load()
	if s == nil || !p.live.Load().on {
		_ = c.Close()
		return
	}
	_ = s.Inlet().Push(c) // it counts what it refuses
}

// close ends all allocations, after the hub has let go.
func (p *turnPool) close(ctx context.Context) {
	p.live.Store(new(turnLive))
	s := p.server.Load()
	if s == nil {
		return
	}
	if err := s.Close(ctx); err != nil {
		caddy.Log().Named("wtn.turn").Error("the TURN server did not end in time", zap.Error(err))
	}
}

// memoryHop is the media side of the TURN server as the hub wants it: closing
// it ends a read that waits.
type memoryHop struct {
	net.PacketConn
	closed atomic.Bool
}

func (m *memoryHop) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := m.PacketConn.ReadFrom(b)
	if err != nil && m.closed.Load() {
		err = net.ErrClosed
	}
	return n, from, err
}

func (m *memoryHop) Close() error {
	m.closed.Store(true)
	return m.SetReadDeadline(time.Unix(1, 0))
}

// observers tell several about what happens in the hub.
type observers struct {
	*emitter
	turn atomic.Pointer[turnPool]
}

// SessionEnded implements relay.Observer.
func (o *observers) SessionEnded(i relay.SessionInfo, r relay.Reason) {
	if p := o.turn.Load(); p != nil {
		p.sessionEnded(i.ID)
	}
	o.emitter.SessionEnded(i, r)
}

var _ relay.Observer = (*observers)(nil)
