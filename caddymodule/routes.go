package caddymodule

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talwtn/caddy-wtn/relay"
)

const (
	sdpType      = "application/sdp"
	maxOfferSize = 64 << 10
)

// route is what one first path segment under the prefix stands for.
type route struct {
	action  string // wtn_action
	face    face
	parse   func(x *exchange, tail string) error // reads the rest of the path into x
	methods map[string]func(*exchange) error     // OPTIONS comes by itself
}

// consoleRoute is the console's data; its files are not in the table.
var consoleRoute = &route{
	action: "streams",
	parse:  parseConsole,
	methods: map[string]func(*exchange) error{
		http.MethodGet:  (*exchange).streams,
		http.MethodHead: (*exchange).streams,
	},
}

// routes is the table of everything under the prefix.
var routes = map[string]*route{
	"whip":    endpoint(relay.RolePublish, faceProblem, parseStream),
	"whep":    endpoint(relay.RoleSubscribe, faceProblem, parseStream),
	"pub":     endpoint(relay.RolePublish, faceWTN, parseAppStream),
	"sub":     endpoint(relay.RoleSubscribe, faceWTN, parseAppStream),
	"session": sessionRoute,
	"console": consoleRoute,
}

var sessionRoute = &route{
	action: "session",
	parse:  parseSession,
	methods: map[string]func(*exchange) error{
		http.MethodGet:    (*exchange).checkSession,
		http.MethodHead:   (*exchange).checkSession,
		http.MethodDelete: (*exchange).endSession,
	},
}

// endpoint is a URL that takes offers.
func endpoint(role relay.Role, f face, parse func(*exchange, string) error) *route {
	action := "publish"
	if role == relay.RoleSubscribe {
		action = "play"
	}
	get := func(x *exchange) error { return x.checkEndpoint(role) }
	return &route{
		action: action,
		face:   f,
		parse:  parse,
		methods: map[string]func(*exchange) error{
			http.MethodPost: func(x *exchange) error { return x.offer(role) },
			http.MethodGet:  get,
			http.MethodHead: get,
		},
	}
}

// allow is the Allow header.
func (rt *route) allow() string {
	list := []string{http.MethodOptions}
	for m := range rt.methods {
		list = append(list, m)
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func parseStream(x *exchange, tail string) error {
	if tail == "" {
		return errNoStream
	}
	x.stream = tail
	return nil
}

// parseAppStream takes exactly two segments, as WTN has them.
func parseAppStream(x *exchange, tail string) error {
	app, name, _ := strings.Cut(tail, "/")
	if app == "" || name == "" || strings.Contains(name, "/") {
		return errNoStream
	}
	x.stream = tail
	return nil
}

// parseSession reads session/{secret} and session/wtn/{secret}: the URL carries
// the face, because an ended session is not there any more to tell it.
func parseSession(x *exchange, tail string) error {
	if secret, ok := strings.CutPrefix(tail, "wtn/"); ok {
		x.face, tail = faceWTN, secret
	}
	if tail == "" || strings.Contains(tail, "/") {
		return errNoResource
	}
	x.secret = tail
	return nil
}

func parseConsole(_ *exchange, tail string) error {
	if tail != "streams" {
		return errNoResource
	}
	return nil
}

// permitted reports whether this side of the gateway is switched on here.
func (x *exchange) permitted(role relay.Role) error {
	if role == relay.RolePublish && !x.h.on(x.h.Publish) {
		return errNoPublish
	}
	if role == relay.RoleSubscribe && !x.h.on(x.h.Play) {
		return errNoPlay
	}
	return nil
}

// offer answers an SDP offer with a session.
func (x *exchange) offer(role relay.Role) error {
	if err := x.permitted(role); err != nil {
		return err
	}
	body, err := x.readOffer()
	if err != nil {
		return err
	}
	req := relay.OfferRequest{
		Stream:   x.stream,
		Offer:    body,
		Client:   clientAddr(x.r),
		Loopback: loopbackHost(x.r.Host),
	}
	var answer *relay.Answer
	if role == relay.RolePublish {
		req.Codecs = x.h.Codecs
		answer, err = x.h.gateway.Publish(x.r.Context(), req)
	} else {
		answer, err = x.h.gateway.Subscribe(x.r.Context(), req)
	}
	if err != nil {
		return err
	}
	x.note("wtn_session", answer.Session.ID())
	path := "/session/" + answer.Session.Secret()
	if x.face == faceWTN {
		path = "/session/wtn/" + answer.Session.Secret()
	}
	h := x.w.Header()
	h.Set("Location", x.externalURL(path))
	h.Set("Content-Type", sdpType)
	h.Set("Content-Length", strconv.Itoa(len(answer.SDP)))
	x.w.WriteHeader(http.StatusCreated)
	x.w.Write(answer.SDP)
	return nil
}

// readOffer checks the media type and reads the body within its limit.
func (x *exchange) readOffer() ([]byte, error) {
	mediaType, _, _ := strings.Cut(x.r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(mediaType), sdpType) {
		x.w.Header().Set("Accept-Post", sdpType)
		return nil, errMediaType
	}
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, maxOfferSize))
	var (
		tooLarge *http.MaxBytesError
		theirs   caddyhttp.HandlerError // of a tighter limit around us
	)
	switch {
	case errors.As(err, &theirs):
		return nil, theirs
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case err != nil:
		return nil, errors.Join(err, errBody)
	case len(body) == 0:
		return nil, errEmptyOffer
	}
	return body, nil
}

// checkEndpoint answers GET and HEAD: there is nothing to read, but a player
// given any URL recognises by the type that this one is WHEP.
func (x *exchange) checkEndpoint(role relay.Role) error {
	if err := x.permitted(role); err != nil {
		return err
	}
	if role == relay.RoleSubscribe {
		x.w.Header().Set("Content-Type", sdpType)
	}
	x.empty()
	return nil
}

// session looks the session up in the hub, which outlives this configuration,
// so URLs made by an older one keep working.
func (x *exchange) session() (*relay.Session, error) {
	s, err := x.h.gateway.Session(x.secret)
	if err != nil {
		return nil, err
	}
	x.noteSession(s)
	return s, nil
}

func (x *exchange) noteSession(s *relay.Session) {
	x.stream = s.Stream()
	x.note("wtn_stream", x.stream)
	x.note("wtn_session", s.ID())
}

func (x *exchange) checkSession() error {
	if _, err := x.session(); err != nil {
		return err
	}
	x.empty()
	return nil
}

func (x *exchange) endSession() error {
	s, err := x.h.gateway.EndSession(x.secret, relay.ReasonDelete)
	if err != nil {
		return err
	}
	x.noteSession(s)
	x.empty()
	return nil
}

// empty is a 200 without a body.
func (x *exchange) empty() {
	x.w.Header().Set("Content-Length", "0")
	x.w.WriteHeader(http.StatusOK)
}
