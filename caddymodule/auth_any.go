package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// AuthAny asks several methods in order. The first that allows decides. If
// none does, the refusal that came furthest is given: one that knew the token
// and found it without the right before one that did not know it.
type AuthAny struct {
	// The methods, at least one.
	MethodsRaw []json.RawMessage `json:"methods,omitempty" caddy:"namespace=wtn.auth inline_key=auth"`

	methods []Authorizer
}

// CaddyModule returns the Caddy module information.
func (AuthAny) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: authNamespace + ".any", New: func() caddy.Module { return new(AuthAny) }}
}

// Provision loads the methods.
func (a *AuthAny) Provision(ctx caddy.Context) error {
	if len(a.MethodsRaw) == 0 {
		return errors.New("auth any has no methods: name at least one")
	}
	mods, err := ctx.LoadModule(a, "MethodsRaw")
	if err != nil {
		return err
	}
	for _, m := range mods.([]any) {
		auth, ok := m.(Authorizer)
		if !ok {
			return fmt.Errorf("%T is no authorisation method", m)
		}
		a.methods = append(a.methods, auth)
	}
	return nil
}

// Authorize asks the methods.
func (a *AuthAny) Authorize(r *http.Request, req AuthRequest) (Grant, error) {
	var refusal error
	for _, m := range a.methods {
		g, err := m.Authorize(r, req)
		if err == nil {
			return g, nil
		}
		if refusal == nil || rank(err) > rank(refusal) {
			refusal = err
		}
	}
	return Grant{}, refusal
}

// rank orders refusals by how much they know. A method that could not be asked
// comes last: it might have allowed, so the client should try again.
func rank(err error) int {
	for i, known := range []error{ErrNoCredentials, ErrTokenMalformed, ErrTokenSignature, ErrTokenClaims, ErrTokenExpired, ErrForbidden} {
		if errors.Is(err, known) {
			return i
		}
	}
	return len(authProblems)
}

// UnmarshalCaddyfile reads
//
//	any {
//		<method> [<args...>] [{ ... }]
//		...
//	}
func (a *AuthAny) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		raw, err := unmarshalMethod(d)
		if err != nil {
			return err
		}
		a.MethodsRaw = append(a.MethodsRaw, raw)
	}
	if len(a.MethodsRaw) == 0 {
		return d.Err("auth any needs a block with at least one method")
	}
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*AuthAny)(nil)
	_ caddyfile.Unmarshaler = (*AuthAny)(nil)
	_ Authorizer            = (*AuthAny)(nil)
)
