package relay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
	"github.com/talwtn/caddy-wtn/relay/internal/sdpneg"
)

// OfferRequest is one POST of an SDP offer.
type OfferRequest struct {
	Stream string     // name, see ErrStreamName
	Offer  []byte     // SDP
	Client netip.Addr // for the log
	// Loopback adds loopback candidates: the site is reached by a local name.
	Loopback bool
	// Codecs restricts what a publisher may send, by name ("H264", "opus").
	// Empty: all.
	Codecs []string
}

// Answer is the reply to an accepted offer.
type Answer struct {
	SDP     []byte
	Session *Session
}

// Publish answers a publisher's offer. The stream begins with it, or goes over
// to it at its first key frame. Errors: ErrStreamName, ErrNotReady, ErrLimit,
// *OfferError.
func (h *Hub) Publish(_ context.Context, r OfferRequest) (*Answer, error) {
	o, err := h.intake(r)
	if err != nil {
		return nil, err
	}
	choices, err := sdpneg.Publish(o, allowed(r.Codecs))
	if err != nil {
		return nil, offerError(err)
	}
	var codecs []codec.Codec
	twccID := 0
	for _, c := range choices {
		if c.Flows() {
			codecs = append(codecs, c.Codecs[0])
			twccID = max(twccID, c.Extensions[sdpneg.TransportCCURI])
		}
	}
	s := newSession(h, r, RolePublish)
	p, replaced, err := h.enter(s, codecs, uint8(twccID))
	if err != nil {
		return nil, err
	}
	if replaced != nil {
		h.endLater(replaced.Session, ReasonTakeover)
	}
	a, err := h.answer(s, o, p, sdpneg.AnswerParams{Role: sdpneg.Recv, Choices: choices}, r.Loopback)
	if err != nil {
		h.unpublish(p, ReasonHandshake)
	}
	return a, err
}

// enter makes the publisher and puts it on its stream.
func (h *Hub) enter(s *Session, codecs []codec.Codec, twccID uint8) (p, replaced *publisher, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.config.Load()
	if n := h.count(RolePublish); c.MaxPublishers > 0 && n >= c.MaxPublishers {
		return nil, nil, ErrLimit
	}
	st := h.streams[s.stream]
	if st == nil {
		name := s.stream
		st = &stream{name: name, since: time.Now(), subs: make(map[*subscriber]struct{})}
		st.prog = newProgram(func(from, to *source, gap time.Duration) { h.taken(name, from, to, gap) })
		st.prog.cache.Store(c.GOPCache)
	}
	p = newPublisher(s, st.prog, codecs, twccID)
	if !st.prog.register(p.src) {
		return nil, nil, &OfferError{Detail: "this stream has changed its codecs too often: end it and publish anew"}
	}
	h.streams[s.stream] = st
	replaced = st.publish(p)
	known := st.prog.known()
	for sub := range st.subs {
		sub.learn(known)
	}
	return p, replaced, nil
}

// Subscribe answers a subscriber's offer. Errors: those of Publish,
// ErrNoPublisher, ErrOverloaded.
func (h *Hub) Subscribe(_ context.Context, r OfferRequest) (*Answer, error) {
	o, err := h.intake(r)
	if err != nil {
		return nil, err
	}
	w, err := h.admit(r.Stream)
	if err != nil {
		if errors.Is(err, ErrLimit) || errors.Is(err, ErrOverloaded) {
			h.stats.joinsRefused.Add(1)
		}
		return nil, err
	}
	s := newSession(h, r, RoleSubscribe)
	h.mu.Lock()
	st := h.streams[r.Stream]
	if st == nil {
		h.mu.Unlock()
		return nil, ErrNoPublisher
	}
	choices, err := sdpneg.Play(o, st.codecs())
	if err != nil {
		h.mu.Unlock()
		return nil, offerError(err)
	}
	sub := newSubscriber(s, w, st.prog)
	tracks := sub.tracks(o, choices)
	sub.payloadTypes(st.prog.known())
	st.subs[sub] = struct{}{}
	w.subscribers.Add(1)
	h.mu.Unlock()

	a, err := h.answer(s, o, sub, sdpneg.AnswerParams{
		Role: sdpneg.Send, Choices: choices, StreamID: s.id, Tracks: tracks,
	}, r.Loopback)
	if err != nil {
		h.unsubscribe(sub)
		return nil, err
	}
	return a, nil
}

// tracks makes the down tracks for the sections that flow.
func (s *subscriber) tracks(o *sdpneg.Offer, choices []sdpneg.Choice) map[int]sdpneg.Track {
	tracks := make(map[int]sdpneg.Track)
	for _, c := range choices {
		if c.Flows() {
			d := s.addTrack(o.Media[c.Media].Kind, c.Codecs, uint8(c.Extensions[sdpneg.AbsSendTimeURI]))
			tracks[c.Media] = sdpneg.Track{SSRC: d.ssrc, RTXSSRC: d.rtxSSRC, CNAME: s.sink.cname}
		}
	}
	return tracks
}

// intake does what both roles need first.
func (h *Hub) intake(r OfferRequest) (*sdpneg.Offer, error) {
	if !validName(r.Stream) {
		return nil, ErrStreamName
	}
	h.mu.Lock()
	ready := !h.draining && len(h.udp)+len(h.tcp) > 0
	h.mu.Unlock()
	if !ready {
		return nil, ErrNotReady
	}
	o, err := sdpneg.ParseOffer(r.Offer)
	if err != nil {
		return nil, offerError(err)
	}
	return o, nil
}

// admit checks the limits for one more subscriber and picks the sending loop
// with the fewest.
func (h *Hub) admit(name string) (*worker, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	st, c := h.streams[name], h.config.Load()
	if st == nil {
		return nil, ErrNoPublisher
	}
	if c.MaxSubscribers > 0 && h.count(RoleSubscribe) >= c.MaxSubscribers ||
		c.MaxSubscribersPerStream > 0 && len(st.subs) >= c.MaxSubscribersPerStream {
		return nil, ErrLimit
	}
	now, best := leg.Now(), h.workers[0]
	for _, w := range h.workers {
		if w.subscribers.Load() < best.subscribers.Load() {
			best = w
		}
	}
	if best.load.busy(now) > c.MaxBusy {
		return nil, ErrOverloaded
	}
	return best, nil
}

// count counts sessions of a role. The hub's lock is held.
func (h *Hub) count(r Role) (n int) {
	for _, s := range h.sessions {
		if s.role == r {
			n++
		}
	}
	return n
}

// answer opens the session's leg and writes the answer.
func (h *Hub) answer(s *Session, o *sdpneg.Offer, handler leg.Handler, p sdpneg.AnswerParams, loopback bool) (*Answer, error) {
	p.Setup, p.Lite = sdpneg.AnswerSetup(o.Setup), true
	prints := make([]leg.Fingerprint, len(o.Fingerprints))
	for i, f := range o.Fingerprints {
		prints[i] = leg.Fingerprint{Hash: f.Hash, Value: f.Value}
	}
	l, err := h.transport.NewLeg(leg.Params{
		ID: s.id, RemoteUfrag: o.Ufrag, RemotePwd: o.Pwd, Fingerprints: prints,
		Active: p.Setup == sdpneg.Active, Handler: handler,
	})
	if err != nil {
		return nil, fmt.Errorf("opening a connection: %w", err)
	}
	if sub, ok := handler.(*subscriber); ok {
		sub.attach(l)
	}
	s.leg.Store(l) // publishes what attach wrote: HandleReady loads it first
	hash, value := h.transport.Fingerprint()
	p.SessionID, p.Ufrag, p.Pwd = rand.Uint64(), l.Ufrag(), l.Pwd()
	p.Fingerprint = sdpneg.Fingerprint{Hash: hash, Value: value}
	if p.Candidates, err = h.candidates(loopback); err == nil {
		var sdp []byte
		if sdp, err = sdpneg.Answer(o, p); err == nil {
			h.started(s)
			return &Answer{SDP: sdp, Session: s}, nil
		}
	}
	l.Close()
	return nil, err
}

// started makes the session's URL work.
func (h *Hub) started(s *Session) {
	h.mu.Lock()
	h.sessions[s.secret] = s
	h.mu.Unlock()
	env := h.env.Load()
	env.Logger.Info("session started", zap.String("session", s.id), zap.String("stream", s.stream),
		zap.String("role", string(s.role)), zap.Stringer("client", s.client))
	if env.Observer != nil {
		env.Observer.SessionStarted(s.Info())
	}
}

func offerError(err error) error {
	var e *sdpneg.Error
	if errors.As(err, &e) {
		return &OfferError{Malformed: e.Kind == sdpneg.Malformed, Detail: e.Detail}
	}
	return err
}

// allowed is a filter by codec names.
func allowed(names []string) func(codec.Codec) bool {
	if len(names) == 0 {
		return nil
	}
	return func(c codec.Codec) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, c.Name) })
	}
}

// validName checks a stream name, see ErrStreamName.
func validName(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	for segment := range strings.SplitSeq(s, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
		for _, c := range []byte(segment) {
			if !isNameByte(c) {
				return false
			}
		}
	}
	return true
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~@", c) >= 0
}
