package relay

import (
	"sync/atomic"
	"time"
)

// loadMeter measures how busy a sending loop is and how late its packets leave.
// The loop writes, anybody reads; the figures are those of the last whole second.
type loadMeter struct {
	windowStart, busyNs, worst int64 // the loop's own

	busyPermille atomic.Int32
	lagNs        atomic.Int64
	closedAt     atomic.Int64 // end of the last window
}

// worked notes that the loop was busy from start to end.
func (m *loadMeter) worked(start, end int64) {
	m.busyNs += end - start
	if d := end - m.windowStart; d >= int64(time.Second) {
		m.busyPermille.Store(int32(m.busyNs * 1000 / d))
		m.lagNs.Store(m.worst)
		m.closedAt.Store(end)
		m.windowStart, m.busyNs, m.worst = end, 0, 0
	}
}

// lag notes how old a packet is when it leaves, and returns it.
func (m *loadMeter) lag(ns int64) int64 {
	m.worst = max(m.worst, ns)
	return ns
}

// busy is the share of time (0..1) the loop worked; 0 for a loop that sleeps.
func (m *loadMeter) busy(now int64) float64 {
	if now-m.closedAt.Load() > int64(3*time.Second) {
		return 0
	}
	return float64(m.busyPermille.Load()) / 1000
}

// worstLag is the longest time from arrival to send.
func (m *loadMeter) worstLag(now int64) time.Duration {
	if now-m.closedAt.Load() > int64(3*time.Second) {
		return 0
	}
	return time.Duration(m.lagNs.Load())
}
