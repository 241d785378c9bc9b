package caddymodule

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"path"
	"sync"

	"golang.org/x/time/rate"
)

var errRate = errors.New("there are too many requests from your address: try again in a moment")

// RateLimit bounds the POSTs of one client address: IPv4 addresses one by one,
// IPv6 by their /64, which is what one customer has.
type RateLimit struct {
	// How many POSTs a second one address may make in the long run.
	Rate float64 `json:"rate,omitempty"`

	// How many it may make at once. Default: twice the rate, and at least 10.
	Burst int `json:"burst,omitempty"`
}

func (l *RateLimit) validate() error {
	if l == nil {
		return nil
	}
	if !(l.Rate > 0) || l.Rate > 1e6 || l.Burst < 0 || l.Burst > 1e6 {
		return fmt.Errorf("rate_limit %v %d: the rate is above 0 and up to 1000000 a second, so is the burst, in whole numbers", l.Rate, l.Burst)
	}
	return nil
}

// maxClients bounds one generation of the table of clients.
const maxClients = 1 << 14

// clientLimits are the limiters of the clients that were seen last. When as many
// as fit have been seen, they become the old generation, and the old one is
// forgotten: memory is bounded, and who comes often is not forgotten.
type clientLimits struct {
	rate  rate.Limit
	burst int

	mu       sync.Mutex
	now, old map[netip.Prefix]*rate.Limiter
}

func newClientLimits(l *RateLimit) *clientLimits {
	if l == nil {
		return nil
	}
	burst := l.Burst
	if burst == 0 {
		burst = max(10, int(math.Ceil(2*l.Rate)))
	}
	return &clientLimits{rate: rate.Limit(l.Rate), burst: burst, now: make(map[netip.Prefix]*rate.Limiter)}
}

// allow counts one request; false if it is one too many.
func (c *clientLimits) allow(client netip.Addr) bool {
	if c == nil || !client.IsValid() {
		return true
	}
	bits := 32
	if client.Is6() {
		bits = 64
	}
	key, _ := client.WithZone("").Prefix(bits)
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.now[key]
	if l == nil {
		if l = c.old[key]; l == nil {
			l = rate.NewLimiter(c.rate, c.burst)
		}
		if len(c.now) == maxClients {
			c.now, c.old = make(map[netip.Prefix]*rate.Limiter), c.now
		}
		c.now[key] = l
	}
	return l.Allow()
}

// validatePatterns reports the first pattern that can match nothing.
func validatePatterns(list []string) error {
	for _, p := range list {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			return fmt.Errorf("streams: %q is no pattern: use names, and * for anything but a slash, as in app/*", p)
		}
	}
	return nil
}

// serves reports whether a stream may be published and played here.
func (h *Handler) serves(stream string) bool {
	if len(h.Streams) == 0 {
		return true
	}
	for _, p := range h.Streams {
		if ok, _ := path.Match(p, stream); ok {
			return true
		}
	}
	return false
}
