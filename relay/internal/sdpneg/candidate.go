package sdpneg

import (
	"hash/crc32"
	"net/netip"
	"slices"
	"strconv"
)

// Candidate is a host candidate of ours (RFC 8445; an ICE-lite agent has no
// others). Foundation and Priority are filled in by [SortCandidates].
type Candidate struct {
	Network string // udp or tcp
	Addr    netip.AddrPort
	TCPType string // passive for tcp (RFC 6544 section 4.5), else empty

	Foundation string
	Priority   uint32
}

// Line writes the candidate as an attribute without the leading "a=", always
// for component 1: RTP and RTCP share it.
func (c Candidate) Line() string {
	s := "candidate:" + c.Foundation + " 1 " + c.Network + " " + strconv.FormatUint(uint64(c.Priority), 10) +
		" " + c.Addr.Addr().String() + " " + strconv.Itoa(int(c.Addr.Port())) + " typ host"
	if c.TCPType != "" {
		s += " tcptype " + c.TCPType
	}
	return s
}

// class orders candidates: IPv4 before IPv6 and UDP before TCP, because
// FFmpeg takes the first UDP line and nothing else; loopback after all that a
// remote peer could reach.
func (c Candidate) class() int {
	n := 0
	if !c.Addr.Addr().Is4() {
		n++
	}
	if c.Network != "udp" {
		n += 2
	}
	if c.Addr.Addr().IsLoopback() {
		n += 4
	}
	return n
}

// SortCandidates returns the candidates in the order in which they should be
// tried, with descending priorities (RFC 8445 section 5.1.2) and foundations
// (section 5.1.1.3). The order inside a class is kept. Duplicates and entries
// without a usable address, port or network are left out.
func SortCandidates(list []Candidate) []Candidate {
	sorted := make([]Candidate, 0, len(list))
	for _, c := range list {
		c, ok := c.clean()
		same := func(o Candidate) bool { return o.Network == c.Network && o.Addr == c.Addr }
		if ok && !slices.ContainsFunc(sorted, same) {
			sorted = append(sorted, c)
		}
	}
	slices.SortStableFunc(sorted, func(a, b Candidate) int { return a.class() - b.class() })
	for i := range sorted {
		c := &sorted[i]
		c.Priority = priority(i)
		// Equal for candidates of one address and protocol, and nothing else.
		sum := crc32.ChecksumIEEE([]byte(c.Network + " " + c.Addr.Addr().String()))
		c.Foundation = strconv.FormatUint(uint64(sum), 10)
	}
	return sorted
}

func (c Candidate) clean() (Candidate, bool) {
	addr := c.Addr.Addr().Unmap().WithZone("")
	c.Addr = netip.AddrPortFrom(addr, c.Addr.Port())
	switch c.Network {
	case "udp":
		c.TCPType = ""
	case "tcp":
		c.TCPType = "passive"
	default:
		return c, false
	}
	return c, addr.IsValid() && !addr.IsUnspecified() && c.Addr.Port() != 0
}

// priority of the i-th best host candidate of component 1.
func priority(i int) uint32 {
	const host, component = 126, 1
	local := uint32(65535 - min(i, 65535))
	return host<<24 | local<<8 | (256 - component)
}
