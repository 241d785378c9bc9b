package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/caddymodule/vendors"
	"github.com/talwtn/caddy-wtn/relay"
)

// Upstream is a vendor, or a media server of your own, that streams can be
// pulled from and pushed to. What is known of it (whether it is well, how many
// sessions are there) stays with its name over reloads.
type Upstream struct {
	// The vendor: how sessions are made there.
	VendorRaw json.RawMessage `json:"vendor" caddy:"namespace=wtn.vendors inline_key=name"`

	// How many sessions a second are made there, in bursts of `burst`. More wait
	// for their turn, so that an upstream which takes the streams of a dead one
	// over is not drowned. Default: 20 and 20.
	Rate  float64 `json:"rate,omitempty"`
	Burst int     `json:"burst,omitempty"`

	// How many different streams have to fail there within 10 s before the
	// upstream is left alone for `fail_duration`, which doubles each time up to
	// 10 minutes. An upstream that is the last one of a stream is asked all the
	// same. Default: 3 and `30s`.
	MaxFails     int            `json:"max_fails,omitempty"`
	FailDuration caddy.Duration `json:"fail_duration,omitempty"`

	// How often the upstream is checked while it is in use; `off` is written as
	// -1. After `health_fails` failures in a row it is down, after
	// `health_passes` successes it is up again. Default: `5s`, `2s`, 2 and 3.
	HealthInterval caddy.Duration `json:"health_interval,omitempty"`
	HealthTimeout  caddy.Duration `json:"health_timeout,omitempty"`
	HealthFails    int            `json:"health_fails,omitempty"`
	HealthPasses   int            `json:"health_passes,omitempty"`

	// How long one attempt to make a session may take, and then again to connect.
	// Default: `3s`.
	SetupTimeout caddy.Duration `json:"setup_timeout,omitempty"`

	vendor vendors.Vendor
	client *vendors.Client
}

// provision loads the vendor.
func (u *Upstream) provision(ctx caddy.Context, name string, log *zap.Logger) (relay.UpstreamConfig, error) {
	var c relay.UpstreamConfig
	if len(u.VendorRaw) == 0 {
		return c, fmt.Errorf("upstream %s has no vendor: name one, as in vendor whip", name)
	}
	m, err := ctx.LoadModule(u, "VendorRaw")
	if err != nil {
		return c, fmt.Errorf("upstream %s: %w", name, err)
	}
	v := m.(vendors.Vendor)
	u.vendor = v
	u.client = vendors.New(v, name, log)
	c = relay.UpstreamConfig{
		Upstream: u.client, Vendor: vendors.Name(v),
		Rate: u.Rate, Burst: u.Burst, MaxFails: u.MaxFails, FailDuration: time.Duration(u.FailDuration),
		HealthInterval: time.Duration(u.HealthInterval), HealthTimeout: time.Duration(u.HealthTimeout),
		HealthFails: u.HealthFails, HealthPasses: u.HealthPasses, SetupTimeout: time.Duration(u.SetupTimeout),
	}
	return c, nil
}

// validate reports the first value that is out of range.
func (u *Upstream) validate(name string) error {
	for _, v := range []struct {
		option string
		bad    bool
	}{
		{"rate", u.Rate < 0 || u.Rate > 1000},
		{"burst", u.Burst < 0 || u.Burst > 10000},
		{"max_fails", u.MaxFails < 0},
		{"fail_duration", u.FailDuration < 0 || u.FailDuration > caddy.Duration(time.Hour)},
		{"health_interval", u.HealthInterval > caddy.Duration(time.Hour)},
		{"health_timeout", u.HealthTimeout < 0 || u.HealthTimeout > caddy.Duration(time.Minute)},
		{"health_fails", u.HealthFails < 0}, {"health_passes", u.HealthPasses < 0},
		{"setup_timeout", u.SetupTimeout < 0 || u.SetupTimeout > caddy.Duration(30*time.Second)},
	} {
		if v.bad {
			return fmt.Errorf("upstream %s: %s is out of range", name, v.option)
		}
	}
	return nil
}

// provisionUpstreams loads all upstreams into the configuration of the hub.
func (a *App) provisionUpstreams(ctx caddy.Context) error {
	for name, u := range a.Upstreams {
		if u == nil || name == "" || strings.ContainsAny(name, " /#") {
			return fmt.Errorf("upstream %q: names are single words without slashes", name)
		}
		if err := u.validate(name); err != nil {
			return err
		}
		c, err := u.provision(ctx, name, a.gen.logger)
		if err != nil {
			return err
		}
		if a.gen.config.Upstreams == nil {
			a.gen.config.Upstreams = make(map[string]relay.UpstreamConfig)
		}
		a.gen.config.Upstreams[name] = c
	}
	return nil
}

// closeUpstreams lets the connections of this configuration go. Sessions at
// upstreams can still be ended.
func (a *App) closeUpstreams() {
	for _, u := range a.Upstreams {
		if u != nil && u.client != nil {
			u.client.CloseIdleConnections()
		}
	}
}

// route adds what the streams of a handler do to the configuration of the hub,
// so that a reload changes those that live. Handlers that cannot be told apart
// (see HandlerLimits.Name) and say different things only say them to new requests.
func (a *App) route(r *relay.Routing) {
	if a.gen.config.Routes == nil {
		a.gen.config.Routes = make(map[string]*relay.Routing)
	}
	key := r.Key
	if before, given := a.gen.config.Routes[key]; given && !reflect.DeepEqual(before, r) {
		r = nil
	}
	a.gen.config.Routes[key] = r
}

// usableUpstreams refuses names that are not configured, and upstreams that can
// never take a role: some services only take streams in.
func (a *App) usableUpstreams(role relay.Role, names []string) error {
	if err := a.knownUpstreams(names); err != nil {
		return err
	}
	for _, n := range names {
		if v := a.Upstreams[n].vendor; v != nil {
			if _, err := v.Request(vendors.Call{Role: role, Stream: "x", Now: time.Now()}); errors.Is(err, vendors.ErrRole) {
				return fmt.Errorf("upstream %s: %w", n, err)
			}
		}
	}
	return nil
}

// knownUpstreams refuses names that are not configured.
func (a *App) knownUpstreams(names []string) error {
	for i, n := range names {
		if a.Upstreams[n] == nil {
			known := make([]string, 0, len(a.Upstreams))
			for k := range a.Upstreams {
				known = append(known, k)
			}
			slices.Sort(known)
			if len(known) == 0 {
				return fmt.Errorf("upstream %s is not configured: describe it in the global wtn option", n)
			}
			return fmt.Errorf("upstream %s is not configured: there are %s", n, strings.Join(known, ", "))
		}
		if slices.Contains(names[:i], n) {
			return fmt.Errorf("upstream %s is named twice", n)
		}
	}
	return nil
}
