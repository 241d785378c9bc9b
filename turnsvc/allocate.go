package turnsvc

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"github.com/pion/stun/v4"
	"go.uber.org/zap"
)

// allocate is RFC 8656 section 7.2.
func (g *guard) allocate(r *request) {
	if a := r.alloc; a != nil {
		if a.txid == r.m.TransactionID && a.username == r.username { // our reply was lost
			g.acceptAllocate(r, a)
			return
		}
		g.reject(r, 437, rejectMismatch)
		return
	}
	family, even, code, why := wishes(r)
	if code == 0 && g.endpoint.draining.Load() {
		code, why = 508, rejectCapacity
	}
	if code != 0 {
		g.reject(r, code, why)
		return
	}
	a := &allocation{
		srv: g.srv, guard: g, user: r.userID, username: r.username, key: r.key,
		client: r.from, since: g.srv.clock(), txid: r.m.TransactionID, lifetime: lifetimeOf(r.m),
	}
	if code, why := g.open(r.set, a, family, even); code != 0 {
		g.reject(r, code, why)
		return
	}
	g.acceptAllocate(r, a)
}

// wishes reads what an Allocate asks for, or the code it must be refused with.
func wishes(r *request) (family int, even bool, code int, why reason) {
	transport, err := r.m.Get(stun.AttrRequestedTransport)
	if err != nil || len(transport) != 4 {
		return 0, false, 400, rejectBad
	}
	if transport[0] != 17 { // UDP; RFC 6062 relays are not offered
		return 0, false, 442, rejectUnsupported
	}
	wanted, hasFamily := familyAttr(r.m)
	token := r.m.Contains(stun.AttrReservationToken)
	evenPort, errEven := r.m.Get(stun.AttrEvenPort)
	switch {
	case token && (hasFamily || errEven == nil), errEven == nil && len(evenPort) != 1:
		return 0, false, 400, rejectBad
	case hasFamily && wanted == 0:
		return 0, false, 440, rejectUnsupported
	case token, errEven == nil && evenPort[0]&0x80 != 0: // nothing is ever reserved
		return 0, false, 508, rejectCapacity
	}
	if family = r.set.family(wanted); family == 0 {
		if wanted == 0 {
			return 0, false, 508, rejectCapacity // no media address yet
		}
		return 0, false, 440, rejectUnsupported
	}
	return family, errEven == nil, 0, 0
}

// familyAttr reads REQUESTED-ADDRESS-FAMILY: 4, 6, or 0 for a value that is neither.
func familyAttr(m *stun.Message) (family int, present bool) {
	v, err := m.Get(stun.AttrRequestedAddressFamily)
	switch {
	case err != nil:
		return 0, false
	case len(v) == 4 && v[0] == familyIPv4:
		return 4, true
	case len(v) == 4 && v[0] == familyIPv6:
		return 6, true
	}
	return 0, true
}

// lifetimeOf grants max(default, min(requested, maximum)); 0 is for Refresh to treat before.
func lifetimeOf(m *stun.Message) time.Duration {
	asked, ok := lifetimeAttr(m)
	if !ok {
		return defaultLifetime
	}
	return max(defaultLifetime, min(asked, maxLifetime))
}

func lifetimeAttr(m *stun.Message) (time.Duration, bool) {
	v, err := m.Get(stun.AttrLifetime)
	if err != nil || len(v) != 4 {
		return 0, false
	}
	return time.Duration(binary.BigEndian.Uint32(v)) * time.Second, true
}

// open brings an allocation to life: quota, place in the hub, socket, books of the library, timer.
func (g *guard) open(set *settings, a *allocation, family int, even bool) (code int, why reason) {
	s := g.srv
	if why, ok := s.quota.acquire(set, a.user, a.client.Addr()); !ok {
		if why == rejectCapacity {
			return 508, why
		}
		return 486, why
	}
	a.leases.Store(&leases{})
	a.media.Store(set.firstMedia(family))
	code, why = g.makeRelay(set, a, family, even)
	if code == 0 {
		if code = s.engine.allocate(a, a.lifetime); code != 0 {
			s.hub.release(a)
			_ = a.relay.Close()
			why = rejectCapacity
		}
	}
	if code != 0 {
		s.quota.release(a.user, a.client.Addr())
		return code, why
	}
	g.port.allocated(a.lifetime, true)
	a.timer = time.AfterFunc(a.lifetime, func() { a.end(EndExpired) })
	g.clients.add(a) // from here on others see it
	s.log.Debug("turn allocation started", zap.String("user", a.user), zap.Stringer("client", a.client),
		zap.Stringer("transport", g.port.transport()), zap.Stringer("relayed", a.relayed))
	if s.observer != nil {
		s.observer.AllocationStarted(a.info())
	}
	if !s.registry.add(a) { // closing: nobody else will end it
		a.end(EndShutdown)
		return 508, rejectCapacity
	}
	if s.revoked.has(a.user, s.clock()) { // revoked between the check and the registration
		a.end(EndRevoked)
		return 401, rejectRevoked
	}
	return 0, 0
}

// makeRelay gives the allocation its relayed address, in memory or on a socket.
func (g *guard) makeRelay(set *settings, a *allocation, family int, even bool) (code int, why reason) {
	if set.Open == nil {
		a.relay = &memSocket{a: a, done: make(chan struct{})}
	} else {
		sock, err := listenOpen(a, set.Open, even)
		if err != nil {
			return 508, rejectCapacity
		}
		a.open, a.relay = sock, sock
	}
	if !g.srv.hub.reserve(a, family, even) {
		_ = a.relay.Close()
		return 508, rejectCapacity
	}
	a.relayed = a.slot
	a.addr = net.UDPAddrFromAddrPort(a.slot)
	if a.open != nil {
		a.relayed = netip.AddrPortFrom(set.Open.Advertise, a.open.port())
	}
	return 0, 0
}

func (g *guard) acceptAllocate(r *request, a *allocation) {
	g.accept(r, addressAttr(stun.AttrXORRelayedAddress, a.relayed), addressAttr(stun.AttrXORMappedAddress, r.from.AddrPort), seconds(a.lifetime))
}

// firstMedia is the media address a packet seems to come from before the client spoke to one.
func (s *settings) firstMedia(family int) *netip.AddrPort {
	for _, m := range s.MediaAddrs {
		if familyOf(m.Addr()) == family {
			return &m
		}
	}
	return &netip.AddrPort{}
}
