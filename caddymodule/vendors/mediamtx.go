package vendors

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/talwtn/caddy-wtn/relay"
)

func init() { caddy.RegisterModule(MediaMTX{}) }

// MediaMTX is a MediaMTX server: /<stream>/whip and /<stream>/whep.
type MediaMTX struct {
	Base

	// The server's address, such as `http://mediamtx:8889`. Placeholders are
	// replaced.
	URL string `json:"url,omitempty"`

	// User and password, or a token. Placeholders are replaced.
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
	Token    string `json:"token,omitempty"`

	base   *url.URL
	header http.Header
}

// CaddyModule returns the Caddy module information.
func (MediaMTX) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".mediamtx", New: func() caddy.Module { return new(MediaMTX) }}
}

// Provision reads the settings.
func (v *MediaMTX) Provision(caddy.Context) error {
	s := newSettings("mediamtx")
	v.provision(s)
	var auth string
	v.base, auth = s.base("url", v.URL)
	user, password, token := s.text("user", v.User), s.text("password", v.Password), s.sent("token", v.Token)
	if user != "" && token != "" {
		s.fail("token", "is there beside a user: use one of them")
	}
	switch {
	case token != "":
		v.header = bearer(token)
	case user != "":
		v.header = authorization(basic(user, password))
	default:
		v.header = authorization(auth)
	}
	return s.err
}

// Request appends to the stream's path.
func (v *MediaMTX) Request(c Call) (Request, error) {
	leaf := "whip"
	if c.Role == relay.RolePull {
		leaf = "whep"
	}
	u := under(v.base, nil, slices.Concat(v.path(c.Stream), []string{leaf})...)
	return Request{URLs: []*url.URL{u}, Header: v.header}, nil
}

// Quirks are none.
func (v *MediaMTX) Quirks() Quirks {
	return Quirks{Probes: []*url.URL{under(v.base, nil, "")}, Hosts: v.hosts}
}

// UnmarshalOption reads url, user, password, token, hosts and stream.
func (v *MediaMTX) UnmarshalOption(d *caddyfile.Dispenser) error {
	return v.options(options{
		"url":      one(&v.URL),
		"user":     one(&v.User),
		"password": one(&v.Password),
		"token":    one(&v.Token),
	}).unmarshal(d, "mediamtx")
}

var (
	_ Vendor            = (*MediaMTX)(nil)
	_ OptionUnmarshaler = (*MediaMTX)(nil)
	_ caddy.Provisioner = (*MediaMTX)(nil)
)
