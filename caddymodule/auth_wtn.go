package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// AuthWTN lets in whoever shows a WTN token as the bearer token: a JSON Web
// Token signed with HS256 and the AppKey, whose claims name the app, the stream
// and the action exactly:
//
//	{
//	  "version": "1.0", "appID": "app", "streamID": "room1",
//	  "exp": 1799999999, "action": "pub", "enableSubAuth": true
//	}
//
// It works for streams of two segments, app/stream, whether they are reached by
// WTN, WHIP or WHEP paths.
type AuthWTN struct {
	// The AppKey of each app, by AppID. Placeholders are replaced.
	Apps map[string]string `json:"apps,omitempty"`

	// Which rules hold. With 1, viewers need a token only if the publisher's
	// token had `enableSubAuth`. With 2, every action with this method needs
	// one; to leave playing open, set the method for publishing alone.
	// Default: 2.
	Generation int `json:"generation,omitempty"`

	// Whether a session ends when its token expires. Default: false.
	EndSessions bool `json:"end_sessions,omitempty"`

	keys map[string][]byte
	now  func() time.Time
}

// CaddyModule returns the Caddy module information.
func (AuthWTN) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: authNamespace + ".wtn", New: func() caddy.Module { return new(AuthWTN) }}
}

// Provision replaces placeholders.
func (a *AuthWTN) Provision(caddy.Context) error {
	if len(a.Apps) == 0 {
		return errors.New("auth wtn has no apps: give an AppID with its AppKey")
	}
	if a.Generation == 0 {
		a.Generation = 2
	}
	if a.Generation != 1 && a.Generation != 2 {
		return fmt.Errorf("generation %d of auth wtn does not exist: use 1 or 2", a.Generation)
	}
	a.now = time.Now
	a.keys = make(map[string][]byte, len(a.Apps))
	for id, key := range a.Apps {
		v, err := secretOf("AppKey of "+id, key)
		if err != nil {
			return err
		}
		a.keys[id] = wtnKey(v)
	}
	return nil
}

// Authorize verifies the token and compares its claims with the request.
func (a *AuthWTN) Authorize(_ *http.Request, req AuthRequest) (Grant, error) {
	if req.Token == "" {
		if a.Generation == 1 && req.Action == actionPlay && !req.Protected {
			return Grant{}, nil
		}
		return Grant{}, ErrNoCredentials
	}
	app, stream, ok := strings.Cut(req.Stream, "/")
	key := a.keys[app]
	if !ok || key == nil {
		return Grant{}, ErrForbidden
	}
	claims, err := parseWTNToken(req.Token, key)
	if err != nil {
		return Grant{}, err
	}
	exp := time.Unix(claims.Exp, 0).Add(jwtLeeway)
	action := "pub"
	if req.Action == actionPlay {
		action = "sub"
	}
	switch {
	case claims.AppID != app || claims.StreamID != stream || claims.Action != action:
		return Grant{}, ErrForbidden
	case !a.now().Before(exp):
		return Grant{}, ErrTokenExpired
	}
	g := Grant{ProtectPlay: action == "pub" && claims.EnableSubAuth}
	if a.EndSessions {
		g.Expires = exp
	}
	return g, nil
}

// wtnClaims are the claims of a WTN token, spelled as documented; other
// spellings are other claims.
type wtnClaims struct {
	Version       string `json:"version"`
	AppID         string `json:"appID"`
	StreamID      string `json:"streamID"`
	Exp           int64  `json:"exp"` // Unix seconds
	Action        string `json:"action"`
	EnableSubAuth bool   `json:"enableSubAuth,omitempty"`
}

// wtnKey makes an AppKey as long as HS256 wants it (RFC 7518 section 3.2).
// HMAC fills short keys up with zeros itself, so the signatures are the same.
func wtnKey(appKey string) []byte {
	key := []byte(appKey)
	for len(key) < 32 {
		key = append(key, 0)
	}
	return key
}

// parseWTNToken checks form, signature and version. Claims that a newer token
// may have beside the known ones are let pass.
func parseWTNToken(token string, key []byte) (wtnClaims, error) {
	var c wtnClaims
	if len(token) > maxTokenSize {
		return c, ErrTokenMalformed
	}
	tok, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		return c, errors.Join(ErrTokenMalformed, err)
	}
	switch err := tok.Claims(key, &c); {
	case errors.Is(err, jose.ErrCryptoFailure):
		return c, ErrTokenSignature
	case err != nil:
		return c, errors.Join(ErrTokenMalformed, err)
	case c.Version != "1.0" || c.Exp <= 0 || c.Exp > maxNumericDate:
		return c, ErrTokenClaims
	}
	return c, nil
}

// UnmarshalCaddyfile reads
//
//	wtn [<app_id> <app_key>] {
//		app <app_id> <app_key>
//		generation 1|2
//		end_sessions
//	}
func (a *AuthWTN) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	a.Apps = make(map[string]string)
	if args := d.RemainingArgs(); len(args) > 0 {
		if err := a.addApp(d, args); err != nil {
			return err
		}
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		if d.Val() != "app" {
			err = once(d, seen)
		}
		if err == nil {
			err = a.unmarshalOption(d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *AuthWTN) unmarshalOption(d *caddyfile.Dispenser) (err error) {
	switch d.Val() {
	case "app":
		err = a.addApp(d, d.RemainingArgs())
	case "generation":
		var v string
		if v, err = choice(d, "1", "2"); err == nil {
			a.Generation = int(v[0] - '0')
		}
	case "end_sessions":
		a.EndSessions, err = flagOption(d)
	default:
		err = unknownOption(d, "auth wtn", "app, generation, end_sessions")
	}
	return err
}

func (a *AuthWTN) addApp(d *caddyfile.Dispenser, args []string) error {
	if len(args) != 2 {
		return d.Err("an app is written as its AppID and its AppKey")
	}
	if _, ok := a.Apps[args[0]]; ok {
		return d.Errf("the app %s is given twice", args[0])
	}
	a.Apps[args[0]] = args[1]
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*AuthWTN)(nil)
	_ caddyfile.Unmarshaler = (*AuthWTN)(nil)
	_ Authorizer            = (*AuthWTN)(nil)
)
