package turnsvc

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"
)

const (
	maxMediaAddrs  = 64
	maxSecrets     = 4
	maxAllocations = 1 << 16 // slots of the relayed-address table
	maxRealm       = 127     // RFC 8489 section 14.9, in bytes; shorter keeps challenges small
)

// Config is what an operator decides. The zero value of a number means its default; negative
// numbers are refused. All of it may be changed on a running server with Apply.
type Config struct {
	// Realm is sent in challenges and enters the password key (RFC 8489 section 14.9).
	// Printable ASCII without quote or backslash, 1 to 127 bytes. Default "turn".
	Realm string
	// Secrets sign the credentials: the first one mints, all of them (at most 4) verify.
	// To rotate put the new one in front and drop the old one after MaxTTL.
	Secrets []string
	// MediaAddrs are the address:port pairs clients are told to send media to, as the clients
	// see them (the outside of a 1:1 NAT). Relayed traffic reaches these and nothing else.
	// At most 64. Empty refuses every allocation until SetMediaAddrs.
	MediaAddrs []netip.AddrPort
	// MaxAllocations bounds all allocations together, 1 to 65536. Default 4096. Beyond: 508.
	MaxAllocations int
	// MaxPerUser bounds the allocations of one user id. Default 10. Beyond: 486.
	MaxPerUser int
	// MaxPerIP bounds the allocations of one client address (an IPv6 /64). Default 128. Beyond: 486.
	MaxPerIP int
	// Bandwidth is the limit of one allocation in bits per second of payload, counted for each
	// direction apart, with a burst of half a second. 0 is no limit.
	Bandwidth int64
	// UnauthReplies is how many replies per second one source address (an IPv6 /64) gets over UDP
	// to requests that prove nothing: Binding, 401, 438, 400. The rest is dropped unanswered, so a
	// forged source receives less than was sent in its name. Default 20.
	UnauthReplies int
	// MaxConnsPerIP bounds the stream connections of one client address (an IPv6 /64). Default 64.
	MaxConnsPerIP int
	// MaxUnauthConns bounds the stream connections that hold no allocation yet. Default 512.
	MaxUnauthConns int
	// AuthTimeout is how long a stream connection may live without an allocation, and how long a
	// client may stall a write. Default 10 s.
	AuthTimeout time.Duration
	// MaxTTL is the longest lifetime Mint gives; credentials that claim more are refused.
	// Default 12 h.
	MaxTTL time.Duration
	// Open, when set, makes new allocations real UDP sockets that relay to any address not denied.
	Open *OpenRelay
}

// OpenRelay turns the closed server into a general relay. It is off by default because a general
// relay is a door into the network it stands in (RFC 8656 section 21).
type OpenRelay struct {
	// BindAddr is the local address of the relay sockets; its family is the only one offered.
	BindAddr netip.Addr
	// Advertise is the address clients are told, when it differs from BindAddr.
	Advertise netip.Addr
	// PortMin and PortMax bound the relay ports, inclusive. Default 49152 to 65535.
	PortMin, PortMax uint16
	// Deny is refused besides the built-in list (private, loopback, link-local, multicast,
	// reserved, and all of these inside IPv6 transition forms).
	Deny []netip.Prefix
}

// Option is a dependency of the server, fixed for its life.
type Option func(*Server)

// WithLogger sets the logger. Default: no logging.
func WithLogger(l *zap.Logger) Option { return func(s *Server) { s.log = l } }

// WithClock replaces time.Now for credentials, nonces, leases and rate limits. Timers (allocation
// lifetime, connection deadlines) always run on the real clock.
func WithClock(now func() time.Time) Option { return func(s *Server) { s.clock = now } }

// WithObserver sets who is told about allocations.
func WithObserver(o Observer) Option { return func(s *Server) { s.observer = o } }

// settings is a Config that passed validation. It is immutable and replaced as a whole.
type settings struct {
	Config
	mediaIPs []netip.Addr
	deny     []netip.Prefix
}

func compile(c Config) (*settings, error) {
	c.Secrets = slices.Clone(c.Secrets)
	c.applyDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	s := &settings{Config: c}
	if c.Open != nil {
		o := *c.Open
		s.Open = &o
		s.deny = append(slices.Clone(deniedPeers), o.Deny...)
		for _, own := range []netip.Addr{o.BindAddr, o.Advertise} {
			s.deny = append(s.deny, netip.PrefixFrom(own, own.BitLen()))
		}
	}
	media, err := mediaSet(c.MediaAddrs)
	if err != nil {
		return nil, err
	}
	return s.withMedia(media), nil
}

// withMedia returns a copy that relays to the given addresses.
func (s *settings) withMedia(media []netip.AddrPort) *settings {
	n := *s
	n.MediaAddrs, n.mediaIPs = media, nil
	for _, m := range media {
		if !slices.Contains(n.mediaIPs, m.Addr()) {
			n.mediaIPs = append(n.mediaIPs, m.Addr())
		}
	}
	return &n
}

func mediaSet(in []netip.AddrPort) ([]netip.AddrPort, error) {
	if len(in) > maxMediaAddrs {
		return nil, fmt.Errorf("%w: %d media addresses, at most %d", ErrConfig, len(in), maxMediaAddrs)
	}
	var out []netip.AddrPort
	for _, m := range in {
		a := m.Addr().Unmap()
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" || m.Port() == 0 {
			return nil, fmt.Errorf("%w: media address %v must be a unicast address with a port", ErrConfig, m)
		}
		if m = netip.AddrPortFrom(a, m.Port()); !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out, nil
}

func (c *Config) applyDefaults() {
	orInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orDur := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	if c.Realm == "" {
		c.Realm = "turn"
	}
	orInt(&c.MaxAllocations, 4096)
	orInt(&c.MaxPerUser, 10)
	orInt(&c.MaxPerIP, 128)
	orInt(&c.UnauthReplies, 20)
	orInt(&c.MaxConnsPerIP, 64)
	orInt(&c.MaxUnauthConns, 512)
	orDur(&c.AuthTimeout, 10*time.Second)
	orDur(&c.MaxTTL, 12*time.Hour)
	if c.Open != nil {
		o := *c.Open
		if o.PortMin == 0 && o.PortMax == 0 {
			o.PortMin, o.PortMax = firstPort, 65535
		}
		if !o.Advertise.IsValid() {
			o.Advertise = o.BindAddr
		}
		o.BindAddr, o.Advertise = o.BindAddr.Unmap(), o.Advertise.Unmap()
		c.Open = &o
	}
}

func (c *Config) validate() error {
	if len(c.Realm) > maxRealm {
		return fmt.Errorf("%w: realm is longer than %d bytes", ErrConfig, maxRealm)
	}
	for _, r := range []byte(c.Realm) {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			return fmt.Errorf("%w: realm must be printable ASCII without quote or backslash", ErrConfig)
		}
	}
	if len(c.Secrets) == 0 || len(c.Secrets) > maxSecrets || slices.Contains(c.Secrets, "") {
		return fmt.Errorf("%w: give 1 to %d secrets, none empty", ErrConfig, maxSecrets)
	}
	if c.MaxAllocations < 1 || c.MaxAllocations > maxAllocations {
		return fmt.Errorf("%w: MaxAllocations must be 1 to %d", ErrConfig, maxAllocations)
	}
	for name, v := range map[string]int64{
		"MaxPerUser": int64(c.MaxPerUser), "MaxPerIP": int64(c.MaxPerIP), "UnauthReplies": int64(c.UnauthReplies),
		"MaxConnsPerIP": int64(c.MaxConnsPerIP), "MaxUnauthConns": int64(c.MaxUnauthConns), "Bandwidth": c.Bandwidth,
		"AuthTimeout": int64(c.AuthTimeout), "MaxTTL": int64(c.MaxTTL),
	} {
		if v < 0 {
			return fmt.Errorf("%w: %s must not be negative", ErrConfig, name)
		}
	}
	if c.Open == nil {
		return nil
	}
	return c.Open.validate()
}

func (o *OpenRelay) validate() error {
	switch {
	case !o.BindAddr.IsValid():
		return fmt.Errorf("%w: open relay needs BindAddr", ErrConfig)
	case o.Advertise.IsUnspecified() || o.Advertise.Is4() != o.BindAddr.Is4():
		return fmt.Errorf("%w: open relay must advertise one address of the family of BindAddr", ErrConfig)
	case o.PortMin == 0 || o.PortMin > o.PortMax:
		return fmt.Errorf("%w: open relay ports %d to %d are not a range", ErrConfig, o.PortMin, o.PortMax)
	}
	for _, p := range o.Deny {
		if !p.IsValid() {
			return fmt.Errorf("%w: invalid prefix in the deny list", ErrConfig)
		}
	}
	return nil
}
