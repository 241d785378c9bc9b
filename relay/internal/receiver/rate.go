package receiver

import "math"

// jitter is the estimator of RFC 3550 A.8, in timestamp units. Packets of one
// video frame share a timestamp but are sent one after the other; only the first
// of each timestamp is looked at, or pacing would be taken for jitter.
type jitter struct {
	value   float64
	ts      uint32
	arrival int64
	started bool
}

func (j *jitter) update(ts uint32, arrival int64, clockRate float64) {
	if j.started && ts == j.ts {
		return
	}

	if j.started {
		took := float64(arrival-j.arrival) / float64(second) * clockRate
		d := math.Abs(took - float64(int32(ts-j.ts)))
		if d < 5*clockRate { // else the timestamps jumped, which is not jitter
			j.value += (d - j.value) / 16
		}
	}
	j.ts, j.arrival, j.started = ts, arrival, true
}

const (
	slotTime = second / 10
	slots    = 11
)

// rate counts bytes in slots of 100 ms. The current slot and the ten before it
// are valid, so that the window is a second and the part of a slot.
type rate struct {
	bytes   [slots]uint64
	slot    int64 // number of the current slot on the caller's clock
	first   int64 // time of the first packet
	started bool
}

func (r *rate) add(size int, now int64) {
	r.turn(now)
	r.bytes[r.index(r.slot)] += uint64(max(size, 0))
}

// turn makes the slot of now the current one. Time that goes back stays there.
func (r *rate) turn(now int64) {
	slot := floorDiv(now, slotTime)
	if !r.started {
		r.started, r.slot, r.first = true, slot, now
	}
	if slot-r.slot >= slots {
		r.bytes = [slots]uint64{}
		r.slot = slot
	}
	for r.slot < slot {
		r.slot++
		r.bytes[r.index(r.slot)] = 0
	}
}

// bitrate is the average from the oldest valid slot, or from the first packet if
// that came later, until now; over the time of one slot at least.
func (r *rate) bitrate(now int64) float64 {
	if !r.started {
		return 0
	}
	r.turn(now)

	var sum uint64
	for _, n := range r.bytes {
		sum += n
	}
	since := max((r.slot-slots+1)*slotTime, r.first)
	took := max(now-since, slotTime)

	return float64(sum) * 8 * float64(second) / float64(took)
}

func (r *rate) index(slot int64) int64 { return (slot%slots + slots) % slots }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}

	return q
}
