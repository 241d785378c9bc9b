package vendors

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/talwtn/caddy-wtn/relay"
)

func init() { caddy.RegisterModule(Gateway{}) }

// Gateway is another gateway of this kind. Streams are pushed to its WHIP
// endpoint. Streams of two segments, app/stream, are pulled from its WTN
// endpoint, because such sessions can be paused; others from its WHEP endpoint.
type Gateway struct {
	Base

	// The gateway's address with its prefix, such as `https://edge.example/live`.
	// Placeholders are replaced.
	URL string `json:"url,omitempty"`

	// The bearer token, if one is needed. Placeholders are replaced.
	Token string `json:"token,omitempty"`

	base   *url.URL
	header http.Header
}

// CaddyModule returns the Caddy module information.
func (Gateway) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".gateway", New: func() caddy.Module { return new(Gateway) }}
}

// Provision reads the settings.
func (v *Gateway) Provision(caddy.Context) error {
	s := newSettings("gateway")
	v.provision(s)
	var auth string
	v.base, auth = s.base("url", v.URL)
	if v.header = bearer(s.sent("token", v.Token)); v.header == nil {
		v.header = authorization(auth)
	}
	return s.err
}

// Request chooses the endpoint.
func (v *Gateway) Request(c Call) (Request, error) {
	path := v.path(c.Stream)
	face := "whip"
	if c.Role == relay.RolePull {
		face = "whep"
		if len(path) == 2 {
			face = "sub"
		}
	}
	u := under(v.base, nil, slices.Concat([]string{face}, path)...)
	return Request{URLs: []*url.URL{u}, Header: v.header, Mutes: face == "sub"}, nil
}

// Quirks are none.
func (v *Gateway) Quirks() Quirks {
	return Quirks{Probes: []*url.URL{under(v.base, nil, "whep", "")}, Hosts: v.hosts}
}

// UnmarshalOption reads url, token, hosts and stream.
func (v *Gateway) UnmarshalOption(d *caddyfile.Dispenser) error {
	return v.options(options{
		"url":   one(&v.URL),
		"token": one(&v.Token),
	}).unmarshal(d, "gateway")
}

var (
	_ Vendor            = (*Gateway)(nil)
	_ OptionUnmarshaler = (*Gateway)(nil)
	_ caddy.Provisioner = (*Gateway)(nil)
)
