package relay

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
	"github.com/talwtn/caddy-wtn/relay/internal/sdpneg"
)

const (
	// CounterOfferValidity is how long an offer of ours waits for its answer.
	CounterOfferValidity = 30 * time.Second
	maxCounterOffers     = 4096
)

// CounterOffer is an offer of ours to a player that sent none, or none that we
// can take (the 406 of WHEP). It becomes a session with the player's answer.
type CounterOffer struct {
	SDP  []byte
	Note any // what the caller wants back with the answer

	id, secret, tag string
	request         OfferRequest
	ufrag, pwd      string
	ssrcs           []uint32 // by index of the section
	madeAt          int64
}

// Secret will be the session's.
func (c *CounterOffer) Secret() string { return c.secret }

// ETag will be that of the session's first ICE session.
func (c *CounterOffer) ETag() string { return c.tag }

// Stream is the name of the stream to be played.
func (c *CounterOffer) Stream() string { return c.request.Stream }

// Counter offers what a stream sends to a player; the offer in r is not looked
// at. It costs no more than memory until it is answered, and is forgotten after
// CounterOfferValidity. Errors: those of Subscribe.
func (h *Hub) Counter(ctx context.Context, r OfferRequest, note any) (*CounterOffer, error) {
	if !validName(r.Stream) {
		return nil, ErrStreamName
	}
	if err := h.pullFirst(ctx, &r); err != nil {
		return nil, err
	}
	h.mu.Lock()
	st := h.streams[r.Stream]
	var source []codec.Codec
	if st != nil {
		source = st.codecs()
	}
	ready, full := !h.draining, len(h.offers) >= maxCounterOffers
	h.mu.Unlock()
	switch {
	case !ready:
		return nil, ErrNotReady
	case len(source) == 0:
		return nil, ErrNoPublisher
	case full:
		return nil, ErrLimit
	}
	c := &CounterOffer{
		Note: note, id: randomID(), secret: randomSecret(), tag: newETag(), request: r, madeAt: leg.Now(),
	}
	c.ufrag, c.pwd = leg.DrawCredentials()
	if err := h.writeCounter(c, source); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining {
		return nil, ErrNotReady
	}
	h.offers[c.secret] = c
	return c, nil
}

func (h *Hub) writeCounter(c *CounterOffer, source []codec.Codec) (err error) {
	hash, value := h.transport.Fingerprint()
	p := sdpneg.AnswerParams{
		SessionID: rand.Uint64(), Ufrag: c.ufrag, Pwd: c.pwd, Lite: true, Trickle: true,
		Fingerprint: sdpneg.Fingerprint{Hash: hash, Value: value}, StreamID: c.id, Tracks: make(map[int]sdpneg.Track),
	}
	if p.Candidates, err = h.candidates(c.request.Loopback); err != nil {
		return err
	}
	for i, s := range source {
		t := sdpneg.Track{SSRC: newSSRC(), CNAME: c.id}
		if s.Kind == codec.Video {
			t.RTXSSRC = t.SSRC + 1
		}
		p.Tracks[i] = t
		c.ssrcs = append(c.ssrcs, t.SSRC)
	}
	c.SDP, err = sdpneg.CounterOffer(source, p)
	return err
}

// newSSRC leaves room for that of the retransmissions behind it.
func newSSRC() uint32 { return rand.Uint32N(1<<32-2) + 1 }

// CounterOffer finds an offer of ours that is not answered yet by its secret.
func (h *Hub) CounterOffer(secret string) (*CounterOffer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.offers[secret]
	if c == nil || leg.Now()-c.madeAt > int64(CounterOfferValidity) {
		return nil, ErrSessionNotFound
	}
	return c, nil
}

// Withdraw forgets an offer of ours; false if it is gone already.
func (h *Hub) Withdraw(c *CounterOffer) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := h.offers[c.secret] == c
	delete(h.offers, c.secret)
	return known
}

// Accept makes a session of an offer of ours and the player's answer. After an
// answer that cannot be read the offer still stands. Errors: those of Subscribe,
// ErrSessionNotFound.
func (h *Hub) Accept(c *CounterOffer, answer []byte) (*Session, error) {
	r := c.request
	r.Offer, r.Hold = answer, false
	o, err := h.intake(r)
	if err != nil {
		return nil, err
	}
	if len(o.Media) != len(c.ssrcs) {
		return nil, &OfferError{Malformed: true, Detail: "the answer does not have the sections of the offer: answer the offer of this session"}
	}
	if !h.Withdraw(c) {
		return nil, ErrSessionNotFound
	}
	s := newSession(h, r, RoleSubscribe)
	s.id, s.secret, s.counter = c.id, c.secret, c
	sub, choices, tracks, err := h.join(s, o, &r, func(st *stream) ([]sdpneg.Choice, error) { return st.play(o) })
	if err != nil {
		return nil, err
	}
	for _, d := range sub.sink.downs {
		if d.ssrc = c.ssrcs[sub.media[d.kind]]; d.rtxSSRC != 0 {
			d.rtxSSRC = d.ssrc + 1
		}
	}
	s.Mute(r.mute())
	a, err := h.answer(s, o, sub, sdpneg.AnswerParams{
		Role: sdpneg.Send, Choices: choices, StreamID: s.id, Tracks: tracks,
	}, r.Loopback)
	if err != nil {
		s.End(ReasonHandshake)
		return nil, err
	}
	return a.Session, nil
}

// forgetOffers drops the offers nobody answered in time. The hub's lock is held.
func (h *Hub) forgetOffers(now int64) {
	for secret, c := range h.offers {
		if now-c.madeAt > int64(CounterOfferValidity) {
			delete(h.offers, secret)
		}
	}
}
