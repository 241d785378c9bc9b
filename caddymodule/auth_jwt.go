package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// jwtLeeway is how far the clock of who made a token may be off.
const jwtLeeway = 60 * time.Second

// AuthJWT lets in whoever shows a signed JSON Web Token (RFC 7519) as the
// bearer token. It must have an `exp`, and say what it allows:
//
//	{
//	  "sub": "alice",
//	  "exp": 1799999999,
//	  "wtn": {"action": ["publish", "play"], "stream": ["live/*"]}
//	}
//
// `action` holds publish, play or both, or `*`. `stream` holds patterns, in
// which `*` stands for any characters, slashes included. Each is a list, or a
// string with spaces between. `wtn` may also have `priority` (of publishers;
// whatever they say of themselves), `max_viewers` (of the stream it publishes)
// and `max_bitrate` (of what it publishes, in bits per second).
//
// The algorithm follows from the key and never from the token: HS256 for the
// secret, RS256 for RSA keys, ES256 for P-256 keys, EdDSA for Ed25519 keys.
type AuthJWT struct {
	// The shared secret of HS256 tokens, at least 32 bytes. Placeholders are
	// replaced. Default: none.
	Secret string `json:"secret,omitempty"`

	// Files with public keys or certificates in PEM, or with a JSON Web Key Set.
	// They are read when the configuration is loaded. Default: none.
	KeyFiles []string `json:"key_files,omitempty"`

	// The URL of a JSON Web Key Set, https unless on this machine. It is fetched
	// when first needed, kept as long as its Cache-Control says (1 minute to 1
	// day, 10 minutes if it says nothing), and fetched again for a key id it does
	// not hold, at most every 10 seconds. When that fails the old keys stay.
	// Default: none.
	JWKS string `json:"jwks,omitempty"`

	// The accepted values of `iss`. Default: any.
	Issuers []string `json:"issuers,omitempty"`

	// The accepted values of `aud`. Default: any.
	Audiences []string `json:"audiences,omitempty"`

	// The claim that holds the actions: a name, or the way to it with dots
	// between. Default: `wtn.action`.
	ActionClaim string `json:"action_claim,omitempty"`

	// The claim that holds the stream patterns. Default: `wtn.stream`.
	StreamClaim string `json:"stream_claim,omitempty"`

	// The claim that holds who it is. Default: `sub`.
	PrincipalClaim string `json:"principal_claim,omitempty"`

	// Whether a session ends when its token expires. Otherwise a token is only
	// looked at when the session is made. Default: false.
	EndSessions bool `json:"end_sessions,omitempty"`

	keys []verifyKey // of secret and files
	set  *keySet     // nil without URL
	algs []jose.SignatureAlgorithm
	now  func() time.Time
}

// CaddyModule returns the Caddy module information.
func (AuthJWT) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: authNamespace + ".jwt", New: func() caddy.Module { return new(AuthJWT) }}
}

// Provision reads the keys. A key set behind a URL is not fetched yet.
func (a *AuthJWT) Provision(ctx caddy.Context) error {
	if err := a.loadKeys(); err != nil {
		return err
	}
	a.now = time.Now
	if a.JWKS != "" {
		u, err := caddy.NewReplacer().ReplaceOrErr(a.JWKS, true, true)
		if err != nil {
			return fmt.Errorf("jwks: %w", err)
		}
		if a.set, err = newKeySet(u, ctx.Logger()); err != nil {
			return err
		}
	}
	for _, k := range a.keys {
		a.allow(k.alg)
	}
	if a.set != nil {
		a.allow(jose.RS256, jose.ES256, jose.EdDSA)
	}
	if len(a.algs) == 0 {
		return errors.New("auth jwt has no key: set secret, key_files or jwks")
	}
	for claim, preset := range map[*string]string{&a.ActionClaim: "wtn.action", &a.StreamClaim: "wtn.stream", &a.PrincipalClaim: "sub"} {
		if *claim == "" {
			*claim = preset
		}
	}
	return nil
}

func (a *AuthJWT) loadKeys() error {
	if a.Secret != "" {
		secret, err := secretOf("secret of auth jwt", a.Secret)
		if err != nil {
			return err
		}
		if len(secret) < 32 {
			return errors.New("the secret of auth jwt is shorter than 32 bytes, which HS256 needs (RFC 7518 section 3.2): make one with `openssl rand -hex 32`")
		}
		a.keys = append(a.keys, verifyKey{alg: jose.HS256, key: []byte(secret)})
	}
	for _, name := range a.KeyFiles {
		keys, err := readKeyFile(name)
		if err != nil {
			return err
		}
		a.keys = append(a.keys, keys...)
	}
	return nil
}

func (a *AuthJWT) allow(algs ...jose.SignatureAlgorithm) {
	for _, alg := range algs {
		if !slices.Contains(a.algs, alg) {
			a.algs = append(a.algs, alg)
		}
	}
}

// Cleanup stops what may be fetching.
func (a *AuthJWT) Cleanup() error {
	if a.set != nil {
		a.set.close()
	}
	return nil
}

// Authorize verifies the token and looks up what it allows.
func (a *AuthJWT) Authorize(r *http.Request, req AuthRequest) (Grant, error) {
	if req.Token == "" {
		return Grant{}, ErrNoCredentials
	}
	claims, err := a.verify(r.Context(), req.Token)
	if err != nil {
		return Grant{}, err
	}
	exp, err := claims.check(a.now(), a.Issuers, a.Audiences)
	if err != nil {
		return Grant{}, err
	}
	if !claims.allows(a.ActionClaim, req.Action) || !claims.matches(a.StreamClaim, req.Stream) {
		return Grant{}, ErrForbidden
	}
	g := Grant{
		Principal: claims.text(a.PrincipalClaim), MaxViewers: claims.number("wtn.max_viewers"), MaxBitrate: claims.bitrate("wtn.max_bitrate"),
		Priority: claims.number("wtn.priority"), HasPriority: claims.find("wtn.priority") != nil,
	}
	if a.EndSessions {
		g.Expires = exp.Add(jwtLeeway)
	}
	return g, nil
}

// verify checks form and signature. Only keys of the token's algorithm are
// tried, so that a public key can never serve as a secret.
func (a *AuthJWT) verify(ctx context.Context, token string) (jwtClaims, error) {
	if len(token) > maxTokenSize {
		return nil, ErrTokenMalformed
	}
	tok, err := jwt.ParseSigned(token, a.algs)
	if err != nil || len(tok.Headers) != 1 {
		return nil, errors.Join(ErrTokenMalformed, err)
	}
	alg, kid := jose.SignatureAlgorithm(tok.Headers[0].Algorithm), tok.Headers[0].KeyID
	keys := matching(a.keys, alg, "") // operators name no ids for their own files
	claims, err := tryKeys(tok, keys)
	if err == nil || a.set == nil || alg == jose.HS256 {
		return claims, err
	}
	if keys, err = a.set.find(ctx, alg, kid); err != nil {
		return nil, err
	}
	return tryKeys(tok, keys)
}

func tryKeys(tok *jwt.JSONWebToken, keys []verifyKey) (jwtClaims, error) {
	for _, k := range keys {
		var claims jwtClaims
		err := tok.Claims(k.key, &claims) // refuses repeated names
		switch {
		case errors.Is(err, jose.ErrCryptoFailure):
			continue
		case err != nil:
			return nil, errors.Join(ErrTokenMalformed, err)
		case claims == nil:
			return nil, ErrTokenMalformed
		}
		return claims, nil
	}
	return nil, ErrTokenSignature
}

// UnmarshalCaddyfile reads
//
//	jwt {
//		secret          <secret>
//		key_files       <path...>
//		jwks            <url>
//		issuers         <name...>
//		audiences       <name...>
//		action_claim    <name>
//		stream_claim    <name>
//		principal_claim <name>
//		end_sessions
//	}
func (a *AuthJWT) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return eachOption(d, func() (err error) {
		switch d.Val() {
		case "secret":
			a.Secret, err = value(d)
		case "key_files":
			a.KeyFiles, err = values(d)
		case "jwks":
			a.JWKS, err = value(d)
		case "issuers":
			a.Issuers, err = values(d)
		case "audiences":
			a.Audiences, err = values(d)
		case "action_claim":
			a.ActionClaim, err = value(d)
		case "stream_claim":
			a.StreamClaim, err = value(d)
		case "principal_claim":
			a.PrincipalClaim, err = value(d)
		case "end_sessions":
			a.EndSessions, err = flagOption(d)
		default:
			err = unknownOption(d, "auth jwt", "secret, key_files, jwks, issuers, audiences, action_claim, stream_claim, principal_claim, end_sessions")
		}
		return err
	})
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*AuthJWT)(nil)
	_ caddy.CleanerUpper    = (*AuthJWT)(nil)
	_ caddyfile.Unmarshaler = (*AuthJWT)(nil)
	_ Authorizer            = (*AuthJWT)(nil)
)
