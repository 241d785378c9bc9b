package liveness

import "time"

const (
	// frameLife is for how long packets of one frame are a sign of life. A large
	// key frame over a slow line takes long; padding with an old timestamp, by
	// which servers probe for bandwidth, goes on for ever.
	frameLife = int64(time.Second)
	// breath is added to twice the gap where a run of arrivals is called broken:
	// jitter of a fast rhythm.
	breath = 100 * time.Millisecond
	// cached is by how much a frame was taken earlier than live ones would have
	// been, to be one out of a cache.
	cached = int64(100 * time.Millisecond)
)

// Meter is the pulse of one source.
type Meter struct {
	video, audio         beats
	ts                   [Window]uint32 // of the frames in video
	lastTS               uint32
	lastVideo, lastAudio int64
	firstVideo           int64
	firstAt              int64
}

// Video is told of a packet of video with the RTP timestamp ts. Newer says that
// its number is higher than all before; others come late, or again, and are a
// sign of life but never a frame. O(1).
func (m *Meter) Video(now int64, ts uint32, newer bool) {
	if m.video.n == 0 {
		m.first(now)
		m.firstVideo = now
		m.frame(now, ts)
		return
	}
	if newer && ts != m.lastTS {
		m.frame(now, ts)
		return
	}
	if now-m.video.back(0) <= frameLife {
		m.lastVideo = now
	}
}

func (m *Meter) frame(now int64, ts uint32) {
	m.ts[m.video.n%Window] = ts
	m.video.add(now)
	m.lastTS, m.lastVideo = ts, now
}

// Audio is told of a packet of sound. O(1).
func (m *Meter) Audio(now int64) {
	m.first(now)
	m.audio.add(now)
	m.lastAudio = now
}

func (m *Meter) first(now int64) {
	if m.video.n == 0 && m.audio.n == 0 {
		m.firstAt = now
	}
}

// Reset forgets everything, for a source that starts anew.
func (m *Meter) Reset() { *m = Meter{} }

// HasVideo tells whether there was video at all.
func (m *Meter) HasVideo() bool { return m.video.n > 0 }

// HasAudio tells whether there was sound at all.
func (m *Meter) HasAudio() bool { return m.audio.n > 0 }

// Frames is how many frames of video have begun.
func (m *Meter) Frames() uint64 { return m.video.n }

// FirstAt is when the first media came, 0: none did.
func (m *Meter) FirstAt() int64 { return m.firstAt }

// LastVideo is when video gave its last sign of life, 0: never.
func (m *Meter) LastVideo() int64 { return m.lastVideo }

// LastAudio is when the last sound came, 0: never.
func (m *Meter) LastAudio() int64 { return m.lastAudio }

// Silence is for how long there was none of each. Of what never was, it is 0.
func (m *Meter) Silence(now int64) (video, audio time.Duration) {
	if m.HasVideo() {
		video = time.Duration(now - m.lastVideo)
	}
	if m.HasAudio() {
		audio = time.Duration(now - m.lastAudio)
	}
	return video, audio
}

// Interval is the typical distance of frames, 0: unknown.
func (m *Meter) Interval() time.Duration { return m.video.interval() }

// AudioInterval is the typical distance of packets of sound, 0: unknown.
func (m *Meter) AudioInterval() time.Duration { return m.audio.interval() }

// Gap is the distance of frames that is still usual, at most 10 s; 0: unknown.
func (m *Meter) Gap() time.Duration { return m.video.gap() }

// AudioGap is the same for packets of sound.
func (m *Meter) AudioGap() time.Duration { return m.audio.gap() }

// VideoAfter counts the frames that began after t in the newest run of live
// frames that no unusual pause broke, at most Window, and tells when the first
// of them did. It is how another source that fell silent at t is compared with
// this one. What came out of a cache before the run is no part of it.
func (m *Meter) VideoAfter(t int64) (n int, first int64) {
	all, _ := m.video.after(t, 2*m.Gap()+breath)
	for i := range all {
		// Frames that the network held back are ahead of those after them, but
		// not of all: before the stall they came in time.
		at := m.video.back(i)
		if m.mediaTime(i)-(m.video.back(0)-at) <= cached {
			n, first = i+1, at
		}
	}
	return n, first
}

// AudioAfter is the same for the packets of sound.
func (m *Meter) AudioAfter(t int64) (n int, first int64) {
	return m.audio.after(t, 2*m.AudioGap()+breath)
}
