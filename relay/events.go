package relay

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/leg"
)

// EventName is the name of an event of the WHEP core extensions.
type EventName string

const (
	EventActive      EventName = "active"      // media of a publisher arrives
	EventInactive    EventName = "inactive"    // it stopped
	EventLayers      EventName = "layers"      // what there is to choose from
	EventViewerCount EventName = "viewercount" // how many watch the stream
	EventReconnect   EventName = "reconnect"   // this session ends, a new one would go on
)

// EventNames are all of them.
var EventNames = []EventName{EventActive, EventInactive, EventLayers, EventViewerCount, EventReconnect}

// Event is one thing a player is told about its session. The fields are of the
// event's name.
type Event struct {
	Name    EventName
	Viewers int
	Layers  []Layer
}

const (
	maxEventStreams = 4               // of one session
	viewerInterval  = time.Second     // between two viewer counts
	layersInterval  = 5 * time.Second // between two lists of layers
)

// EventStream tells a player about its session. Nothing is queued: the newest
// state is told when somebody reads, so a stream nobody reads costs nothing. It
// ends with its session.
type EventStream struct {
	id      string
	session *Session
	wants   []EventName

	mu        sync.Mutex
	told      EventName // active, inactive or nothing yet
	seen      bool      // there was something to be stopped
	viewers   int
	viewersAt int64
	layersAt  int64
	over      bool          // reconnect was told
	closed    chan struct{} // by CloseEvents
	reader    chan struct{} // closed when another one reads
}

// OpenEvents makes an event stream for these events; none means all. Errors:
// ErrEventName, ErrEventStreams, ErrSessionNotFound.
func (s *Session) OpenEvents(names []EventName) (*EventStream, error) {
	for _, n := range names {
		if !slices.Contains(EventNames, n) {
			return nil, ErrEventName
		}
	}
	if len(names) == 0 {
		names = EventNames
	}
	state, _ := s.StreamState()
	e := &EventStream{
		id: randomSecret(), session: s, wants: slices.Clone(names), seen: state.Active,
		viewers: -1, closed: make(chan struct{}), reader: make(chan struct{}),
	}
	s.eventsMu.Lock()
	defer s.eventsMu.Unlock()
	switch {
	case s.ended.Load():
		return nil, ErrSessionNotFound
	case len(s.events) == maxEventStreams:
		return nil, ErrEventStreams
	}
	s.events = append(s.events, e)
	return e, nil
}

// Events finds an event stream of the session by its id.
func (s *Session) Events(id string) (*EventStream, error) {
	s.eventsMu.Lock()
	defer s.eventsMu.Unlock()
	for _, e := range s.events {
		if e.id == id {
			return e, nil
		}
	}
	return nil, ErrEventsNotFound
}

// CloseEvents ends an event stream and whoever reads it.
func (s *Session) CloseEvents(id string) error {
	e, err := s.Events(id)
	if err != nil {
		return err
	}
	s.eventsMu.Lock()
	defer s.eventsMu.Unlock()
	if !slices.Contains(s.events, e) {
		return ErrEventsNotFound
	}
	s.events = without(s.events, e)
	close(e.closed)
	return nil
}

// ID names the stream in its URL. Who knows it can read it.
func (e *EventStream) ID() string { return e.id }

// Read makes the caller the one reader of the stream and returns what gives it
// the events, one at each call: next waits for one and returns false when the
// stream is over for this reader, or with ctx. A reader that was there before
// gets no more events.
func (e *EventStream) Read() (next func(ctx context.Context) (Event, bool)) {
	mine := make(chan struct{})
	e.mu.Lock()
	close(e.reader)
	e.reader = mine
	e.mu.Unlock()
	return func(ctx context.Context) (Event, bool) { return e.next(ctx, mine) }
}

func (e *EventStream) next(ctx context.Context, mine <-chan struct{}) (Event, bool) {
	tick := time.NewTicker(viewerInterval)
	defer tick.Stop()
	for {
		select {
		case <-mine:
			return Event{}, false
		case <-e.session.done:
			return e.last()
		default:
		}
		state, changed := e.session.StreamState()
		if ev, ok := e.due(state, leg.Now()); ok {
			return ev, true
		}
		select {
		case <-ctx.Done():
			return Event{}, false
		case <-mine:
		case <-e.closed:
			return Event{}, false
		case <-e.session.done:
		case <-changed:
		case <-tick.C:
		}
	}
}

// due finds what the player does not know yet.
func (e *EventStream) due(state StreamState, now int64) (Event, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	is := EventInactive
	if state.Active {
		is, e.seen = EventActive, true
	}
	if e.seen && e.told != is {
		if e.told = is; e.Wants(is) {
			return Event{Name: is}, true
		}
	}
	if e.Wants(EventViewerCount) && e.viewers != state.Viewers &&
		(e.viewersAt == 0 || now-e.viewersAt >= int64(viewerInterval)) {
		e.viewers, e.viewersAt = state.Viewers, now
		return Event{Name: EventViewerCount, Viewers: state.Viewers}, true
	}
	if e.Wants(EventLayers) && len(state.Layers) > 0 &&
		(e.layersAt == 0 || now-e.layersAt >= int64(layersInterval)) {
		e.layersAt = now
		return Event{Name: EventLayers, Layers: state.Layers}, true
	}
	return Event{}, false
}

// Wants tells whether the stream was made for an event.
func (e *EventStream) Wants(n EventName) bool { return slices.Contains(e.wants, n) }

// last is what an ended session has to say: with another session the player
// could go on.
func (e *EventStream) last() (Event, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.session.reason
	if e.over || !e.Wants(EventReconnect) || r != ReasonCodec && r != ReasonExit {
		return Event{}, false
	}
	e.over = true
	return Event{Name: EventReconnect}, true
}
