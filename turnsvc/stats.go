package turnsvc

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// Transport is how a client reaches the server.
type Transport uint8

// The transports of RFC 8656 section 3.1 that are served.
const (
	UDP Transport = iota
	TCP
	TLS
	numTransports
)

func (t Transport) String() string {
	return [...]string{"udp", "tcp", "tls", "?"}[min(t, numTransports)]
}

// reason is why something was refused or dropped; it is a label of the counters.
type reason uint8

const (
	_                     reason = iota
	rejectUnauthenticated        // 401 to a request without integrity: the normal first step
	rejectCredential             // 401, unknown user or wrong password
	rejectExpired                // 401, credential past its expiry
	rejectRevoked                // 401, revoked user
	rejectNonce                  // 438
	rejectPeer                   // 403
	rejectUserQuota              // 486
	rejectIPQuota                // 486
	rejectCapacity               // 508
	rejectMismatch               // 437
	rejectUser                   // 441
	rejectUnsupported            // 420, 440, 442, 443
	rejectBad                    // 400
	rejectRate                   // unauthenticated reply withheld
	rejectGarbage                // not STUN, not ChannelData, or malformed: dropped unanswered
	rejectFrame                  // stream connection closed over its framing
	rejectConns                  // stream connection refused: too many
	rejectTimeout                // stream connection closed: no allocation in time
	dropNotMedia                 // relayed packet to anything but a media address
	dropBandwidth                // relayed packet over the bandwidth of its allocation
	dropQueue                    // relayed packet met a full queue
	dropTooLong                  // packet to a client over the largest frame
	dropNoAllocation             // packet of or to a client without an allocation
	dropNoPermission             // packet without a permission or channel
	numReasons
)

var reasonNames = [numReasons]string{
	rejectUnauthenticated: "unauthenticated", rejectCredential: "bad_credential", rejectExpired: "expired",
	rejectRevoked: "revoked", rejectNonce: "stale_nonce", rejectPeer: "forbidden_peer",
	rejectUserQuota: "user_quota", rejectIPQuota: "ip_quota", rejectCapacity: "capacity",
	rejectMismatch: "allocation_mismatch", rejectUser: "wrong_user", rejectUnsupported: "unsupported",
	rejectBad: "bad_request", rejectRate: "reply_rate", rejectGarbage: "garbage", rejectFrame: "bad_frame",
	rejectConns: "too_many_connections", rejectTimeout: "connection_timeout",
	dropNotMedia: "not_media", dropBandwidth: "bandwidth", dropQueue: "queue_full", dropTooLong: "too_long",
	dropNoAllocation: "no_allocation", dropNoPermission: "no_permission",
}

// counters are written by any goroutine, one word per reason.
type counters [numReasons]atomic.Uint64

func (c *counters) add(r reason) { c[r].Add(1) }

// Traffic counts payload relayed for clients, without TURN headers.
type Traffic struct {
	PacketsIn, BytesIn   uint64 // from clients
	PacketsOut, BytesOut uint64 // to clients
}

func (t *Traffic) add(o Traffic) {
	t.PacketsIn += o.PacketsIn
	t.BytesIn += o.BytesIn
	t.PacketsOut += o.PacketsOut
	t.BytesOut += o.BytesOut
}

// Stats is a snapshot of the server. Counters only grow.
type Stats struct {
	Allocations      map[string]int    // live, by transport: udp, tcp, tls
	AllocationsTotal uint64            // ever made
	Connections      int               // open stream connections
	Traffic          Traffic           // of live and ended allocations
	Rejected         map[string]uint64 // requests and connections refused, by reason
	Dropped          map[string]uint64 // relayed packets dropped, by reason
}

// AllocationInfo describes one allocation. The username is left out on purpose: with the realm
// known it is half of a credential; the user id is what logs and metrics need.
type AllocationInfo struct {
	UserID    string
	Client    netip.AddrPort
	Transport Transport
	Relayed   netip.AddrPort
	Since     time.Time
	Traffic   Traffic
}

// EndReason is why an allocation ended.
type EndReason string

// The ways an allocation ends.
const (
	EndDeleted  EndReason = "deleted"  // the client refreshed it with lifetime 0
	EndExpired  EndReason = "expired"  // not refreshed in time
	EndClosed   EndReason = "closed"   // its connection or socket ended
	EndRevoked  EndReason = "revoked"  // Revoke of its user
	EndShutdown EndReason = "shutdown" // Close of the server
)

// Observer is told about allocations, each exactly once and in this order. The calls come from the
// goroutines of the server, several at once: return quickly and do not call Close from them.
type Observer interface {
	AllocationStarted(AllocationInfo)
	AllocationEnded(AllocationInfo, EndReason)
}

// Stats returns a snapshot. It locks the table of allocations for the time of reading it.
func (s *Server) Stats() Stats {
	st := Stats{
		Allocations: map[string]int{}, Connections: s.conns.count(),
		Rejected: map[string]uint64{}, Dropped: map[string]uint64{},
	}
	for t := range numTransports {
		st.Allocations[t.String()] = 0
	}
	s.registry.snapshot(&st)
	for r := reason(1); r < numReasons; r++ {
		if into := st.Rejected; r < dropNotMedia {
			into[reasonNames[r]] = s.counts[r].Load()
		} else {
			st.Dropped[reasonNames[r]] = s.counts[r].Load()
		}
	}
	return st
}

// Allocations lists the live allocations in no particular order.
func (s *Server) Allocations() []AllocationInfo {
	all := s.registry.all()
	out := make([]AllocationInfo, len(all))
	for i, a := range all {
		out[i] = a.info()
	}
	return out
}
