package vendors

import (
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/talwtn/caddy-wtn/relay"
)

func init() { caddy.RegisterModule(Agora{}) }

// Agora is one of two services of Agora.
//
// With stream keys it is the Media Gateway, which takes streams in by WHIP and
// gives none out; address and bearer are documented by the vendor.
//
// With an App Certificate it is the service with WTN's interface:
// `POST <url>/pub/<channel>?stringuid=...&duplex=true`, with WTN's token signed
// with the certificate. Of that no document of the vendor's could be read: the
// whole variant is unverified, and that pulling is `/sub/<channel>` most of all.
type Agora struct {
	Base

	// The region of the Media Gateway: `na`, `eu`, `ap` or `cn`. Or URL, the
	// whole address of the WHIP endpoint, or the base of the WTN variant.
	Region string `json:"region,omitempty"`
	URL    string `json:"url,omitempty"`

	// Streaming keys by stream, `*` for all others. Placeholders are replaced.
	StreamKeys map[string]string `json:"stream_keys,omitempty"`

	// The App ID and App Certificate. Placeholders are replaced.
	AppID          string `json:"app_id,omitempty"`
	AppCertificate string `json:"app_certificate,omitempty"`

	// How long tokens hold. Default: `24h`.
	TTL caddy.Duration `json:"ttl,omitempty"`

	base *url.URL
	keys map[string]string
	app  string
	cert []byte
	ttl  time.Duration
}

// CaddyModule returns the Caddy module information.
func (Agora) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".agora", New: func() caddy.Module { return new(Agora) }}
}

// Provision reads the settings.
func (v *Agora) Provision(caddy.Context) error {
	s := newSettings("agora")
	v.provision(s, "*.agoramdn.com")
	gateway := len(v.StreamKeys) > 0
	if gateway == (v.AppCertificate != "") {
		s.fail("stream_key or app_certificate", "is missing, or both are there: one of them says which service it is")
	}
	raw := v.URL
	if gateway && raw == "" {
		region := s.need("region", v.Region)
		switch region {
		case "na", "eu", "ap", "cn":
		default:
			s.fail("region", "is not known: use na, eu, ap or cn")
		}
		raw = "https://whip-rtcpush-prod-" + region + ".agoramdn.com/whip"
	}
	v.base, _ = s.base("url", raw)
	v.keys = s.keyed("stream_key", v.StreamKeys)
	if !gateway {
		v.app, v.cert = s.need("app_id", v.AppID), []byte(s.need("app_certificate", v.AppCertificate))
	}
	v.ttl = s.ttl(v.TTL)
	return s.err
}

// Request is that of the service that is configured.
func (v *Agora) Request(c Call) (Request, error) {
	if len(v.cert) > 0 {
		return v.channel(c)
	}
	if c.Role == relay.RolePull {
		return Request{}, cannot("the Media Gateway only takes streams in")
	}
	key, err := forStream(v.keys, c.Stream, "stream_key")
	if err != nil {
		return Request{}, err
	}
	return Request{URLs: []*url.URL{v.base}, Header: bearer(key)}, nil
}

// channel is the WTN variant. The characters are those of Agora's channel
// names that stream names can have.
func (v *Agora) channel(c Call) (Request, error) {
	id, action := v.id(c.Stream, "_-.~@", wtnStreamLength), "pub"
	q := url.Values{"stringuid": {"wtn_" + c.Session}}
	if c.Role == relay.RolePull {
		action = "sub"
	} else {
		q.Set("duplex", "true")
	}
	token, err := signHS256(v.cert, "typ", wtnClaims{
		Version: "1.0", AppID: v.app, StreamID: id, Action: action,
		Exp: c.Now.Add(v.ttl).Unix(), EnableSubAuth: action == "pub",
	})
	return Request{URLs: []*url.URL{under(v.base, q, action, id)}, Header: bearer(token)}, err
}

// Quirks are the vendor's domain.
func (v *Agora) Quirks() Quirks {
	return Quirks{Probes: []*url.URL{origin(v.base)}, Hosts: v.hosts}
}

// UnmarshalOption reads region, url, stream_key, app_id, app_certificate, ttl,
// hosts and stream.
func (v *Agora) UnmarshalOption(d *caddyfile.Dispenser) error {
	return v.options(options{
		"region":          one(&v.Region),
		"url":             one(&v.URL),
		"stream_key":      keyed(&v.StreamKeys),
		"app_id":          one(&v.AppID),
		"app_certificate": one(&v.AppCertificate),
		"ttl":             lifetime(&v.TTL),
	}).unmarshal(d, "agora")
}

var (
	_ Vendor            = (*Agora)(nil)
	_ OptionUnmarshaler = (*Agora)(nil)
	_ caddy.Provisioner = (*Agora)(nil)
)
