package caddymodule

import (
	"fmt"
	"net"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// ListenerWrapper lets TURN clients in through the port of an HTTP server, the
// one port that every network lets pass:
//
//	servers {
//		listener_wrappers {
//			turn
//		}
//	}
//
// A connection whose first bytes are those of TURN goes to the gateway's TURN
// server, all others to the HTTP server. Placed so, it looks inside TLS and
// serves `turns:`. With another `turn` before `tls` the port also serves TURN
// over plain TCP. Clients need not name a protocol in their TLS handshake, and
// browsers do not; for one that insists on `stun.turn`, the site has to say
// `tls { alpn h2 http/1.1 stun.turn }`. Clients that connect to an IP address
// name no server: the global option `default_sni` says whose certificate they
// are shown.
type ListenerWrapper struct {
	pool *turnPool
	ctx  caddy.Context
}

// CaddyModule returns the Caddy module information.
func (ListenerWrapper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.turn", New: func() caddy.Module { return new(ListenerWrapper) }}
}

// Provision finds the gateway.
func (l *ListenerWrapper) Provision(ctx caddy.Context) error {
	a, err := ctx.App("wtn")
	if err != nil {
		return err
	}
	app := a.(*App)
	if app.gen.turn == nil {
		return fmt.Errorf("the listener wrapper turn leads nowhere: take `turn off` out of the wtn option, or take the wrapper out")
	}
	l.pool, l.ctx = app.state.turn, ctx
	return nil
}

// WrapListener implements caddy.ListenerWrapper.
func (l *ListenerWrapper) WrapListener(inner net.Listener) net.Listener {
	https := caddyhttp.DefaultHTTPSPort
	// Only now: while the wrapper is provisioned the HTTP app is too.
	if a, err := l.ctx.AppIfConfigured("http"); err == nil {
		if app, ok := a.(*caddyhttp.App); ok && app.HTTPSPort > 0 {
			https = app.HTTPSPort
		}
	}
	return newFront(l.pool, inner, https)
}

// UnmarshalCaddyfile takes no options.
func (l *ListenerWrapper) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("the listener wrapper turn has no options: configure TURN in the wtn global option")
	}
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*ListenerWrapper)(nil)
	_ caddy.ListenerWrapper = (*ListenerWrapper)(nil)
	_ caddyfile.Unmarshaler = (*ListenerWrapper)(nil)
)
