package relay

import "time"

// sourceClock relates a source's media timestamps to the relay's own clock, so
// that the sender reports toward subscribers keep audio and video together
// (RFC 3550 6.4.1). With sender reports of the source for all its tracks the
// relation is the capture time plus one transit time common to all; without, it
// is the time of arrival. It is guarded by the program's lock.
type sourceClock struct {
	transit    int64 // relay time minus capture time, ns: the smallest seen, with a slow leak
	hasTransit bool
}

// leak lets the smallest transit time follow a drifting clock: the estimate
// rises by 1/leak of the difference with each packet.
const leak = 1 << 12

func (c *sourceClock) observe(transit int64) int64 {
	if d := transit - c.transit; !c.hasTransit || d < 0 || d > int64(5*time.Second) {
		c.transit, c.hasTransit = transit, true
	} else {
		c.transit += d / leak
	}
	return c.transit
}

// trackClock is one track's part of it.
type trackClock struct {
	rate     int64 // ticks per second
	srNTP    int64 // ns, of the newest sender report
	srTS     uint32
	hasSR    bool
	arrival  sourceClock // the fallback, per track
	baseTS   uint32      // origin of arrival's time line
	hasBase  bool
	baseTick int64
}

// report takes a sender report of the source: NTP time in 32.32 fixed point.
func (c *trackClock) report(ntp uint64, ts uint32) {
	c.srNTP = int64(ntp>>32)*int64(time.Second) + int64((ntp&0xffffffff)*uint64(time.Second)>>32)
	c.srTS, c.hasSR = ts, true
}

// capture is the source's clock at a timestamp, ns.
func (c *trackClock) capture(ts uint32) int64 {
	return c.srNTP + c.ticks(ts-c.srTS)
}

// ticks converts a (signed, wrapping) distance of timestamps to ns.
func (c *trackClock) ticks(d uint32) int64 {
	return int64(int32(d)) * int64(time.Second) / c.rate
}

// byArrival gives the relay time of a timestamp from arrival times alone.
func (c *trackClock) byArrival(ts uint32, arrival int64) int64 {
	if !c.hasBase {
		c.baseTS, c.hasBase = ts, true
	}
	c.baseTick += c.ticks(ts - c.baseTS)
	c.baseTS = ts
	return c.baseTick + c.arrival.observe(arrival-c.baseTick)
}

// reference says: the media with timestamp ts belongs to relay time at.
type reference struct {
	ts uint32
	at int64
}

// extrapolate gives the timestamp that belongs to relay time now.
func (r reference) extrapolate(now int64, rate uint32) uint32 {
	return r.ts + uint32(int32((now-r.at)*int64(rate)/int64(time.Second)))
}
