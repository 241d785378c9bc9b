package harness

import (
	"fmt"
	"slices"
	"time"
)

// SenderReport is an RTCP SR as a viewer got it.
type SenderReport struct {
	Arrival time.Time
	SSRC    uint32
	NTP     uint64
	RTP     uint32
}

// ntpTime converts the 32.32 fixed point seconds since 1900.
func ntpTime(ntp uint64) time.Time {
	const epoch = 2208988800
	sec := int64(ntp>>32) - epoch
	frac := (ntp & 0xffffffff) * uint64(time.Second) >> 32
	return time.Unix(sec, int64(frac))
}

// ClockOffset is the median of how long before its arrival each packet was
// captured, by the clock of the sender reports: each packet is mapped with
// the nearest report of its SSRC.
func ClockOffset(pkts []Packet, reports []SenderReport, clockRate uint32) (time.Duration, error) {
	var ages []time.Duration
	for _, p := range pkts {
		var best *SenderReport
		for i := range reports {
			r := &reports[i]
			if r.SSRC == p.SSRC && (best == nil || r.Arrival.Sub(p.Arrival).Abs() < best.Arrival.Sub(p.Arrival).Abs()) {
				best = r
			}
		}
		if best == nil {
			return 0, fmt.Errorf("no sender report for ssrc %#x among %d", p.SSRC, len(reports))
		}
		ticks := int64(int32(p.TS - best.RTP))
		captured := ntpTime(best.NTP).Add(time.Duration(ticks * int64(time.Second) / int64(clockRate)))
		ages = append(ages, p.Arrival.Sub(captured))
	}
	if len(ages) == 0 {
		return 0, fmt.Errorf("no packets")
	}
	slices.Sort(ages)
	return ages[len(ages)/2], nil
}
