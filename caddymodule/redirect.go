package caddymodule

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/talwtn/caddy-wtn/relay"
)

const (
	// hopsParameter counts in the query how often a request was redirected.
	hopsParameter = "wtn-redirected"
	// maxHops is more than what clients follow.
	maxHops = 5
)

// provisionRedirect reads the URLs of the other gateways.
func (h *Handler) provisionRedirect() error {
	repl := caddy.NewReplacer()
	for _, s := range h.Redirect {
		v, err := repl.ReplaceOrErr(s, true, true)
		if err != nil {
			return fmt.Errorf("redirect %s: %w", s, err)
		}
		u, err := url.Parse(v)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("redirect %q is not the URL of a gateway: write what stands before /whip there, as in https://b.example.com/live", v)
		}
		u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
		h.gateways = append(h.gateways, *u)
	}
	return nil
}

// full reports whether another gateway may be able to do what this one refuses.
func (h *Handler) full(err error) bool {
	return errors.Is(err, relay.ErrLimit) || errors.Is(err, relay.ErrOverloaded) || errors.Is(err, relay.ErrBitrate) ||
		errors.Is(err, relay.ErrNotReady) && h.gateway.Draining()
}

// redirect sends the client with its offer to another gateway, by a 307, which
// keeps the method and the body (RFC 9725 section 4.5); false if there is none
// to go to. Only offers are redirected: the URL of a session is final. A request
// makes at most as many hops as there are other gateways, so that full gateways
// do not pass it around for ever.
func (x *exchange) redirect() bool {
	if x.r.Method != http.MethodPost || !x.route.endpoint {
		return false
	}
	here := x.externalURL(x.rest)
	var targets []url.URL
	for _, u := range x.h.gateways {
		u.Path += x.rest
		if !strings.EqualFold(u.String(), here) { // all gateways may have the same list
			targets = append(targets, u)
		}
	}
	query, hops := countHops(x.r.URL.RawQuery)
	if hops >= min(len(targets), maxHops) {
		return false
	}
	to := targets[rand.IntN(len(targets))]
	to.RawQuery = query + hopsParameter + "=" + strconv.Itoa(hops+1)
	x.note("wtn_redirect", to.Host)
	h := x.w.Header()
	h.Set("Location", to.String())
	h.Set("Content-Length", "0")
	x.w.WriteHeader(http.StatusTemporaryRedirect)
	return true
}

// countHops takes the count of hops out of a query, and leaves the rest as it
// is and ready to be appended to. A count that is not ours is the highest.
func countHops(query string) (rest string, hops int) {
	list := strings.FieldsFunc(query, func(r rune) bool { return r == '&' })
	list = slices.DeleteFunc(list, func(p string) bool {
		v, ok := strings.CutPrefix(p, hopsParameter+"=")
		if !ok {
			return false
		}
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || hops > 0 {
			n = maxHops
		}
		hops = n
		return true
	})
	if len(list) > 0 {
		rest = strings.Join(list, "&") + "&"
	}
	return rest, hops
}
