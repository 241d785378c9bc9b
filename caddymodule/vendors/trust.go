package vendors

import (
	"errors"
	"net/url"
	"strings"
)

var (
	errAddressSyntax  = errors.New("the address cannot be read")
	errAddressScheme  = errors.New("the address would leave HTTPS")
	errAddressForeign = errors.New("the address is on a host that is not the vendor's: if it is, name the host in hosts")
)

// trust is where replies may lead to, and where credentials may go.
type trust struct {
	origins  map[string]bool // scheme://host:port of the configured URLs
	places   map[string]bool // host:port of the same
	patterns []hostPattern
}

func newTrust(urls []*url.URL, patterns []hostPattern) *trust {
	t := &trust{origins: make(map[string]bool), places: make(map[string]bool), patterns: patterns}
	for _, u := range urls {
		t.origins[originOf(u)] = true
		t.places[placeOf(u)] = true
	}
	return t
}

// credentials reports whether u may get the vendor's headers.
func (t *trust) credentials(u *url.URL) bool { return t.origins[originOf(u)] }

// resolve is the address that a Location header names (RFC 3986 section 5), nil
// if it names none. public says that the host may only be reached at a public
// address, for it is not listed but below a listed domain. Errors hold nothing
// of the address.
func (t *trust) resolve(base *url.URL, location string) (u *url.URL, public bool, err error) {
	if location == "" {
		return nil, false, nil
	}
	if len(location) > maxLocation {
		return nil, false, errAddressSyntax
	}
	if u, err = base.Parse(location); err != nil || u.Opaque != "" || u.Hostname() == "" || !ascii(u.Host) {
		return nil, false, errAddressSyntax
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	if u.Scheme != "https" && (u.Scheme != "http" || base.Scheme != "http") {
		return nil, false, errAddressScheme
	}
	if public, ok := t.allows(u); ok {
		return u, public, nil
	}
	return nil, false, errAddressForeign
}

// allows compares with what is configured. An address of a machine is only
// allowed where it is written out, with its port: behind another port of the
// same host may be somebody else.
func (t *trust) allows(u *url.URL) (public, ok bool) {
	if t.places[placeOf(u)] || t.upgraded(u) {
		return false, true
	}
	for _, p := range t.patterns {
		if p.matches(u) {
			if !p.below {
				return false, true
			}
			public, ok = true, true
		}
	}
	return public, ok
}

// upgraded: http on port 80 is configured and this is https on 443.
func (t *trust) upgraded(u *url.URL) bool {
	return u.Scheme == "https" && portOf(u) == "443" && t.origins["http://"+hostOf(u)+":80"]
}

// hostPattern is a host, or all names below a domain.
type hostPattern struct {
	host  string // lower case
	port  string // "": the one of the scheme
	below bool
}

var errHostPattern = errors.New("a host is written as host, host:port, *.domain or *.domain:port")

func parsePattern(s string) (p hostPattern, err error) {
	s, p.below = strings.CutPrefix(s, "*.")
	u, err := url.Parse("https://" + s)
	if err != nil || u.Host != s || u.Hostname() == "" || !ascii(s) || strings.Contains(s, "*") || u.User != nil {
		return hostPattern{}, errHostPattern
	}
	p.host, p.port = hostOf(u), u.Port()
	if p.below && !strings.Contains(p.host, ".") {
		return hostPattern{}, errHostPattern // a whole top-level domain, or an IPv6 address
	}
	return p, nil
}

// parsePatterns leaves out what is none.
func parsePatterns(list []string) (out []hostPattern) {
	for _, s := range list {
		if p, err := parsePattern(s); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func (p hostPattern) matches(u *url.URL) bool {
	port := p.port
	if port == "" {
		port = defaultPort(u.Scheme)
	}
	if portOf(u) != port {
		return false
	}
	host := hostOf(u)
	if !p.below {
		return host == p.host
	}
	return strings.HasSuffix(host, "."+p.host)
}

func hostOf(u *url.URL) string {
	return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return defaultPort(u.Scheme)
}

func defaultPort(scheme string) string {
	if scheme == "http" {
		return "80"
	}
	return "443"
}

func placeOf(u *url.URL) string  { return hostOf(u) + ":" + portOf(u) }
func originOf(u *url.URL) string { return u.Scheme + "://" + placeOf(u) }

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
