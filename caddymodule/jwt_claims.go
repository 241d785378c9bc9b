package caddymodule

import (
	"math"
	"slices"
	"strings"
	"time"
)

// Bounds of what is matched for one request.
const (
	maxPatterns    = 64
	maxPatternSize = 512
	maxPrincipal   = 256
)

// maxNumericDate is the end of the year 9999: a date behind it is not in
// seconds, as RFC 7519 section 2 has them.
const maxNumericDate = 253402300799

// jwtClaims are the claims of a token whose signature is right. They are still
// what somebody else made up.
type jwtClaims map[string]any

// check is what RFC 7519 section 4.1 asks of times, issuer and audience. It
// returns when the token expires, without leeway.
func (c jwtClaims) check(now time.Time, issuers, audiences []string) (time.Time, error) {
	exp, ok := c.date("exp")
	if !ok {
		return exp, ErrTokenClaims
	}
	if !now.Before(exp.Add(jwtLeeway)) {
		return exp, ErrTokenExpired
	}
	if _, given := c["nbf"]; given {
		nbf, ok := c.date("nbf")
		if !ok || now.Before(nbf.Add(-jwtLeeway)) {
			return exp, ErrTokenClaims
		}
	}
	if iss, _ := c["iss"].(string); len(issuers) > 0 && !slices.Contains(issuers, iss) {
		return exp, ErrTokenClaims
	}
	if len(audiences) > 0 && !slices.ContainsFunc(texts(c["aud"]), func(s string) bool { return slices.Contains(audiences, s) }) {
		return exp, ErrTokenClaims
	}
	return exp, nil
}

// date reads a NumericDate, which may have a fraction.
func (c jwtClaims) date(name string) (time.Time, bool) {
	v, ok := c[name].(float64)
	if !ok || v < 0 || v > maxNumericDate {
		return time.Time{}, false
	}
	return time.Unix(int64(v), 0), true
}

// find looks a claim up by its whole name first, since names may be URLs, then
// by the way through objects.
func (c jwtClaims) find(name string) any {
	if v, ok := c[name]; ok {
		return v
	}
	at := any(map[string]any(c))
	for part := range strings.SplitSeq(name, ".") {
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[part]
	}
	return at
}

func (c jwtClaims) text(name string) string {
	s, _ := c.find(name).(string)
	return s[:min(len(s), maxPrincipal)]
}

// number reads a small number; anything else counts as not given.
func (c jwtClaims) number(name string) int {
	v, ok := c.find(name).(float64)
	if !ok || v != math.Trunc(v) || math.Abs(v) > math.MaxInt32 {
		return 0
	}
	return int(v)
}

// maxBitrateClaim is far above what any publisher sends, bits/s.
const maxBitrateClaim = 1e12

// bitrate reads bits/s; anything that is no limit counts as not given.
func (c jwtClaims) bitrate(name string) uint64 {
	v, ok := c.find(name).(float64)
	if !ok || !(v >= 1 && v <= maxBitrateClaim) {
		return 0
	}
	return uint64(v)
}

func (c jwtClaims) allows(claim, action string) bool {
	for _, s := range words(c.find(claim)) {
		if s == action || s == "*" {
			return true
		}
	}
	return false
}

func (c jwtClaims) matches(claim, stream string) bool {
	for _, p := range words(c.find(claim)) {
		if len(p) <= maxPatternSize && matchStream(p, stream) {
			return true
		}
	}
	return false
}

// texts is a claim that is a string or a list of strings.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, e := range v[:min(len(v), maxPatterns)] {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

// words is texts with a single string cut at its spaces, as scopes are.
func words(v any) []string {
	if s, ok := v.(string); ok {
		list := strings.Fields(s)
		return list[:min(len(list), maxPatterns)]
	}
	return texts(v)
}

// matchStream reports whether name fits pattern, in which `*` stands for any
// characters. It goes back to the last star only, which is enough and bounds
// the work by the product of the lengths.
func matchStream(pattern, name string) bool {
	p, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
