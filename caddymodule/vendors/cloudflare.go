package vendors

import (
	"net/url"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/talwtn/caddy-wtn/relay"
)

func init() { caddy.RegisterModule(Cloudflare{}) }

// Cloudflare is Cloudflare Stream: live inputs that are published to at
// /<secret>/webRTC/publish and played at /<uid>/webRTC/play, as its documents
// have it. What its statuses mean is not documented; the standard is assumed.
type Cloudflare struct {
	Base

	// The customer's code: what the addresses of the dashboard have between
	// `customer-` and `.cloudflarestream.com`. Or URL, another address of it.
	Customer string `json:"customer,omitempty"`
	URL      string `json:"url,omitempty"`

	// The secrets of live inputs by stream, `*` for all others: what stands
	// before /webRTC/publish. Placeholders are replaced.
	Secrets map[string]string `json:"secrets,omitempty"`

	// The ids of live inputs, or signed tokens in their place, by stream, `*`
	// for all others. Default: the stream's name is the id. Placeholders are
	// replaced.
	UIDs map[string]string `json:"uids,omitempty"`

	base          *url.URL
	secrets, uids map[string]string
}

// CaddyModule returns the Caddy module information.
func (Cloudflare) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".cloudflare", New: func() caddy.Module { return new(Cloudflare) }}
}

// Provision reads the settings.
func (v *Cloudflare) Provision(caddy.Context) error {
	s := newSettings("cloudflare")
	v.provision(s, "*.cloudflarestream.com")
	raw := v.URL
	if raw == "" {
		raw = "https://customer-" + s.need("customer", v.Customer) + ".cloudflarestream.com"
	}
	v.base, _ = s.base("url", raw)
	v.secrets, v.uids = s.keyed("secret", v.Secrets), s.keyed("uid", v.UIDs)
	return s.err
}

// Request puts the secret or the id into the path.
func (v *Cloudflare) Request(c Call) (Request, error) {
	action := "publish"
	input, err := forStream(v.secrets, c.Stream, "secret")
	if c.Role == relay.RolePull {
		action = "play"
		if input, err = forStream(v.uids, c.Stream, "uid"); err != nil {
			input, _ = v.renamed(c.Stream)
			err = nil
		}
	}
	if err != nil {
		return Request{}, err
	}
	return Request{URLs: []*url.URL{under(v.base, nil, input, "webRTC", action)}}, nil
}

// Quirks are the vendor's domain.
func (v *Cloudflare) Quirks() Quirks {
	return Quirks{Probes: []*url.URL{origin(v.base)}, Hosts: v.hosts}
}

// UnmarshalOption reads customer, url, secret, uid, hosts and stream.
func (v *Cloudflare) UnmarshalOption(d *caddyfile.Dispenser) error {
	return v.options(options{
		"customer": one(&v.Customer),
		"url":      one(&v.URL),
		"secret":   keyed(&v.Secrets),
		"uid":      keyed(&v.UIDs),
	}).unmarshal(d, "cloudflare")
}

var (
	_ Vendor            = (*Cloudflare)(nil)
	_ OptionUnmarshaler = (*Cloudflare)(nil)
	_ caddy.Provisioner = (*Cloudflare)(nil)
)
