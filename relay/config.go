package relay

import (
	"fmt"
	"net/netip"
	"time"
)

// CacheMode says when a new subscriber is served from the cached group of
// pictures instead of waiting for the next key frame.
type CacheMode string

const (
	CacheAuto CacheMode = "auto" // unless the source has shown that it answers PLI at once
	CacheOn   CacheMode = "on"
	CacheOff  CacheMode = "off"
)

// Config is the part of the hub that may change while sessions live. The zero
// value is usable; Apply fills in the defaults.
type Config struct {
	// PublicAddresses are advertised as candidates instead of the interfaces'
	// own, for a host behind a 1:1 NAT or a load balancer. IPv4 and IPv6 may be mixed.
	PublicAddresses []netip.Addr
	// Interfaces restricts the advertised addresses to these interfaces. Empty: all.
	Interfaces []string
	// AllowAddresses and DenyAddresses filter the advertised addresses. Empty: no filter.
	AllowAddresses, DenyAddresses []netip.Prefix

	// PublisherConnectTimeout ends a publisher that never connected. Default 30s.
	PublisherConnectTimeout time.Duration
	// SubscriberConnectTimeout ends a subscriber that never connected. Default 15s.
	SubscriberConnectTimeout time.Duration
	// Grace is how long a publisher that vanished keeps its stream and its
	// subscribers. Default 30s.
	Grace time.Duration
	// ConsentTimeout ends a subscriber from which nothing authenticated was
	// heard for this long (RFC 7675). Default 30s.
	ConsentTimeout time.Duration

	// GOPCache serves newcomers from the cached group of pictures. Default auto.
	GOPCache CacheMode

	// MaxPublishers, MaxSubscribers and MaxSubscribersPerStream bound the
	// number of sessions. 0: no limit.
	MaxPublishers, MaxSubscribers, MaxSubscribersPerStream int
	// MaxBitrate bounds the sum of what publishers send, bits/s: above it new
	// publishers are refused with ErrBitrate. 0: no limit.
	MaxBitrate uint64
	// Upstreams are the vendors that streams are pulled from and pushed to, by
	// the names that routes use.
	Upstreams map[string]UpstreamConfig

	// Routes are the routings of requests to come, by their keys. Streams that
	// follow a routing go on with the one of the same key.
	Routes map[string]*Routing

	// MaxBusy is the share of time (0..1] the sending loops may be busy
	// before new subscribers are refused. Default 0.85.
	MaxBusy float64
}

// minBitrate is the least limit that can be meant, bits/s: less is a number in
// the wrong unit.
const minBitrate = 10_000

func (c Config) withDefaults() Config {
	setDuration(&c.PublisherConnectTimeout, 30*time.Second)
	setDuration(&c.SubscriberConnectTimeout, 15*time.Second)
	setDuration(&c.Grace, 30*time.Second)
	setDuration(&c.ConsentTimeout, 30*time.Second)
	if c.GOPCache == "" {
		c.GOPCache = CacheAuto
	}
	if c.MaxBusy == 0 {
		c.MaxBusy = 0.85
	}
	return c
}

func setDuration(d *time.Duration, def time.Duration) {
	if *d == 0 {
		*d = def
	}
}

// Validate reports the first value that is out of range.
func (c Config) Validate() error {
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"publisher connect timeout", c.PublisherConnectTimeout},
		{"subscriber connect timeout", c.SubscriberConnectTimeout},
		{"grace", c.Grace},
		{"consent timeout", c.ConsentTimeout},
	} {
		if d.v < 0 || d.v > time.Hour {
			return fmt.Errorf("%s is %s: use 0 to 1h", d.name, d.v)
		}
	}
	switch c.GOPCache {
	case "", CacheAuto, CacheOn, CacheOff:
	default:
		return fmt.Errorf("gop cache is %q: use auto, on or off", c.GOPCache)
	}
	if c.MaxPublishers < 0 || c.MaxSubscribers < 0 || c.MaxSubscribersPerStream < 0 {
		return fmt.Errorf("limits are 0 (none) or more")
	}
	if c.MaxBitrate > 0 && c.MaxBitrate < minBitrate {
		return fmt.Errorf("max bitrate is %d bits/s, which is less than one voice: use at least %d, or 0 for no limit", c.MaxBitrate, minBitrate)
	}
	if !(c.MaxBusy >= 0 && c.MaxBusy <= 1) { // not a number, too
		return fmt.Errorf("max busy is %v: use a share above 0 and up to 1", c.MaxBusy)
	}
	for _, a := range c.PublicAddresses {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
			return fmt.Errorf("public address %s cannot be reached by anyone: use the address clients see", a)
		}
	}
	return nil
}
