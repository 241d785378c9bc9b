package vendors

import (
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/talwtn/caddy-wtn/relay"
)

func init() { caddy.RegisterModule(Millicast{}) }

const (
	millicastURL = "https://director.millicast.com"
	// backupLifetime of tokens is what the vendor's own test client uses.
	backupLifetime = time.Minute
)

// Millicast is the real-time streaming of Dolby OptiView, formerly Millicast:
// WHIP at /api/whip/<stream> and WHEP at /api/whep/<account>/<stream>, as its
// API description has them. With an app id it is the service with WTN's
// interface at /api/rtcbackup/pub|sub/<app>/<stream>, known from a test client
// only and otherwise unverified.
//
// Sessions are on other hosts below millicast.com; the token is not sent there.
// Whether they can be deleted without one is unverified; if not, they end with
// their media. What characters stream names may have is unverified too: letters,
// digits, - and _ are used, at most 64, see [StreamID].
type Millicast struct {
	Base

	// The vendor's address. Default: `https://director.millicast.com`.
	URL string `json:"url,omitempty"`

	// The account id, for pulling.
	Account string `json:"account,omitempty"`

	// The publishing token, and the subscribe token of streams that need one.
	// Placeholders are replaced.
	Token          string `json:"token,omitempty"`
	SubscribeToken string `json:"subscribe_token,omitempty"`

	// The video codec of what is pushed. Default: the vendor's, which is h264.
	Codec string `json:"codec,omitempty"`

	// The source of a stream with several ones (sourceId).
	Source string `json:"source,omitempty"`

	// The app id and key of the rtcbackup service. Placeholders are replaced.
	AppID  string `json:"app_id,omitempty"`
	AppKey string `json:"app_key,omitempty"`

	base                  *url.URL
	account, app          string
	publishing, subscribe string
	key                   []byte
}

// CaddyModule returns the Caddy module information.
func (Millicast) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".millicast", New: func() caddy.Module { return new(Millicast) }}
}

// Provision reads the settings.
func (v *Millicast) Provision(caddy.Context) error {
	s := newSettings("millicast")
	v.provision(s, "*.millicast.com")
	raw := v.URL
	if raw == "" {
		raw = millicastURL
	}
	v.base, _ = s.base("url", raw)
	v.account = s.text("account", v.Account)
	v.publishing = s.sent("token", v.Token)
	v.subscribe = s.sent("subscribe_token", v.SubscribeToken)
	if v.AppID != "" || v.AppKey != "" {
		v.app, v.key = s.need("app_id", v.AppID), []byte(s.need("app_key", v.AppKey))
	} else if v.Account == "" && v.Token == "" {
		s.fail("token or account", "is missing")
	}
	return s.err
}

// Request is that of the service that is configured.
func (v *Millicast) Request(c Call) (Request, error) {
	id := v.id(c.Stream, "_-", wtnStreamLength)
	if v.app != "" {
		return v.backup(c, id)
	}
	q := make(url.Values)
	if v.Source != "" {
		q.Set("sourceId", v.Source)
	}
	if c.Role == relay.RolePull {
		if v.account == "" {
			return Request{}, cannot("it is configured without account, which pulling needs")
		}
		return Request{URLs: []*url.URL{under(v.base, q, "api", "whep", v.account, id)}, Header: bearer(v.subscribe)}, nil
	}
	if v.publishing == "" {
		return Request{}, cannot("it is configured without token, which pushing needs")
	}
	if v.Codec != "" {
		q.Set("codec", v.Codec)
	}
	return Request{URLs: []*url.URL{under(v.base, q, "api", "whip", id)}, Header: bearer(v.publishing)}, nil
}

// backupClaims are WTN's in other spellings.
type backupClaims struct {
	Version       string `json:"version"`
	AppID         string `json:"appId"`
	StreamID      string `json:"streamId"`
	Action        string `json:"action"`
	EnableSubAuth bool   `json:"enableSubAuth"`
	Exp           int64  `json:"exp"`
}

func (v *Millicast) backup(c Call, id string) (Request, error) {
	q, action := make(url.Values), "pub"
	if c.Role == relay.RolePull {
		action = "sub"
	} else if v.Codec != "" {
		q.Set("Vcodec", v.Codec)
	}
	token, err := signHS256(v.key, "type", backupClaims{
		Version: "1.0", AppID: v.app, StreamID: id, Action: action, Exp: c.Now.Add(backupLifetime).Unix(),
	})
	u := under(v.base, q, "api", "rtcbackup", action, v.app, id)
	return Request{URLs: []*url.URL{u}, Header: bearer(token)}, err
}

// Classify knows no stream that is busy: further sources are welcome.
func (v *Millicast) Classify(role relay.Role, status int) Verdict {
	if status == http.StatusConflict && role == relay.RolePush && v.app != "" {
		return VerdictNext
	}
	return StandardVerdict(role, status)
}

// Quirks are the vendor's domain.
func (v *Millicast) Quirks() Quirks {
	return Quirks{Probes: []*url.URL{origin(v.base)}, Hosts: v.hosts}
}

// UnmarshalOption reads url, account, token, subscribe_token, codec, source,
// app_id, app_key, hosts and stream.
func (v *Millicast) UnmarshalOption(d *caddyfile.Dispenser) error {
	return v.options(options{
		"url":             one(&v.URL),
		"account":         one(&v.Account),
		"token":           one(&v.Token),
		"subscribe_token": one(&v.SubscribeToken),
		"codec":           one(&v.Codec),
		"source":          one(&v.Source),
		"app_id":          one(&v.AppID),
		"app_key":         one(&v.AppKey),
	}).unmarshal(d, "millicast")
}

var (
	_ Vendor            = (*Millicast)(nil)
	_ OptionUnmarshaler = (*Millicast)(nil)
	_ caddy.Provisioner = (*Millicast)(nil)
)
