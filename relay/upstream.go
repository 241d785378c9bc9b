package relay

import (
	"context"
	"fmt"
	"time"
)

// Upstream is one endpoint of a vendor (or of a server of one's own) that
// streams can be pulled from and pushed to. Whoever knows the vendor implements
// it: where to post, how to sign, what a status means. Its methods are called
// from many goroutines at once, keep to the deadline of their context, and
// return *UpstreamError for everything the vendor said or did not say.
type Upstream interface {
	// Create posts an offer and returns what the vendor made of it.
	Create(ctx context.Context, r UpstreamRequest) (UpstreamResource, error)
	// Check asks whether the endpoint answers at all, without making anything.
	Check(ctx context.Context) error
}

// UpstreamRequest is one resource to be made at an upstream.
type UpstreamRequest struct {
	// Role is ours: RolePush sends the stream there, RolePull receives it.
	Role   Role
	Stream string
	Offer  []byte // SDP
	// Session is the public id of our session, for the vendor's logs.
	Session string
}

// UpstreamResource is a session at a vendor. Its URL stays with it.
type UpstreamResource interface {
	// Answer is the vendor's SDP.
	Answer() []byte
	// Delete ends it. A resource that is gone already is no error.
	Delete(ctx context.Context) error
	// Pause stops and resumes the media of a pull without ending it. Errors:
	// ErrNoPause where the vendor has no way to.
	Pause(ctx context.Context, paused bool) error
}

// UpstreamAction is what to do about a failure of an upstream.
type UpstreamAction uint8

const (
	// UpstreamNext: the vendor is failing (no connection, time-out, 5xx, 429).
	// The next one may do; here again after a pause. It counts against the vendor.
	UpstreamNext UpstreamAction = iota + 1
	// UpstreamAbsent: the vendor is well but has no such stream (yet).
	UpstreamAbsent
	// UpstreamBusy: the vendor has somebody else publishing the stream.
	UpstreamBusy
	// UpstreamBroken: the configuration is wrong (credentials, address, offer).
	// The same request will fail again.
	UpstreamBroken
)

// String is a word for logs and metrics.
func (a UpstreamAction) String() string {
	switch a {
	case UpstreamNext:
		return "failing"
	case UpstreamAbsent:
		return "absent"
	case UpstreamBusy:
		return "busy"
	case UpstreamBroken:
		return "broken"
	}
	return "unknown"
}

// UpstreamError says what became of a request to an upstream. Detail names
// neither credentials nor the URL of a resource.
type UpstreamError struct {
	Action     UpstreamAction
	Status     int           // of HTTP, 0: there was no reply
	RetryAfter time.Duration // as the vendor asks, 0: it does not
	Detail     string
	Err        error // the cause, may be nil
}

func (e *UpstreamError) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("upstream %s (%d): %s", e.Action, e.Status, e.Detail)
	}
	return fmt.Sprintf("upstream %s: %s", e.Action, e.Detail)
}

func (e *UpstreamError) Unwrap() error { return e.Err }

// UpstreamConfig is one upstream by the name that routes use. What the hub
// knows of an upstream (its breaker, who is there) stays with the name when a
// configuration replaces it.
type UpstreamConfig struct {
	Upstream Upstream
	Vendor   string // for logs and snapshots
	// Rate is how many sessions a second may be made there, in bursts of Burst.
	// Default 20 and 20.
	Rate  float64
	Burst int
	// MaxFails is how many different streams may fail within FailWindow, or how
	// many requests may fail in a row, before the upstream is left alone for
	// FailDuration (doubling up to 10 min). Default 3, 10s, 30s.
	MaxFails     int
	FailDuration time.Duration
	// HealthInterval is the distance of checks while the upstream is in use,
	// HealthTimeout what each may take; HealthFails failures in a row make it
	// down, HealthPasses successes up again. Default 5s, 2s, 2, 3; a negative
	// interval: no checks.
	HealthInterval, HealthTimeout time.Duration
	HealthFails, HealthPasses     int
	// SetupTimeout is what one attempt may take, from the request to media
	// connected. Default 3s.
	SetupTimeout time.Duration
}
