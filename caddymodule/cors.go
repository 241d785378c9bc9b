package caddymodule

import "net/http"

// Headers that let a page of another site publish and play, as the Fetch
// standard wants them. The wildcard origin is right here: no reply depends on
// cookies, and whoever may do something shows it in Authorization or in a
// secret URL.
const (
	corsExpose  = "Location, Link, ETag, Accept-Post, Accept-Patch, Retry-After, WWW-Authenticate, Content-Type"
	corsMethods = "OPTIONS, GET, HEAD, POST, PATCH, DELETE"
	// The wildcard lets players send headers of their own; it does not stand for
	// Authorization (Fetch standard).
	corsHeaders = "Authorization, Content-Type, If-Match, If-None-Match, ETag, Accept, " + priorityHeader + ", *"
	corsMaxAge  = "86400"
)

// setCORS marks any reply, errors included, as readable by other sites. It
// sets and never adds: a `header` directive may have set the same names.
func setCORS(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", corsExpose)
}

// options answers OPTIONS with what the URL takes, whether or not it is a
// preflight. It is 200 and not 204 because WHIP clients look for Accept-Post
// in a 200 (RFC 9725 section 4.2).
func (x *exchange) options() {
	h := x.w.Header()
	h.Set("Access-Control-Allow-Methods", corsMethods)
	h.Set("Access-Control-Allow-Headers", corsHeaders)
	h.Set("Access-Control-Max-Age", corsMaxAge)
	h.Set("Allow", x.route.allow())
	switch post := x.route.methods[http.MethodPost] != nil; {
	case post && x.route.endpoint:
		h.Set("Accept-Post", sdpType)
	case post:
		h.Set("Accept-Post", jsonType)
	}
	if x.route.methods[http.MethodPatch] != nil {
		h.Set("Accept-Patch", fragmentType)
	}
	if x.route.endpoint && !preflight(x.r) && x.namesICEServers() {
		if _, err := x.h.authorize(x.r, x.route.action, x.stream); err == nil {
			x.iceServers("")
		}
	}
	h.Set("Content-Length", "0")
	x.w.WriteHeader(http.StatusOK)
}

// preflight reports whether a browser asks on behalf of a page. It carries no
// credentials and gets none (RFC 9725 section 4.6).
func preflight(r *http.Request) bool {
	return r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}
