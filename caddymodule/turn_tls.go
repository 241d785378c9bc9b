package caddymodule

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
)

// turnALPN is what is agreed to on tls/ listeners. Browsers offer nothing, and
// some clients behind proxies offer the protocol of HTTP.
var turnALPN = []string{"stun.turn", "stun.nat-discovery", "http/1.1"}

// turnTLS is the TLS side of one configuration's tls/ listeners. Renewal is
// the TLS app's; connections that exist keep the certificate they began with.
type turnTLS struct {
	app    *caddytls.TLS
	hosts  []string
	config *tls.Config
}

// needsTLS reports whether there is a tls/ listener.
func (t *turnSettings) needsTLS() bool {
	for _, a := range t.listen {
		if a.tls {
			return true
		}
	}
	return false
}

// provisionTLS prepares certificates for the tls/ listeners: those of the TLS
// app, for the hosts of turn and for whatever else it has.
func (t *turnSettings) provisionTLS(ctx caddy.Context) error {
	if !t.needsTLS() {
		return nil
	}
	a, err := ctx.App("tls")
	if err != nil {
		return err
	}
	app := a.(*caddytls.TLS)
	policy := &caddytls.ConnectionPolicy{ALPN: turnALPN}
	if len(t.hosts) > 0 {
		policy.DefaultSNI = t.hosts[0] // IP clients send no name
	}
	for _, h := range t.hosts {
		if certmagic.SubjectQualifiesForPublicCert(h) || hasPolicy(app, h) {
			continue
		}
		// The default issuers refuse such a name.
		internal := caddyconfig.JSONModuleObject(caddytls.InternalIssuer{}, "module", "internal", nil)
		err := app.AddAutomationPolicy(&caddytls.AutomationPolicy{SubjectsRaw: []string{h}, IssuersRaw: []json.RawMessage{internal}})
		if err != nil {
			return fmt.Errorf("turn host %s: %w", h, err)
		}
	}
	policies := caddytls.ConnectionPolicies{policy}
	if err := policies.Provision(ctx); err != nil {
		return fmt.Errorf("turn: %w", err)
	}
	t.tls = &turnTLS{app: app, hosts: t.hosts, config: policies.TLSConfig(ctx)}
	return nil
}

// hasPolicy reports whether somebody has said where the name's certificate comes from.
func hasPolicy(app *caddytls.TLS, name string) bool {
	if app.Automation == nil {
		return false
	}
	for _, p := range app.Automation.Policies {
		if len(p.SubjectsRaw) == 0 && len(p.IssuersRaw) > 0 { // without issuers it is the HTTP app's own
			return true
		}
		for _, s := range p.SubjectsRaw {
			if certmagic.MatchWildcard(name, s) {
				return true
			}
		}
	}
	return false
}

// manage has the certificates obtained and renewed that nobody loads by hand.
func (t *turnTLS) manage() error {
	names := make(map[string]struct{})
	for _, h := range t.hosts {
		if !t.app.HasCertificateForSubject(h) {
			names[h] = struct{}{}
		}
	}
	if len(names) == 0 {
		return nil
	}
	return t.app.Manage(names)
}

// tlsConfig is that of the configuration that rules when a client arrives.
func (p *turnPool) tlsConfig(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	t := p.tls.Load()
	if t == nil {
		return nil, errors.New("turn has no tls/ listener any more")
	}
	return t.config.GetConfigForClient(hello)
}
