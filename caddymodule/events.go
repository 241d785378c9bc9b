package caddymodule

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/talwtn/caddy-wtn/relay"
)

const (
	eventQueue        = 1024
	eventCloseTimeout = 2 * time.Second
)

// eventTarget is where events go while one configuration rules.
type eventTarget struct {
	ctx caddy.Context
	app *caddyevents.App
}

// emitter hands what the hub observes to Caddy's event system. Caddy runs event
// handlers in the goroutine of the emitter, and a handler may well run a
// program, so there is one goroutine for all of it and a bounded queue before
// it. When the queue is full events are dropped and counted; media never waits.
type emitter struct {
	target  atomic.Pointer[eventTarget] // nil while no configuration rules
	queue   chan event
	dropped atomic.Uint64

	quit     chan struct{}
	done     chan struct{}
	quitOnce sync.Once
}

// event is built when it is queued and given its map only if somebody listens.
type event struct {
	name string
	data func() map[string]any
}

func newEmitter() *emitter {
	e := &emitter{
		queue: make(chan event, eventQueue),
		quit:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	go e.run()
	return e
}

func (e *emitter) run() {
	defer close(e.done)
	for {
		select {
		case ev := <-e.queue:
			e.emit(ev)
		case <-e.quit:
			e.drain()
			return
		}
	}
}

// drain delivers what was queued before the end.
func (e *emitter) drain() {
	for {
		select {
		case ev := <-e.queue:
			e.emit(ev)
		default:
			return
		}
	}
}

func (e *emitter) emit(ev event) {
	t := e.target.Load()
	if t == nil || t.ctx.Err() != nil || !t.app.ShouldEmit(ev.name) {
		return
	}
	t.app.Emit(t.ctx, ev.name, ev.data())
}

// close delivers what is queued and waits for it, unless an event handler hangs.
func (e *emitter) close() {
	e.quitOnce.Do(func() { close(e.quit) })
	select {
	case <-e.done:
	case <-time.After(eventCloseTimeout):
	}
}

func (e *emitter) queueEvent(name string, data func() map[string]any) {
	select {
	case e.queue <- event{name, data}:
	default:
		e.dropped.Add(1)
	}
}

// SessionStarted emits wtn.session_started.
func (e *emitter) SessionStarted(i relay.SessionInfo) {
	e.queueEvent("wtn.session_started", func() map[string]any { return sessionData(i) })
}

// SessionConnected emits wtn.session_connected.
func (e *emitter) SessionConnected(i relay.SessionInfo) {
	e.queueEvent("wtn.session_connected", func() map[string]any { return sessionData(i) })
}

// SessionEnded emits wtn.session_ended, with the reason and the totals.
func (e *emitter) SessionEnded(i relay.SessionInfo, r relay.Reason) {
	ended := time.Now()
	e.queueEvent("wtn.session_ended", func() map[string]any {
		d := sessionData(i)
		d["reason"] = string(r)
		d["seconds"] = ended.Sub(i.Started).Seconds()
		d["packets"] = i.Packets
		d["bytes"] = i.Bytes
		return d
	})
}

// StreamLive emits wtn.stream_live.
func (e *emitter) StreamLive(stream string) { e.streamEvent("wtn.stream_live", stream) }

// StreamQuiet emits wtn.stream_quiet.
func (e *emitter) StreamQuiet(stream string) { e.streamEvent("wtn.stream_quiet", stream) }

// StreamEnded emits wtn.stream_ended.
func (e *emitter) StreamEnded(stream string) { e.streamEvent("wtn.stream_ended", stream) }

func (e *emitter) streamEvent(name, stream string) {
	e.queueEvent(name, func() map[string]any { return map[string]any{"stream": stream} })
}

// Takeover emits wtn.takeover.
func (e *emitter) Takeover(i relay.TakeoverInfo) {
	e.queueEvent("wtn.takeover", func() map[string]any {
		return map[string]any{
			"stream": i.Stream, "from": i.From, "to": i.To, "cause": string(i.Cause), "gap_ms": i.Gap.Milliseconds(),
			"from_upstream": i.FromUpstream, "to_upstream": i.ToUpstream,
		}
	})
}

// UpstreamChanged emits wtn.upstream_changed.
func (e *emitter) UpstreamChanged(c relay.UpstreamChange) {
	e.queueEvent("wtn.upstream_changed", func() map[string]any {
		return map[string]any{"upstream": c.Upstream, "from": string(c.From), "to": string(c.To), "why": c.Why}
	})
}

func sessionData(i relay.SessionInfo) map[string]any {
	d := map[string]any{
		"session": i.ID,
		"stream":  i.Stream,
		"role":    string(i.Role),
		"started": i.Started.UTC().Format(time.RFC3339Nano),
		"network": i.Network,
		"client":  "",
	}
	if i.Client.IsValid() {
		d["client"] = i.Client.String()
	}
	return d
}

var _ relay.Observer = (*emitter)(nil)
