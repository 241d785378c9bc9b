package relay

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/talwtn/caddy-wtn/relay/internal/sdpneg"
)

// candidates are the addresses a new session is told: one UDP socket (in turn,
// where there are several) and every TCP listener, at the addresses clients can
// reach.
func (h *Hub) candidates(loopback bool) ([]sdpneg.Candidate, error) {
	h.mu.Lock()
	var udp []netip.AddrPort
	if len(h.udp) > 0 {
		h.turn++
		udp = append(udp, h.udp[h.turn%len(h.udp)].sock.LocalAddr())
	}
	var tcp []netip.AddrPort
	for _, l := range h.tcp {
		if a, err := netip.ParseAddrPort(l.Addr().String()); err == nil {
			tcp = append(tcp, a)
		}
	}
	h.mu.Unlock()

	c := h.config.Load()
	var list []sdpneg.Candidate
	for _, bound := range udp {
		for _, a := range advertised(c, bound.Addr(), loopback) {
			list = append(list, sdpneg.Candidate{Network: "udp", Addr: netip.AddrPortFrom(a, bound.Port())})
		}
	}
	for _, bound := range tcp {
		for _, a := range advertised(c, bound.Addr(), loopback) {
			list = append(list, sdpneg.Candidate{Network: "tcp", Addr: netip.AddrPortFrom(a, bound.Port()), TCPType: "passive"})
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: no address to offer, set a public address or loosen the address filters", ErrNotReady)
	}
	return sdpneg.SortCandidates(list), nil
}

// advertised are the addresses at which clients reach a socket bound to bound.
func advertised(c *Config, bound netip.Addr, loopback bool) []netip.Addr {
	bound = bound.Unmap()
	if bound.IsLoopback() {
		return []netip.Addr{bound}
	}
	var list []netip.Addr
	switch {
	case len(c.PublicAddresses) > 0:
		for _, a := range c.PublicAddresses {
			list = append(list, a.Unmap())
		}
	case !bound.IsUnspecified():
		list = []netip.Addr{bound}
	default:
		list = interfaceAddresses(c)
	}
	if loopback && bound.IsUnspecified() || len(list) == 0 && c.unfiltered() {
		list = append(list, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
		if !bound.Is4() {
			list = append(list, netip.IPv6Loopback())
		}
	}
	switch {
	case bound.Is4(): // an IPv4 socket is not reached over IPv6
		list = slices.DeleteFunc(list, func(a netip.Addr) bool { return !a.Is4() })
	case !bound.IsUnspecified(): // nor one bound to an IPv6 address over IPv4
		list = slices.DeleteFunc(list, netip.Addr.Is4)
	}
	return list
}

// unfiltered tells that no setting chooses among the host's addresses. Then a
// host without a network still reaches itself.
func (c *Config) unfiltered() bool {
	return len(c.Interfaces)+len(c.AllowAddresses)+len(c.DenyAddresses) == 0
}

// interfaceAddresses are the host's own, without loopback and link-local ones.
func interfaceAddresses(c *Config) (list []netip.Addr) {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range ifs {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 ||
			len(c.Interfaces) > 0 && !slices.Contains(c.Interfaces, i.Name) {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && c.permits(p.Addr().Unmap()) {
				list = append(list, p.Addr().Unmap())
			}
		}
	}
	return list
}

// permits applies the address filters.
func (c *Config) permits(a netip.Addr) bool {
	if !a.IsGlobalUnicast() {
		return false
	}
	in := func(p netip.Prefix) bool { return p.Contains(a) }
	if slices.ContainsFunc(c.DenyAddresses, in) {
		return false
	}
	return len(c.AllowAddresses) == 0 || slices.ContainsFunc(c.AllowAddresses, in)
}
