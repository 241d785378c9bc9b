package turnsvc

import (
	"encoding/binary"
	"net/netip"

	"github.com/pion/stun/v4"
)

// request judges one request. The checks follow the order of RFC 8656: who asks, whether all of it
// is understood, whether there is an allocation and it is the asker's, then the particulars.
func (g *guard) request(r *request) {
	method := r.m.Type.Method
	switch method {
	case stun.MethodBinding:
		g.binding(r)
		return
	case stun.MethodAllocate, stun.MethodRefresh, stun.MethodCreatePermission, stun.MethodChannelBind:
	default: // RFC 6062 and others: no such method here
		g.rejectBare(r, 400, rejectBad)
		return
	}
	if !g.authenticate(r) {
		return
	}
	if unknown := unknownAttrs(r.m); len(unknown) > 0 {
		g.reject(r, 420, rejectUnsupported, unknown)
		return
	}
	g.clients.judging.Lock()
	defer g.clients.judging.Unlock()
	if r.alloc == nil { // it may have come to be by another socket meanwhile
		r.alloc = g.living(r.from)
	}
	if method == stun.MethodAllocate {
		g.allocate(r)
		return
	}
	switch {
	case r.alloc == nil:
		g.reject(r, 437, rejectMismatch)
	case r.alloc.username != r.username:
		g.reject(r, 441, rejectUser)
	case method == stun.MethodRefresh:
		g.refresh(r)
	case method == stun.MethodCreatePermission:
		g.createPermission(r)
	default:
		g.channelBind(r)
	}
}

// binding answers plain STUN (RFC 8489 section 2).
func (g *guard) binding(r *request) {
	if unknown := unknownAttrs(r.m); len(unknown) > 0 {
		g.rejectBare(r, 420, rejectUnsupported, unknown)
		return
	}
	if !g.mayAnswer(r, 0) {
		return
	}
	attrs := []stun.Setter{addressAttr(stun.AttrXORMappedAddress, r.from.AddrPort)}
	if r.m.Contains(stun.AttrFingerprint) {
		attrs = append(attrs, stun.Fingerprint)
	}
	g.reply(r, stun.ClassSuccessResponse, attrs...)
}

// refresh is RFC 8656 section 8.2.
func (g *guard) refresh(r *request) {
	a := r.alloc
	if family, ok := familyAttr(r.m); ok && family != familyOf(a.relayed.Addr()) {
		g.reject(r, 443, rejectUnsupported)
		return
	}
	if asked, ok := lifetimeAttr(r.m); ok && asked == 0 {
		a.end(EndDeleted)
		g.accept(r, seconds(0))
		return
	}
	lifetime := lifetimeOf(r.m)
	if code := g.srv.engine.refresh(a, lifetime); code != 0 || !a.timer.Reset(lifetime) {
		a.end(EndExpired) // its timer was faster
		g.reject(r, 437, rejectMismatch)
		return
	}
	g.port.allocated(lifetime, false)
	g.accept(r, seconds(lifetime))
}

// createPermission is RFC 8656 section 10.2: all addresses or none.
func (g *guard) createPermission(r *request) {
	a := r.alloc
	var peers []netip.AddrPort
	for _, attr := range r.m.Attributes {
		if attr.Type != stun.AttrXORPeerAddress {
			continue
		}
		peer, ok := parsePeer(attr.Value, r.m.TransactionID[:])
		if !ok {
			g.reject(r, 400, rejectBad)
			return
		}
		if code, why := a.judge(r.set.mayPermit(peer.Addr()), peer); code != 0 {
			g.reject(r, code, why)
			return
		}
		peers = append(peers, peer)
	}
	switch {
	case len(peers) == 0:
		g.reject(r, 400, rejectBad)
	case !a.leases.Load().room(g.srv.nanos(), peers...):
		g.reject(r, 508, rejectCapacity)
	default:
		if code := g.srv.engine.permit(a, peers...); code != 0 {
			g.reject(r, code, reasonOf(code))
			return
		}
		a.permit(peers...)
		g.accept(r)
	}
}

// channelBind is RFC 8656 section 12.2. Unlike a permission a channel has a port, so a wrong one is
// refused here already and not only when data arrives.
func (g *guard) channelBind(r *request) {
	a := r.alloc
	v, err := r.m.Get(stun.AttrChannelNumber)
	raw, errPeer := r.m.Get(stun.AttrXORPeerAddress)
	if err != nil || len(v) != 4 || errPeer != nil {
		g.reject(r, 400, rejectBad)
		return
	}
	number := binary.BigEndian.Uint16(v)
	peer, ok := parsePeer(raw, r.m.TransactionID[:])
	if !ok || number < firstChannel || number > lastChannel {
		g.reject(r, 400, rejectBad)
		return
	}
	if code, why := a.judge(r.set.mayReach(peer), peer); code != 0 {
		g.reject(r, code, why)
		return
	}
	now := g.srv.nanos()
	l := a.leases.Load()
	if _, bound := l.channelTo(peer, now); !l.room(now, peer) || (!bound && len(l.fresh(now).channels) >= maxLeases) {
		g.reject(r, 508, rejectCapacity)
		return
	}
	if code := g.srv.engine.bind(a, number, peer); code != 0 {
		g.reject(r, code, reasonOf(code))
		return
	}
	a.bind(number, peer)
	g.accept(r)
}

// judge turns the word of the policy on a peer into a code.
func (a *allocation) judge(allowed bool, peer netip.AddrPort) (int, reason) {
	switch {
	case !allowed:
		return 403, rejectPeer
	case familyOf(peer.Addr()) != familyOf(a.relayed.Addr()):
		return 443, rejectUnsupported
	}
	return 0, 0
}

func reasonOf(code int) reason {
	switch code {
	case 403:
		return rejectPeer
	case 437:
		return rejectMismatch
	case 500, 508:
		return rejectCapacity
	}
	return rejectBad
}
