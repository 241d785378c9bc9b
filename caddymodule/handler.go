package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay"
)

// Handler is the HTTP side of the gateway. Under its prefix it serves
//
//	POST   whip/{stream}        publish (WHIP, RFC 9725)
//	POST   whep/{stream}        play (WHEP)
//	POST   pub/{app}/{stream}   publish (WTN)
//	POST   sub/{app}/{stream}   play (WTN)
//	POST   webrtc/pub-sub/{app}/{stream}/{other}   both on one connection (WTN)
//	PATCH  session/...          candidates and ICE restart, at the URL the POST returned
//	DELETE session/...          end a session
//	POST   session/.../events   an event stream for a player (WHEP core extensions)
//	POST   session/.../layer    choose what to play (WHEP core extensions)
//	POST   session/wtn/...      mute (WTN)
//	GET    /                    the console: a page to publish, play and watch
//
// and passes everything else on to the next handler. All of them work on the
// same streams: pub/a/b and whep/a/b meet on the stream a/b. Who may do what is
// decided by `publish_auth` and `play_auth`, and by handlers in front of this
// one, such as `basic_auth` or `forward_auth`; let OPTIONS pass there, since
// browsers send it without credentials.
//
// For logs and other handlers it sets the variables `wtn_stream`, `wtn_action`
// (publish, play, session, streams), `wtn_session` (the public id),
// `wtn_principal` (who authorisation found), `wtn_error` (of a refusal) and
// `wtn_redirect` (the host an offer was redirected to), as in
// `{http.vars.wtn_stream}`.
type Handler struct {
	// The path everything is under, without a slash at the end. In a Caddyfile
	// it is taken from the path matcher: `wtn /live/*` is the prefix `/live`.
	// Must not contain what an earlier handler strips, as `handle_path` does, and
	// must be named inside a plain `handle /live/*`, which strips nothing.
	// Default: none.
	Prefix string `json:"prefix,omitempty"`

	// Whether the console is served. Default: true.
	Console *bool `json:"console,omitempty"`

	// Whether the console's list of live streams is served, at
	// console/streams. It names all streams of the server to anyone who may
	// open the console. Default: as `console`.
	ConsoleStreams *bool `json:"console_streams,omitempty"`

	// Whether streams can be published here. Default: true.
	Publish *bool `json:"publish,omitempty"`

	// Whether streams can be played here. Default: true.
	Play *bool `json:"play,omitempty"`

	// The codecs publishers may send, by name, for example `H264` and `opus`.
	// An offer with none of them is refused with 422. Default: all that are
	// supported.
	Codecs []string `json:"codecs,omitempty"`

	// The streams that exist here, as patterns in which * stands for anything
	// but a slash, as in app/*. All others are 404. Default: all.
	Streams []string `json:"streams,omitempty"`

	// What a second publisher of a stream is: with `replace` it takes the stream
	// over and the first one ends, with `refuse` it is told 409, with `backup`
	// both stay and the one with the higher priority has the stream, of equal ones
	// the one that came first. The priority is what the publisher's token or hook
	// says. If that says nothing it is what the publisher says of itself, in the
	// query parameter `priority` or the header `X-WTN-Priority`, from -1000 to
	// 1000: whoever may publish a stream may then put himself first. Handlers that
	// serve the same stream should say the same. Default: `replace`.
	Publishers string `json:"publishers,omitempty"`

	// How much this handler takes on, within the limits of the app.
	Limits *HandlerLimits `json:"limits,omitempty"`

	// Other gateways, as the URLs of what stands before `/whip` there. While this
	// one drains, or is over one of its limits, new offers are redirected (307) to
	// one of them, chosen at random, instead of being refused with 503. All
	// gateways may have the same list: one does not redirect to itself. A request
	// is redirected at most as often as there are other gateways, and at most 5
	// times. Browsers do not send `Authorization` on to another host, other
	// clients may: see `query_token`. Placeholders are replaced. Default: none.
	Redirect []string `json:"redirect,omitempty"`

	// Whether viewers of a stream that nobody publishes are let in and wait for
	// its publisher, instead of being told 409 and to come again. A viewer who
	// cannot play what the publisher then sends is ended. Default: false.
	Hold bool `json:"hold,omitempty"`

	// Whether a player that posts an empty body to whep is made an offer (406)
	// to answer with PATCH, instead of being told that its own is missing (400).
	// Default: false.
	CounterOffer bool `json:"counter_offer,omitempty"`

	// Whether PATCH needs If-Match even for candidates, as RFC 9725 has it.
	// Several clients do not send it. Default: false.
	StrictETags bool `json:"strict_etags,omitempty"`

	// How many offers one client address may make; more are told 429.
	// Default: no limit.
	RateLimit *RateLimit `json:"rate_limit,omitempty"`

	Routes

	Access

	gateway    gateway
	routed     *relay.Routing // of all requests
	gateways   []url.URL      // those of Redirect
	admission  *admission
	quota      quota
	iceServers func(session, host string) []string // Link values; nil: none
	iceNamed   func(host string) bool              // whether there would be any
	clients    *clientLimits
	stopping   context.Context // done when the server shuts down or the configuration goes
	stop       context.CancelFunc
	leases     *leases
	logger     *zap.Logger
}

// gateway is what the handler needs of the hub.
type gateway interface {
	Publish(context.Context, relay.OfferRequest) (*relay.Answer, error)
	Subscribe(context.Context, relay.OfferRequest) (*relay.Answer, error)
	PubSub(ctx context.Context, pub, sub relay.OfferRequest) (*relay.Answer, error)
	Counter(ctx context.Context, r relay.OfferRequest, note any) (*relay.CounterOffer, error)
	CounterOffer(secret string) (*relay.CounterOffer, error)
	Accept(c *relay.CounterOffer, answer []byte) (*relay.Session, error)
	Withdraw(c *relay.CounterOffer) bool
	Session(secret string) (*relay.Session, error)
	EndSession(secret string, r relay.Reason) (*relay.Session, error)
	Streams() []relay.StreamStats
	Draining() bool
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.wtn", New: func() caddy.Module { return new(Handler) }}
}

// Provision finds the gateway, which comes into being if no configuration had one.
func (h *Handler) Provision(ctx caddy.Context) error {
	app, err := ctx.App("wtn")
	if err != nil {
		return err
	}
	h.gateway = app.(*App).state.hub
	h.leases = app.(*App).state.leases
	h.admission = app.(*App).state.admission
	h.quota = h.newQuota()
	if err := app.(*App).agree(h.quota); err != nil {
		return err
	}
	if err := h.provisionRedirect(); err != nil {
		return err
	}
	if err := h.Routes.provision(app.(*App)); err != nil {
		return err
	}
	h.routed = h.routing()
	app.(*App).route(h.routed)
	h.iceServers, h.iceNamed = iceServerLinks, hasICEServers
	h.logger = ctx.Logger()
	h.clients = newClientLimits(h.RateLimit)
	h.stopping, h.stop = context.WithCancel(ctx)
	if srv, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		srv.RegisterOnShutdown(h.stop)
	}
	return h.Access.provision(ctx)
}

// Validate checks the prefix and the codec names.
func (h *Handler) Validate() error {
	if p := h.Prefix; p != "" && (!strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/")) {
		return errors.New("prefix " + p + " must begin with a slash and not end with one, like /live")
	}
	for _, c := range h.Codecs {
		if c == "" {
			return errors.New("codecs holds an empty name: use names such as H264 or opus")
		}
	}
	for _, err := range []error{h.validateRouting(), h.Limits.validate(), validatePatterns(h.Streams)} {
		if err != nil {
			return err
		}
	}
	return h.RateLimit.validate()
}

// Cleanup ends the event streams that players read through this handler.
func (h *Handler) Cleanup() error {
	if h.stop != nil {
		h.stop()
	}
	return nil
}

// exchange is one request on its way through the handler.
type exchange struct {
	h     *Handler
	w     http.ResponseWriter
	r     *http.Request
	rest  string // the path below the prefix, from its slash on
	route *route
	face  face

	stream string // of endpoints
	played string // the other stream of a pub-sub endpoint
	secret string // of sessions
	events string // id of an event stream
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	rest, ok := cutPrefix(r.URL.Path, h.Prefix)
	if !ok {
		return next.ServeHTTP(w, r)
	}
	x := &exchange{h: h, w: w, r: r, rest: rest}
	segment, tail, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	x.route = routes[segment]
	if x.route == nil || !h.offers(x.route) {
		if h.on(h.Console) && x.console() {
			return nil
		}
		return next.ServeHTTP(w, r)
	}
	return x.serve(tail)
}

// serve answers a request that the table of routes names.
func (x *exchange) serve(tail string) error {
	h := x.w.Header()
	setCORS(h)
	h.Set("Cache-Control", "no-store")
	x.face = x.route.face
	found := x.route.parse(x, tail)
	x.note("wtn_action", x.route.action)
	if x.stream != "" {
		x.note("wtn_stream", x.stream)
	}
	method := x.route.methods[x.r.Method]
	switch {
	case found != nil:
		return x.fail(found)
	case x.r.Method == http.MethodOptions:
		x.options()
		return nil
	case method == nil:
		h.Set("Allow", x.route.allow())
		return x.fail(errMethod)
	}
	if err := method(x); err != nil {
		return x.fail(err)
	}
	return nil
}

// fail tells the client about err. Errors of handlers around us that already
// are an HTTP answer, as request_body's 413, go on to Caddy's error routes.
func (x *exchange) fail(err error) error {
	var he caddyhttp.HandlerError
	if errors.As(err, &he) {
		return he
	}
	p, detail, known := problemOf(err)
	if !known {
		if x.r.Context().Err() != nil {
			return nil // the client has gone; nobody reads an answer
		}
		x.h.logger.Error("request failed", zap.String("action", x.route.action), zap.String("stream", x.stream), zap.Error(err))
	}
	x.note("wtn_error", p.slug)
	if x.h.full(err) && x.redirect() {
		return nil
	}
	if c := challenge(x.face, err); c != "" {
		x.w.Header().Set("WWW-Authenticate", c)
	}
	x.face.write(x.w, p, detail)
	return nil
}

// note makes a value known to the access log and, as a variable, to others.
func (x *exchange) note(name, value string) {
	ctx := x.r.Context()
	if _, ok := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any); ok {
		caddyhttp.SetVar(ctx, name, value)
	}
	if extra, ok := ctx.Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Set(zap.String(name, value))
	}
}

// on is the value of a switch that is on unless switched off.
func (h *Handler) on(v *bool) bool { return v == nil || *v }

// offers reports whether a route exists here.
func (h *Handler) offers(rt *route) bool {
	return rt != consoleRoute || h.on(h.Console) && h.on(h.ConsoleStreams)
}

// cutPrefix removes the prefix from a path, with the case rules of Caddy's path
// matcher, which ignores case.
func cutPrefix(path, prefix string) (rest string, ok bool) {
	if len(path) < len(prefix) || !strings.EqualFold(path[:len(prefix)], prefix) {
		return "", false
	}
	rest = path[len(prefix):]
	return rest, rest == "" || rest[0] == '/'
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ gateway                     = (*relay.Hub)(nil)
)
