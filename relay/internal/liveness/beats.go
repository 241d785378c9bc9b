package liveness

import (
	"slices"
	"time"
)

// Window is how many arrivals are remembered per kind of media.
const Window = 64

const (
	// minBeat: what comes closer together was delayed together, or is read from
	// one buffer. It says nothing of a rhythm (500 frames a second are not sent).
	minBeat = int64(2 * time.Millisecond)
	// maxBeat keeps a source that was away for an hour from having learned that.
	maxBeat = int64(10 * time.Second)
	// fewBeats: up to here a single long distance counts, there is no more to
	// go by.
	fewBeats = 8
)

// beats is a ring of the newest times of arrival.
type beats struct {
	at [Window]int64
	n  uint64 // ever added
}

func (b *beats) add(now int64) {
	b.at[b.n%Window] = now
	b.n++
}

// len is how many are remembered.
func (b *beats) len() int { return int(min(b.n, Window)) }

// back is the time of the newest but i, for i < len.
func (b *beats) back(i int) int64 { return b.at[(b.n-1-uint64(i))%Window] }

// distance is the time between the newest but i and the one before it, for
// i < len-1; false if it says nothing of the rhythm.
func (b *beats) distance(i int) (int64, bool) {
	d := b.back(i) - b.back(i+1)
	return min(d, maxBeat), d >= minBeat
}

// gap is the second largest distance, of few ones the largest.
func (b *beats) gap() time.Duration {
	var first, second int64
	var count int
	for i := range b.len() - 1 {
		d, ok := b.distance(i)
		if !ok {
			continue
		}
		count++
		first, second = max(first, d), max(second, min(first, d))
	}
	if count < fewBeats {
		return time.Duration(first)
	}
	return time.Duration(second)
}

// interval is the median distance.
func (b *beats) interval() time.Duration {
	var room [Window]int64
	all := room[:0]
	for i := range b.len() - 1 {
		if d, ok := b.distance(i); ok {
			all = append(all, d)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return time.Duration(all[len(all)/2])
}

// after counts those of the newest unbroken run that came after t, and tells
// when the first of them came. A distance beyond pause breaks a run.
func (b *beats) after(t int64, pause time.Duration) (n int, first int64) {
	for n < b.len() {
		at := b.back(n)
		if at <= t || n > 0 && first-at > int64(pause) {
			break
		}
		n, first = n+1, at
	}
	return n, first
}
