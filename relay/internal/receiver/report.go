package receiver

import (
	"math"

	"github.com/pion/rtcp"
)

// counts are the running totals. "Direct" packets came on the stream itself,
// not through a retransmission stream.
type counts struct {
	unique      uint64 // packets accepted
	bytes       uint64
	direct      uint64 // direct packets, duplicates and old ones too
	recovered   uint64
	duplicates  uint64
	expected    uint64 // by runs of numbers before the last restart
	lastArrival int64

	priorExpected, priorDirect uint64 // at the last report
}

func (c *counts) accepted(size int, recovered bool) {
	c.unique++
	c.bytes += uint64(max(size, 0))
	if !recovered {
		c.direct++
	}
}

func (c *counts) refused(s Status, recovered bool) {
	if s == Duplicate {
		c.duplicates++
	}
	if !recovered {
		c.direct++
	}
}

func (c *counts) restart(expected uint64) { c.expected += expected }

// expected is how many packets the source sent, as far as the numbers tell.
func (r *Receiver) expected() uint64 {
	if !r.started {
		return 0
	}

	return r.count.expected + r.highest - r.base + 1
}

type senderReport struct {
	seen    bool
	ntp     uint64
	ts      uint32
	arrival int64
}

// SenderReport notes a sender report of this source: its NTP time (32.32 fixed
// point), the RTP timestamp of that time, and when it arrived.
func (r *Receiver) SenderReport(ntp uint64, rtpTS uint32, arrival int64) {
	r.sender = senderReport{seen: true, ntp: ntp, ts: rtpTS, arrival: arrival}
}

// LastSenderReport returns what the newest SenderReport noted.
func (r *Receiver) LastSenderReport() (ntp uint64, rtpTS uint32, arrival int64, ok bool) {
	s := r.sender
	return s.ntp, s.ts, s.arrival, s.seen
}

const maxTotalLost = 1<<23 - 1 // 24 bits, signed

// Report makes a reception report (RFC 3550 6.4.1) as of now. The caller fills
// in SSRC. The fraction lost is that since the last call, so each call must
// lead to a report sent. As in A.3, duplicates make up for losses, and a balance
// below zero counts as none. Packets recovered by a retransmission stream still
// count as lost: the sender shall learn what its network does.
func (r *Receiver) Report(now int64) rtcp.ReceptionReport {
	c := &r.count
	expected := r.expected()

	rr := rtcp.ReceptionReport{
		FractionLost: fraction(expected-c.priorExpected, c.direct-c.priorDirect),
		TotalLost:    uint32(min(missing(expected, c.direct), maxTotalLost)),
		Jitter:       uint32(min(r.jitter.value, math.MaxUint32)),
	}
	c.priorExpected, c.priorDirect = expected, c.direct

	if r.started {
		rr.LastSequenceNumber = uint32(r.highest - firstCycle)
	}
	if r.sender.seen {
		rr.LastSenderReport = uint32(r.sender.ntp >> 16)
		rr.Delay = delay(now - r.sender.arrival)
	}

	return rr
}

func missing(expected, received uint64) uint64 {
	if received >= expected {
		return 0
	}

	return expected - received
}

// fraction is in units of 1/256. All lost is 256/256, which does not fit.
func fraction(expected, received uint64) uint8 {
	if expected == 0 {
		return 0
	}

	return uint8(min(missing(expected, received)<<8/expected, 255))
}

// delay converts to units of 1/65536 s, of which 32 bits hold 18 hours.
func delay(ns int64) uint32 {
	if ns <= 0 {
		return 0
	}
	ns = min(ns, 65535*second)

	return uint32(ns/second<<16 + ns%second<<16/second)
}

// Stats is a snapshot of the totals of a [Receiver].
type Stats struct {
	Packets     uint64  // accepted: Fresh, Late and Restart
	Bytes       uint64  // of these
	Lost        uint64  // numbers that never came, or did not yet
	Nacked      uint64  // requests made; a packet asked for twice counts twice
	Recovered   uint64  // packets that came after a request, or by retransmission
	Duplicates  uint64  // received twice or more
	Jitter      float64 // seconds, as of RFC 3550 A.8
	Bitrate     float64 // bits per second, over the last second
	LastArrival int64   // of an accepted packet, on the caller's clock; 0 if none
}

// Stats returns the totals; the bit rate is as of now.
func (r *Receiver) Stats(now int64) Stats {
	return Stats{
		Packets:     r.count.unique,
		Bytes:       r.count.bytes,
		Lost:        missing(r.expected(), r.count.unique),
		Nacked:      r.holes.asked,
		Recovered:   r.count.recovered,
		Duplicates:  r.count.duplicates,
		Jitter:      r.jitter.value / r.clockRate,
		Bitrate:     r.rate.bitrate(now),
		LastArrival: r.count.lastArrival,
	}
}
