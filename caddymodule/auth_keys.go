package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// AuthKeys lets in whoever shows one of a few fixed keys as the bearer token.
type AuthKeys struct {
	// The keys, at least one. Placeholders such as `{env.STREAM_KEY}` and
	// `{file./run/secrets/stream_key}` are replaced; a missing variable is an
	// error. A key opens every stream, so make it long and random. In logs it is
	// named by its place, as key-1.
	Keys []string `json:"keys,omitempty"`

	sums []tokenSum
}

// CaddyModule returns the Caddy module information.
func (AuthKeys) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: authNamespace + ".keys", New: func() caddy.Module { return new(AuthKeys) }}
}

// Provision replaces placeholders.
func (a *AuthKeys) Provision(caddy.Context) error {
	if len(a.Keys) == 0 {
		return errors.New("auth keys has no keys: name at least one")
	}
	for i, k := range a.Keys {
		name := fmt.Sprintf("key %d of auth keys", i+1)
		v, err := secretOf(name, k)
		if err != nil {
			return err
		}
		if !validToken(v) {
			return errors.New(name + " cannot be sent as a bearer token: use visible ASCII without spaces, at most 8 KiB")
		}
		a.sums = append(a.sums, sumOf(v))
	}
	return nil
}

// Authorize compares with all keys, whichever fits, so that the time taken
// tells nothing.
func (a *AuthKeys) Authorize(_ *http.Request, req AuthRequest) (Grant, error) {
	if req.Token == "" {
		return Grant{}, ErrNoCredentials
	}
	sum, found := sumOf(req.Token), -1
	for i, k := range a.sums {
		if k.equal(sum) {
			found = i
		}
	}
	if found < 0 {
		return Grant{}, ErrTokenSignature
	}
	return Grant{Principal: "key-" + strconv.Itoa(found+1)}, nil
}

// UnmarshalCaddyfile reads `keys <key...>`.
func (a *AuthKeys) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	d.Next()
	a.Keys, err = values(d)
	return err
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*AuthKeys)(nil)
	_ caddyfile.Unmarshaler = (*AuthKeys)(nil)
	_ Authorizer            = (*AuthKeys)(nil)
)
