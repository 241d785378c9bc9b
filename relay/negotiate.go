package relay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

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
	// MuteAudio and MuteVideo begin the session muted, see [Session.Mute].
	MuteAudio, MuteVideo bool
	// MaxSubscribers bounds the subscribers of the stream, beside the hub's
	// limits. Of a publisher it holds for whoever subscribes while it publishes,
	// of a subscriber for itself. 0: no bound.
	MaxSubscribers int
	// MaxBitrate bounds what a publisher may send, bits/s; it is ended when it
	// sends more for several seconds. 0: no bound.
	MaxBitrate uint64
	// Priority ranks a publisher among those of its stream, see PublishBackup.
	// Higher wins.
	Priority int
	// Routing is the stream's; nil: the zero value.
	Routing *Routing
	// RID names the simulcast layer a subscriber wants, see [Session.SelectLayer].
	// Empty: automatic.
	RID string
	// Hold lets a subscriber wait for the first publisher instead of refusing it
	// with ErrNoPublisher. It ends when that publisher sends what it cannot play.
	Hold bool
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
	if r.Routing != nil && r.Routing.Detour {
		r.Stream += ingest
	}
	choices, err := sdpneg.Publish(o, allowed(r.Codecs))
	if err != nil {
		return nil, offerError(err)
	}
	s := newSession(h, r, RolePublish)
	p, err := h.enter(s, &r, inboundOf(choices))
	if err != nil {
		return nil, err
	}
	s.Mute(r.mute())
	a, err := h.answer(s, o, p, sdpneg.AnswerParams{Role: sdpneg.Recv, Choices: choices}, r.Loopback)
	if err != nil {
		s.End(ReasonHandshake)
	}
	return a, err
}

// Subscribe answers a subscriber's offer. Errors: those of Publish,
// ErrNoPublisher, ErrOverloaded.
func (h *Hub) Subscribe(ctx context.Context, r OfferRequest) (*Answer, error) {
	o, err := h.intake(r)
	if err != nil {
		return nil, err
	}
	if err := h.pullFirst(ctx, &r); err != nil && !r.Hold {
		return nil, err
	}
	s := newSession(h, r, RoleSubscribe)
	plan := func(st *stream) ([]sdpneg.Choice, error) { return st.play(o) }
	sub, choices, tracks, err := h.join(s, o, &r, plan)
	if err != nil {
		if errors.Is(err, ErrLimit) || errors.Is(err, ErrOverloaded) {
			h.stats.joinsRefused.Add(1)
		}
		return nil, err
	}
	s.Mute(r.mute())

	a, err := h.answer(s, o, sub, sdpneg.AnswerParams{
		Role: sdpneg.Send, Choices: choices, StreamID: s.id, Tracks: tracks,
	}, r.Loopback)
	if err != nil {
		s.End(ReasonHandshake)
		return nil, err
	}
	return a, nil
}

// join makes the subscriber and puts it on its stream. It checks the limits in
// the same step, so that sessions still being answered count. plan decides about
// the offer.
func (h *Hub) join(s *Session, o *sdpneg.Offer, r *OfferRequest, plan func(*stream) ([]sdpneg.Choice, error)) (*subscriber, []sdpneg.Choice, map[int]sdpneg.Track, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := h.streamOf(r.Stream)
	if st.publisher == nil && !r.Hold {
		return nil, nil, nil, ErrNoPublisher
	}
	w, err := h.admit(st, r)
	if err != nil {
		return nil, nil, nil, err
	}
	choices, err := plan(st)
	if err != nil {
		return nil, nil, nil, offerError(err)
	}
	if r.RID != "" && st.publisher != nil && !st.publisher.hasLayer(r.RID) {
		return nil, nil, nil, ErrNoLayer
	}
	sub := newSubscriber(s, w, st.prog)
	tracks := sub.tracks(o, choices)
	sub.payloadTypes(st.prog.known())
	if r.RID != "" {
		sub.choose(&LayerChoice{RID: r.RID})
	}
	h.streams[r.Stream] = st
	st.subs[sub] = struct{}{}
	w.subscribers.Add(1)
	return sub, choices, tracks, nil
}

// tracks makes the down tracks for the sections that flow.
func (s *subscriber) tracks(o *sdpneg.Offer, choices []sdpneg.Choice) map[int]sdpneg.Track {
	tracks := make(map[int]sdpneg.Track)
	for _, c := range choices {
		codecs := c.Codecs
		if c.Play != nil {
			codecs = c.Play
		}
		if c.Flows() && c.Role != sdpneg.Recv {
			d := s.addTrack(o.Media[c.Media].Kind, codecs, uint8(c.Extensions[sdpneg.AbsSendTimeURI]))
			s.media[o.Media[c.Media].Kind] = c.Media
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
// with the fewest among those that have time. The hub's lock is held.
func (h *Hub) admit(st *stream, r *OfferRequest) (best *worker, err error) {
	c, now := h.config.Load(), leg.Now()
	_, all := h.count()
	limits := []struct{ n, most int }{
		{all, c.MaxSubscribers}, {len(st.subs), c.MaxSubscribersPerStream}, {len(st.subs), r.MaxSubscribers},
	}
	if st.publisher != nil {
		limits = append(limits, struct{ n, most int }{len(st.subs), st.publisher.maxSubs})
	}
	for _, l := range limits {
		if l.most > 0 && l.n >= l.most {
			return nil, ErrLimit
		}
	}
	for _, w := range h.workers {
		if w.load.busy(now) <= c.MaxBusy && (best == nil || w.subscribers.Load() < best.subscribers.Load()) {
			best = w
		}
	}
	if best == nil {
		return nil, ErrOverloaded
	}
	return best, nil
}

// count counts those on streams: connected, connecting or still being answered.
// The hub's lock is held.
func (h *Hub) count() (publishers, subscribers int) {
	for _, st := range h.streams {
		publishers += st.published()
		subscribers += len(st.subs)
	}
	return publishers, subscribers
}

// answer opens the session's leg and writes the answer.
func (h *Hub) answer(s *Session, o *sdpneg.Offer, handler leg.Handler, p sdpneg.AnswerParams, loopback bool) (*Answer, error) {
	p.Setup, p.Lite, p.Trickle = sdpneg.AnswerSetup(o.Setup), true, true
	s.beginICE(o, p.Choices, loopback)
	ufrag, pwd := "", ""
	if c := s.counter; c != nil {
		ufrag, pwd, s.ice.tag = c.ufrag, c.pwd, c.tag
	}
	prints := make([]leg.Fingerprint, len(o.Fingerprints))
	for i, f := range o.Fingerprints {
		prints[i] = leg.Fingerprint{Hash: f.Hash, Value: f.Value}
	}
	l, err := h.transport.NewLeg(leg.Params{
		ID: s.id, RemoteUfrag: o.Ufrag, RemotePwd: o.Pwd, Fingerprints: prints,
		Ufrag: ufrag, Pwd: pwd, Active: p.Setup == sdpneg.Active, Handler: handler,
	})
	if err != nil {
		return nil, fmt.Errorf("opening a connection: %w", err)
	}
	switch x := handler.(type) {
	case *subscriber:
		x.attach(l)
	case *twins:
		x.sub.attach(l)
		x.sub.unlessEnded(func() { x.sub.leg.Store(l) })
	}
	// Storing the leg publishes what attach wrote: HandleReady loads it first.
	if !s.unlessEnded(func() { s.leg.Store(l) }) {
		l.Close()
		return nil, errOvertaken(s.role)
	}
	hash, value := h.transport.Fingerprint()
	p.SessionID, p.Ufrag, p.Pwd = rand.Uint64(), l.Ufrag(), l.Pwd()
	p.Fingerprint = sdpneg.Fingerprint{Hash: hash, Value: value}
	if p.Candidates, err = h.candidates(loopback); err == nil {
		var sdp []byte
		if sdp, err = sdpneg.Answer(o, p); err == nil {
			if err = h.started(s); err == nil && s.twin != nil {
				err = h.started(s.twin)
			}
		}
		if err == nil {
			return &Answer{SDP: sdp, Session: s}, nil
		}
	}
	return nil, err // the caller ends the session
}

// errOvertaken tells why a session ended before its offer was answered.
func errOvertaken(r Role) error {
	if r == RoleSubscribe {
		return ErrNoPublisher
	}
	return fmt.Errorf("%w (another publisher of this stream came at the same moment)", ErrNotReady)
}

// started makes the session's URL work, unless the session or the hub has ended
// while the offer was being answered.
func (h *Hub) started(s *Session) error {
	h.mu.Lock()
	err := ErrNotReady
	if !h.closed {
		if err = nil; !s.unlessEnded(func() { h.sessions[s.secret] = s }) {
			err = errOvertaken(s.role)
		}
	}
	h.mu.Unlock()
	if err != nil {
		return err
	}
	env := h.env.Load()
	i := s.Info()
	other := zap.Stringer("client", s.client)
	if i.Upstream != "" {
		other = zap.String("upstream", i.Upstream)
	}
	env.Logger.Info("session started", zap.String("session", s.id), zap.String("stream", i.Stream),
		zap.String("role", string(s.role)), other)
	if env.Observer != nil {
		env.Observer.SessionStarted(i)
	}
	return nil
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
