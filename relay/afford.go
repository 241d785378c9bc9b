package relay

import "time"

const (
	// settle is how long a layer is sent before the viewer's estimate is
	// compared with it: it begins with a key frame.
	settle = int64(2 * time.Second)
	// climbAfter is how long a viewer stays on a layer that it went down to, and
	// climbAtMost how long after layers above it have failed several times.
	climbAfter  = int64(10 * time.Second)
	climbAtMost = int64(120 * time.Second)
	// failedWithin: who has to go down again so soon after it went up shall wait
	// twice as long.
	failedWithin = int64(15 * time.Second)
	// Losses, in 256ths of the packets.
	muchLost   = 26
	littleLost = 5
)

// path is what a viewer's own estimate of its bandwidth (REMB) means for the
// layers it gets. It belongs to the sending loop.
//
// Such an estimate follows what is received, at most half as much again above
// it: a low one is no sign of congestion where little is sent, and a layer that
// is twice as large never seems to fit. So a viewer goes down when the estimate
// has fallen below what it is sent, or is below that and packets are lost; and
// goes up, after a while, when there is room above what it gets, to see.
type path struct {
	limited   bool
	limit     int    // index of the highest layer that fits, if limited
	limitedAt int64  // when that was found
	upAt      int64  // when a layer above was tried
	wait      int64  // how long until the next try
	estimated uint64 // the highest estimate since the layer began
}

// afford lowers want, an index of the ladder, to what the path carries.
func (d *downTrack) afford(l *ladder, want int, now int64) int {
	if d.viewer == nil {
		return want
	}
	remb, lost := d.viewer.remb.Load(), d.viewer.lost.Load()
	here := l.find(d.lane)
	if remb == 0 || here < 0 {
		return want
	}
	p := &d.path
	p.estimated = max(p.estimated, remb)
	if d.next == 0 && now-d.movedAt >= settle {
		switch sent, room := l.rungs[here].bitrate, float64(remb); {
		case here > 0 && room < 0.85*sent && (room < 0.9*float64(p.estimated) || lost >= muchLost):
			p.down(l, here, room, now)
		case p.limited && here == p.limit && now-max(p.limitedAt, d.movedAt) >= p.wait &&
			lost <= littleLost && room >= 1.2*sent:
			p.limit++
			p.upAt = now
			p.limited = p.limit < l.n-1
		}
	}
	if p.limited {
		return min(want, p.limit)
	}
	return want
}

// down finds a lower layer that fits.
func (p *path) down(l *ladder, here int, room float64, now int64) {
	to := here - 1
	for to > 0 && l.rungs[to].bitrate > 0.9*room {
		to--
	}
	if p.upAt != 0 && now-p.upAt < failedWithin {
		p.wait = min(2*p.wait, climbAtMost)
	} else {
		p.wait = climbAfter
	}
	p.limited, p.limit, p.limitedAt = true, to, now
}
