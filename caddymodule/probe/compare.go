package probe

import (
	"slices"
	"time"
)

// sentPacket is one packet of the known sequence.
type sentPacket struct {
	seq     uint16
	ts      uint32
	payload []byte
	missing bool // it has a number and was never sent
}

// sentFrame is one frame of it.
type sentFrame struct {
	n       uint32
	ts      uint32
	unit    []byte
	at      time.Time // when its last packet left
	key     bool
	damaged bool // one of its packets is missing
}

// sentLog is what was sent of one kind of media.
type sentLog struct {
	codec   *codec
	run     string
	frames  []sentFrame // by number
	packets []sentPacket
}

// gotPacket is one packet that came back.
type gotPacket struct {
	seq     uint16
	ts      uint32
	payload []byte
	at      time.Time
	ext     int64 // seq without wrapping, set by inOrder
}

// matchedPacket is one whose payload is that of a packet sent.
type matchedPacket struct {
	sent int // index
	got  *gotPacket
}

// gotFrame is a frame that came back whole.
type gotFrame struct {
	sent        *sentFrame
	ts          uint32
	at          time.Time
	first, last int64 // extended numbers of its packets
}

// enough is the share of packets that makes a rule.
const enough = 0.99

// compare says what became of what was sent. posted is when the session was
// asked for that the packets came by.
func compare(s *sentLog, got []gotPacket, posted time.Time) *Media {
	m := &Media{Codec: s.codec.name, Payload: PayloadNone, Timestamps: NumbersUnknown, Sequence: NumbersUnknown}
	got = inOrder(got)
	m.PacketsReceived = len(got)
	if len(got) == 0 {
		return m
	}
	frames := matchFrames(s, got)
	packets, same, bare := matchPackets(s, got)
	m.IdenticalPercent = 100 * float64(same) / float64(len(got))
	switch n := enough * float64(len(got)); {
	case float64(same) >= n:
		m.Payload = PayloadIdentical
	case float64(same+bare) >= n:
		m.Payload = PayloadDescriptor
	case len(frames) > 0:
		m.Payload, packets = PayloadRepacked, nil
	default:
		m.Payload = PayloadOther
		m.FirstFrame = ms(got[0].at.Sub(posted))
		return m
	}
	m.losses(s, frames)
	m.timeline(s, frames, packets)
	if packets != nil {
		m.numbers(s, packets)
	} else {
		m.ownNumbers(s, frames, got)
	}
	m.delays(frames, posted)
	return m
}

// losses counts from the first frame that came. Frames that were sent damaged
// do not count.
func (m *Media) losses(s *sentLog, frames []gotFrame) {
	if len(frames) == 0 {
		return
	}
	for i := range s.frames {
		if f := &s.frames[i]; f.n >= frames[0].sent.n && !f.damaged {
			m.FramesSent++
		}
	}
	for _, f := range frames {
		if !f.sent.damaged {
			m.FramesReceived++
		}
	}
	if m.FramesSent > 0 {
		m.LossPercent = 100 * float64(m.FramesSent-m.FramesReceived) / float64(m.FramesSent)
	}
}

// timeline compares timestamps: of packets where these are the publisher's, of
// frames where not. What is within a millisecond is rounding.
func (m *Media) timeline(s *sentLog, frames []gotFrame, packets []matchedPacket) {
	var offsets []uint32
	for _, p := range packets {
		offsets = append(offsets, p.got.ts-s.packets[p.sent].ts)
	}
	if packets == nil {
		for _, f := range frames {
			offsets = append(offsets, f.ts-f.sent.ts)
		}
	}
	if len(offsets) == 0 {
		return
	}
	seen := make(map[uint32]bool)
	rounding := int32(s.codec.clock / 1000)
	m.Timestamps = NumbersOffset
	if offsets[0] == 0 {
		m.Timestamps = NumbersSame
	}
	for _, o := range offsets {
		seen[o] = true
		if d := int32(o - offsets[0]); d > rounding || d < -rounding {
			m.Timestamps = NumbersChanging
		}
	}
	m.TimestampOffsets = len(seen)
}

// numbers compares the sequence numbers of packets that are the publisher's.
func (m *Media) numbers(s *sentLog, packets []matchedPacket) {
	if len(packets) == 0 {
		return
	}
	offset := func(p matchedPacket) uint16 { return p.got.seq - s.packets[p.sent].seq }
	m.Sequence = NumbersOffset
	if offset(packets[0]) == 0 {
		m.Sequence = NumbersSame
	}
	for i := 1; i < len(packets); i++ {
		a, b := packets[i-1], packets[i]
		if offset(a) != offset(packets[0]) || offset(b) != offset(packets[0]) {
			m.Sequence = NumbersChanging
		}
		if !slices.ContainsFunc(s.packets[a.sent:b.sent], func(p sentPacket) bool { return p.missing }) {
			continue
		}
		m.closed(b.got.ext-a.got.ext == 1)
	}
	if m.Sequence == NumbersChanging && m.GapsClosed != nil && *m.GapsClosed {
		m.Sequence = NumbersOwn
	}
}

// ownNumbers looks for a gap where a frame was sent damaged.
func (m *Media) ownNumbers(s *sentLog, frames []gotFrame, got []gotPacket) {
	m.Sequence = NumbersOwn
	for i := 1; i < len(frames); i++ {
		a, b := frames[i-1], frames[i]
		between := func(f sentFrame) bool { return f.damaged && f.n > a.sent.n && f.n < b.sent.n }
		if !slices.ContainsFunc(s.frames, between) {
			continue
		}
		arrived := int64(0)
		for _, p := range got {
			if p.ext > a.last && p.ext < b.first {
				arrived++
			}
		}
		m.closed(b.first-a.last-1 == arrived)
	}
}

// closed notes what became of a gap. One that was closed says it all.
func (m *Media) closed(is bool) {
	if m.GapsClosed == nil || is {
		m.GapsClosed = &is
	}
}

// delays are from the last packet of a frame sent to the last one of it received.
func (m *Media) delays(frames []gotFrame, posted time.Time) {
	var list []time.Duration
	for _, f := range frames {
		if !f.sent.damaged {
			list = append(list, f.at.Sub(f.sent.at))
		}
		if f.sent.key && (m.FirstFrame == 0 || ms(f.at.Sub(posted)) < m.FirstFrame) {
			m.FirstFrame = ms(f.at.Sub(posted))
		}
	}
	if len(list) == 0 {
		return
	}
	slices.Sort(list)
	m.LatencyP50 = ms(list[len(list)/2])
	m.LatencyP99 = ms(list[len(list)*99/100])
}

// ms is for people and JSON: two decimals.
func ms(d time.Duration) float64 { return float64(d.Round(10*time.Microsecond)) / 1e6 }
