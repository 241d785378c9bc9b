package relay

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay/internal/discipline"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
	"github.com/talwtn/caddy-wtn/relay/internal/sdpneg"
)

const (
	// dockTick is how often docks look at their sessions when nobody wakes them.
	dockTick = 250 * time.Millisecond
	// brokenPause is how long an upstream that refuses what is configured is not
	// asked again by the same stream.
	brokenPause = time.Minute
	// lostPath is how long an upstream may leave the checks of its path unanswered.
	lostPath = 3 * time.Second
	// settled is how long media has to flow to be forgiven former failures.
	settled = 30 * time.Second
)

// dock is a stream's place at one upstream: with a session of ours there, or
// without one until it is worth trying again.
type dock struct {
	u     *upstream
	order int

	session *Session // nil: none
	trying  bool
	tried   bool
	backoff discipline.Backoff
	nextAt  int64           // not before
	err     error           // of the last attempt
	refused *UpstreamConfig // what the upstream did not take; nil: anything else failed
	wellAt  int64           // since when media flows, 0: it does not
	lostAt  int64           // when the last attempt failed, or a session ended that was not ours to end
}

// attempt is one try to make a session at an upstream. last says that the
// stream has no other upstream to go to.
type attempt struct {
	u     *upstream
	order int
	last  bool
}

// docks are the places of one stream at the upstreams of one direction. One
// goroutine decides (plan), one for each session opens it and waits for its end.
type docks struct {
	hub    *Hub
	stream string
	role   Role
	open   func(context.Context, attempt) (*Session, error)
	wakeup chan struct{}      // capacity 1
	ctx    context.Context    // of attempts
	cancel context.CancelFunc // ends them, and the docks

	mu   sync.Mutex // no other lock is taken under it but that of an upstream
	list []*dock
}

func newDocks(h *Hub, stream string, role Role) *docks {
	k := &docks{hub: h, stream: stream, role: role, wakeup: make(chan struct{}, 1)}
	k.ctx, k.cancel = context.WithCancel(h.life)
	return k
}

// wake makes the docks look at what is to be done. Safe from any goroutine.
func (k *docks) wake() {
	select {
	case k.wakeup <- struct{}{}:
	default:
	}
}

// run calls plan at every wake and tick, until it returns false or the hub ends.
func (k *docks) run(plan func(now int64) bool) {
	defer k.leave()
	tick := time.NewTicker(dockTick)
	defer tick.Stop()
	for plan(leg.Now()) {
		select {
		case <-k.ctx.Done():
			return
		case <-k.wakeup:
		case <-tick.C:
		}
	}
}

// leave ends everything at the upstreams.
func (k *docks) leave() {
	k.cancel()
	if k.hub.life.Err() != nil {
		return // Close ends them, and says why
	}
	for _, s := range k.sessions() {
		k.hub.endLater(s, ReasonUnused)
	}
	k.route(nil)
}

// route makes the docks those of the named upstreams, in this order. Names that
// are not configured (any more) are left out.
func (k *docks) route(names []string) {
	k.hub.mu.Lock()
	found := make([]*upstream, 0, len(names))
	for _, n := range names {
		if u := k.hub.upstreams[n]; u != nil && !slices.Contains(found, u) {
			found = append(found, u)
		}
	}
	k.hub.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.list
	k.list = nil
	for i, u := range found {
		d := dockOf(old, u)
		if d == nil {
			d = &dock{u: u}
			u.users.Add(1)
		}
		d.rank(i)
		k.list = append(k.list, d)
	}
	for _, d := range old {
		if dockOf(k.list, d.u) == nil {
			d.u.users.Add(-1)
			if d.session != nil {
				k.hub.endLater(d.session, ReasonUnused)
			}
		}
	}
}

// rank gives the dock, and its session, its place among the others. Needs k.mu.
func (d *dock) rank(order int) {
	d.order = order
	if d.session == nil {
		return
	}
	if q, ok := d.session.owner.(*pull); ok {
		q.order.Store(int32(order))
	}
}

func dockOf(list []*dock, u *upstream) *dock {
	for _, d := range list {
		if d.u == u {
			return d
		}
	}
	return nil
}

func (k *docks) sessions() (list []*Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, d := range k.list {
		if d.session != nil {
			list = append(list, d.session)
		}
	}
	return list
}

// ready tells whether a session may be tried now. Needs k.mu.
func (k *docks) ready(d *dock, now int64, last bool) bool {
	if d.refused != nil && d.refused != d.u.config.Load() {
		d.refused, d.nextAt = nil, now // it may take what is configured now
	}
	return d.session == nil && !d.trying && now >= d.nextAt && d.u.usable(now, last)
}

// dial tries to make a session. Needs k.mu.
func (k *docks) dial(d *dock, last bool) {
	d.trying = true
	a := attempt{d.u, d.order, last}
	k.hub.task(func() {
		s, err := k.open(k.ctx, a)
		k.opened(d, s, err)
		if s == nil {
			return
		}
		<-s.Done()
		k.ended(d, s)
	})
}

func (k *docks) opened(d *dock, s *Session, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer k.wake()
	d.trying, d.tried, d.session, d.err = false, true, s, err
	d.rank(d.order)
	if s != nil && !slices.Contains(k.list, d) { // the upstream, or all of this, was given up meanwhile
		k.hub.endLater(s, ReasonUnused)
	}
	if err == nil || k.ctx.Err() != nil {
		return
	}
	now, e := leg.Now(), upstreamError(err)
	d.lostAt = now
	switch e.Action {
	case UpstreamBroken:
		d.nextAt, d.refused = now+int64(brokenPause), d.u.config.Load()
	default:
		d.nextAt = now + int64(d.backoff.Next(now, e.RetryAfter, rand.Float64()))
	}
	k.hub.env.Load().Logger.Info("upstream refused", zap.String("stream", publicName(k.stream)), zap.String("role", string(k.role)),
		zap.String("upstream", d.u.name), zap.String("again_in", time.Duration(d.nextAt-now).Round(time.Millisecond).String()), zap.Error(err))
}

// ended takes note of a session's end.
func (k *docks) ended(d *dock, s *Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer k.wake()
	d.session, d.wellAt = nil, 0
	now := leg.Now()
	switch r := s.reason; r {
	case ReasonUpstreamLost, ReasonNoConnect, ReasonHandshake, ReasonPeerClosed, ReasonConsentLost:
		d.lostAt, d.err = now, &UpstreamError{Action: UpstreamNext, Detail: "the session there ended: " + string(r)}
		d.nextAt = now + int64(d.backoff.Next(now, 0, rand.Float64()))
		if q, ok := s.owner.(*pull); !ok || !q.hungUp.Load() { // streams end there, too
			d.u.failed(k.stream)
		}
	}
}

// flows takes note of whether media of a session flows now. Needs k.mu.
func (d *dock) flows(now int64, flowing bool) {
	switch {
	case !flowing:
		d.wellAt = 0
	case d.wellAt == 0:
		d.wellAt = now
		d.u.flows()
	case now-d.wellAt > int64(settled):
		d.backoff.Reset()
	}
}

// offering is what our offer to an upstream begins with.
type offering struct {
	session *Session
	params  sdpneg.AnswerParams
}

// offer prepares a session at an upstream.
func (h *Hub) offer(stream string, role Role) (*offering, error) {
	h.mu.Lock()
	ready := !h.closed && len(h.udp)+len(h.tcp) > 0
	h.mu.Unlock()
	if !ready {
		return nil, ErrNotReady
	}
	s := newSession(h, OfferRequest{Stream: stream}, role)
	hash, value := h.transport.Fingerprint()
	p := sdpneg.AnswerParams{
		SessionID: rand.Uint64() >> 1, Trickle: true, StreamID: s.id, Tracks: make(map[int]sdpneg.Track),
		Fingerprint: sdpneg.Fingerprint{Hash: hash, Value: value},
	}
	// No candidates: the upstream learns ours from the checks we send. Those of
	// the shared sockets would lead servers with one port of their own into
	// taking several sessions of ours for one.
	p.Ufrag, p.Pwd = leg.DrawCredentials()
	return &offering{s, p}, nil
}

// connect opens the leg to an upstream that answered, and makes the session
// known; or ends it. We are the controlling agent: many servers are ICE-lite and
// would never check.
func (h *Hub) connect(o *offering, answer *sdpneg.Offer, handler leg.Handler, at *atUpstream) error {
	s := o.session
	l, err := h.newLeg(o, answer, handler)
	if err == nil {
		if p, ok := handler.(*push); ok {
			p.attach(l)
		}
		stored := s.unlessEnded(func() { s.leg.Store(l) })
		close(at.attached)
		if stored {
			err = h.started(s)
		} else {
			l.Close()
			err = ErrNotReady
		}
	}
	if err != nil {
		s.End(ReasonHandshake)
	}
	return err
}

func (h *Hub) newLeg(o *offering, answer *sdpneg.Offer, handler leg.Handler) (*leg.Leg, error) {
	prints := make([]leg.Fingerprint, len(answer.Fingerprints))
	for i, f := range answer.Fingerprints {
		prints[i] = leg.Fingerprint{Hash: f.Hash, Value: f.Value}
	}
	udp, tcp := answer.Addresses()
	return h.transport.NewLeg(leg.Params{
		ID: o.session.id, RemoteUfrag: answer.Ufrag, RemotePwd: answer.Pwd, Fingerprints: prints,
		Ufrag: o.params.Ufrag, Pwd: o.params.Pwd, Handler: handler,
		Active:      sdpneg.AnswerSetup(answer.Setup) == sdpneg.Active,
		Controlling: true, Candidates: udp, TCPCandidates: tcp,
	})
}

// atUpstream is what a session at an upstream has beside its media.
type atUpstream struct {
	up       *upstream
	resource UpstreamResource
	order    atomic.Int32 // among the upstreams of its stream
	removed  sync.Once
	attached chan struct{} // closed when the session has its leg, which may be ready by then
}

// create asks the upstream for a session with our offer.
func (a attempt) create(ctx context.Context, o *offering, stream string, sdp []byte) (*atUpstream, error) {
	r := UpstreamRequest{Role: o.session.role, Stream: publicName(stream), Offer: sdp, Session: o.session.id}
	if err := a.u.admit(ctx, a.last); err != nil {
		return nil, err
	}
	o.session.started, o.session.created = time.Now(), leg.Now() // its time to connect does not run while it queues
	res, err := a.u.create(ctx, r)
	if err != nil {
		return nil, err
	}
	a.u.sessions.Add(1)
	at := &atUpstream{up: a.u, resource: res, attached: make(chan struct{})}
	at.order.Store(int32(a.order))
	return at, nil
}

// late tells whether, and why, a session there should end now.
func (a *atUpstream) late(s *Session, now int64) (Reason, bool) {
	if s.connected() {
		return ReasonUpstreamLost, s.leg.Load().Unanswered(now) > lostPath
	}
	limit := 3 * time.Second
	if c := a.up.config.Load(); c != nil {
		limit = c.SetupTimeout
	}
	return ReasonNoConnect, now-s.created > int64(limit)
}

// remove deletes the resource at the vendor, without anybody waiting for it but
// the end of the hub. Once.
func (a *atUpstream) remove(h *Hub) { a.removed.Do(func() { a.delete(h) }) }

func (a *atUpstream) delete(h *Hub) {
	a.up.sessions.Add(-1)
	// Not by task, which Close refuses in the end: an attempt that Close waits
	// for may have been answered only then.
	h.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), deleteTimeout)
		defer cancel()
		if err := a.resource.Delete(ctx); err != nil {
			h.env.Load().Logger.Debug("deleting a session at an upstream failed",
				zap.String("upstream", a.up.name), zap.Error(err))
		}
	})
}

// badAnswer is what an answer that cannot be used means.
func badAnswer(err error) error {
	return &UpstreamError{Action: UpstreamBroken, Detail: "its answer cannot be used: " + offerError(err).Error(), Err: err}
}
