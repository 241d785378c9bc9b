package relay

import (
	"time"

	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
)

// stream is a name with a program: publishers on one side, subscribers on the
// other. It exists from its first publisher to the end of its last; before that
// as long as a subscriber is held for one. Guarded by the hub's lock.
type stream struct {
	name      string
	since     time.Time
	prog      *program
	publisher *publisher // has the program, or is the first to get it; nil: subscribers are held
	candidate *publisher // connected or connecting; takes over at its first key frame
	subs      map[*subscriber]struct{}
	changed   chan struct{} // closed with the next change of active; nil: nobody watches
}

// streamOf finds or makes the stream; whoever makes it sees that it is kept or
// not. The hub's lock is held.
func (h *Hub) streamOf(name string) *stream {
	if st := h.streams[name]; st != nil {
		return st
	}
	st := &stream{name: name, since: time.Now(), subs: make(map[*subscriber]struct{})}
	st.prog = newProgram(func(from, to *source, gap time.Duration) { h.task(func() { h.taken(name, from, to, gap) }) })
	st.prog.cache.Store(h.config.Load().GOPCache)
	return st
}

// publish puts p on the stream: at once if nobody publishes, else as the
// candidate. It returns a candidate that p replaces. The hub's lock is held.
func (st *stream) publish(p *publisher) (replaced *publisher) {
	if st.publisher == nil {
		st.publisher = p
		return nil
	}
	replaced, st.candidate = st.candidate, p
	return replaced
}

// codecs are what the stream sends now, or will once its publisher sends.
func (st *stream) codecs() (list []codec.Codec) {
	if st.publisher == nil {
		return nil
	}
	for _, t := range st.publisher.tracks {
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

// publisherReady makes a connected publisher the one its program goes to, unless
// a newer one is connected already.
func (h *Hub) publisherReady(p *publisher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := h.streams[p.stream]
	if st != nil {
		st.prefer()
	}
}

// prefer makes the newest connected publisher the one that the program goes to.
// The hub's lock is held.
func (st *stream) prefer() {
	for _, p := range []*publisher{st.candidate, st.publisher} {
		if p != nil && p.connected() {
			st.prog.want(p.src)
			return
		}
	}
}

// unpublish takes a publisher off its stream. With it the stream ends, unless
// another one is there to go on.
func (h *Hub) unpublish(p *publisher, r Reason) {
	h.mu.Lock()
	p.prog.drop(p.src)
	st := h.streams[p.stream]
	if st == nil || (st.publisher != p && st.candidate != p) {
		if st != nil {
			st.prefer() // it was a candidate that another one replaced
		}
		h.mu.Unlock()
		return
	}
	var subs []*subscriber
	gone := false
	switch {
	case st.candidate == p:
		st.candidate = nil
		st.prefer()
	case st.candidate != nil:
		st.publisher, st.candidate = st.candidate, nil
		st.prefer()
	default:
		gone, st.publisher = true, nil
		for s := range st.subs {
			if s.twin == nil { // the others wait for another publisher
				subs = append(subs, s)
			}
		}
		if len(subs) == len(st.subs) {
			delete(h.streams, st.name)
		}
	}
	st.notify()
	h.mu.Unlock()
	if !gone {
		return
	}
	why := ReasonPublisherGone
	if r == ReasonExit {
		why = r
	}
	for _, s := range subs {
		h.endLater(s.Session, why)
	}
	if o := h.env.Load().Observer; o != nil {
		o.StreamEnded(st.name)
	}
}

// unsubscribe takes a subscriber off its stream.
func (h *Hub) unsubscribe(s *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if st := h.streams[s.stream]; st != nil {
		delete(st.subs, s)
		if st.publisher == nil && len(st.subs) == 0 {
			delete(h.streams, s.stream) // nobody is held any more
		}
	}
	s.sink.worker.subscribers.Add(-1)
}

// taken is called when source to has taken the program of a stream over.
func (h *Hub) taken(name string, from, to *source, gap time.Duration) {
	h.mu.Lock()
	st := h.streams[name]
	if st == nil {
		h.mu.Unlock()
		return
	}
	var old *publisher
	if c := st.candidate; c != nil && c.src == to {
		old, st.publisher, st.candidate = st.publisher, c, nil
	}
	if st.publisher == nil || st.publisher.src != to {
		h.mu.Unlock()
		return // it has ended again in the meantime
	}
	var blind []*subscriber
	if video := st.publisher.tracks[codec.Video]; video != nil {
		for s := range st.subs {
			if len(s.codes[codec.Video]) > 0 && !s.plays(video.codec) {
				blind = append(blind, s)
			}
		}
	}
	st.notify()
	h.mu.Unlock()

	env, i := h.env.Load(), TakeoverInfo{Stream: name, To: to.id, Gap: gap}
	if from != nil {
		i.From = from.id
	}
	if old != nil {
		h.endLater(old.Session, ReasonTakeover)
		if i.From == "" {
			i.From = old.id
		}
	}
	for _, s := range blind {
		h.endLater(s.Session, ReasonCodec)
	}
	if i.From == "" {
		env.Logger.Info("stream is live", zap.String("stream", name), zap.String("session", i.To))
		if env.Observer != nil {
			env.Observer.StreamLive(name)
		}
		return
	}
	env.Logger.Info("source took over", zap.String("stream", name), zap.String("from", i.From),
		zap.String("to", i.To), zap.Duration("gap", gap))
	if env.Observer != nil {
		env.Observer.Takeover(i)
	}
}

// publisherQuiet notes that a publisher vanished or came back.
func (h *Hub) publisherQuiet(p *publisher, vanished bool) {
	h.mu.Lock()
	st := h.streams[p.stream]
	current := st != nil && st.publisher == p
	if current {
		st.notify()
	}
	h.mu.Unlock()
	if !current {
		return
	}
	env := h.env.Load()
	if vanished {
		env.Logger.Warn("publisher vanished, its grace time runs", zap.String("stream", p.stream), zap.String("session", p.id))
	}
	switch {
	case env.Observer == nil:
	case vanished:
		env.Observer.StreamQuiet(p.stream)
	default:
		env.Observer.StreamLive(p.stream)
	}
}

// stats is a snapshot. The hub's lock is held.
func (st *stream) stats() StreamStats {
	now := leg.Now()
	s := StreamStats{Name: st.name, Since: st.since, Subscribers: len(st.subs)}
	p := st.publisher
	if p == nil {
		return s
	}
	i := p.Info()
	s.Publisher = &i
	s.Live = st.active()
	for _, t := range p.tracks {
		if t != nil {
			s.Tracks = append(s.Tracks, p.trackStats(t, now))
		}
	}
	return s
}

func (p *publisher) trackStats(t *inTrack, now int64) TrackStats {
	p.mu.Lock()
	rx := t.rx.Stats(now)
	p.mu.Unlock()
	s := TrackStats{Kind: t.codec.Kind.String(), Codec: t.codec.Name, PacketsLost: rx.Lost, Jitter: rx.Jitter}
	p.prog.mu.Lock()
	defer p.prog.mu.Unlock()
	m := &p.prog.tracks[t.codec.Kind].meter
	s.Bitrate, s.KeyframeEvery, s.Takeovers = m.rate(now), m.keyEvery, m.takeovers
	s.Width, s.Height = m.width, m.height
	return s
}
