package udpio

import (
	"net"
	"net/netip"
	"strconv"
)

// Peer is the far end of a datagram together with the local address it arrived at,
// which an answer must leave from. It is an immutable value without pointers, to be
// compared with == and used as a map key. The zero Peer is nobody.
type Peer struct {
	remote, local [16]byte // IPv4 in its mapped form; local all zero: not known
	scope         uint32   // zone of a link-local remote, as interface index
	port          uint32   // 16 bits; widened so that the struct has no padding
}

// PeerFrom returns the peer at remote that is written to from local. A local address
// that is zero or unspecified leaves the choice to the kernel. A zone is looked up on
// this host, which is slow unless it is a number.
func PeerFrom(remote netip.AddrPort, local netip.Addr) Peer {
	if !remote.IsValid() {
		return Peer{}
	}
	p := Peer{remote: remote.Addr().As16(), port: uint32(remote.Port()), scope: zoneIndex(remote.Addr().Zone())}
	if local = local.Unmap(); local.IsValid() && !local.IsUnspecified() {
		p.local = local.As16()
	}
	return p
}

// Remote is the address and port of the far end, IPv4 as IPv4. The zone of a
// link-local address is an interface index.
func (p Peer) Remote() netip.AddrPort {
	if p == (Peer{}) {
		return netip.AddrPort{}
	}
	a := netip.AddrFrom16(p.remote).Unmap()
	if p.scope != 0 {
		a = a.WithZone(strconv.FormatUint(uint64(p.scope), 10))
	}
	return netip.AddrPortFrom(a, uint16(p.port))
}

// Local is the local address, IPv4 as IPv4, or the zero Addr if it is not known.
func (p Peer) Local() netip.Addr {
	if !p.hasLocal() {
		return netip.Addr{}
	}
	return netip.AddrFrom16(p.local).Unmap()
}

// String names the peer for logs.
func (p Peer) String() string { return p.Remote().String() }

func (p *Peer) hasLocal() bool { return p.local != [16]byte{} }

func (p *Peer) is4() bool { return is4In6(&p.remote) }

var mapped4 = [12]byte{10: 0xff, 11: 0xff}

func is4In6(a *[16]byte) bool { return [12]byte(a[:12]) == mapped4 }

func zoneIndex(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index)
	}
	return 0
}
