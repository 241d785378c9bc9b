package caddymodule

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/turnsvc"
)

// TURNOpen makes the TURN server a general relay: whoever holds a credential,
// which is everybody who may publish or play, can exchange UDP with any host of
// the public Internet under the address of this server. Do not switch it on to
// make the gateway reachable; TURN does that by itself, and closed. It is for
// operators who want one TURN server for other services too.
//
// Private, loopback, link-local, multicast and reserved addresses are refused
// in every spelling IPv6 has for them, and so are the other ports of this
// server. Each allocation takes a UDP port of the range, which the firewall has
// to let pass, and a client reaches the media of this gateway through it by the
// addresses it is told, so behind a 1:1 NAT that NAT has to loop back.
// A reload concerns allocations made after it.
type TURNOpen struct {
	// The local IP address relayed packets leave from. Required, so that nobody
	// opens a relay without knowing where to. Only its family is relayed.
	// Placeholders are replaced.
	Bind string `json:"bind"`

	// The IP address clients and their peers see instead of it, behind a 1:1
	// NAT. Required if `bind` is 0.0.0.0 or ::. Placeholders are replaced.
	// Default: that of `bind`.
	Advertise string `json:"advertise,omitempty"`

	// The lowest port of relayed packets. Default: 49152.
	MinPort uint16 `json:"min_port,omitempty"`

	// The highest port of relayed packets. Default: 65535.
	MaxPort uint16 `json:"max_port,omitempty"`

	// Addresses and prefixes (CIDR) that are refused as well, such as public
	// addresses of a network of your own. Nothing takes an address off the list
	// that is built in.
	Deny []string `json:"deny,omitempty"`
}

// relay checks and resolves the options. It is nil for the closed server.
func (o *TURNOpen) relay() (*turnsvc.OpenRelay, error) {
	if o == nil {
		return nil, nil
	}
	r := &turnsvc.OpenRelay{PortMin: o.MinPort, PortMax: o.MaxPort}
	var err error
	if r.BindAddr, err = openAddress("bind", o.Bind); err != nil {
		return nil, err
	}
	r.Advertise = r.BindAddr
	if o.Advertise != "" {
		if r.Advertise, err = openAddress("advertise", o.Advertise); err != nil {
			return nil, err
		}
	}
	if r.Advertise.IsUnspecified() || r.Advertise.Is4() != r.BindAddr.Is4() {
		return nil, fmt.Errorf("open turn binds %s and advertises %s: advertise one address of the same family", r.BindAddr, r.Advertise)
	}
	if r.PortMin == 0 && r.PortMax == 0 {
		r.PortMin, r.PortMax = 49152, 65535
	}
	if r.PortMin < 1024 || r.PortMin > r.PortMax {
		return nil, fmt.Errorf("open turn ports %d to %d are no range above 1023: write it like ports 49152-65535", r.PortMin, r.PortMax)
	}
	r.Deny, err = parsePrefixes("deny of open turn", o.Deny)
	return r, err
}

func openAddress(option, s string) (a netip.Addr, err error) {
	if s, err = caddy.NewReplacer().ReplaceOrErr(s, true, false); err != nil {
		return a, fmt.Errorf("%s of open turn: %w", option, err)
	}
	if a, err = netip.ParseAddr(s); err != nil || a.Zone() != "" || a.IsMulticast() {
		return a, fmt.Errorf("%s of open turn is %q: use an IP address of this server", option, s)
	}
	return a.Unmap(), nil
}

// withOwn is the configuration with the addresses of this host: media is
// reached at them, and nothing else that listens there.
func withOwn(c turnsvc.Config, media []netip.AddrPort) turnsvc.Config {
	c.MediaAddrs = media
	if c.Open == nil {
		return c
	}
	o := *c.Open
	o.Deny = slices.Clone(o.Deny)
	deny := func(a netip.Addr) {
		if p := netip.PrefixFrom(a, a.BitLen()); a.IsValid() && !slices.Contains(o.Deny, p) {
			o.Deny = append(o.Deny, p)
		}
	}
	for _, m := range media {
		deny(m.Addr().Unmap())
	}
	addrs, _ := net.InterfaceAddrs() // those clients are told are denied without it
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			own, _ := netip.AddrFromSlice(n.IP)
			deny(own.Unmap())
		}
	}
	c.Open = &o
	return c
}

// warnOpen makes sure that nobody has an open relay without knowing.
func warnOpen(o *turnsvc.OpenRelay, logger *zap.Logger) {
	if o == nil {
		return
	}
	logger.Warn("TURN is in OPEN MODE: whoever may publish or play can relay UDP to any public address under the address of this server; take `open` out of the turn option unless you want a general relay",
		zap.Stringer("bind", o.BindAddr), zap.Stringer("advertise", o.Advertise),
		zap.Uint16("min_port", o.PortMin), zap.Uint16("max_port", o.PortMax))
}
