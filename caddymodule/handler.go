package caddymodule

import (
	"context"
	"errors"
	"net/http"
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
//	DELETE session/...          end a session, at the URL the POST returned
//	GET    /                    the console: a page to publish, play and watch
//
// and passes everything else on to the next handler. All of them work on the
// same streams: pub/a/b and whep/a/b meet on the stream a/b. Who may do what is
// decided by handlers in front of this one, such as `basic_auth` or
// `forward_auth`; let OPTIONS pass there, since browsers send it without
// credentials.
//
// For logs and other handlers it sets the variables `wtn_stream`, `wtn_action`
// (publish, play, session, streams) and `wtn_session` (the public id), as in
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

	gateway gateway
	logger  *zap.Logger
}

// gateway is what the handler needs of the hub.
type gateway interface {
	Publish(context.Context, relay.OfferRequest) (*relay.Answer, error)
	Subscribe(context.Context, relay.OfferRequest) (*relay.Answer, error)
	Session(secret string) (*relay.Session, error)
	EndSession(secret string, r relay.Reason) (*relay.Session, error)
	Streams() []relay.StreamStats
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
	h.logger = ctx.Logger()
	return nil
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
	secret string // of sessions
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
		extra.Add(zap.String(name, value))
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
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ gateway                     = (*relay.Hub)(nil)
)
