package leg

import "sync/atomic"

// Stats are counters since the Transport was made; gauges are marked. Each
// drop is silent on the wire and in the log: these numbers are where it shows.
type Stats struct {
	Legs, Pending       int64 // gauges: open legs, TCP connections without a leg yet
	Checks              uint64
	Malformed           uint64 // neither STUN, DTLS nor SRTP, or not well-formed
	UnknownUfrag        uint64
	BadIntegrity        uint64 // wrong remote ufrag, MESSAGE-INTEGRITY or FINGERPRINT
	RoleConflicts       uint64
	AddressConflicts    uint64 // a check from an address at which another leg lives
	UnknownAddress      uint64 // DTLS or SRTP from an address bound to no leg
	OverBudget          uint64 // not sent: the address has not proven itself yet
	BadMedia            uint64 // SRTP or SRTCP forged, replayed or before the keys
	DTLSDropped         uint64
	Handshakes          uint64
	FailedHandshakes    uint64
	PathChanges         uint64
	RejectedConnections uint64
	ReadErrors          uint64 // reads of a socket that failed
}

type counters struct {
	pending                                         atomic.Int64
	checks, malformed, unknownUfrag, badIntegrity   atomic.Uint64
	roleConflicts, addressConflicts, unknownAddress atomic.Uint64
	overBudget, badMedia, dtlsDropped               atomic.Uint64
	handshakes, failedHandshakes, pathChanges       atomic.Uint64
	rejectedConnections, readErrors                 atomic.Uint64
}

// Stats returns a snapshot. It may be called at any time.
func (t *Transport) Stats() Stats {
	t.mu.RLock()
	legs := len(t.legs)
	t.mu.RUnlock()
	c := &t.stats
	return Stats{
		Legs: int64(legs), Pending: c.pending.Load(),
		Checks: c.checks.Load(), Malformed: c.malformed.Load(),
		UnknownUfrag: c.unknownUfrag.Load(), BadIntegrity: c.badIntegrity.Load(),
		RoleConflicts: c.roleConflicts.Load(), AddressConflicts: c.addressConflicts.Load(),
		UnknownAddress: c.unknownAddress.Load(), OverBudget: c.overBudget.Load(),
		BadMedia: c.badMedia.Load(), DTLSDropped: c.dtlsDropped.Load(),
		Handshakes: c.handshakes.Load(), FailedHandshakes: c.failedHandshakes.Load(),
		PathChanges: c.pathChanges.Load(), RejectedConnections: c.rejectedConnections.Load(),
		ReadErrors: c.readErrors.Load(),
	}
}
