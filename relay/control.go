package relay

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/leg"
)

// Errors of what operators ask of streams.
var (
	// ErrNoStream: there is no such stream now.
	ErrNoStream = errors.New("no such stream: nobody publishes, plays or pulls it now")
	// ErrNoSource: the stream has no such source.
	ErrNoSource = errors.New("the stream has no such source: name an upstream it is pulled from now, or the session of a publisher")
	// ErrNoUpstream: no such upstream is configured.
	ErrNoUpstream = errors.New("no such upstream is configured")
)

// Hold takes a source out of its stream, or not any more: another one is used
// as long as there is one. source is the name of an upstream that the stream is
// pulled from, or the id of a publisher's session. Errors: ErrNoStream,
// ErrNoSource.
func (h *Hub) Hold(stream, source string, held bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	st, p, err := h.sourceOf(stream, source)
	if err != nil {
		return err
	}
	p.held.Store(held)
	st.choose(leg.Now())
	return nil
}

// Prefer makes a stream go over to a source, whatever its rank; it stays there
// as long as that is well. An empty source: ranks are as they were. Errors:
// those of Hold.
func (h *Hub) Prefer(stream, source string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := h.streams[stream]
	switch {
	case st == nil:
		return ErrNoStream
	case st.chooser == nil:
		return ErrNoSource
	case source == "":
		st.chooser.Prefer(0)
		return nil
	}
	_, p, err := h.sourceOf(stream, source)
	if err != nil {
		return err
	}
	st.chooser.Prefer(p.number)
	return nil
}

// sourceOf finds a source of a stream. The hub's lock is held.
func (h *Hub) sourceOf(name, source string) (*stream, *publisher, error) {
	st := h.streams[name]
	if st == nil {
		return nil, nil, ErrNoStream
	}
	for _, p := range st.all() {
		if p.id == source || p.upstream() != "" && p.upstream() == source {
			return st, p, nil
		}
	}
	return nil, nil, ErrNoSource
}

// Push starts or stops pushing a stream to an upstream, beside what its route
// says, until the stream ends. Errors: ErrNoStream, ErrNoUpstream.
func (h *Hub) Push(stream, upstream string, on bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := h.pushed(stream)
	switch {
	case st == nil:
		return ErrNoStream
	case h.upstreams[upstream] == nil:
		return ErrNoUpstream
	}
	p := h.startPush(st)
	if on {
		delete(p.stopped, upstream)
		if !slices.Contains(st.routing.Push, upstream) && !slices.Contains(p.added, upstream) {
			p.added = append(p.added, upstream)
		}
	} else {
		p.stopped[upstream] = true
	}
	p.wake()
	return nil
}

// pushed is the stream that is pushed under a name: what was published here.
// The hub's lock is held.
func (h *Hub) pushed(name string) *stream {
	for _, n := range []string{name + ingest, name} {
		if st := h.streams[n]; st != nil && st.published() > 0 {
			return st
		}
	}
	return nil
}

// DockStats is a snapshot of one stream's place at one upstream.
type DockStats struct {
	Upstream string
	Session  string        // id, empty: there is none now
	State    string        // off, connecting, connected, waiting
	Again    time.Duration // waiting: until the next attempt
	Error    string        // of the last attempt, or how the last session ended
}

// stats is a snapshot.
func (k *docks) stats(now int64) (list []DockStats) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, d := range k.list {
		s := DockStats{Upstream: d.u.name}
		if d.err != nil {
			s.Error = d.err.Error()
		}
		switch {
		case d.session != nil && d.session.connected():
			s.State, s.Session, s.Error = "connected", d.session.id, ""
		case d.session != nil || d.trying:
			s.State = "connecting"
		default:
			s.State, s.Again = "waiting", max(0, time.Duration(d.nextAt-now))
		}
		list = append(list, s)
	}
	return list
}

// Drill is what came of taking a source out on purpose.
type Drill struct {
	Stream, Source string
	Viewers        int  // when it began
	Lost           int  // of those, ended meanwhile
	Switched       bool // the stream went over to another source
	To, ToUpstream string
	Cause          Cause
	Detected       time.Duration // from the beginning to the decision that the source is dead
	Gap            time.Duration // without media, as every viewer saw it
}

// Drill makes a source of a stream look dead, as if its vendor's host had lost
// power: nothing of it arrives any more, and its path does not answer. It waits
// until the stream goes on from another source, or for the time given, and lets
// the source live again. Errors: those of Hold, and that of ctx.
func (h *Hub) Drill(ctx context.Context, stream, source string, limit time.Duration) (*Drill, error) {
	h.mu.Lock()
	st, p, err := h.sourceOf(stream, source)
	if err != nil {
		h.mu.Unlock()
		return nil, err
	}
	d := &Drill{Stream: stream, Source: source, Viewers: len(st.subs)}
	before := make([]*Session, 0, len(st.subs))
	for s := range st.subs {
		before = append(before, s.Session)
	}
	took := make(chan TakeoverInfo, 1)
	st.drill = took
	since := leg.Now()
	p.deadAt.Store(since)
	h.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case i := <-took:
		d.Switched, d.To, d.ToUpstream, d.Cause, d.Gap = true, i.To, i.ToUpstream, i.Cause, i.Gap
		d.Detected = time.Duration(leg.Now() - since)
	case <-ctx.Done():
		err = context.Cause(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = nil
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	p.deadAt.Store(0)
	if st.drill == took {
		st.drill = nil
	}
	for _, s := range before {
		if s.ended.Load() {
			d.Lost++
		}
	}
	return d, err
}
