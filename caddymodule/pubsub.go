package caddymodule

import (
	"net/http"
	"strings"

	"github.com/talwtn/caddy-wtn/relay"
)

// pubSubRoute is WTN's resource that publishes one stream and plays another on
// one connection.
var pubSubRoute = &route{
	action:   "publish",
	face:     faceWTN,
	parse:    parsePubSub,
	endpoint: true,
	methods: map[string]func(*exchange) error{
		http.MethodPost: (*exchange).offerPubSub,
		http.MethodGet:  func(x *exchange) error { return x.checkEndpoint(relay.RolePublish) },
		http.MethodHead: func(x *exchange) error { return x.checkEndpoint(relay.RolePublish) },
	},
}

// parsePubSub reads pub-sub/{app}/{published}/{played}.
func parsePubSub(x *exchange, tail string) error {
	p := strings.Split(tail, "/")
	if len(p) != 4 || p[0] != "pub-sub" || p[1] == "" || p[2] == "" || p[3] == "" {
		return errNoStream
	}
	x.stream, x.played = p[1]+"/"+p[2], p[1]+"/"+p[3]
	return nil
}

// offerPubSub answers an offer with a session that publishes and plays. It needs
// the right to do either.
func (x *exchange) offerPubSub() error {
	for _, role := range []relay.Role{relay.RolePublish, relay.RoleSubscribe} {
		if err := x.permitted(role); err != nil {
			return err
		}
	}
	if !x.h.clients.allow(clientAddr(x.r)) {
		return errRate
	}
	grant, err := x.h.authorize(x.r, actionPublish, x.stream)
	if err != nil {
		return err
	}
	playGrant, err := x.h.authorize(x.r, actionPlay, x.played)
	if err != nil {
		return err
	}
	x.admitted(grant)
	body, err := x.readOffer()
	if err != nil {
		return err
	}
	pub, err := x.request(relay.RolePublish, grant)
	if err != nil {
		return err
	}
	sub, err := x.request(relay.RoleSubscribe, playGrant)
	if err != nil {
		return err
	}
	pub.Offer = body
	q := x.r.URL.Query()
	if err := wtnQuery(&pub, q, "Pub"); err != nil {
		return err
	}
	if err := wtnQuery(&sub, q, "Sub"); err != nil {
		return err
	}
	answer, err := x.pubSub(pub, sub)
	if err != nil {
		return err
	}
	x.h.leases.hold(answer.Session, grant)
	x.h.leases.hold(answer.Session.Twin(), playGrant)
	x.note("wtn_session", answer.Session.ID())
	x.created(answer)
	return nil
}

// pubSub asks the hub for a session that counts on both sides.
func (x *exchange) pubSub(pub, sub relay.OfferRequest) (*relay.Answer, error) {
	sends, err := x.h.admission.take(x.h.quota, relay.RolePublish, pub.Stream)
	if err != nil {
		return nil, err
	}
	defer sends.free()
	plays, err := x.h.admission.take(x.h.quota, relay.RoleSubscribe, sub.Stream)
	if err != nil {
		return nil, err
	}
	defer plays.free()
	answer, err := x.h.gateway.PubSub(x.r.Context(), pub, sub)
	if err != nil {
		return nil, err
	}
	sends.keep(answer.Session)
	plays.keep(answer.Session.Twin())
	return answer, nil
}
