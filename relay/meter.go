package relay

import "time"

// trackMeter counts what a track of the program sends. Guarded by the
// program's lock.
type trackMeter struct {
	packets, bytes, oversize uint64
	takeovers                uint64
	windowStart              int64
	windowBytes              uint64
	bitrate                  float64 // bits/s of the last whole window
	peak                     float64 // the highest of them
	keyAt                    int64
	keyEvery                 time.Duration
	width, height            int // of the picture, 0: unknown
}

// meterWindow is how long a rate is averaged over.
const meterWindow = int64(time.Second)

func (m *trackMeter) add(now int64, n int) {
	m.packets++
	m.bytes += uint64(n)
	if d := now - m.windowStart; d >= meterWindow {
		m.bitrate = float64(m.windowBytes*8) / (float64(d) / float64(time.Second))
		m.peak = max(m.peak, m.bitrate)
		m.windowStart, m.windowBytes = now, 0
	}
	m.windowBytes += uint64(n)
}

// rate is the bitrate, 0 for a track that fell silent.
func (m *trackMeter) rate(now int64) float64 {
	if now-m.windowStart > 3*meterWindow {
		return 0
	}
	return m.bitrate
}

func (m *trackMeter) keyframe(now int64) {
	if m.keyAt != 0 {
		m.keyEvery = time.Duration(now - m.keyAt)
	}
	m.keyAt = now
}

// picture takes what payload.Size found. The size stays when a key frame does
// not tell it, as when its parameter sets came before.
func (m *trackMeter) picture(width, height int, ok bool) {
	if ok {
		m.width, m.height = width, height
	}
}
