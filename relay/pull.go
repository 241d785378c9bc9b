package relay

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/leg"
	"github.com/talwtn/caddy-wtn/relay/internal/sdpneg"
)

const (
	// pullBudget is how long a viewer waits for the first upstream that answers.
	// Clients give up after 8 s.
	pullBudget = 7 * time.Second
	// pullRefusal is how long the refusal of all upstreams answers for the next
	// viewers of the stream, too.
	pullRefusal = 2 * time.Second
	// silentPull is how long a pull may take from its connection to its first
	// packet before another upstream is tried as well, and stalledPull how long
	// it may then be silent while another one delivers.
	silentPull  = 2 * time.Second
	stalledPull = 5 * time.Second
	// lostPath is how long a vendor may leave the checks of its path unanswered.
	lostPath = 5 * time.Second
	// needFor is how long a suspicion keeps a cold standby open.
	needFor = 3 * time.Second
)

// pull is a session of ours at an upstream, which sends us the stream: a
// publisher in all but who made the connection.
type pull struct {
	*publisher
	*atUpstream
	paused atomic.Bool // its media was asked to wait
	asked  bool        // likewise, as the puller knows it
}

// HandleEnd implements leg.Handler: nobody but us comes back.
func (p *pull) HandleEnd(error) {
	p.closedAt.CompareAndSwap(0, leg.Now())
	p.hub.publisherReady(p.publisher) // the others are chosen from at once
	p.hub.endLater(p.Session, ReasonUpstreamLost)
}

// overdue implements owner.
func (p *pull) overdue(now int64, _ *Config) (Reason, bool) {
	if !p.connected() {
		limit := 3 * time.Second
		if c := p.up.config.Load(); c != nil {
			limit = c.SetupTimeout
		}
		return ReasonNoConnect, now-p.created > int64(limit)
	}
	return ReasonUpstreamLost, p.leg.Load().Unanswered(now) > lostPath
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

// puller pulls one stream from its upstreams, for all of its viewers.
type puller struct {
	*docks
	st *stream

	// Guarded by the hub's lock.
	waiting   int           // viewers whose offers wait for the first answer
	first     chan struct{} // closed when there is one, or none is to be expected
	err       error         // why not
	needUntil int64         // a cold standby is needed
	over      bool

	// The goroutine's own.
	idleAt, goneAt int64
}

// view is what the puller knows of its stream at one moment.
type view struct {
	routing *Routing
	viewers int
	holder  *publisher // has the program
	local   bool       // somebody publishes here, and has the program
	need    bool
	answer  bool // somebody waits for one
}

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

// look takes a view of the stream.
func (p *puller) look(now int64) view {
	h := p.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	routing := p.st.routing
	v := view{
		routing: &routing, viewers: len(p.st.subs) + p.waiting, holder: p.st.publisher,
		need: now < p.needUntil, answer: p.waiting > 0,
	}
	for _, q := range p.st.all() {
		if q.local() && p.st.prog.live.Load() == q.src && !q.quiet.Load() {
			v.local = true
		}
	}
	return v
}

// plan decides about the sessions at the upstreams; false when it is over.
func (p *puller) plan(now int64) bool {
	v := p.look(now)
	p.route(v.routing.Pull)
	linger := v.routing.PullLinger
	if linger == 0 {
		linger = 10 * time.Second
	}
	idle := v.viewers == 0 || v.local
	if !idle {
		p.idleAt = 0
	} else if p.idleAt == 0 {
		p.idleAt = now
	}
	if idle && now-p.idleAt > int64(linger) {
		return !p.finish()
	}
	p.mu.Lock()
	live, tried, wrong := p.attend(v, now), true, error(nil)
	for _, d := range p.list {
		tried = tried && (d.tried || !d.u.usable(now, false)) && !d.trying
		wrong = worse(wrong, d.err)
	}
	if len(p.list) == 0 {
		tried, wrong = true, &UpstreamError{Action: UpstreamBroken, Detail: "none of the upstreams of this stream is configured"}
	}
	p.mu.Unlock()
	if live {
		p.goneAt = 0
		return true
	}
	if p.goneAt == 0 {
		p.goneAt = now
	}
	return !p.hopeless(v, now, tried, wrong)
}

// attend opens and ends sessions. It returns whether there is one, or will be
// soon. Needs p.mu.
func (p *puller) attend(v view, now int64) (live bool) {
	want := 1
	if s := v.routing.Standby; s == StandbyWarm || s == StandbyHot {
		want = 2
	}
	if v.need {
		want = max(want, 2)
	}
	active, delivering := 0, false
	for _, d := range p.list {
		if d.session == nil {
			continue
		}
		q := d.session.owner.(*pull)
		flowing := q.flowing(now)
		d.flows(now, flowing)
		delivering = delivering || flowing
	}
	for _, d := range p.list {
		switch {
		case d.trying:
			active++
			live = true
		case d.session == nil:
		case p.useless(d, now, delivering):
			p.hub.endLater(d.session, ReasonUpstreamLost)
		default:
			live = true
			if !p.mute(d, now) {
				active++
			}
		}
	}
	for i, d := range p.list {
		last := len(p.list) == 1 || active == 0 && !p.others(i, now)
		better := i == 0 && p.failback(d, v, now)
		if (active < want || better) && p.ready(d, now, last) {
			p.dial(d, last)
			active++
			live = true
		}
	}
	p.trim(v, now, active-want)
	if v.routing.Standby == StandbyWarm {
		p.rest(v, now)
	}
	return live
}

// rest has warm standbys wait without media while the one with the program is
// well, and go on when they are needed. Needs p.mu.
func (p *puller) rest(v view, now int64) {
	well := v.holder != nil && !v.holder.local() && v.holder.flowing(now) && !v.need
	for _, d := range p.list {
		if d.session == nil {
			continue
		}
		q := d.session.owner.(*pull)
		wait := well && q.publisher != v.holder && (d.wellAt != 0 || q.asked)
		if q.asked == wait || !wait && !q.paused.Load() {
			continue
		}
		q.asked = wait
		p.hub.task(func() { q.pause(wait) })
	}
}

// pause asks the vendor to hold the media back, or not any more. Where that is
// not possible the standby is a hot one.
func (p *pull) pause(wait bool) {
	ctx, cancel := context.WithTimeout(p.hub.life, deleteTimeout)
	defer cancel()
	if wait {
		p.paused.Store(true)
	}
	if err := p.resource.Pause(ctx, wait); err != nil || !wait {
		p.paused.Store(false)
	}
	if !wait {
		p.src.requestKeyframe(leg.Now())
	}
}

// others tells whether another upstream than number i could be asked now.
func (p *puller) others(i int, now int64) bool {
	for j, d := range p.list {
		if j != i && now >= d.nextAt && d.u.usable(now, false) {
			return true
		}
	}
	return false
}

// failback tells whether the preferred upstream should be tried again although
// another one delivers.
func (p *puller) failback(d *dock, v view, now int64) bool {
	delay := v.routing.Failover.FailbackDelay
	if delay == 0 {
		delay = 30 * time.Second
	}
	return !v.routing.Failover.FailbackManual && d.session == nil && now-d.lostAt > int64(delay)
}

// mute tells that a session has been connected for a while and has not sent
// anything: another one is worth a try.
func (p *puller) mute(d *dock, now int64) bool {
	q := d.session.owner.(*pull)
	ready := q.readyAt.Load()
	return ready != 0 && now-ready > int64(silentPull) && q.packets.Load() == 0
}

// useless tells that a session delivers nothing while another one does.
func (p *puller) useless(d *dock, now int64, delivering bool) bool {
	q := d.session.owner.(*pull)
	since := max(q.readyAt.Load(), q.heardAt())
	return delivering && !q.asked && q.readyAt.Load() != 0 && now-since > int64(stalledPull)
}

// trim ends what a cold standby left over: sessions that are worse than the one
// which has the program, once that has settled.
func (p *puller) trim(v view, now int64, extra int) {
	if extra <= 0 || v.need || v.holder == nil || v.holder.local() {
		return
	}
	at := p.find(v.holder)
	if at == nil || at.wellAt == 0 || now-at.wellAt < int64(needFor) {
		return
	}
	for _, d := range slices.Backward(p.list) {
		if extra > 0 && d.session != nil && d.order > at.order {
			p.hub.endLater(d.session, ReasonUnused)
			extra--
		}
	}
}

func (p *puller) find(q *publisher) *dock {
	for _, d := range p.list {
		if d.session == q.Session {
			return d
		}
	}
	return nil
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
		return now-p.goneAt > int64(pullRefusal) && p.finish()
	case answered:
		grace := h.config.Load().Grace
		if s := v.routing.Slate; s != nil {
			grace = max(grace, s.max())
		}
		return now-p.goneAt > int64(grace) && p.finish()
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
	if !isClosed(p.first) {
		p.err = err
		close(p.first)
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
// With it the stream ends if nobody publishes here.
func (p *puller) finish() bool {
	h := p.hub
	h.mu.Lock()
	if p.waiting > 0 {
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
	l, err := h.connect(o, answer, q)
	if err == nil {
		if !s.unlessEnded(func() { s.leg.Store(l) }) {
			l.Close()
			err = ErrNotReady
		} else {
			err = h.started(s)
		}
	}
	if err != nil {
		s.End(ReasonHandshake)
		return nil, err
	}
	p.answer(nil)
	return s, nil
}
