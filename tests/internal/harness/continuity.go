package harness

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
)

// Packet is one RTP packet as a viewer got it.
type Packet struct {
	Arrival  time.Time
	Seq      uint16
	TS       uint32
	SSRC     uint32
	PT       uint8
	Marker   bool
	Repaired bool // came as a retransmission
	Payload  []byte
}

// Fault is a kind of damage to a timeline.
type Fault string

const (
	FaultSSRC      Fault = "ssrc change"
	FaultPT        Fault = "payload type change"
	FaultGap       Fault = "sequence gap"
	FaultReorder   Fault = "reordered"
	FaultDuplicate Fault = "duplicate"
	FaultBackwards Fault = "timestamp backwards"
	FaultPace      Fault = "timestamp out of proportion to arrival"
	FaultMerged    Fault = "two frames with one timestamp"
	FaultMarker    Fault = "frame without its marker"
	FaultPictureID Fault = "picture id not continuous"
	FaultTL0       Fault = "tl0picidx not continuous"
	FaultSwitch    Fault = "switch of source not at a key frame"
	FaultMixed     Fault = "sources mixed"
	FaultEmpty     Fault = "no packets"
)

// Violation is one finding of Check.
type Violation struct {
	Fault  Fault
	Index  int // of the packet in the record
	Detail string
}

func (v Violation) String() string {
	return fmt.Sprintf("packet %d: %s: %s", v.Index, v.Fault, v.Detail)
}

// Rules say what a record is judged by.
type Rules struct {
	Codec Codec
	// Pace is how far the timestamps may run ahead of or behind the arrival
	// times. 0: 300 ms.
	Pace time.Duration
	// Settle is the beginning of the record in which the pace is not judged:
	// a newcomer is served a group of pictures at once. 0: settleTime.
	Settle time.Duration
	// TornAtSwitch permits the last frame of a source that was cut off to end
	// without its marker.
	TornAtSwitch bool
}

// Check judges a record of one track as one unbroken timeline, in order of
// arrival, and returns every violation.
func Check(pkts []Packet, r Rules) []Violation {
	if len(pkts) == 0 {
		return []Violation{{FaultEmpty, 0, "nothing arrived"}}
	}
	c := &checker{r: r, pkts: pkts}
	if c.r.Pace == 0 {
		c.r.Pace = 300 * time.Millisecond
	}
	if c.r.Settle == 0 {
		c.r.Settle = settleTime
	}
	c.checkHeaders()
	c.checkPace()
	c.checkFrames()
	if r.Codec.MimeType == webrtc.MimeTypeVP8 {
		c.checkVP8()
	}
	return c.out
}

// RequireContinuous fails the test with the first violations of a record.
func RequireContinuous(t testing.TB, who string, pkts []Packet, r Rules) {
	t.Helper()
	vs := Check(pkts, r)
	if len(vs) == 0 {
		return
	}
	var b strings.Builder
	for i, v := range vs {
		if i == 10 {
			fmt.Fprintf(&b, "\n  and %d more", len(vs)-i)
			break
		}
		fmt.Fprintf(&b, "\n  %s", v)
	}
	t.Errorf("%s: %s of %d packets is not continuous:%s", who, r.Codec.Name(), len(pkts), b.String())
}

type checker struct {
	r    Rules
	pkts []Packet
	out  []Violation
}

func (c *checker) fault(f Fault, i int, format string, args ...any) {
	c.out = append(c.out, Violation{f, i, fmt.Sprintf(format, args...)})
}

func (c *checker) checkHeaders() {
	seen := map[int64]bool{}
	first := c.pkts[0]
	high := int64(first.Seq) // extended, the highest so far
	seen[high] = true
	for i := 1; i < len(c.pkts); i++ {
		p := c.pkts[i]
		if p.SSRC != c.pkts[i-1].SSRC {
			c.fault(FaultSSRC, i, "%#x after %#x", p.SSRC, c.pkts[i-1].SSRC)
		}
		if p.PT != c.pkts[i-1].PT {
			c.fault(FaultPT, i, "%d after %d", p.PT, c.pkts[i-1].PT)
		}
		ext := high + int64(int16(p.Seq-uint16(high)))
		switch {
		case seen[ext]:
			c.fault(FaultDuplicate, i, "sequence number %d again (retransmission: %t)", p.Seq, p.Repaired)
		case ext < high:
			c.fault(FaultReorder, i, "sequence number %d after %d", p.Seq, uint16(high))
		case ext > high+1:
			c.fault(FaultGap, i, "%d missing ahead of %d", ext-high-1, p.Seq)
		}
		seen[ext] = true
		high = max(high, ext)
	}
}

// checkPace compares the running clock of the timestamps with the arrivals:
// with what they were at the beginning, which finds drift, and with what they
// were just before, which finds jumps. A machine that is busy for a moment
// makes packets late, all of them, and then the rest comes at once: that is not
// the timestamps' fault. So a lag counts only when it is not made up for within
// lagWindow.
func (c *checker) checkPace() {
	aheads := c.aheads()
	first := -1
	var base time.Duration
	for i, p := range c.pkts {
		if p.Arrival.Sub(c.pkts[0].Arrival) < c.r.Settle {
			continue
		}
		after, whole := c.mostAfter(aheads, i)
		if first < 0 {
			first, base = i, after
		}
		off := after - base
		if before, long := c.mostBefore(aheads, first, i); long && (after-before).Abs() > off.Abs() {
			off = after - before
		}
		if off > c.r.Pace || off < -c.r.Pace && whole {
			c.fault(FaultPace, i, "timestamps are %s off the arrivals", off)
			first, base = i, after // one finding for each jump
		}
	}
}

// lagWindow is how long a busy machine may hold packets up.
const lagWindow = time.Second

// aheads is how far the timestamp of each packet has run ahead of the arrivals.
func (c *checker) aheads() []time.Duration {
	out := make([]time.Duration, len(c.pkts))
	var ts int64 // extended, from the first packet
	for i := 1; i < len(c.pkts); i++ {
		step := int64(int32(c.pkts[i].TS - c.pkts[i-1].TS))
		if step < 0 {
			c.fault(FaultBackwards, i, "%d after %d", c.pkts[i].TS, c.pkts[i-1].TS)
		}
		ts += step
		out[i] = time.Duration(ts*int64(time.Second)/int64(c.r.Codec.ClockRate)) - c.pkts[i].Arrival.Sub(c.pkts[0].Arrival)
	}
	return out
}

// mostAfter is the most that packet i or one within lagWindow after it is
// ahead; whole is false when the record ends inside the window.
func (c *checker) mostAfter(aheads []time.Duration, i int) (ahead time.Duration, whole bool) {
	ahead = aheads[i]
	for k := i + 1; k < len(aheads); k++ {
		if c.pkts[k].Arrival.Sub(c.pkts[i].Arrival) > lagWindow {
			return ahead, true
		}
		ahead = max(ahead, aheads[k])
	}
	return ahead, false
}

// mostBefore is the same for the packets within lagWindow ahead of i, from
// first on; long is false when they are too few to tell.
func (c *checker) mostBefore(aheads []time.Duration, first, i int) (ahead time.Duration, long bool) {
	if c.pkts[i].Arrival.Sub(c.pkts[first].Arrival) < lagWindow/4 {
		return 0, false
	}
	ahead = aheads[i-1]
	for k := i - 2; k >= first && c.pkts[i].Arrival.Sub(c.pkts[k].Arrival) <= lagWindow; k-- {
		ahead = max(ahead, aheads[k])
	}
	return ahead, true
}

func (c *checker) checkFrames() {
	frames := Frames(c.pkts)
	audio := c.r.Codec.Kind == webrtc.RTPCodecTypeAudio
	var current uint16
	have := false
	past := map[uint16]bool{}
	for k, f := range frames {
		src, ok, mixed := f.Source()
		if mixed {
			c.fault(FaultMixed, f.First, "one frame holds packets of several sources")
		}
		switched := ok && have && src != current
		if switched {
			if past[src] {
				c.fault(FaultMixed, f.First, "source %d is back after source %d", src, current)
			}
			if !f.Keyframe(c.r.Codec.MimeType) {
				c.fault(FaultSwitch, f.First, "source %d begins with a frame nothing can be decoded from", src)
			}
			past[current] = true
		}
		if ok {
			current, have = src, true
		}
		if audio {
			if len(f.Packets) > 1 {
				c.fault(FaultMerged, f.First, "%d audio packets with timestamp %d", len(f.Packets), f.Packets[0].TS)
			}
			continue
		}
		for i, p := range f.Packets[:len(f.Packets)-1] {
			if p.Marker {
				c.fault(FaultMerged, f.First+i+1, "timestamp %d goes on after its marker", p.TS)
			}
		}
		// The last frame of a record may be cut off by the end of the record.
		if k == len(frames)-1 || f.Packets[len(f.Packets)-1].Marker {
			continue
		}
		next, nextOK, _ := frames[k+1].Source()
		if c.r.TornAtSwitch && nextOK && ok && next != src {
			continue
		}
		c.fault(FaultMarker, f.First+len(f.Packets)-1, "timestamp %d ends without a marker", f.Packets[0].TS)
	}
}

// checkVP8 follows picture id and TL0PICIDX. A stream may do without either
// (Chromium sends no TL0PICIDX with one temporal layer), but not change its
// mind within one source.
func (c *checker) checkVP8() {
	var prev vp8Descriptor
	var prevSource uint16
	for k, f := range Frames(c.pkts) {
		first, ok := parseVP8(f.Packets[0].Payload)
		if !ok {
			c.fault(FaultPictureID, f.First, "no VP8 payload descriptor in %.8x", f.Packets[0].Payload)
			continue
		}
		source, _, _ := f.Source()
		for i, p := range f.Packets {
			if d, _ := parseVP8(p.Payload); d.pictureID != first.pictureID || d.tl0 != first.tl0 {
				c.fault(FaultPictureID, f.First+i, "picture id %d, tl0 %d inside picture %d, tl0 %d", d.pictureID, d.tl0, first.pictureID, first.tl0)
			}
		}
		if k > 0 {
			c.checkVP8Step(f, prev, first, source == prevSource)
		}
		prev, prevSource = first, source
	}
}

func (c *checker) checkVP8Step(f Frame, prev, now vp8Descriptor, sameSource bool) {
	if sameSource && (now.hasID != prev.hasID || now.hasTL0 != prev.hasTL0) {
		c.fault(FaultPictureID, f.First, "the descriptor changes: picture id %t to %t, tl0 %t to %t", prev.hasID, now.hasID, prev.hasTL0, now.hasTL0)
		return
	}
	mask := uint16(1)<<now.idBits - 1
	if now.hasID && prev.hasID && (now.idBits != prev.idBits || now.pictureID != (prev.pictureID+1)&mask) {
		c.fault(FaultPictureID, f.First, "%d (%d bits) after %d (%d bits)", now.pictureID, now.idBits, prev.pictureID, prev.idBits)
	}
	if now.hasTL0 && prev.hasTL0 && now.tl0 != prev.tl0+1 {
		c.fault(FaultTL0, f.First, "%d after %d", now.tl0, prev.tl0)
	}
}
