package leg

import (
	"net/netip"

	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

// A pair of addresses can carry one session only: DTLS and media say nothing
// about whose they are but where they came from, at the peer as well as here.
// So a controlling leg reserves the peer's address at a hop before it sends
// anything there, and takes a socket of its own where another leg is or was a
// moment ago.

// reservation is a controlling leg's claim on an address, without a leg what is
// left of it: the peer may still take our address for the old session's, which it
// does not always see the end of.
type reservation struct {
	leg   *Leg
	until int64 // without a leg
}

const cooling = 60 * second

// reserve gives the addresses to l, all or none. It fails if another leg has, or
// just had, or lives at one of them.
func (h *hop) reserve(l *Leg, now int64, remotes ...netip.AddrPort) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for a, r := range h.reserved {
		if r.leg == nil && now >= r.until {
			delete(h.reserved, a)
		}
	}
	for _, a := range remotes {
		if r, taken := h.reserved[a]; taken && r.leg != l {
			return false
		}
		for peer, c := range h.peers { // one for each of our addresses
			if c.leg != l && unmap(peer.Remote()) == a && c.holds(now) {
				return false
			}
		}
	}
	if h.reserved == nil {
		h.reserved = make(map[netip.AddrPort]reservation)
	}
	for _, a := range remotes {
		h.reserved[a] = reservation{leg: l}
	}
	return true
}

// unreserve gives back all addresses of l but one.
func (h *hop) unreserve(l *Leg, keep netip.AddrPort, now int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for a, r := range h.reserved {
		if r.leg == l && a != keep {
			h.reserved[a] = reservation{until: now + cooling}
		}
	}
}

// whose tells for whom a response from an address is: for the controlling leg
// that reserved it, else for the candidate that is bound to it.
func (h *hop) whose(peer udpio.Peer) (*Leg, *candidate) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if len(h.reserved) > 0 {
		if l := h.reserved[unmap(peer.Remote())].leg; l != nil {
			return l, nil
		}
	}
	return nil, h.peers[peer]
}
