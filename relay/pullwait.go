package relay

import (
	"context"
	"errors"
	"time"
)

const (
	// pullBudget is how long a viewer waits for the first upstream that answers.
	// Clients give up after 8 s.
	pullBudget = 7 * time.Second
	// pullRefusal is how long the refusal of all upstreams answers for the next
	// viewers of the stream, too.
	pullRefusal = 2 * time.Second
)

// pullFirst sees that a stream nobody publishes here is pulled from elsewhere,
// and waits until an upstream has answered. Streams that are not pulled are
// none of its business. Errors: ErrNoPublisher, ErrUpstreams, ErrUpstreamTimeout.
func (h *Hub) pullFirst(ctx context.Context, r *OfferRequest) error {
	if r.Routing == nil || len(r.Routing.Pull) == 0 {
		return nil
	}
	h.mu.Lock()
	st := h.streamOf(r.Stream)
	st.routing.playedWith(r.Routing)
	if st.publisher != nil || h.draining {
		h.mu.Unlock()
		return nil
	}
	h.streams[st.name] = st
	p := h.startPull(st)
	p.waiting++
	first := p.first
	h.mu.Unlock()
	p.wake()

	ctx, cancel := context.WithTimeout(ctx, pullBudget)
	defer cancel()
	var err error
	select {
	case <-first:
	case <-ctx.Done():
		err = ErrUpstreamTimeout
	case <-h.life.Done():
		err = ErrNotReady
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	p.waiting--
	if err == nil {
		err = p.err
	}
	return err
}

// startPull begins to pull a stream, unless that is done already. The hub's
// lock is held.
func (h *Hub) startPull(st *stream) *puller {
	if st.puller != nil {
		return st.puller
	}
	p := &puller{docks: newDocks(h, st.name, RolePull), st: st, first: make(chan struct{})}
	p.open = p.pull
	st.puller = p
	h.task(func() { p.run(p.plan) })
	return p
}

// worse is the failure that says more about why there is no stream.
func worse(a, b error) error {
	if b == nil {
		return a
	}
	if a == nil || upstreamError(a).Action == UpstreamAbsent {
		return b
	}
	return a
}

// hopeless gives up when nothing is to be expected: at once before there ever
// was a stream, after a grace time when there was one.
func (p *puller) hopeless(v view, now int64, tried bool, wrong error) bool {
	h := p.hub
	h.mu.Lock()
	answered := isClosed(p.first)
	h.mu.Unlock()
	switch {
	case !answered && tried:
		if v.answer || now-p.goneAt > int64(pullRefusal) {
			p.answer(refusal(wrong))
		}
		return false
	case p.refused():
		return now-p.goneAt > int64(pullRefusal) && p.finish(true)
	case answered:
		grace := h.config.Load().Grace
		if s := v.routing.Slate; s != nil {
			grace = max(grace, s.max())
		}
		return now-p.goneAt > int64(grace) && p.finish(true)
	}
	return false
}

// refused tells that no upstream ever answered.
func (p *puller) refused() bool {
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	return p.err != nil
}

// refusal is what a viewer is told when no upstream has the stream.
func refusal(err error) error {
	switch e := upstreamError(err); {
	case err == nil || e.Action == UpstreamAbsent:
		return ErrNoPublisher
	case errors.Is(e, context.DeadlineExceeded):
		return ErrUpstreamTimeout
	}
	return ErrUpstreams
}

// answer lets the viewers go on that wait.
func (p *puller) answer(err error) {
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	switch {
	case !isClosed(p.first):
		p.err = err
		close(p.first)
	case err == nil:
		p.err = nil // refused before, but there now
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// finish takes the puller off its stream, unless a viewer has come meanwhile.
// With it the stream ends if nobody publishes here. anyway: viewers that are
// there already are no reason to go on.
func (p *puller) finish(anyway bool) bool {
	h := p.hub
	h.mu.Lock()
	if p.waiting > 0 || !anyway && len(p.st.subs) > 0 {
		h.mu.Unlock()
		return false
	}
	p.over = true
	if p.st.puller == p {
		p.st.puller = nil
	}
	rest := p.st.all()
	h.mu.Unlock()
	for _, q := range rest {
		if !q.local() {
			h.endLater(q.Session, ReasonUnused)
		}
	}
	h.sweep(p.st, ReasonPublisherGone)
	return true
}
