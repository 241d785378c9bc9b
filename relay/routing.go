package relay

import (
	"strings"
	"time"
)

// PublishPolicy says what a second publisher of a stream is.
type PublishPolicy string

const (
	// PublishReplace: it takes the stream over, the first one ends. The default.
	PublishReplace PublishPolicy = "replace"
	// PublishRefuse: it is refused with ErrPublished while the first one is there.
	PublishRefuse PublishPolicy = "refuse"
	// PublishBackup: both stay. The one with the higher priority has the stream,
	// of equal ones the one that came first; another takes over when it fails.
	PublishBackup PublishPolicy = "backup"
)

// Standby says how ready the second source of a pulled stream is.
type Standby string

const (
	StandbyCold Standby = "cold" // asked when it is needed
	StandbyWarm Standby = "warm" // connected, and paused where the vendor can
	StandbyHot  Standby = "hot"  // its media flows all the time
)

// PushMode says where a stream is pushed to.
type PushMode string

const (
	PushMirror PushMode = "mirror" // to all upstreams at once
	PushFirst  PushMode = "first"  // to the first one that works
)

// Routing is what a stream does beside its sessions here: what happens when
// publishers or upstreams fail, where it is pulled from and pushed to. It never
// changes once a request carries it; the newest request's holds for the stream.
// The zero value is a stream that is published and played here.
type Routing struct {
	// Key names the routing in [Config.Routes]: a configuration that has another
	// one under the same key changes the streams that follow this one. Empty:
	// streams keep it until a request brings another.
	Key string

	Publishers PublishPolicy

	// Pull names the upstreams a stream is pulled from when nobody publishes it
	// here, the preferred first. PullLinger is how long a pull outlives its last
	// viewer; default 10s.
	Pull       []string
	Standby    Standby // default cold
	PullLinger time.Duration

	// Push names the upstreams a stream that is published here is sent to.
	Push     []string
	PushMode PushMode // default mirror

	// Detour keeps what is published here from being played here: viewers are
	// served by the pull. For backends that do something to the media.
	Detour bool

	Failover Failover
	Slate    *Slate // nil: none
}

// policy is what a publisher with this routing is, which may be nil.
func (r *Routing) policy() PublishPolicy {
	if r == nil || r.Publishers == "" {
		return PublishReplace
	}
	return r.Publishers
}

// route is what a stream follows: what the newest requests of either side said.
// Streams are often published under one site and played under another.
type route struct {
	Routing
	published, played string // keys of the routings that it is made of
}

// publishedWith takes what a publisher's request says about its stream.
func (r *route) publishedWith(q *Routing) {
	if q == nil {
		q = new(Routing)
	}
	r.published = q.Key
	r.Publishers, r.Push, r.PushMode = q.Publishers, q.Push, q.PushMode
	r.shared(q)
}

// playedWith takes what a viewer's request says about its stream.
func (r *route) playedWith(q *Routing) {
	r.played = q.Key
	r.shared(q)
}

// renew takes what a new configuration says under the same keys.
func (r *route) renew(routes map[string]*Routing) {
	if q := routes[r.played]; q != nil && r.played != "" {
		r.Pull, r.Failover, r.Slate = nil, Failover{}, nil
		r.playedWith(q)
	}
	if q := routes[r.published]; q != nil && r.published != "" {
		if r.played == "" || r.played == r.published {
			r.Pull, r.Failover, r.Slate = nil, Failover{}, nil
		}
		r.publishedWith(q)
	}
}

// shared takes what either side may say.
func (r *route) shared(q *Routing) {
	if len(q.Pull) > 0 {
		r.Pull, r.Standby, r.PullLinger = q.Pull, q.Standby, q.PullLinger
	}
	if q.Failover != (Failover{}) {
		r.Failover = q.Failover
	}
	if q.Slate != nil {
		r.Slate = q.Slate
	}
}

// ingest marks the name of a stream that takes a detour: what is published here
// is one stream, what viewers get is another. No client can name it.
const ingest = "#in"

// publicName is the name that a stream has for everybody else.
func publicName(name string) string { return strings.TrimSuffix(name, ingest) }

// Failover is how failures of sources are told and answered. Zero values are
// the defaults.
type Failover struct {
	// MediaTimeout is the least time without video after which a source that
	// has no other one to be compared with is suspected. It grows with the
	// source's own rhythm. Default 500ms, at least 250ms.
	MediaTimeout time.Duration
	// AudioTimeout is the same for sound without picture. Default 1s.
	AudioTimeout time.Duration
	// RelativeTimeout is how far a source may be behind another one that goes
	// on. Default 150ms.
	RelativeTimeout time.Duration
	// FailbackDelay is how long a better source has to be well before the
	// stream goes back to it. Default 30s.
	FailbackDelay time.Duration
	// FailbackManual leaves going back to the operator.
	FailbackManual bool
}

// Slate is what viewers see when all sources are gone.
type Slate struct {
	// Clip is the operator's picture, nil: the built-in one. A stream whose codec
	// it does not have gets the built-in one, too.
	Clip *SlateClip
	// After is how long nothing may flow before it is shown. Default 1s.
	After time.Duration
	// Max is how long it is shown before the viewers are ended. Default 10m.
	Max time.Duration
}
