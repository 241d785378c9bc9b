package vendors

import (
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/talwtn/caddy-wtn/relay"
)

func init() { caddy.RegisterModule(WTN{}) }

const (
	wtnURL = "https://wtn.volcvideo.com"
	// wtnStreamLength: the documents differ about the alphabet of a StreamID,
	// letters, digits and underscores are in all of them.
	wtnStreamLength = 64
)

// wtnDomains are the vendor's.
var wtnDomains = []string{"*.volcvideo.com", "*.volcvideos.com", "*.rtcplus.com"}

// WTN is the WebRTC Transmission Network of Volcengine and BytePlus, and what
// has its interface under another name.
//
// Streams whose names it cannot take get another one, see [StreamID]. The host
// names are those of the vendor's documents; that the domain wtn.rtcplus.com
// takes the same calls is unverified.
type WTN struct {
	Base

	// The vendor's domains, the nearest first. The next one is asked when there
	// is no answer or a 5xx. Default: `https://wtn.volcvideo.com`.
	URLs []string `json:"urls,omitempty"`

	// The AppID and AppKey of the console. Without an AppKey no token is sent,
	// which works while authentication is switched off there. Placeholders are
	// replaced.
	AppID  string `json:"app_id,omitempty"`
	AppKey string `json:"app_key,omitempty"`

	// How long tokens hold. Default: `24h`.
	TTL caddy.Duration `json:"ttl,omitempty"`

	// Whether viewers of what is pushed need tokens (enableSubAuth). Default: true.
	SubAuth *bool `json:"sub_auth,omitempty"`

	// Whether actions are written Pub and Sub in tokens, as the README of the
	// white label TALWTN shows it. Unverified. Default: false.
	CapitalActions *bool `json:"capital_actions,omitempty"`

	bases []*url.URL
	app   string
	key   []byte
	ttl   time.Duration
}

// CaddyModule returns the Caddy module information.
func (WTN) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".wtn", New: func() caddy.Module { return new(WTN) }}
}

// Provision reads the settings.
func (v *WTN) Provision(caddy.Context) error {
	s := newSettings("wtn")
	v.provision(s, wtnDomains...)
	urls := v.URLs
	if len(urls) == 0 {
		urls = []string{wtnURL}
	}
	for _, raw := range urls {
		u, auth := s.base("url", raw)
		if auth != "" {
			s.fail("url", "has a user and a password, which are not used here")
		}
		v.bases = append(v.bases, u)
	}
	v.app = s.need("app_id", v.AppID)
	v.key = []byte(s.text("app_key", v.AppKey))
	v.ttl = s.ttl(v.TTL)
	return s.err
}

// Request is POST <domain>/pub|sub/<AppID>/<StreamID>. SessionID is for the
// vendor's support.
func (v *WTN) Request(c Call) (Request, error) {
	id, action := v.id(c.Stream, "_", wtnStreamLength), "pub"
	if c.Role == relay.RolePull {
		action = "sub"
	}
	r := Request{Mutes: true}
	for _, b := range v.bases {
		r.URLs = append(r.URLs, under(b, sessionQuery(c), action, v.app, id))
	}
	var err error
	r.Header, err = v.sign(c, id, action)
	return r, err
}

func (v *WTN) sign(c Call, id, action string) (http.Header, error) {
	if len(v.key) == 0 {
		return nil, nil
	}
	claims := wtnClaims{Version: "1.0", AppID: v.app, StreamID: id, Action: action, Exp: c.Now.Add(v.ttl).Unix()}
	claims.EnableSubAuth = action == "pub" && (v.SubAuth == nil || *v.SubAuth)
	if v.CapitalActions != nil && *v.CapitalActions {
		claims.Action = map[string]string{"pub": "Pub", "sub": "Sub"}[action]
	}
	token, err := signHS256(v.key, "typ", claims)
	return bearer(token), err
}

func sessionQuery(c Call) url.Values {
	if c.Session == "" {
		return nil
	}
	return url.Values{"SessionID": {c.Session}}
}

// Classify knows that a publisher replaces another one, so that nobody is busy.
func (v *WTN) Classify(role relay.Role, status int) Verdict {
	if status == http.StatusConflict && role == relay.RolePush {
		return VerdictNext
	}
	return StandardVerdict(role, status)
}

// Quirks are the vendor's domains.
func (v *WTN) Quirks() Quirks {
	q := Quirks{Hosts: v.hosts}
	for _, b := range v.bases {
		q.Probes = append(q.Probes, under(b, nil, ""))
	}
	return q
}

// UnmarshalOption reads url, app_id, app_key, ttl, sub_auth, capital_actions,
// hosts and stream.
func (v *WTN) UnmarshalOption(d *caddyfile.Dispenser) error {
	return v.options(options{
		"url":             many(&v.URLs),
		"app_id":          one(&v.AppID),
		"app_key":         one(&v.AppKey),
		"ttl":             lifetime(&v.TTL),
		"sub_auth":        onOff(&v.SubAuth),
		"capital_actions": onOff(&v.CapitalActions),
	}).unmarshal(d, "wtn")
}

var (
	_ Vendor            = (*WTN)(nil)
	_ OptionUnmarshaler = (*WTN)(nil)
	_ caddy.Provisioner = (*WTN)(nil)
)
