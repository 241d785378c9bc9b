package relay

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

const (
	// lossyShare of the packets lost for lossyFor reports in a row makes a
	// source one that another is better than.
	lossyShare = 0.2
	lossyFor   = 2
	// excessFor is how many reports in a row a publisher may be over its bitrate.
	excessFor = 4
)

// quality is what the last reports say of a publisher: how much arrives, and
// how much does not. Written by its loop, read by any goroutine.
type quality struct {
	bits  atomic.Uint64 // float64 bits/s
	until atomic.Int64  // when that is too old
	lossy atomic.Bool

	// The loop's own.
	bytes, packets, lost uint64 // totals at the last report
	at                   int64
	bad, over            int // reports in a row
}

// rate is the bitrate, 0 for a publisher that fell silent.
func (q *quality) rate(now int64) float64 {
	if now > q.until.Load() {
		return 0
	}
	return math.Float64frombits(q.bits.Load())
}

// judge takes the totals of a publisher, once for each of its reports. It
// returns true when the publisher has been over its bitrate for too long.
func (p *publisher) judge(now int64) (excess bool) {
	q, bytes := &p.quality, p.bytes.Load()
	var packets, lost uint64
	for _, t := range p.tracks[codec.Video:] {
		if t != nil {
			s := t.rx.Stats(now)
			packets, lost = packets+s.Packets, lost+s.Lost
		}
	}
	if d := now - q.at; q.at != 0 && d > 0 {
		bits := float64(bytes-q.bytes) * 8 * float64(time.Second) / float64(d)
		q.bits.Store(math.Float64bits(bits))
		q.until.Store(now + 3*reportInterval)
		q.over = nextInRow(q.over, p.maxBitrate > 0 && bits > float64(p.maxBitrate)*1.1)
		came, gone := float64(packets)-float64(q.packets), float64(lost)-float64(q.lost)
		q.bad = nextInRow(q.bad, gone > 0 && gone > lossyShare*(came+gone))
		q.lossy.Store(q.bad >= lossyFor)
	}
	q.bytes, q.packets, q.lost, q.at = bytes, packets, lost, now
	return q.over >= excessFor
}

func nextInRow(n int, again bool) int {
	if again {
		return n + 1
	}
	return 0
}
