package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/talwtn/caddy-wtn/relay"
)

const (
	relEvents = "urn:ietf:params:whep:ext:core:server-sent-events"
	relLayer  = "urn:ietf:params:whep:ext:core:layer"

	// heartbeat keeps proxies from taking a quiet event stream for a dead one.
	heartbeat = 15 * time.Second
	// eventWriteTimeout is how long a player may take to read what is sent.
	eventWriteTimeout = 10 * time.Second
)

var errEventsBody = errors.New("the body must be a JSON array of event names, or empty for all events")

var eventsRoute = &route{
	action:  "session",
	methods: map[string]func(*exchange) error{http.MethodPost: (*exchange).openEvents},
}

var eventStreamRoute = &route{
	action: "session",
	methods: map[string]func(*exchange) error{
		http.MethodGet:    (*exchange).readEvents,
		http.MethodDelete: (*exchange).closeEvents,
	},
}

// extensions announces what a player can do beside playing.
func (x *exchange) extensions(secret string) {
	names := make([]string, len(relay.EventNames))
	for i, n := range relay.EventNames {
		names[i] = string(n)
	}
	h, base := x.w.Header(), x.externalURL("/session/"+secret)
	h.Add("Link", "<"+base+"/events>; rel=\""+relEvents+"\"; events=\""+strings.Join(names, ",")+"\"")
	h.Add("Link", "<"+base+"/layer>; rel=\""+relLayer+"\"")
}

// player is the session, which must be a viewer's.
func (x *exchange) player() (*relay.Session, error) {
	s, err := x.session()
	if err == nil && s.Role() != relay.RoleSubscribe {
		return nil, errNoResource
	}
	return s, err
}

// openEvents makes an event stream.
func (x *exchange) openEvents() error {
	s, err := x.player()
	if err != nil {
		return err
	}
	var names []relay.EventName
	body, err := x.readBody(maxJSONSize)
	switch {
	case err != nil:
		return err
	case len(body) == 0:
	case !hasType(x.r, jsonType):
		return errJSONType
	case json.Unmarshal(body, &names) != nil:
		return errEventsBody
	}
	e, err := s.OpenEvents(names)
	if err != nil {
		return err
	}
	x.w.Header().Set("Location", x.externalURL("/session/"+s.Secret()+"/events/"+e.ID()))
	x.w.Header().Set("Content-Length", "0")
	x.w.WriteHeader(http.StatusCreated)
	return nil
}

func (x *exchange) closeEvents() error {
	s, err := x.player()
	if err != nil {
		return err
	}
	if err := s.CloseEvents(x.events); err != nil {
		return err
	}
	x.empty()
	return nil
}

// readEvents sends the events as they come, until the session or the event
// stream ends, another GET takes over, the client goes, or the server does: a
// stream that stayed open would hold up its end, and a reload.
func (x *exchange) readEvents() error {
	s, err := x.player()
	if err != nil {
		return err
	}
	e, err := s.Events(x.events)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(x.r.Context())
	defer cancel()
	defer context.AfterFunc(x.h.stopping, cancel)()

	x.w.Header().Set("Content-Type", "text/event-stream")
	x.w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(x.w)
	_ = out.Flush()                         // the player is told that it is connected before there is news
	defer out.SetWriteDeadline(time.Time{}) // the connection may serve other requests
	next := e.Read()
	for {
		wait, done := context.WithTimeout(ctx, heartbeat)
		ev, ok := next(wait)
		beat := errors.Is(wait.Err(), context.DeadlineExceeded)
		done()
		switch {
		case ok:
		case !beat && caddy.Exiting() && x.h.stopping.Err() != nil && e.Wants(relay.EventReconnect):
			ev.Name, ok = relay.EventReconnect, true // another gateway may take over
		case !beat:
			return nil
		}
		text := ":\n\n"
		if ok {
			text = "event: " + string(ev.Name) + "\ndata: " + eventData(ev) + "\n\n"
		}
		_ = out.SetWriteDeadline(time.Now().Add(eventWriteTimeout)) // not every server has it
		if _, err := x.w.Write([]byte(text)); err != nil {
			return nil
		}
		if out.Flush() != nil || ctx.Err() != nil {
			return nil
		}
	}
}

// eventData is the JSON of an event, in one line.
func eventData(ev relay.Event) string {
	var v any = struct{}{}
	switch ev.Name {
	case relay.EventViewerCount:
		v = struct {
			ViewerCount int `json:"viewercount"`
		}{ev.Viewers}
	case relay.EventLayers:
		v = layersJSON(ev.Layers)
	}
	b, _ := json.Marshal(v) // of numbers and strings: cannot fail
	return string(b)
}
