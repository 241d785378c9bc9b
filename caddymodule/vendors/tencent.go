package vendors

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/talwtn/caddy-wtn/relay"
)

func init() { caddy.RegisterModule(Tencent{}) }

const tencentURL = "https://signaling.rtc.qcloud.com"

// Tencent is the WebRTC Transmission Network of Tencent's TRTC.
//
// Paths, parameters and statuses are those of the vendor's published demos. The
// Content-Type of its answers is documented nowhere, so none is insisted on.
// What characters stream names may have is unverified: letters, digits, - and _
// are used, at most 64, see [StreamID].
type Tencent struct {
	Base

	// The vendor's address. Default: `https://signaling.rtc.qcloud.com`.
	URL string `json:"url,omitempty"`

	// The SDKAppID, a number, and its secret key. Placeholders are replaced.
	SDKAppID  string `json:"sdk_app_id,omitempty"`
	SecretKey string `json:"secret_key,omitempty"`

	// What user names begin with; the session's id follows, for a user can be
	// there only once. At most 15 letters, digits and underscores. Default: `wtn`.
	UserPrefix string `json:"user_prefix,omitempty"`

	// The codec that is preferred for what is pushed: `h264` or `vp8`. Default:
	// the vendor's, which is h264.
	Codec string `json:"codec,omitempty"`

	// How long signatures hold. Sessions that last longer cannot be deleted and
	// end with their media, because their URL holds the signature. Default: `24h`.
	TTL caddy.Duration `json:"ttl,omitempty"`

	base   *url.URL
	app    uint64
	key    string
	prefix string
	ttl    time.Duration
}

// CaddyModule returns the Caddy module information.
func (Tencent) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".tencent", New: func() caddy.Module { return new(Tencent) }}
}

// Provision reads the settings.
func (v *Tencent) Provision(caddy.Context) error {
	s := newSettings("tencent")
	v.provision(s, "*.rtc.qcloud.com")
	raw := v.URL
	if raw == "" {
		raw = tencentURL
	}
	v.base, _ = s.base("url", raw)
	var err error
	if v.app, err = strconv.ParseUint(s.need("sdk_app_id", v.SDKAppID), 10, 64); err != nil {
		s.fail("sdk_app_id", "is not a number")
	}
	v.key = s.need("secret_key", v.SecretKey)
	if v.prefix = s.text("user_prefix", v.UserPrefix); v.prefix == "" {
		v.prefix = "wtn"
	}
	if len(v.prefix) > 15 || strings.ContainsFunc(v.prefix, func(c rune) bool { return c != '_' && !alphanumeric(c) }) {
		s.fail("user_prefix", "is not usable: use up to 15 letters, digits and underscores")
	}
	if v.Codec != "" && v.Codec != "h264" && v.Codec != "vp8" {
		s.fail("codec", "is not known: use h264 or vp8")
	}
	v.ttl = s.ttl(v.TTL)
	return s.err
}

// Request is POST /v1/push|play/<stream> with the signature in the query.
func (v *Tencent) Request(c Call) (Request, error) {
	user := v.prefix + "_" + c.Session // at most 32 characters, as the vendor has it
	sig, err := userSig(v.app, v.key, user, c.Now, v.ttl)
	if err != nil {
		return Request{}, err
	}
	q := url.Values{"sdkappid": {strconv.FormatUint(v.app, 10)}, "userid": {user}, "usersig": {sig}}
	action := "push"
	if c.Role == relay.RolePull {
		action = "play"
	} else if v.Codec != "" {
		q.Set("prefervcodec", v.Codec)
	}
	u := under(v.base, q, "v1", action, v.id(c.Stream, "_-", wtnStreamLength))
	return Request{URLs: []*url.URL{u}, Header: make(http.Header)}, nil
}

// Quirks are the vendor's domain, and answers without a type.
func (v *Tencent) Quirks() Quirks {
	return Quirks{Probes: []*url.URL{origin(v.base)}, Hosts: v.hosts, Untyped: true}
}

// UnmarshalOption reads url, sdk_app_id, secret_key, user_prefix, codec, ttl,
// hosts and stream.
func (v *Tencent) UnmarshalOption(d *caddyfile.Dispenser) error {
	return v.options(options{
		"url":         one(&v.URL),
		"sdk_app_id":  one(&v.SDKAppID),
		"secret_key":  one(&v.SecretKey),
		"user_prefix": one(&v.UserPrefix),
		"codec":       one(&v.Codec),
		"ttl":         lifetime(&v.TTL),
	}).unmarshal(d, "tencent")
}

var (
	_ Vendor            = (*Tencent)(nil)
	_ OptionUnmarshaler = (*Tencent)(nil)
	_ caddy.Provisioner = (*Tencent)(nil)
)
