package turnsvc

import (
	"net/netip"
	"slices"
)

// deniedPeers is what no open relay may reach: everything that is not the public Internet.
// 2001::/32 (Teredo) and 64:ff9b:1::/48 (local NAT64) carry IPv4 addresses at positions that
// depend on somebody's configuration, so they are refused as a whole.
var deniedPeers = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
	"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"::/128", "::1/128", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "2001:db8::/32",
	"100::/64", "2001::/32", "64:ff9b:1::/48",
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = netip.MustParsePrefix(p)
	}
	return out
}

// unembed returns the IPv4 address that an IPv6 transition form stands for, or the address itself:
// IPv4-mapped, IPv4-compatible, 6to4 (RFC 3056) and the well-known NAT64 prefix (RFC 6052).
// A deny list compared without it lets ::ffff:127.0.0.1 through.
func unembed(a netip.Addr) netip.Addr {
	a = a.WithZone("")
	if a.Is4() || a.Is4In6() {
		return a.Unmap()
	}
	b := a.As16()
	switch {
	case b[0] == 0x20 && b[1] == 0x02: // 6to4
		return netip.AddrFrom4([4]byte(b[2:6]))
	case [12]byte(b[:12]) == [12]byte{0, 0x64, 0xff, 0x9b}: // NAT64
		return netip.AddrFrom4([4]byte(b[12:16]))
	case [12]byte(b[:12]) == [12]byte{} && a != netip.IPv6Loopback() && !a.IsUnspecified(): // ::a.b.c.d
		return netip.AddrFrom4([4]byte(b[12:16]))
	}
	return a
}

// isMedia tells whether relayed traffic may reach exactly this address and port. It runs for every
// packet: the set is small and a scan of it costs a few nanoseconds.
func (s *settings) isMedia(peer netip.AddrPort) bool { return slices.Contains(s.MediaAddrs, peer) }

// mayPermit decides on a permission, which has no port (RFC 8656 section 9). In closed mode the
// address must be equal, byte for byte and family for family, to an advertised one: there is no
// second spelling of an address that needs to be thought of.
func (s *settings) mayPermit(ip netip.Addr) bool {
	if slices.Contains(s.mediaIPs, ip) {
		return true
	}
	return s.Open != nil && !ip.Is4In6() && !s.denied(ip)
}

// mayReach decides on a peer with its port.
func (s *settings) mayReach(peer netip.AddrPort) bool {
	if s.isMedia(peer) {
		return true
	}
	return s.Open != nil && peer.Port() != 0 && !peer.Addr().Is4In6() && !s.denied(peer.Addr())
}

// denied tells whether the open relay refuses an address, in the form given or in the one it means.
func (s *settings) denied(ip netip.Addr) bool {
	inner := unembed(ip)
	for _, p := range s.deny {
		if p.Contains(ip) || p.Contains(inner) {
			return true
		}
	}
	return false
}

// family is the address family (4 or 6) of a relayed address a client gets when it asks for
// want (0: not said), or 0 when there is none to give. RFC 8656 section 7.2 makes IPv4 the
// default; a gateway with IPv6 media only gives IPv6, since an IPv4 one could reach nothing.
func (s *settings) family(want int) int {
	has := map[int]bool{}
	if s.Open != nil {
		has[familyOf(s.Open.BindAddr)] = true
	} else {
		for _, ip := range s.mediaIPs {
			has[familyOf(ip)] = true
		}
	}
	switch {
	case want != 0 && has[want]:
		return want
	case want == 0 && has[4]:
		return 4
	case want == 0 && has[6]:
		return 6
	}
	return 0
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 6
}

// clientNet is what "one client address" means for quotas and limits: an IPv4 address or an IPv6 /64.
func clientNet(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a
	}
	p, _ := a.Prefix(64)
	return p.Addr()
}
