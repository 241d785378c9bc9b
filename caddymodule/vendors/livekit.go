package vendors

import (
	"net/url"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/talwtn/caddy-wtn/relay"
)

func init() { caddy.RegisterModule(LiveKit{}) }

// LiveKit is the WHIP ingress of LiveKit. Each stream key is an ingress that
// was made there, with a room and a participant; one key takes one stream at a
// time. LiveKit gives nothing out by WHEP, so it cannot be pulled from.
type LiveKit struct {
	Base

	// The ingress's WHIP address, such as `https://x.whip.livekit.cloud/w`.
	// Placeholders are replaced.
	URL string `json:"url,omitempty"`

	// Stream keys by stream, `*` for all others. Placeholders are replaced.
	StreamKeys map[string]string `json:"stream_keys,omitempty"`

	base *url.URL
	keys map[string]string
}

// CaddyModule returns the Caddy module information.
func (LiveKit) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".livekit", New: func() caddy.Module { return new(LiveKit) }}
}

// Provision reads the settings.
func (v *LiveKit) Provision(caddy.Context) error {
	s := newSettings("livekit")
	v.provision(s, "*.livekit.cloud")
	v.base, _ = s.base("url", v.URL)
	v.keys = s.keyed("stream_key", v.StreamKeys)
	if len(v.keys) == 0 {
		s.fail("stream_key", "is missing")
	}
	return s.err
}

// Request sends the stream key as the bearer.
func (v *LiveKit) Request(c Call) (Request, error) {
	if c.Role == relay.RolePull {
		return Request{}, cannot("LiveKit only takes streams in, it has no WHEP")
	}
	key, err := forStream(v.keys, c.Stream, "stream_key")
	if err != nil {
		return Request{}, err
	}
	return Request{URLs: []*url.URL{v.base}, Header: bearer(key)}, nil
}

// Quirks are the vendor's domain.
func (v *LiveKit) Quirks() Quirks {
	return Quirks{Probes: []*url.URL{v.base}, Hosts: v.hosts}
}

// UnmarshalOption reads url, stream_key, hosts and stream.
func (v *LiveKit) UnmarshalOption(d *caddyfile.Dispenser) error {
	return v.options(options{
		"url":        one(&v.URL),
		"stream_key": keyed(&v.StreamKeys),
	}).unmarshal(d, "livekit")
}

var (
	_ Vendor            = (*LiveKit)(nil)
	_ OptionUnmarshaler = (*LiveKit)(nil)
	_ caddy.Provisioner = (*LiveKit)(nil)
)
