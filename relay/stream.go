package relay

import (
	"time"

	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay/internal/choice"
	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
)

// stream is a name with a program: publishers on one side, subscribers on the
// other. It exists from its first publisher to the end of its last, and as long
// as it is pulled from elsewhere or a subscriber is held. Guarded by the hub's
// lock.
type stream struct {
	name       string
	since      time.Time
	prog       *program
	publisher  *publisher   // has the program, or is the first to get it; nil: subscribers are held
	others     []*publisher // all others, connected or connecting, in order of arrival
	routing    route        // of the newest requests
	chooser    *choice.Chooser
	puller     *puller // nil: not pulled
	pusher     *pusher // nil: not pushed
	subs       map[*subscriber]struct{}
	pushes     map[*push]struct{}
	sent       []codec.Codec     // by the source that had the program last
	slate      *slateSource      // shown now; nil: none
	darkAt     int64             // since when nothing flows, 0: it does
	keepUntil  int64             // how long it waits for another publisher, 0: it does not
	holder     *source           // had the program last; nil: nobody so far
	drill      chan TakeoverInfo // hears of the next takeover; nil: nobody waits for it
	foreseenAt int64             // when a pull began because its publisher seemed to vanish
	failedAt   int64             // when a source died and another took over, 0: never
	announced  bool              // somebody has heard of it
	changed    chan struct{}     // closed with the next change of active; nil: nobody watches
}

// streamOf finds or makes the stream; whoever makes it sees that it is kept or
// not. The hub's lock is held.
func (h *Hub) streamOf(name string) *stream {
	if st := h.streams[name]; st != nil {
		return st
	}
	st := &stream{name: name, since: time.Now(), subs: make(map[*subscriber]struct{}), pushes: make(map[*push]struct{})}
	st.prog = newProgram(func(c change) { h.task(func() { h.taken(name, c) }) })
	st.prog.cache.Store(h.config.Load().GOPCache)
	return st
}

// codecs are what the stream sends now, or will once its publisher sends.
func (st *stream) codecs() (list []codec.Codec) {
	if st.publisher == nil {
		return nil
	}
	for _, t := range st.publisher.tracks[:kinds] { // further layers have the codec of the first
		if t != nil {
			list = append(list, t.codec)
		}
	}
	return list
}

// known is a copy of all codecs the program knows.
func (g *program) known() (k [kinds][]codec.Codec) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, list := range g.codecs {
		k[i] = list[:len(list):len(list)] // append-only: the shared part never changes
	}
	return k
}

// publisherReady considers a publisher that has connected.
func (h *Hub) publisherReady(p *publisher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := h.streams[p.stream]
	if st == nil {
		return
	}
	st.choose(leg.Now())
	if p.local() && st.isPushed() {
		h.startPush(st)
	}
}

// wakeDocks has the stream's sessions at upstreams looked at.
func (st *stream) wakeDocks() {
	if st.puller != nil {
		st.puller.wake()
	}
	if st.pusher != nil {
		st.pusher.wake()
	}
}

// unpublish takes a publisher off its stream. With it the stream ends, unless
// another one is there to go on.
func (h *Hub) unpublish(p *publisher, r Reason) {
	h.mu.Lock()
	p.prog.drop(p.src)
	st := h.streams[p.stream]
	if st == nil {
		h.mu.Unlock()
		return
	}
	had := st.publisher == p
	if had {
		st.publisher = nil
		if len(st.others) > 0 {
			st.publisher, st.others = st.heir()
		}
	} else {
		st.others = without(st.others, p)
	}
	st.choose(leg.Now())
	st.wakeDocks()
	if had && st.publisher == nil && r != ReasonDelete && r != ReasonExit && len(st.subs) > 0 {
		if st.pulls() {
			h.startPull(st) // it may be published elsewhere
		}
		if s := st.routing.Slate; s != nil {
			st.keepUntil = leg.Now() + int64(s.max())
		}
	}
	st.notify()
	h.mu.Unlock()
	if had {
		h.sweep(st, r)
	}
}

// pulls tells whether viewers could be served from elsewhere.
func (st *stream) pulls() bool { return len(st.routing.Pull) > 0 && len(st.subs) > 0 }

// giveUp ends a stream whose slate has been shown for too long.
func (h *Hub) giveUp(st *stream) {
	h.mu.Lock()
	rest := st.all()
	st.keepUntil = 0
	h.mu.Unlock()
	for _, p := range rest {
		h.endLater(p.Session, ReasonConsentLost)
	}
	h.sweep(st, ReasonConsentLost)
}

// sweep ends a stream that nothing comes from any more, and its subscribers. r
// is what the last source ended with.
func (h *Hub) sweep(st *stream, r Reason) {
	var subs []*subscriber
	h.mu.Lock()
	if st.publisher != nil || st.puller != nil || leg.Now() < st.keepUntil || h.streams[st.name] != st {
		h.mu.Unlock()
		return
	}
	st.uncover()
	for s := range st.subs {
		if s.twin == nil { // the others wait for another publisher
			subs = append(subs, s)
		}
	}
	if len(subs) == len(st.subs) {
		delete(h.streams, st.name)
	}
	st.notify()
	announced := st.announced
	st.announced, st.holder = false, nil
	st.wakeDocks()
	h.mu.Unlock()
	why := ReasonPublisherGone
	if r == ReasonExit {
		why = r
	}
	for _, s := range subs {
		h.endLater(s.Session, why)
	}
	if o := h.env.Load().Observer; o != nil && announced {
		o.StreamEnded(publicName(st.name))
	}
}

// unsubscribe takes a subscriber off its stream.
func (h *Hub) unsubscribe(s *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if st := h.streams[s.stream]; st != nil {
		delete(st.subs, s)
		if st.publisher == nil && st.puller == nil && len(st.subs) == 0 {
			st.uncover()
			delete(h.streams, s.stream) // nobody is held any more
		}
	}
	s.sink.worker.subscribers.Add(-1)
}

// taken is called when a source has taken the program of a stream over.
func (h *Hub) taken(name string, c change) {
	h.mu.Lock()
	st := h.streams[name]
	if st == nil {
		h.mu.Unlock()
		return
	}
	if st.slate != nil && c.to == st.slate.src {
		i := TakeoverInfo{Stream: publicName(name), To: slateID, Cause: c.cause, Gap: c.gap}
		if st.holder != nil {
			i.From, i.FromUpstream = st.holder.id, st.holder.upstream
		}
		st.holder = c.to
		h.mu.Unlock()
		h.tellTakeover(i)
		return
	}
	if !st.promote(c.to) {
		h.mu.Unlock()
		return // it has ended again in the meantime
	}
	st.uncover()
	st.sent = st.codecs()
	ousted := st.ousted()
	var blind []*Session
	if video := st.publisher.tracks[codec.Video]; video != nil {
		blind = st.blindTo(video.codec)
	}
	to := st.publisher
	before, drill := st.holder, st.drill
	st.holder = c.to
	st.announced = true
	if c.cause.dead() {
		st.failedAt = leg.Now()
	}
	st.wakeDocks()
	st.notify()
	h.mu.Unlock()

	env, i := h.env.Load(), TakeoverInfo{
		Stream: publicName(name), To: c.to.id, ToUpstream: to.upstream(), Gap: c.gap, Cause: c.cause,
	}
	if before != nil {
		i.From, i.FromUpstream = before.id, before.upstream
	}
	if drill != nil {
		select {
		case drill <- i:
		default:
		}
	}
	for _, p := range ousted {
		h.endLater(p.Session, ReasonTakeover)
	}
	for _, s := range blind {
		h.endLater(s, ReasonCodec)
	}
	if before == nil || before == c.to {
		env.Logger.Info("stream is live", zap.String("stream", i.Stream), zap.String("session", i.To))
		if env.Observer != nil {
			env.Observer.StreamLive(i.Stream)
		}
		return
	}
	h.stats.takeovers.note(i)
	h.tellTakeover(i)
}

func (h *Hub) tellTakeover(i TakeoverInfo) {
	env := h.env.Load()
	env.Logger.Info("source took over", zap.String("stream", i.Stream), zap.String("from", i.From), zap.String("to", i.To),
		zap.String("from_upstream", i.FromUpstream), zap.String("to_upstream", i.ToUpstream),
		zap.String("cause", string(i.Cause)), zap.Duration("gap", i.Gap))
	if env.Observer != nil {
		env.Observer.Takeover(i)
	}
}

// promote makes the publisher whose source has the program the stream's; false
// if it is not there any more.
func (st *stream) promote(to *source) bool {
	if st.publisher != nil && st.publisher.src == to {
		return true
	}
	for _, p := range st.others {
		if p.src == to {
			st.others = without(st.others, p)
			if st.publisher != nil {
				st.others = append(st.others, st.publisher)
			}
			st.publisher = p
			return true
		}
	}
	return false
}

// blindTo are those who cannot decode a codec, viewers and upstreams.
func (st *stream) blindTo(c codec.Codec) (list []*Session) {
	blind := func(s *subscriber) {
		if len(s.codes[c.Kind]) > 0 && !s.plays(c) {
			list = append(list, s.Session)
		}
	}
	for s := range st.subs {
		blind(s)
	}
	for p := range st.pushes {
		blind(p.subscriber)
	}
	return list
}

// publisherQuiet notes that a publisher vanished or came back.
func (h *Hub) publisherQuiet(p *publisher, vanished bool) {
	h.mu.Lock()
	st := h.streams[p.stream]
	current := st != nil && st.publisher == p
	if current {
		st.notify()
		if vanished && st.pulls() {
			h.startPull(st)
		}
	}
	h.mu.Unlock()
	if !current {
		return
	}
	env := h.env.Load()
	if vanished {
		env.Logger.Warn("publisher vanished, its grace time runs", zap.String("stream", p.Stream()), zap.String("session", p.id))
	}
	switch {
	case env.Observer == nil:
	case vanished:
		env.Observer.StreamQuiet(p.Stream())
	default:
		env.Observer.StreamLive(p.Stream())
	}
}

// stats is a snapshot. The hub's lock is held.
func (st *stream) stats() StreamStats {
	now := leg.Now()
	s := StreamStats{Name: publicName(st.name), Since: st.since, Subscribers: len(st.subs)}
	if st.puller != nil {
		s.Pulls = st.puller.stats(now)
	}
	if st.pusher != nil {
		s.Pushes = st.pusher.stats(now)
	}
	p := st.publisher
	if p == nil {
		return s
	}
	i := p.Info()
	s.Publisher = &i
	s.Live = st.active()
	for _, q := range st.all() {
		s.Sources = append(s.Sources, q.sourceStats(now))
	}
	for _, t := range p.tracks {
		if t != nil {
			s.Tracks = append(s.Tracks, p.trackStats(t, now))
		}
	}
	return s
}

func (p *publisher) sourceStats(now int64) SourceStats {
	s := SourceStats{
		Session: p.Info(), Connected: p.connected(), Program: p.prog.live.Load() == p.src,
		Held: p.held.Load(), Priority: p.priority, Lossy: p.quality.lossy.Load(),
	}
	s.Flows = p.flowing(now)
	return s
}

func (p *publisher) trackStats(t *inTrack, now int64) TrackStats {
	p.mu.Lock()
	rx, rid, l := t.rx.Stats(now), t.rid, t.source.lane
	p.mu.Unlock()
	s := TrackStats{Kind: t.codec.Kind.String(), Codec: t.codec.Name, RID: rid, PacketsLost: rx.Lost, Jitter: rx.Jitter}
	p.prog.mu.Lock()
	defer p.prog.mu.Unlock()
	m := &p.prog.tracks[l].meter
	s.Bitrate, s.KeyframeEvery, s.Takeovers = m.rate(now), m.keyEvery, m.takeovers
	s.Width, s.Height = m.width, m.height
	return s
}
