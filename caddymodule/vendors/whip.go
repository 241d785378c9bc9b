package vendors

import (
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"golang.org/x/net/http/httpguts"

	"github.com/talwtn/caddy-wtn/relay"
)

func init() { caddy.RegisterModule(WHIP{}) }

// WHIP is any service that has WHIP (RFC 9725) and WHEP endpoints.
type WHIP struct {
	Base

	// Where streams are pushed to and pulled from, at least one of them.
	// `{stream}` is the stream's name; other placeholders are replaced when the
	// configuration is loaded.
	WHIPURL string `json:"whip,omitempty"`
	WHEPURL string `json:"whep,omitempty"`

	// The bearer token, if one is needed. Placeholders are replaced.
	Token string `json:"token,omitempty"`

	// Further headers, sent wherever the token is. Placeholders are replaced.
	Headers map[string]string `json:"headers,omitempty"`

	whip, whep *template
	header     http.Header
}

// CaddyModule returns the Caddy module information.
func (WHIP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".whip", New: func() caddy.Module { return new(WHIP) }}
}

// Provision reads the settings.
func (v *WHIP) Provision(caddy.Context) error {
	s := newSettings("whip")
	v.provision(s)
	v.whip = s.template("whip", v.WHIPURL)
	v.whep = s.template("whep", v.WHEPURL)
	if v.WHIPURL == "" && v.WHEPURL == "" {
		s.fail("whip or whep", "is missing")
	}
	v.header = bearer(s.sent("token", v.Token))
	if v.header == nil {
		v.header = make(http.Header)
	}
	for name, value := range v.Headers {
		if !httpguts.ValidHeaderFieldName(name) {
			s.fail("headers", "has a name that cannot be sent")
			continue
		}
		v.header.Set(name, s.sent("header "+name, value))
	}
	return s.err
}

// Request fills in the stream's name.
func (v *WHIP) Request(c Call) (Request, error) {
	t, missing := v.whip, "it is configured without whip"
	if c.Role == relay.RolePull {
		t, missing = v.whep, "it is configured without whep"
	}
	if t == nil {
		return Request{}, cannot(missing)
	}
	name, _ := v.renamed(c.Stream)
	u, err := t.url(name)
	if err != nil {
		return Request{}, err
	}
	header := v.header
	if t.auth != "" && header.Get("Authorization") == "" {
		header = header.Clone()
		header.Set("Authorization", t.auth)
	}
	return Request{URLs: []*url.URL{u}, Header: header}, nil
}

// Quirks are none: this is the standard.
func (v *WHIP) Quirks() Quirks {
	q := Quirks{Hosts: v.hosts}
	for _, t := range []*template{v.whip, v.whep} {
		if t != nil {
			q.Probes = append(q.Probes, t.probe())
		}
	}
	return q
}

// UnmarshalOption reads whip, whep, token, header, hosts and stream.
func (v *WHIP) UnmarshalOption(d *caddyfile.Dispenser) error {
	return v.options(options{
		"whip":   one(&v.WHIPURL),
		"whep":   one(&v.WHEPURL),
		"token":  one(&v.Token),
		"header": func(d *caddyfile.Dispenser) error { return pair(d, &v.Headers, "its name and its value") },
	}).unmarshal(d, "whip")
}

var (
	_ Vendor            = (*WHIP)(nil)
	_ OptionUnmarshaler = (*WHIP)(nil)
	_ caddy.Provisioner = (*WHIP)(nil)
)
