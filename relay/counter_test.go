package relay

import (
	"context"
	"errors"
	"testing"

	"github.com/talwtn/caddy-wtn/relay/internal/leg"
)

// WHEP-15, WHEP-18: an offer nobody answers is forgotten; a wrong answer makes
// no session.
func TestCounterOfferExpires(t *testing.T) {
	h := newHub(t)
	r := request(nil)
	if _, err := h.Counter(context.Background(), r, nil); !errors.Is(err, ErrNoPublisher) {
		t.Errorf("nobody publishes: %v", err)
	}
	newCamera(t, h).waitLive()
	c, err := h.Counter(context.Background(), r, "note")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := h.CounterOffer(c.Secret()); err != nil || got.Note != "note" || got.Stream() != "test" {
		t.Errorf("%+v, %v", got, err)
	}
	var o *OfferError
	if _, err := h.Accept(c, []byte("garbage")); !errors.As(err, &o) || !o.Malformed {
		t.Errorf("garbage: %v", err)
	}
	if _, err := h.Accept(c, newViewerOffer(t)); !errors.As(err, &o) || !o.Malformed {
		t.Errorf("an answer to another offer: %v", err)
	}
	if _, err := h.CounterOffer(c.Secret()); err != nil {
		t.Errorf("the offer does not stand any more: %v", err)
	}
	h.mu.Lock()
	c.madeAt = leg.Now() - int64(CounterOfferValidity) - 1
	h.mu.Unlock()
	if _, err := h.CounterOffer(c.Secret()); !errors.Is(err, ErrSessionNotFound) {
		t.Errorf("after its time: %v", err)
	}
	h.mu.Lock()
	h.forgetOffers(leg.Now())
	left := len(h.offers)
	h.mu.Unlock()
	if left != 0 {
		t.Errorf("%d offers left", left)
	}
	if n := h.Stats().Subscribers; n != 0 {
		t.Errorf("%d subscribers", n)
	}
}

// newViewerOffer has an audio and a video section.
func newViewerOffer(t *testing.T) []byte {
	t.Helper()
	h := newHub(t)
	newCamera(t, h)
	v := newViewer(t, h)
	return []byte(v.pc.LocalDescription().SDP)
}
