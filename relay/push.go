package relay

import (
	"context"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
	"github.com/talwtn/caddy-wtn/relay/internal/sdpneg"
)

// push is a session of ours at an upstream, which we send the stream to: a
// subscriber in all but who made the connection.
type push struct {
	*subscriber
	*atUpstream
}

// HandleReady implements leg.Handler.
func (p *push) HandleReady() {
	<-p.attached
	p.subscriber.HandleReady()
}

// HandleEnd implements leg.Handler.
func (p *push) HandleEnd(error) {
	p.closedAt.CompareAndSwap(0, leg.Now())
	p.hub.endLater(p.Session, ReasonUpstreamLost)
}

// overdue implements owner.
func (p *push) overdue(now int64, _ *Config) (Reason, bool) {
	return p.late(p.Session, now)
}

// release implements owner.
func (p *push) release(Reason) {
	h := p.hub
	h.mu.Lock()
	if st := h.streams[p.stream]; st != nil {
		delete(st.pushes, p)
	}
	h.mu.Unlock()
	p.sink.worker.subscribers.Add(-1)
	p.remove(h)
}

// pusher sends one stream to its upstreams.
type pusher struct {
	*docks
	st *stream

	// Guarded by the hub's lock.
	stopped map[string]bool // upstreams that the operator has switched off
	added   []string        // those that he has switched on beside the routed ones
	over    bool

	goneAt int64 // the goroutine's own: since when nobody publishes
}

// startPush begins to push a stream that is published here, where that is
// configured. The hub's lock is held.
func (h *Hub) startPush(st *stream) *pusher {
	if st.pusher == nil {
		p := &pusher{docks: newDocks(h, st.name, RolePush), st: st, stopped: make(map[string]bool)}
		p.open = p.push
		st.pusher = p
		h.task(func() { p.run(p.plan) })
	}
	st.pusher.wake()
	return st.pusher
}

// pushes tells whether the stream is to be pushed anywhere.
func (st *stream) isPushed() bool {
	return len(st.routing.Push) > 0 || st.pusher != nil && len(st.pusher.added) > 0
}

// targets are the upstreams to push to now. The hub's lock is held.
func (p *pusher) targets() (names []string) {
	for _, list := range [][]string{p.st.routing.Push, p.added} {
		for _, n := range list {
			if !p.stopped[n] {
				names = append(names, n)
			}
		}
	}
	return names
}

// plan decides about the sessions at the upstreams; false when it is over.
func (p *pusher) plan(now int64) bool {
	h := p.hub
	h.mu.Lock()
	names, first := p.targets(), p.st.routing.PushMode == PushFirst
	failback := p.st.routing.Failover
	published := false
	for _, q := range p.st.all() {
		published = published || q.local() && q.connected()
	}
	if published {
		p.goneAt = 0
	} else if p.goneAt == 0 {
		p.goneAt = now
	}
	if !published && (p.st.published() == 0 || now-p.goneAt > int64(h.config.Load().Grace)) {
		p.over = true
		if p.st.pusher == p {
			p.st.pusher = nil
		}
		h.mu.Unlock()
		return false
	}
	h.mu.Unlock()
	p.route(names)
	p.mu.Lock()
	defer p.mu.Unlock()
	active := 0
	for _, d := range p.list {
		if d.session != nil {
			q := d.session.owner.(*push)
			d.flows(now, q.connected() && q.leg.Load().Unanswered(now) < time.Second)
		}
		if d.session != nil || d.trying {
			active++
		}
	}
	for i, d := range p.list {
		last := len(p.list) == 1
		again := i == 0 && active > 0 && !failback.FailbackManual && now-d.lostAt > int64(failback.delay())
		if published && (!first || active == 0 || again) && p.ready(d, now, last) {
			p.dial(d, last)
			active++
		}
	}
	if first {
		p.trim(now)
	}
	return true
}

// trim ends the sessions at worse upstreams once a better one has taken the
// stream. Needs p.mu.
func (p *pusher) trim(now int64) {
	better := false
	for _, d := range p.list {
		if better && d.session != nil {
			p.hub.endLater(d.session, ReasonUnused)
		}
		better = better || d.wellAt != 0 && now-d.wellAt > int64(2*time.Second)
	}
}

func (f *Failover) delay() time.Duration {
	if f.FailbackDelay == 0 {
		return 30 * time.Second
	}
	return f.FailbackDelay
}

// push makes a session at an upstream that receives the stream.
func (p *pusher) push(ctx context.Context, a attempt) (*Session, error) {
	h := p.hub
	o, err := h.offer(p.stream, RolePush)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	source := p.st.codecs()
	h.mu.Unlock()
	if len(source) == 0 {
		return nil, ErrNoPublisher
	}
	for i, c := range source {
		t := sdpneg.Track{SSRC: newSSRC(), CNAME: o.session.id}
		if c.Kind == codec.Video {
			t.RTXSSRC = t.SSRC + 1
		}
		o.params.Tracks[i] = t
	}
	sdp, err := sdpneg.CounterOffer(source, o.params)
	if err != nil {
		return nil, err
	}
	at, err := a.create(ctx, o, p.stream, sdp)
	if err != nil {
		return nil, err
	}
	s, err := p.accept(o, at, source)
	if err != nil {
		at.remove(h)
		return nil, err
	}
	return s, nil
}

// accept makes the session of an answer.
func (p *pusher) accept(o *offering, at *atUpstream, source []codec.Codec) (*Session, error) {
	h, s := p.hub, o.session
	answer, err := sdpneg.ParseOffer(at.resource.Answer())
	if err != nil {
		return nil, badAnswer(err)
	}
	if len(answer.Media) != len(source) {
		return nil, badAnswer(&OfferError{Detail: "it does not have the sections of the offer"})
	}
	choices, err := sdpneg.Play(answer, source)
	if err != nil {
		return nil, badAnswer(err)
	}
	h.mu.Lock()
	if p.over || h.closed {
		h.mu.Unlock()
		return nil, ErrNotReady
	}
	w := h.lightest()
	q := &push{subscriber: newSubscriber(s, w, p.st.prog), atUpstream: at}
	s.owner = q
	q.tracks(answer, choices)
	for _, x := range q.sink.downs {
		x.viewer = nil // it gets the highest layer that flows, whatever the upstream estimates
		t := o.params.Tracks[q.media[x.kind]]
		if x.ssrc = t.SSRC; x.rtxSSRC != 0 {
			x.rtxSSRC = t.RTXSSRC
		}
	}
	q.payloadTypes(p.st.prog.known())
	p.st.pushes[q] = struct{}{}
	w.subscribers.Add(1)
	h.mu.Unlock()

	if err := h.connect(o, answer, q, at); err != nil {
		return nil, err
	}
	return s, nil
}

// lightest is the sending loop with the fewest subscribers.
func (h *Hub) lightest() *worker {
	best := h.workers[0]
	for _, w := range h.workers {
		if w.subscribers.Load() < best.subscribers.Load() {
			best = w
		}
	}
	return best
}
