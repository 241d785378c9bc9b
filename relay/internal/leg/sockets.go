package leg

import (
	"net"
	"net/netip"
	"slices"

	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

// maxOwnPairs is how many of the peer's addresses are tried once more from a
// socket of our own.
const maxOwnPairs = 4

// usable are the addresses a peer can have, without repetitions. Names of zones
// are of no use beyond the peer's host.
func usable(list []netip.AddrPort, limit int) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range list {
		a = unmap(a)
		ip := a.Addr()
		if !a.IsValid() || a.Port() == 0 || ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() ||
			ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || slices.Contains(out, a) {
			continue
		}
		if out = append(out, a); len(out) == limit {
			break
		}
	}
	return out
}

// reaches reports whether a socket bound to local can send to ip. A wildcard
// IPv6 socket mostly takes IPv4, too; where not, its checks fail.
func reaches(local, ip netip.Addr) bool {
	if local.IsUnspecified() {
		return local.Is6() || ip.Is4()
	}
	return local.Is4() == ip.Is4() && (!local.IsLoopback() || ip.IsLoopback())
}

// share makes the pairs of the peer's UDP addresses. Of the sockets in service
// that are bound to one address, the first is used at which the peer's
// addresses are free, else one of our own.
func (k *controller) share(now int64) {
	if len(k.udp) == 0 {
		return
	}
	var use []*hop
	service := k.leg.t.inService(k.leg)
	if len(service) == 0 {
		service[netip.IPv6Unspecified()] = nil
	}
	for local, hops := range service {
		fit := slices.DeleteFunc(slices.Clone(k.udp), func(a netip.AddrPort) bool { return !reaches(local, a.Addr()) })
		if len(fit) == 0 {
			continue
		}
		i := slices.IndexFunc(hops, func(h *hop) bool { return h.reserve(k.leg, now, fit...) })
		if i >= 0 {
			k.uses(hops[i])
			use = append(use, hops[i])
		} else if h := k.own(local); h != nil {
			use = append(use, h)
		}
	}
	for _, remote := range k.udp {
		for _, h := range use {
			if len(k.pairs) < maxPairs && reaches(h.sock.LocalAddr().Addr(), remote.Addr()) {
				k.add(h, remote, udpio.PeerFrom(remote, netip.Addr{}), now)
			}
		}
	}
}

// inService are the shared UDP sockets that a leg may use, by the address they
// are bound to, in random order.
func (t *Transport) inService(l *Leg) map[netip.Addr][]*hop {
	t.mu.RLock()
	defer t.mu.RUnlock()
	found := make(map[netip.Addr][]*hop)
	for h := range t.hops {
		if h.sock != nil && h.owner == 0 && !h.closed.Load() && h.admits(l.number) {
			local := h.sock.LocalAddr().Addr()
			found[local] = append(found[local], h)
		}
	}
	return found
}

// own opens a socket for this leg alone, nil if the system has none for us. It
// is closed with the leg.
func (k *controller) own(local netip.Addr) *hop {
	h, err := k.leg.t.openUDP(k.leg, local)
	if err != nil {
		k.leg.log.Warn("no UDP socket for a connection to an upstream", zap.Error(err))
		return nil
	}
	return h
}

func (t *Transport) openUDP(l *Leg, local netip.Addr) (*hop, error) {
	pc, err := net.ListenPacket("udp", netip.AddrPortFrom(local, 0).String())
	if err != nil {
		return nil, err
	}
	s, err := udpio.New(pc, udpio.Options{})
	if err != nil {
		_ = pc.Close()
		return nil, err
	}
	h := newHop("udp")
	h.sock, h.owner = s, l.number
	// As if it had been retired with this leg only: forget closes it.
	h.retired.Store(l.number)
	h.waiting = map[*Leg]struct{}{l: {}}
	if !t.addHop(h) {
		return nil, ErrClosed
	}
	go t.readUDP(h)
	return h, nil
}

// widen tries other ways when nothing has been answered for a while, and
// returns when it wants to be called again.
func (k *controller) widen(now int64) int64 {
	if k.first != 0 {
		return never
	}
	wake := never
	if !k.widened {
		if at := k.began + ownAfter; now >= at {
			k.widened = true
			k.tryOwn(now)
		} else {
			wake = at
		}
	}
	if !k.dialed && len(k.tcp) > 0 {
		at := k.began
		if !k.hopeless() {
			at += dialAfter
		}
		if now >= at {
			k.dialed = true
			k.dialAll()
		} else {
			wake = min(wake, at)
		}
	}
	return wake
}

// tryOwn checks from sockets of our own what was not answered on shared ones:
// the peer, or something before it, may take our address for somebody else's.
func (k *controller) tryOwn(now int64) {
	for _, shared := range slices.Clone(k.hops) {
		if shared.sock == nil || shared.owner != 0 {
			continue
		}
		local := shared.sock.LocalAddr().Addr()
		h := k.own(local)
		if h == nil {
			continue
		}
		n := 0
		for _, remote := range k.udp {
			if n < maxOwnPairs && reaches(local, remote.Addr()) {
				k.add(h, remote, udpio.PeerFrom(remote, netip.Addr{}), now)
				n++
			}
		}
	}
}
