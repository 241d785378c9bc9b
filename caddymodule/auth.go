package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
)

// The actions of an [AuthRequest].
const (
	actionPublish = "publish"
	actionPlay    = "play"
)

const authNamespace = "wtn.auth"

func init() {
	caddy.RegisterModule(AuthNone{})
	caddy.RegisterModule(AuthAny{})
	caddy.RegisterModule(AuthKeys{})
	caddy.RegisterModule(AuthJWT{})
	caddy.RegisterModule(AuthWTN{})
	caddy.RegisterModule(AuthHook{})
}

// Authorizer decides who may publish or play. It is a guest module in the
// namespace wtn.auth. It is asked before an offer is read, and again when a
// later request on a session brings another token than the one that made it.
//
// Authorize is called concurrently and must be done within seconds; r is for
// reading headers, its body is not to be touched. The error is one of
// [ErrNoCredentials], [ErrTokenMalformed], [ErrTokenSignature],
// [ErrTokenClaims], [ErrTokenExpired], [ErrForbidden] and
// [ErrAuthUnavailable], or wraps one; any other counts as the last.
type Authorizer interface {
	Authorize(r *http.Request, req AuthRequest) (Grant, error)
}

// AuthRequest is what somebody wants to do.
type AuthRequest struct {
	Action string     // publish, play
	Stream string     // as the client names it; of WTN paths app/stream
	Token  string     // the bearer token, at most 8 KiB of visible ASCII; empty: none was sent
	Client netip.Addr // as trusted_proxies lets us see it
	// Protected is set for play when the publisher's grant had ProtectPlay.
	Protected bool
}

// Grant is what is allowed. The zero value allows what was asked for, with no
// limits, to nobody in particular.
type Grant struct {
	Stream     string    // the stream to use; empty: the one asked for
	Principal  string    // who it is, for logs and for later requests; empty: the user Caddy's own authentication found
	Expires    time.Time // when the session is ended; zero: never
	Priority   int       // among publishers of one stream, higher wins
	MaxViewers int       // of the stream this publishes; 0: no limit
	MaxBitrate uint64    // of what this publishes, bits/s; 0: no limit
	// HasPriority makes Priority count, whatever the client says of itself.
	HasPriority bool
	// ProtectPlay makes Protected true for whoever plays this stream while the
	// publisher's session lives.
	ProtectPlay bool

	requested string   // the stream as the client named it
	token     tokenSum // of the token that made the session
}

// Access says who may publish and play through a handler. The handlers that
// Caddy has for authentication work in front of it, with or without it: the
// user they find (`{http.auth.user.id}`) is the principal of the session
// unless the method here names one. Let OPTIONS pass in front, since browsers
// send it without credentials.
//
// Tokens come in `Authorization: Bearer <token>`. A later request on a session
// may leave the header out, because the session's URL cannot be guessed; a
// wrong token is refused there too. The token that made the session stays good
// for it, also after it has expired.
type Access struct {
	// Who may publish. Default: everybody.
	PublishAuthRaw json.RawMessage `json:"publish_auth,omitempty" caddy:"namespace=wtn.auth inline_key=auth"`

	// Who may play. Default: everybody.
	PlayAuthRaw json.RawMessage `json:"play_auth,omitempty" caddy:"namespace=wtn.auth inline_key=auth"`

	// The name of a query parameter that may hold the token instead of the
	// Authorization header. URLs end up in logs and histories: the gateway does
	// not log them, but an access log does unless its `query` filter removes the
	// parameter. Default: none is read.
	QueryToken string `json:"query_token,omitempty"`

	// Also take an Authorization header that is nothing but the token, without
	// the word Bearer. Default: false.
	BareToken bool `json:"bare_token,omitempty"`

	// Refuse requests on sessions that come without credentials. Default: false.
	StrictSessions bool `json:"strict_sessions,omitempty"`

	publish, play Authorizer // nil: everybody
}

// provision loads the methods. A method that is the same for both actions is
// loaded once, so that it has one cache.
func (a *Access) provision(ctx caddy.Context) (err error) {
	if a.QueryToken != "" {
		ctx.Logger().Info("tokens are read from the query: have the access log's query filter remove them", zap.String("parameter", a.QueryToken))
	}
	same := a.PublishAuthRaw != nil && bytes.Equal(a.PublishAuthRaw, a.PlayAuthRaw)
	if a.publish, err = loadAuthorizer(ctx, a, "PublishAuthRaw", a.PublishAuthRaw); err != nil {
		return err
	}
	if same {
		a.play = a.publish
		return nil
	}
	a.play, err = loadAuthorizer(ctx, a, "PlayAuthRaw", a.PlayAuthRaw)
	return err
}

func loadAuthorizer(ctx caddy.Context, a *Access, field string, raw json.RawMessage) (Authorizer, error) {
	if raw == nil {
		return nil, nil
	}
	mod, err := ctx.LoadModule(a, field)
	if err != nil {
		return nil, fmt.Errorf("loading the authorisation: %w", err)
	}
	auth, ok := mod.(Authorizer)
	if !ok {
		return nil, fmt.Errorf("%T is no authorisation method", mod)
	}
	if _, none := auth.(*AuthNone); none {
		return nil, nil
	}
	return auth, nil
}

// method is who decides about an action; nil: nobody needs to.
func (a *Access) method(action string) Authorizer {
	if action == actionPublish {
		return a.publish
	}
	return a.play
}

const accessOptions = "auth, query_token, bare_token, strict_sessions"

// UnmarshalCaddyfile reads the option the dispenser is at. Unlike the others,
// auth may be given once for each action:
//
//	auth [publish|play] <method> [<args...>] [{ ... }]
//	query_token <name>
//	bare_token
//	strict_sessions
func (a *Access) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	switch d.Val() {
	case "auth":
		return a.unmarshalAuth(d)
	case "query_token":
		a.QueryToken, err = value(d)
	case "bare_token":
		a.BareToken, err = flagOption(d)
	case "strict_sessions":
		a.StrictSessions, err = flagOption(d)
	default:
		err = unknownOption(d, "wtn", accessOptions)
	}
	return err
}

func (a *Access) unmarshalAuth(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	targets := []*json.RawMessage{&a.PublishAuthRaw, &a.PlayAuthRaw}
	switch d.Val() {
	case actionPublish:
		targets = targets[:1]
	case actionPlay:
		targets = targets[1:]
	}
	if len(targets) == 1 && !d.NextArg() {
		return d.ArgErr()
	}
	for _, t := range targets {
		if *t != nil {
			return d.Err("auth is given twice for the same action: use auth publish and auth play, or auth any with several methods")
		}
	}
	raw, err := unmarshalMethod(d)
	if err != nil {
		return err
	}
	for _, t := range targets {
		*t = raw
	}
	return nil
}

// unmarshalMethod reads the method whose name the dispenser is at.
func unmarshalMethod(d *caddyfile.Dispenser) (json.RawMessage, error) {
	name := d.Val()
	mod, err := caddyfile.UnmarshalModule(d, authNamespace+"."+name)
	if err != nil {
		return nil, err
	}
	if _, ok := mod.(Authorizer); !ok {
		return nil, d.Errf("%s is no authorisation method", name)
	}
	return caddyconfig.JSONModuleObject(mod, "auth", name, nil), nil
}

// flagOption is an option without arguments.
func flagOption(d *caddyfile.Dispenser) (bool, error) {
	if d.NextArg() {
		return false, d.ArgErr()
	}
	return true, nil
}

// AuthNone lets everybody in. It is what an action without a method has, to be
// said aloud.
type AuthNone struct{}

// CaddyModule returns the Caddy module information.
func (AuthNone) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: authNamespace + ".none", New: func() caddy.Module { return new(AuthNone) }}
}

// Authorize allows it.
func (*AuthNone) Authorize(*http.Request, AuthRequest) (Grant, error) { return Grant{}, nil }

// UnmarshalCaddyfile reads `none`.
func (*AuthNone) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// secretOf replaces the placeholders of a configured secret, and cuts the line
// end that files have: `{env.KEY}`, `{file./run/secrets/key}`.
func secretOf(option, s string) (string, error) {
	v, err := caddy.NewReplacer().ReplaceOrErr(s, true, true)
	if err != nil {
		return "", fmt.Errorf("%s: %w", option, err)
	}
	if v = strings.TrimRight(v, "\r\n"); v == "" {
		return "", errors.New(option + " is empty")
	}
	return v, nil
}

// Interface guards.
var (
	_ caddyfile.Unmarshaler = (*Access)(nil)
	_ Authorizer            = (*AuthNone)(nil)
)
