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

// counterNote is what an offer of ours was made by, for its answer, which may
// come after a reload.
type counterNote struct {
	grant Grant
	quota quota
}

// counterOffer answers with an offer. 406 is what makes it one (WHEP section
// 4.2.2); whatever a 201 would say about the session is said here, for there
// will be none.
func (x *exchange) counterOffer(req relay.OfferRequest, grant Grant) error {
	slot, err := x.h.admission.take(x.h.quota, relay.RoleSubscribe, req.Stream)
	if err != nil {
		return err
	}
	slot.free() // an offer is no session yet, and most are answered at once or never
	c, err := x.h.gateway.Counter(x.r.Context(), req, counterNote{grant, x.h.quota})
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
	note, _ := c.Note.(counterNote)
	return c, x.h.Access.askSession(x.r, actionPlay, x.stream, note.grant)
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
	note, _ := c.Note.(counterNote)
	slot, err := x.h.admission.take(note.quota, relay.RoleSubscribe, c.Stream())
	if err != nil {
		return err
	}
	defer slot.free()
	s, err := x.h.gateway.Accept(c, body)
	if err != nil {
		return err
	}
	slot.keep(s)
	x.h.leases.hold(s, note.grant)
	x.note("wtn_session", s.ID())
	x.w.Header().Set("ETag", quoteTag(s.ETag()))
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}
