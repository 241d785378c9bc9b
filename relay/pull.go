package relay

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/leg"
	"github.com/talwtn/caddy-wtn/relay/internal/sdpneg"
)

// pull is a session of ours at an upstream, which sends us the stream: a
// publisher in all but who made the connection.
type pull struct {
	*publisher
	*atUpstream
	asked  atomic.Bool // its media is to wait
	paused atomic.Bool // and does, as far as we know
	pauses sync.Mutex  // orders the requests for that
	hungUp atomic.Bool // the vendor ended it, in due form
}

// HandleReady implements leg.Handler.
func (p *pull) HandleReady() {
	<-p.attached
	p.publisher.HandleReady()
}

// HandleEnd implements leg.Handler: nobody but us comes back.
func (p *pull) HandleEnd(cause error) {
	p.hungUp.Store(errors.Is(cause, leg.ErrPeerClosed))
	p.closedAt.CompareAndSwap(0, leg.Now())
	p.hub.publisherReady(p.publisher) // the others are chosen from at once
	p.hub.endLater(p.Session, ReasonUpstreamLost)
}

// overdue implements owner.
func (p *pull) overdue(now int64, _ *Config) (Reason, bool) {
	return p.late(p.Session, now)
}

// release implements owner.
func (p *pull) release(r Reason) {
	p.publisher.release(r)
	p.remove(p.hub)
}

// unanswered is how long the vendor has not answered a check of the path.
func (p *pull) unanswered(now int64) (time.Duration, bool) {
	l := p.leg.Load()
	if l == nil {
		return 0, false
	}
	if at := p.deadAt.Load(); at != 0 {
		return time.Duration(now - at), true
	}
	return l.Unanswered(now), true
}

// probe checks the path at once.
func (p *pull) probe() {
	if l := p.leg.Load(); l != nil {
		l.Probe()
	}
}

// pause asks the vendor to hold the media back, or not any more, whichever was
// asked for last. Where that is not possible the standby is a hot one; one that
// does not go on is ended.
func (p *pull) pause() {
	p.pauses.Lock()
	defer p.pauses.Unlock()
	ctx, cancel := context.WithTimeout(p.hub.life, deleteTimeout)
	defer cancel()
	wait := p.asked.Load()
	if wait {
		p.paused.Store(true)
	}
	err := p.resource.Pause(ctx, wait)
	if err != nil || !wait {
		p.paused.Store(false)
	}
	switch {
	case wait:
	case err == nil || errors.Is(err, ErrNoPause) || p.flowing(leg.Now()):
		p.src.requestKeyframe(leg.Now())
	default:
		p.hub.endLater(p.Session, ReasonUpstreamLost)
	}
}

// pull makes a session at an upstream that sends the stream.
func (p *puller) pull(ctx context.Context, a attempt) (*Session, error) {
	h := p.hub
	o, err := h.offer(p.stream, RolePull)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	present := p.st.codecs()
	h.mu.Unlock()
	sdp, err := sdpneg.PullOffer(present, o.params)
	if err != nil {
		return nil, err
	}
	at, err := a.create(ctx, o, p.stream, sdp)
	if err != nil {
		return nil, err
	}
	s, err := p.accept(o, at)
	if err != nil {
		at.remove(h)
		return nil, err
	}
	return s, nil
}

// accept makes the session of an answer.
func (p *puller) accept(o *offering, at *atUpstream) (*Session, error) {
	h, s := p.hub, o.session
	answer, err := sdpneg.ParseOffer(at.resource.Answer())
	if err != nil {
		return nil, badAnswer(err)
	}
	choices, err := sdpneg.Pulled(answer)
	if err != nil {
		return nil, badAnswer(err)
	}
	q := &pull{publisher: newPublisher(s, p.st.prog, inboundOf(choices)), atUpstream: at}
	q.publisher.pull, q.src.upstream = q, at.up.name
	s.owner = q
	h.mu.Lock()
	if p.over || h.closed {
		err = ErrNotReady
	} else {
		err = h.register(p.st, q.publisher)
	}
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := h.connect(o, answer, q, at); err != nil {
		return nil, err
	}
	p.answer(nil)
	return s, nil
}
