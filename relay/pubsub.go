package relay

import (
	"context"

	"github.com/talwtn/caddy-wtn/relay/internal/leg"
	"github.com/talwtn/caddy-wtn/relay/internal/sdpneg"
)

// twins are the two sides of one connection that publishes one stream and plays
// another. Each side is a session of its stream like any other, only that they
// share the leg and end together. The publishing side has the URL.
type twins struct {
	pub *publisher
	sub *subscriber
}

// Twin is the other side of a session that publishes and plays, nil for any
// other session.
func (s *Session) Twin() *Session { return s.twin }

// PubSub answers the offer of a peer that publishes pub.Stream and plays
// sub.Stream on one connection; of sub, what concerns the offer is not looked
// at. Nobody needs to publish the played stream yet, nor all the time: the peer
// is given up when that takes longer than the time a subscriber has to connect.
// The session of the answer is the publishing side. Errors: those of Publish and
// Subscribe.
func (h *Hub) PubSub(_ context.Context, pub, sub OfferRequest) (*Answer, error) {
	if !validName(sub.Stream) {
		return nil, ErrStreamName
	}
	o, err := h.intake(pub)
	if err != nil {
		return nil, err
	}
	sub.Hold = true
	s, t := newSession(h, pub, RolePublish), newSession(h, sub, RoleSubscribe)
	s.twin, t.twin = t, s
	plan := func(st *stream) ([]sdpneg.Choice, error) { return sdpneg.PubSub(o, allowed(pub.Codecs), st.codecs()) }
	viewer, choices, tracks, err := h.join(t, o, &sub, plan)
	if err != nil {
		return nil, err
	}
	p, err := h.enter(s, &pub, inboundOf(choices))
	if err != nil {
		t.twin = nil
		t.End(ReasonHandshake)
		return nil, err
	}
	s.Mute(pub.mute())
	t.Mute(sub.mute())
	a, err := h.answer(s, o, &twins{p, viewer}, sdpneg.AnswerParams{
		Role: sdpneg.Both, Choices: choices, StreamID: t.id, Tracks: tracks,
	}, pub.Loopback)
	if err != nil {
		s.End(ReasonHandshake)
		return nil, err
	}
	return a, nil
}

// abandoned tells whether the stream the session plays has had no publisher for
// too long. The patrol asks.
func (s *subscriber) abandoned(now int64, c *Config) bool {
	s.hub.mu.Lock()
	st := s.hub.streams[s.stream]
	absent := st == nil || st.publisher == nil
	s.hub.mu.Unlock()
	switch {
	case !absent:
		s.absentAt = 0
	case s.absentAt == 0:
		s.absentAt = now
	}
	return absent && now-s.absentAt > int64(c.SubscriberConnectTimeout)
}

// HandleReady implements leg.Handler.
func (t *twins) HandleReady() {
	t.pub.HandleReady()
	t.sub.HandleReady()
}

// HandleRTP implements leg.Handler.
func (t *twins) HandleRTP(b []byte, arrival int64) { t.pub.HandleRTP(b, arrival) }

// HandleRTCP gives both sides what the peer says as sender and as receiver.
func (t *twins) HandleRTCP(b []byte, arrival int64) {
	t.pub.HandleRTCP(b, arrival)
	t.sub.HandleRTCP(b, arrival)
}

// HandleFlush implements leg.Handler.
func (t *twins) HandleFlush() { t.pub.HandleFlush() }

// HandleEnd implements leg.Handler: with its connection closed the peer plays
// nothing any more, so there is no grace time.
func (t *twins) HandleEnd(err error) { t.sub.HandleEnd(err) }

var _ leg.Handler = (*twins)(nil)
