package relay

import (
	"net/netip"
	"time"

	"go.uber.org/zap"
)

// Role is the side a session takes, seen from the gateway.
type Role string

const (
	RolePublish   Role = "publish"   // the peer sends
	RoleSubscribe Role = "subscribe" // the peer receives
	RolePull      Role = "pull"      // an upstream sends: a session that we made there
	RolePush      Role = "push"      // an upstream receives: likewise
)

// Env is what sessions need of the outside and what a new configuration may
// replace while they live. Nothing in it may be kept by a session.
type Env struct {
	Logger   *zap.Logger
	Observer Observer // nil: none
}

// Observer hears of every change of a session or stream. Methods are called
// from control-plane goroutines, never per packet; they must not block and
// must not call back into the hub.
type Observer interface {
	SessionStarted(SessionInfo)
	SessionConnected(SessionInfo)
	SessionEnded(SessionInfo, Reason)
	// StreamLive: the stream's program began to flow; StreamQuiet: its
	// publisher vanished (grace runs); StreamEnded: it is gone.
	StreamLive(stream string)
	StreamQuiet(stream string)
	StreamEnded(stream string)
	// Takeover: the program went on from another source.
	Takeover(TakeoverInfo)
	// UpstreamChanged: an upstream is well, or not any more.
	UpstreamChanged(UpstreamChange)
}

// UpstreamChange describes a change of an upstream's state.
type UpstreamChange struct {
	Upstream string
	From, To UpstreamState
	Why      string
}

// SessionInfo describes one session. It holds no secret.
type SessionInfo struct {
	ID        string
	Stream    string
	Role      Role
	Client    netip.Addr // as HTTP saw it
	Started   time.Time
	Connected time.Time      // zero until then
	Local     netip.AddrPort // of the selected pair
	Remote    netip.AddrPort
	Network   string // udp, tcp, relay
	Upstream  string // at the other end of a pull or push; else empty
	// Packets and Bytes count RTP: received of a publisher, sent to a subscriber.
	Packets, Bytes uint64
}

// TakeoverInfo describes a change of the program's source.
type TakeoverInfo struct {
	Stream string
	// FromUpstream and ToUpstream name the upstreams of these sessions, where
	// they are pulls.
	FromUpstream, ToUpstream string

	From, To string // session ids; From is empty when nothing flowed before
	Cause    Cause
	Gap      time.Duration // between the last packet of the old and the first of the new source (video if there is video)
}
