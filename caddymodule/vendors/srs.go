package vendors

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/talwtn/caddy-wtn/relay"
)

func init() { caddy.RegisterModule(SRS{}) }

// SRS is an SRS server: /rtc/v1/whip/ and /rtc/v1/whep/ with app and stream in
// the query. A stream a/b/c here is the stream c of the app a/b there. Which
// statuses it answers with when a stream is busy or absent is unverified; the
// standard is assumed.
type SRS struct {
	Base

	// The server's address, such as `http://srs:1985`. Placeholders are replaced.
	URL string `json:"url,omitempty"`

	// The app of streams whose names have one segment. Default: `live`.
	App string `json:"app,omitempty"`

	// The secret (parameter secret) that the server's hooks look at.
	// Placeholders are replaced.
	Secret string `json:"secret,omitempty"`

	// The codec of pushed video (parameter codec): `hevc`, `h264` or another one
	// that the server knows. Default: hevc when no other codec is offered.
	Codec string `json:"codec,omitempty"`

	// The address that the server puts into its candidates (parameter eip).
	EIP string `json:"eip,omitempty"`

	base   *url.URL
	header http.Header
	secret string
}

// CaddyModule returns the Caddy module information.
func (SRS) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".srs", New: func() caddy.Module { return new(SRS) }}
}

// Provision reads the settings.
func (v *SRS) Provision(caddy.Context) error {
	s := newSettings("srs")
	v.provision(s)
	var auth string
	v.base, auth = s.base("url", v.URL)
	v.header = authorization(auth)
	v.secret = s.text("secret", v.Secret)
	return s.err
}

// Request puts everything into the query.
func (v *SRS) Request(c Call) (Request, error) {
	name, _ := v.renamed(c.Stream)
	app, stream := v.App, name
	if app == "" {
		app = "live"
	}
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		app, stream = name[:i], name[i+1:]
	}
	q := url.Values{"app": {app}, "stream": {stream}}
	if v.secret != "" {
		q.Set("secret", v.secret)
	}
	if v.EIP != "" {
		q.Set("eip", v.EIP)
	}
	leaf := "whep"
	if c.Role != relay.RolePull {
		leaf = "whip"
		if codec := v.codec(c.Offer); codec != "" {
			q.Set("codec", codec)
		}
	}
	u := under(v.base, q, "rtc", "v1", leaf, "")
	return Request{URLs: []*url.URL{u}, Header: v.header}, nil
}

// codec is what the server has to be told, because it takes H.265 only then.
func (v *SRS) codec(offer []byte) string {
	if v.Codec != "" {
		return v.Codec
	}
	upper := bytes.ToUpper(offer)
	if !bytes.Contains(upper, []byte(" H265/90000")) {
		return ""
	}
	for _, other := range []string{" H264/", " VP8/", " VP9/", " AV1/"} {
		if bytes.Contains(upper, []byte(other)) {
			return ""
		}
	}
	return "hevc"
}

// Quirks are none.
func (v *SRS) Quirks() Quirks {
	return Quirks{Probes: []*url.URL{under(v.base, nil, "")}, Hosts: v.hosts}
}

// UnmarshalOption reads url, app, secret, codec, eip, hosts and stream.
func (v *SRS) UnmarshalOption(d *caddyfile.Dispenser) error {
	return v.options(options{
		"url":    one(&v.URL),
		"app":    one(&v.App),
		"secret": one(&v.Secret),
		"codec":  one(&v.Codec),
		"eip":    one(&v.EIP),
	}).unmarshal(d, "srs")
}

var (
	_ Vendor            = (*SRS)(nil)
	_ OptionUnmarshaler = (*SRS)(nil)
	_ caddy.Provisioner = (*SRS)(nil)
)
