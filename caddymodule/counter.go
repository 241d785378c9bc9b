package caddymodule

import (
	"errors"
	"net/http"
	"time"

	"github.com/talwtn/caddy-wtn/relay"
)

var (
	errAnswerType = errors.New("the session waits for the answer to its offer: send it with Content-Type: " + sdpType)
	errUnanswered = errors.New("the session waits for the answer to its offer: send that first")
)

// wantsOffer reports whether a player asks for an offer of ours: it sent none,
// and this handler makes some.
func (x *exchange) wantsOffer(role relay.Role) bool {
	return role == relay.RoleSubscribe && x.face == faceProblem && x.h.CounterOffer && x.r.ContentLength == 0
}

// counterOffer answers with an offer. 406 is what makes it one (WHEP section
// 4.2.2); whatever a 201 would say about the session is said here, for there
// will be none.
func (x *exchange) counterOffer(req relay.OfferRequest, grant Grant) error {
	c, err := x.h.gateway.Counter(x.r.Context(), req, grant)
	if err != nil {
		return err
	}
	h := x.w.Header()
	h.Set("Location", x.externalURL("/session/"+c.Secret()))
	h.Set("ETag", quoteTag(c.ETag()))
	x.iceServers("")
	x.extensions(c.Secret())
	until := time.Now().Add(relay.CounterOfferValidity).UTC().Format(http.TimeFormat)
	x.reply(http.StatusNotAcceptable, sdpType+`; valid-until="`+until+`"`, c.SDP)
	return nil
}

// pending finds the offer of ours that the URL stands for; nil if it stands for
// a session, or nothing.
func (x *exchange) pending() (*relay.CounterOffer, error) {
	c, err := x.h.gateway.CounterOffer(x.secret)
	if err != nil {
		return nil, nil
	}
	x.stream = c.Stream()
	x.note("wtn_stream", x.stream)
	grant, _ := c.Note.(Grant)
	return c, x.h.Access.askSession(x.r, actionPlay, x.stream, grant)
}

// answered takes the answer to our offer, which makes the session.
func (x *exchange) answered(c *relay.CounterOffer) error {
	switch {
	case hasType(x.r, fragmentType):
		return errUnanswered
	case !hasType(x.r, sdpType):
		x.w.Header().Set("Accept-Patch", sdpType)
		return errAnswerType
	}
	body, err := x.readBody(maxOfferSize)
	if err != nil {
		return err
	}
	s, err := x.h.gateway.Accept(c, body)
	if err != nil {
		return err
	}
	grant, _ := c.Note.(Grant)
	x.h.leases.hold(s, grant)
	x.note("wtn_session", s.ID())
	x.w.Header().Set("ETag", quoteTag(s.ETag()))
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}
