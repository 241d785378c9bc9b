package receiver

import (
	"slices"

	"github.com/pion/rtcp"
)

const (
	nackRange   = 500               // holes farther behind are given up
	nackAge     = 800 * millisecond // and so are older ones
	nackTries   = 8
	nackMinWait = 40 * millisecond // between two requests for one packet
	reorderTime = 10 * millisecond // patience before the first request ...
	reorderSeen = 3                // ... or until this many newer packets came
	millisecond = int64(1e6)
)

// hole is a missing number that may still come.
type hole struct {
	ext    uint64
	opened int64  // when a newer packet showed it
	asked  int64  // last request; valid if tries > 0
	order  uint64 // count of packets before the one that showed it
	tries  uint8
}

// holes lists the missing numbers, nackRange at most, in ascending order.
type holes struct {
	list  [nackRange]hole
	n     int
	asked uint64 // requests made, of packets
}

// open adds the numbers from first up to, but without, end. Old holes give way.
func (h *holes) open(first, end uint64, now int64, order uint64) {
	if end-first > nackRange {
		first = end - nackRange
	}
	if excess := h.n + int(end-first) - nackRange; excess > 0 {
		h.cut(excess)
	}

	for ext := first; ext < end; ext++ {
		h.list[h.n] = hole{ext: ext, opened: now, order: order}
		h.n++
	}
}

// forget drops the holes too far behind the newest number.
func (h *holes) forget(newest uint64) {
	old := 0
	for old < h.n && h.list[old].ext+nackRange < newest {
		old++
	}
	h.cut(old)
}

// cut drops the oldest n holes.
func (h *holes) cut(n int) {
	if n > 0 {
		h.n = copy(h.list[:], h.list[n:h.n])
	}
}

// fill removes a number that came. It reports whether it had been asked for.
func (h *holes) fill(ext uint64) (asked bool) {
	at, found := slices.BinarySearchFunc(h.list[:h.n], ext, func(e hole, want uint64) int {
		switch {
		case e.ext < want:
			return -1
		case e.ext > want:
			return 1
		}
		return 0
	})
	if !found {
		return false
	}
	asked = h.list[at].tries > 0
	copy(h.list[at:], h.list[at+1:h.n])
	h.n--

	return asked
}

// Nacks appends to dst the requests that are due at now (RFC 4585 6.2.1), and
// returns it. A packet is asked for once it is missing for 10 ms or three newer
// packets came, and again after each 1.5 round trips (rtt in nanoseconds, 0 if
// unknown; at least 40 ms), at most 8 times. It is given up 800 ms after it was
// missed, or when the stream is 500 numbers ahead. Call it often, say each 10 ms
// and after packets that opened a hole; there are never more than 30 pairs.
func (r *Receiver) Nacks(now, rtt int64, dst []rtcp.NackPair) []rtcp.NackPair {
	h := &r.holes
	h.forget(r.highest)

	wait := max(rtt+rtt/2, nackMinWait)
	kept, begin := 0, len(dst)
	for i := range h.n {
		e := h.list[i]
		if now-e.opened >= nackAge {
			continue
		}
		if e.due(now, wait, r.count.unique) {
			e.tries++
			e.asked = now
			h.asked++
			dst = appendNack(dst, begin, uint16(e.ext))
		}
		h.list[kept] = e
		kept++
	}
	h.n = kept

	return dst
}

// Misses tells whether a number was skipped and may still come.
func (r *Receiver) Misses(seq uint16) bool {
	for i := range r.holes.n {
		if uint16(r.holes.list[i].ext) == seq {
			return true
		}
	}
	return false
}

func (e *hole) due(now, wait int64, order uint64) bool {
	switch {
	case e.tries == 0:
		return now-e.opened >= reorderTime || order-e.order >= reorderSeen
	default:
		return e.tries < nackTries && now-e.asked >= wait
	}
}

// appendNack adds seq to the last pair that this call made, if it is in reach.
func appendNack(dst []rtcp.NackPair, begin int, seq uint16) []rtcp.NackPair {
	if len(dst) > begin {
		last := &dst[len(dst)-1]
		if ahead := seq - last.PacketID; ahead >= 1 && ahead <= 16 {
			last.LostPackets |= 1 << (ahead - 1)
			return dst
		}
	}

	return append(dst, rtcp.NackPair{PacketID: seq})
}
