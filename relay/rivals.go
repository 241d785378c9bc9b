package relay

import (
	"slices"

	"github.com/talwtn/caddy-wtn/relay/internal/leg"
)

// maxBackups bounds the publishers of one stream that wait for others to fail.
const maxBackups = 4

// enter makes the publisher and puts it on its stream.
func (h *Hub) enter(s *Session, r *OfferRequest, in inbound) (*publisher, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, st := h.config.Load(), h.streamOf(s.stream)
	policy := r.Routing.policy()
	if policy == PublishBackup || st.published() == 0 { // else one goes for one that comes
		if publishers, _ := h.count(); c.MaxPublishers > 0 && publishers >= c.MaxPublishers {
			return nil, ErrLimit
		}
		if c.MaxBitrate > 0 && h.bitrate(leg.Now()) >= float64(c.MaxBitrate) {
			return nil, ErrBitrate
		}
	}
	replaced, err := st.admit(policy)
	if err != nil {
		return nil, err
	}
	st.routing.publishedWith(r.Routing)
	p := newPublisher(s, st.prog, in)
	p.maxSubs, p.maxBitrate, p.priority = r.MaxSubscribers, r.MaxBitrate, r.Priority
	p.successor = policy != PublishBackup
	if err := h.register(st, p); err != nil {
		return nil, err
	}
	for _, old := range replaced {
		h.endLater(old.Session, ReasonTakeover)
	}
	return p, nil
}

// register puts a publisher on a stream, behind those that are there, and tells
// the subscribers of its codecs. The hub's lock is held.
func (h *Hub) register(st *stream, p *publisher) error {
	if !st.prog.register(p.src) {
		return &OfferError{Detail: "this stream has changed its codecs too often: end it and publish anew"}
	}
	st.keepUntil = 0
	h.arrivals++
	p.number = h.arrivals
	h.streams[st.name] = st
	if st.publisher == nil {
		st.publisher = p
	} else {
		st.others = append(st.others, p)
	}
	known := st.prog.known()
	for sub := range st.subs {
		sub.learn(known)
	}
	for p := range st.pushes {
		p.learn(known)
	}
	return nil
}

// admit decides about one more publisher, and names those that it replaces
// before they had the program.
func (st *stream) admit(policy PublishPolicy) (replaced []*publisher, err error) {
	switch policy {
	case PublishBackup:
		if st.published() > maxBackups {
			return nil, ErrPublished
		}
		return nil, nil
	case PublishRefuse:
		for _, p := range st.all() {
			if p.local() && !p.quiet.Load() {
				return nil, ErrPublished
			}
		}
	}
	for _, p := range st.others {
		if p.local() && p.successor {
			replaced = append(replaced, p)
		}
	}
	for _, p := range replaced {
		st.others = without(st.others, p)
	}
	return replaced, nil
}

// ousted are those that a successor which has the program leaves no room for.
// Pulls are not among them: their puller ends them when nobody needs them.
func (st *stream) ousted() (list []*publisher) {
	if !st.publisher.successor {
		return nil
	}
	for _, p := range st.others {
		if p.local() && p.number < st.publisher.number {
			list = append(list, p)
		}
	}
	return list
}

// all are the publishers of the stream, the one with the program first.
func (st *stream) all() []*publisher {
	if st.publisher == nil {
		return nil
	}
	return append([]*publisher{st.publisher}, st.others...)
}

// published counts the publishers that are sessions here.
func (st *stream) published() (n int) {
	for _, p := range st.all() {
		if p.local() {
			n++
		}
	}
	return n
}

// heir is who has the stream when its publisher has ended, and the others.
func (st *stream) heir() (*publisher, []*publisher) {
	best := slices.MinFunc(st.others, func(a, b *publisher) int {
		if a.connected() != b.connected() {
			if a.connected() {
				return -1
			}
			return 1
		}
		return compareRank(a, b)
	})
	return best, without(st.others, best)
}

// compareRank orders publishers, the better first: those here before pulls, a
// successor before whom it replaces, then by priority, then who came first.
func compareRank(a, b *publisher) int {
	switch {
	case a.local() != b.local():
		if a.local() {
			return -1
		}
		return 1
	case !a.local():
		return int(a.pull.order.Load() - b.pull.order.Load())
	case a.successor != b.successor || a.successor:
		return int(b.number) - int(a.number)
	case a.priority != b.priority:
		return b.priority - a.priority
	}
	return int(a.number) - int(b.number)
}

// bitrate is what all publishers send now, bits/s. The hub's lock is held.
func (h *Hub) bitrate(now int64) (sum float64) {
	for _, st := range h.streams {
		for _, p := range st.all() {
			sum += p.quality.rate(now)
		}
	}
	return sum
}
