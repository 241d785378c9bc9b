package caddymodule

import (
	"errors"
	"net/http"
	"slices"
	"strings"

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

	endpoint bool // takes offers
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
	"webrtc":  pubSubRoute,
	"session": sessionRoute,
	"console": consoleRoute,
}

var sessionRoute = &route{
	action: "session",
	parse:  parseSession,
	methods: map[string]func(*exchange) error{
		http.MethodGet:    (*exchange).checkSession,
		http.MethodHead:   (*exchange).checkSession,
		http.MethodPatch:  (*exchange).patch,
		http.MethodDelete: (*exchange).endSession,
	},
}

// wtnSessionRoute is a session as WTN has it.
var wtnSessionRoute = &route{
	action: "session",
	methods: map[string]func(*exchange) error{
		http.MethodGet:    (*exchange).checkSession,
		http.MethodHead:   (*exchange).checkSession,
		http.MethodPost:   (*exchange).configure,
		http.MethodPatch:  (*exchange).patch,
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
		action:   action,
		face:     f,
		parse:    parse,
		endpoint: true,
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
// the face, because an ended session is not there any more to tell it. The
// extensions of a session are below its URL.
func parseSession(x *exchange, tail string) error {
	if secret, ok := strings.CutPrefix(tail, "wtn/"); ok {
		x.face, x.route, tail = faceWTN, wtnSessionRoute, secret
	}
	secret, below, deep := strings.Cut(tail, "/")
	x.secret = secret
	id, isEvents := strings.CutPrefix(below, "events/")
	switch {
	case secret == "" || deep && x.face == faceWTN:
		return errNoResource
	case !deep:
	case below == "events":
		x.route = eventsRoute
	case below == "layer":
		x.route = layerRoute
	case isEvents && id != "" && !strings.Contains(id, "/"):
		x.route, x.events = eventStreamRoute, id
	default:
		return errNoResource
	}
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
	if !x.h.serves(x.stream) || x.played != "" && !x.h.serves(x.played) {
		return errNotServed
	}
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
	if !x.h.clients.allow(clientAddr(x.r)) {
		return errRate
	}
	grant, err := x.h.authorize(x.r, x.route.action, x.stream)
	if err != nil {
		return err
	}
	x.admitted(grant)
	req, err := x.request(role, grant)
	if err != nil {
		return err
	}
	if x.wantsOffer(role) {
		return x.counterOffer(req, grant)
	}
	if req.Offer, err = x.readOffer(); err != nil {
		return err
	}
	if x.face == faceWTN {
		if err := wtnQuery(&req, x.r.URL.Query(), ""); err != nil {
			return err
		}
	}
	slot, err := x.h.admission.take(x.h.quota, role, x.stream)
	if err != nil {
		return err
	}
	defer slot.free()
	ask := x.h.gateway.Subscribe
	if role == relay.RolePublish {
		ask = x.h.gateway.Publish
	}
	answer, err := ask(x.r.Context(), req)
	if err != nil {
		return err
	}
	slot.keep(answer.Session)
	x.h.leases.hold(answer.Session, grant)
	x.note("wtn_session", answer.Session.ID())
	x.created(answer)
	return nil
}

// request is the request to the hub, without the offer.
func (x *exchange) request(role relay.Role, grant Grant) (relay.OfferRequest, error) {
	req := relay.OfferRequest{
		Stream: grant.Stream, Client: clientAddr(x.r), Loopback: loopbackHost(x.r.Host), Routing: x.h.routed,
	}
	if role == relay.RoleSubscribe {
		req.Hold, req.MaxSubscribers = x.h.Hold, x.h.viewersPerStream()
		return req, nil
	}
	req.Codecs, req.MaxSubscribers, req.MaxBitrate = x.h.Codecs, grant.MaxViewers, x.h.bitrate(grant)
	var err error
	req.Priority, err = x.h.priority(x.r, grant)
	return req, err
}

// created answers with the new session.
func (x *exchange) created(a *relay.Answer) {
	h, path := x.w.Header(), "/session/"+a.Session.Secret()
	if x.face == faceWTN {
		path = "/session/wtn/" + a.Session.Secret()
	}
	h.Set("Location", x.externalURL(path))
	h.Set("ETag", quoteTag(a.Session.ETag()))
	x.iceServers(a.Session.ID())
	if x.face != faceWTN && a.Session.Role() == relay.RoleSubscribe {
		x.extensions(a.Session.Secret())
	}
	x.reply(http.StatusCreated, sdpType, a.SDP)
}

// iceServers names the servers that help a client to connect, one Link header
// each.
func (x *exchange) iceServers(session string) {
	if x.h.iceServers == nil {
		return
	}
	for _, link := range x.h.iceServers(session, x.r.Host) {
		x.w.Header().Add("Link", link)
	}
}

// namesICEServers reports whether iceServers would name any, which is known
// without asking anybody.
func (x *exchange) namesICEServers() bool {
	return x.h.iceServers != nil && (x.h.iceNamed == nil || x.h.iceNamed(x.r.Host))
}

// readOffer checks the media type and reads the body within its limit.
func (x *exchange) readOffer() ([]byte, error) {
	if !hasType(x.r, sdpType) {
		x.w.Header().Set("Accept-Post", sdpType)
		return nil, errMediaType
	}
	body, err := x.readBody(maxOfferSize)
	if err == nil && len(body) == 0 {
		return nil, errEmptyOffer
	}
	return body, err
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
	return s, x.h.authorizeSession(x.r, s)
}

func (x *exchange) noteSession(s *relay.Session) {
	x.stream = s.Stream()
	x.note("wtn_stream", x.stream)
	x.note("wtn_session", s.ID())
}

func (x *exchange) checkSession() error {
	if c, err := x.pending(); c != nil && err == nil {
		x.empty()
		return nil
	}
	if _, err := x.session(); err != nil {
		return err
	}
	x.empty()
	return nil
}

func (x *exchange) endSession() error {
	if c, err := x.pending(); err != nil {
		return err
	} else if c != nil && x.h.gateway.Withdraw(c) {
		x.empty()
		return nil
	}
	s, err := x.session()
	if errors.Is(err, relay.ErrSessionNotFound) { // or the peer has just hung up
		s, err = x.h.gateway.EndSession(x.secret, relay.ReasonDelete)
	}
	if err != nil {
		return err
	}
	s.End(relay.ReasonDelete)
	x.noteSession(s)
	x.empty()
	return nil
}

// empty is a 200 without a body.
func (x *exchange) empty() {
	x.w.Header().Set("Content-Length", "0")
	x.w.WriteHeader(http.StatusOK)
}
