package caddymodule

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// externalURL is the absolute URL of path below the handler's prefix, as the
// client sees it. Clients break on relative session URLs, and some keep only
// the path of an absolute one, so it has no query.
//
// The external prefix is what the request's original path has before the part
// that was routed: that holds whether the prefix is still in the path or was
// stripped on the way, by handle_path or a rewrite. What a proxy in front says
// counts only if the server's trusted_proxies says so.
func (x *exchange) externalURL(path string) string {
	r := x.r
	u := url.URL{Scheme: "http", Host: r.Host, Path: x.externalPrefix() + path}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); !trusted {
		return u.String()
	}
	if s := strings.ToLower(forwarded(r, "X-Forwarded-Proto")); s == "http" || s == "https" {
		u.Scheme = s
	}
	if host := forwarded(r, "X-Forwarded-Host"); plainHost(host) {
		u.Host = host
	}
	if p := strings.TrimSuffix(forwarded(r, "X-Forwarded-Prefix"), "/"); strings.HasPrefix(p, "/") && !strings.HasPrefix(p, "//") {
		u.Path = p + u.Path
	}
	return u.String()
}

func (x *exchange) externalPrefix() string {
	if orig, ok := x.r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && orig.URL != nil {
		if p, ok := strings.CutSuffix(orig.URL.Path, x.rest); ok {
			return p
		}
	}
	return x.h.Prefix
}

// forwarded is the value nearest to the client in a header proxies append to.
func forwarded(r *http.Request, name string) string {
	first, _, _ := strings.Cut(r.Header.Get(name), ",")
	return strings.TrimSpace(first)
}

// plainHost reports whether s is a host, with or without port, and nothing else.
func plainHost(s string) bool {
	u, err := url.Parse("http://" + s)
	return err == nil && s != "" && u.Host == s
}

// loopbackHost reports whether a request for this host came by a local name, so
// that loopback addresses are worth offering.
func loopbackHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	host = strings.TrimSuffix(host, ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// clientAddr is the client as the server's trusted_proxies lets us see it.
func clientAddr(r *http.Request) netip.Addr {
	s, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap()
	}
	ap, _ := netip.ParseAddrPort(r.RemoteAddr)
	return ap.Addr().Unmap()
}
