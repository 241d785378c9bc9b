package caddymodule

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/talwtn/caddy-wtn/relay"
)

// App holds what all `wtn` handlers of a server share: the media sockets, the
// addresses clients are told to send to, and the limits. Every setting has a
// default, so the app need not be configured at all.
//
// A reload applies the settings to the running gateway. Sessions that exist
// keep going, whatever changed; even a changed `media` address only concerns
// sessions made after the reload.
type App struct {
	// The network addresses media is received and sent on, as
	// `udp/<host>:<port>` or `tcp/<host>:<port>`. All sessions share them, so
	// these are the only ports to open in a firewall. A port range opens one
	// socket per port. Port 0 takes a free port, which the log names. The ports
	// are opened exclusively: a second process on them is refused.
	// Placeholders such as `{env.MEDIA}` are replaced.
	// Default: `udp/:5004` and `tcp/:5004`.
	Media []string `json:"media,omitempty"`

	// The IP addresses clients reach this server at, when they are not those of
	// its interfaces: behind a 1:1 NAT, in a cloud network or in a container.
	// IPv4 and IPv6 may both be given. Placeholders are replaced.
	// Default: the addresses of the interfaces.
	PublicAddresses []string `json:"public_addresses,omitempty"`

	// The names of the network interfaces whose addresses clients are told.
	// Default: all that are up.
	Interfaces []string `json:"interfaces,omitempty"`

	// Only addresses in these prefixes (CIDR, or a single address) are told to
	// clients. Default: all.
	AllowAddresses []string `json:"allow_addresses,omitempty"`

	// Addresses in these prefixes (CIDR, or a single address) are never told to
	// clients, even if allowed. Default: none.
	DenyAddresses []string `json:"deny_addresses,omitempty"`

	// How long to wait for peers that are silent.
	Timeouts *Timeouts `json:"timeouts,omitempty"`

	// Whether a new viewer is served from the cached group of pictures instead
	// of waiting for the next key frame: `on`, `off`, or `auto`, which does so
	// unless the publisher has shown that it answers key frame requests at once.
	// Default: `auto`.
	GOPCache string `json:"gop_cache,omitempty"`

	// How much this server takes on.
	Limits *Limits `json:"limits,omitempty"`

	// The relay for clients whose network blocks the media ports. Default: on.
	TURN *TURN `json:"turn,omitempty"`

	// STUN and TURN servers of your own that clients are told of, beside the
	// TURN server of the gateway or, if that is off, instead of it.
	ICEServers []ICEServer `json:"ice_servers,omitempty"`

	// Services that are asked for STUN and TURN servers, at most 4. Clients are
	// told of theirs after all others.
	ICEServerAPIs []ICEServerAPI `json:"ice_server_apis,omitempty"`

	// Vendors, and media servers of your own, that streams are pulled from and
	// pushed to, by the names that handlers use in `pull` and `push`.
	Upstreams map[string]*Upstream `json:"upstreams,omitempty"`

	state *state      // nil until the reference is taken
	gen   *generation // what Start applies

	quotas map[string]quota // of the handlers of this configuration, by key
}

// Timeouts are the times after which silence is taken as an end. Each is at
// most one hour.
type Timeouts struct {
	// A publisher that has not connected this long after its POST is ended.
	// Default: `30s`.
	PublisherConnect caddy.Duration `json:"publisher_connect,omitempty"`

	// A viewer that has not connected this long after its POST is ended.
	// Default: `15s`.
	SubscriberConnect caddy.Duration `json:"subscriber_connect,omitempty"`

	// How long a publisher that vanished keeps its stream and its viewers. If it
	// publishes again in time, the viewers just go on. Default: `30s`.
	Grace caddy.Duration `json:"grace,omitempty"`

	// A viewer from which nothing was heard this long is ended. Default: `30s`.
	Consent caddy.Duration `json:"consent,omitempty"`
}

// Limits bound the number of sessions. What is above a limit is refused with
// 503 and Retry-After; nobody who is connected suffers.
type Limits struct {
	// Publishers at the same time. Default: no limit.
	Publishers int `json:"publishers,omitempty"`

	// Viewers at the same time, of all streams. Default: no limit.
	Subscribers int `json:"subscribers,omitempty"`

	// Viewers of one stream at the same time. Default: no limit.
	SubscribersPerStream int `json:"subscribers_per_stream,omitempty"`

	// What all publishers together may send, in bits per second. While they send
	// more, new publishers are refused. Default: no limit.
	Bitrate uint64 `json:"bitrate,omitempty"`

	// The share of time (above 0, up to 1) the sending loops may be busy before
	// new viewers are refused. Default: 0.85.
	Busy float64 `json:"busy,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "wtn", New: func() caddy.Module { return new(App) }}
}

// Provision parses the settings and takes a reference to the living gateway.
// It opens no socket and changes nothing that is running.
func (a *App) Provision(ctx caddy.Context) error {
	media, err := parseMedia(a.Media)
	if err != nil {
		return err
	}
	config, err := a.relayConfig()
	if err != nil {
		return err
	}
	events, err := ctx.App("events")
	if err != nil {
		return err
	}
	a.gen = &generation{
		media:  media,
		config: config,
		logger: ctx.Logger(),
		target: &eventTarget{ctx: ctx, app: events.(*caddyevents.App)},
	}
	if err := a.provisionTURN(ctx); err != nil {
		return err
	}
	if err := a.provisionUpstreams(ctx); err != nil {
		return err
	}
	if a.state, err = takeState(a.gen.logger); err != nil {
		return err
	}
	for _, c := range []prometheus.Collector{a.state.metrics, &turnCollector{a.state.turn}} {
		if err := ctx.GetMetricsRegistry().Register(c); err != nil {
			return fmt.Errorf("registering the wtn metrics: %w", err)
		}
	}
	return nil
}

// provisionTURN checks what concerns TURN and prepares its certificates.
func (a *App) provisionTURN(ctx caddy.Context) (err error) {
	if len(a.ICEServers) > maxICEServers {
		return fmt.Errorf("%d ice_server entries are too many: use at most %d, clients are slow with long lists", len(a.ICEServers), maxICEServers)
	}
	for _, s := range a.ICEServers {
		if s, err = s.resolve(); err != nil {
			return err
		}
		a.gen.ice.servers = append(a.gen.ice.servers, s)
	}
	if len(a.ICEServerAPIs) > maxICEServerAPIs {
		return fmt.Errorf("%d ice_server_api entries are too many: use at most %d", len(a.ICEServerAPIs), maxICEServerAPIs)
	}
	for _, s := range a.ICEServerAPIs {
		source, err := s.resolve(a.gen.logger)
		if err != nil {
			return err
		}
		a.gen.ice.sources = append(a.gen.ice.sources, source)
	}
	if a.gen.turn, err = a.TURN.settings(); err != nil || a.gen.turn == nil {
		return err
	}
	return a.gen.turn.provisionTLS(ctx)
}

// Validate reports settings that are out of range.
func (a *App) Validate() error {
	return a.gen.config.Validate()
}

// Start binds the sockets that are not open yet. The settings come into
// force as soon as Caddy stops the configuration before this one, so that a
// reload which another app refuses has changed nothing.
func (a *App) Start() error {
	ctx := a.gen.target.ctx
	a.state.turn.resolveSecret(ctx, a.gen.turn, ctx.Storage(), a.gen.logger)
	if t := a.gen.turn; t != nil && t.tls != nil {
		if err := t.tls.manage(); err != nil {
			return fmt.Errorf("certificates of the turn hosts: %w", err)
		}
	}
	return a.state.activate(a.gen)
}

// Stop ends all sessions when the process exits or no configuration has the
// gateway any more, while events can still be delivered. At any other reload it
// only withdraws this configuration: the sessions are the gateway's.
func (a *App) Stop() error {
	if caddy.Exiting() || lastReference() {
		a.state.shutDown()
	}
	a.state.deactivate(a.gen)
	return nil
}

// Cleanup withdraws this configuration, also if it never started or was only
// half provisioned, and gives the reference back.
func (a *App) Cleanup() error {
	if a.state == nil {
		return nil
	}
	for _, source := range a.gen.ice.sources {
		source.client.CloseIdleConnections()
	}
	a.closeUpstreams()
	s := a.state
	a.state = nil
	s.deactivate(a.gen)
	return releaseState()
}

// relayConfig turns the settings into the hub's.
func (a *App) relayConfig() (relay.Config, error) {
	c := relay.Config{Interfaces: a.Interfaces, GOPCache: relay.CacheMode(a.GOPCache)}
	repl := caddy.NewReplacer()
	for _, s := range a.PublicAddresses {
		v, err := repl.ReplaceOrErr(s, true, true)
		if err != nil {
			return c, fmt.Errorf("public address %q: %w", s, err)
		}
		addr, err := netip.ParseAddr(v)
		if err != nil {
			return c, fmt.Errorf("public address %q is not an IP address: give the address clients reach this server at, for example 203.0.113.10", v)
		}
		c.PublicAddresses = append(c.PublicAddresses, addr)
	}
	var err error
	if c.AllowAddresses, err = parsePrefixes("allow_addresses", a.AllowAddresses); err != nil {
		return c, err
	}
	if c.DenyAddresses, err = parsePrefixes("deny_addresses", a.DenyAddresses); err != nil {
		return c, err
	}
	if t := a.Timeouts; t != nil {
		c.PublisherConnectTimeout = time.Duration(t.PublisherConnect)
		c.SubscriberConnectTimeout = time.Duration(t.SubscriberConnect)
		c.Grace = time.Duration(t.Grace)
		c.ConsentTimeout = time.Duration(t.Consent)
	}
	if l := a.Limits; l != nil {
		c.MaxPublishers = l.Publishers
		c.MaxSubscribers = l.Subscribers
		c.MaxSubscribersPerStream = l.SubscribersPerStream
		c.MaxBitrate = l.Bitrate
		c.MaxBusy = l.Busy
	}
	return c, nil
}

// parsePrefixes accepts CIDR prefixes and single addresses.
func parsePrefixes(option string, list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		if addr, err := netip.ParseAddr(s); err == nil {
			out = append(out, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is neither an IP address nor a prefix: write it like 10.0.0.0/8 or fd00::/8", option, s)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// Interface guards.
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
