package liveness

import "time"

const (
	// liveSpan is over how long live media must have come, in at least liveBeats
	// arrivals after the one that it is measured from.
	liveSpan  = int64(100 * time.Millisecond)
	liveBeats = 2
	// soundBeats is the same for sound, that has no groups of pictures.
	soundBeats = 3
	// Media time may run at up to 3/2 of the time of arrival: clocks differ and
	// jitter shortens distances, while caches are emptied many times as fast.
	paceNum, paceDen = 3, 2
	// liveAnyway: who has sent for so long empties no cache. It keeps a sender
	// with wrong timestamps from never being live.
	liveAnyway = int64(5 * time.Second)
	// freshVideo and freshAudio are how old the last arrival may be at least;
	// else it is twice the gap. Sound without speech comes each 400 ms.
	freshVideo = 250 * time.Millisecond
	freshAudio = 600 * time.Millisecond
	// videoRate is the clock of all video, ticks per second.
	videoRate = 90000
)

// Flows tells whether live media is delivered now: video, or sound if there was
// never any video.
func (m *Meter) Flows(now int64) bool {
	if m.HasVideo() {
		return m.FlowsVideo(now)
	}
	return m.FlowsAudio(now)
}

// FlowsVideo tells whether live video is delivered now: frames came over at
// least 100 ms, not faster than they were taken, and the last one is fresh.
func (m *Meter) FlowsVideo(now int64) bool {
	if quiet := time.Duration(now - m.lastVideo); !m.HasVideo() || quiet > freshVideo && quiet > 2*m.Gap() {
		return false
	}
	if m.video.back(0)-m.firstVideo >= liveAnyway {
		return true
	}
	// Measured from any earlier frame: one before a stall of the network is as
	// good, for what catches up after it is no cache.
	for i := liveBeats; i < m.video.len(); i++ {
		span := m.video.back(0) - m.video.back(i)
		if span >= liveSpan && m.mediaTime(i) <= span*paceNum/paceDen {
			return true
		}
	}
	return false
}

// mediaTime is by how much, in ns, the newest frame was taken later than the
// newest but i.
func (m *Meter) mediaTime(i int) int64 {
	last := m.ts[(m.video.n-1-uint64(i))%Window]
	return int64(int32(m.lastTS-last)) * int64(time.Second) / videoRate
}

// FlowsAudio tells whether sound is delivered now: packets came over at least
// 100 ms, and the last one is fresh.
func (m *Meter) FlowsAudio(now int64) bool {
	n := m.audio.len()
	if n < soundBeats || m.audio.back(0)-m.audio.back(n-1) < liveSpan {
		return false
	}
	quiet := time.Duration(now - m.lastAudio)
	return quiet <= freshAudio || quiet <= 2*m.AudioGap()
}
