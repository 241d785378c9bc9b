package harness

import (
	"bytes"
	"slices"
	"time"

	"github.com/pion/webrtc/v4"
)

// DecodableFrame is a video frame a viewer can show: a key frame with its
// parameter sets that is whole, or a whole frame that follows a decodable one
// without anything missing between.
type DecodableFrame struct {
	At   time.Time // when the last packet it needs had come
	SSRC uint32
	TS   uint32
	Key  bool
	// Source is the publisher that made it, First and Last are the numbers of
	// its packets as they were sent, also when somebody has packed them anew.
	// Stamped is false for media that carries no stamps.
	Stamped     bool
	Source      uint16
	First, Last uint32
}

// DecodableFrames lists the frames of a record of video in the order in which
// they are shown. What was lost is known by the stamps where there are some: a
// forwarder that closes the gaps of the sequence numbers deceives nobody. Media
// without stamps is judged by its sequence numbers.
func DecodableFrames(mime string, pkts []Packet) (out []DecodableFrame) {
	var prev *received
	for _, f := range receivedFrames(pkts) {
		f.judge(mime)
		follows := prev != nil && f.follows(prev)
		if !f.whole || !f.key && !follows {
			prev = nil
			continue
		}
		if !f.key && prev.At.After(f.At) {
			f.At = prev.At
		}
		out = append(out, f.DecodableFrame)
		prev = f
	}
	return out
}

// received is all that came of one frame, in order of the sequence numbers.
type received struct {
	DecodableFrame
	pkts              []Packet
	seqs              []int64 // extended
	track             int     // SSRCs in order of appearance
	ts                int64   // extended
	key, whole        bool
	firstSeq, lastSeq int64
}

// unwrapped extends the numbers of one SSRC.
type unwrapped struct {
	track int
	seq   int64
	ts    int64
}

// receivedFrames sorts packets into frames, late ones to where they belong.
func receivedFrames(pkts []Packet) []*received {
	type place struct {
		track int
		ts    int64
	}
	lines := map[uint32]*unwrapped{}
	frames := map[place]*received{}
	var order []*received
	for _, p := range pkts {
		u := lines[p.SSRC]
		if u == nil {
			u = &unwrapped{len(lines), int64(p.Seq), int64(p.TS)}
			lines[p.SSRC] = u
		}
		seq := u.seq + int64(int16(p.Seq-uint16(u.seq)))
		ts := u.ts + int64(int32(p.TS-uint32(u.ts)))
		u.seq, u.ts = max(u.seq, seq), max(u.ts, ts)
		f := frames[place{u.track, ts}]
		if f == nil {
			f = &received{DecodableFrame: DecodableFrame{SSRC: p.SSRC, TS: p.TS}, track: u.track, ts: ts}
			frames[place{u.track, ts}] = f
			order = append(order, f)
		}
		i, twice := slices.BinarySearch(f.seqs, seq)
		if twice {
			continue
		}
		f.seqs, f.pkts = slices.Insert(f.seqs, i, seq), slices.Insert(f.pkts, i, p)
		if p.Arrival.After(f.At) {
			f.At = p.Arrival
		}
	}
	slices.SortStableFunc(order, func(a, b *received) int {
		if a.track != b.track {
			return a.track - b.track
		}
		return int(a.ts - b.ts)
	})
	return order
}

// judge finds out whether the frame is whole and what it is.
func (f *received) judge(mime string) {
	n := len(f.pkts)
	f.firstSeq, f.lastSeq = f.seqs[0], f.seqs[n-1]
	f.whole = f.lastSeq-f.firstSeq == int64(n-1) && f.pkts[n-1].Marker
	f.key = Frame{Packets: f.pkts}.Keyframe(mime)
	f.Key = f.key
	stamps, intact := f.stamps(mime)
	if !intact {
		f.whole = false
	}
	for i, s := range stamps {
		if i == 0 {
			f.Stamped, f.Source, f.First, f.Last = true, s.source, s.n, s.n
			continue
		}
		if s.source != f.Source || s.n != f.Last+1 {
			f.whole = false
		}
		f.Last = s.n
	}
}

// follows says whether nothing is missing between two frames.
func (f *received) follows(prev *received) bool {
	if f.Stamped && prev.Stamped {
		return f.Source == prev.Source && f.First == prev.Last+1
	}
	return f.track == prev.track && f.firstSeq == prev.lastSeq+1
}

type stamped struct {
	source uint16
	n      uint32
}

// stamps lists the stamps of a frame, wherever its packets were cut; intact is
// false when one of them is damaged.
func (f *received) stamps(mime string) (out []stamped, intact bool) {
	var body []byte
	for _, p := range f.pkts {
		body = append(body, withoutPacking(mime, p.Payload)...)
	}
	for {
		i := bytes.Index(body, stampMagic[:])
		if i < 0 {
			return out, true
		}
		body = body[i:]
		if len(body) < stampSize {
			return out, false
		}
		for _, b := range body[4:stampSize] {
			if b&0xf0 != 0xa0 {
				return out, false
			}
		}
		source, n, _ := Stamp(body[:stampSize])
		out = append(out, stamped{source, n})
		body = body[stampSize:]
	}
}

// withoutPacking is what a payload holds of its frame.
func withoutPacking(mime string, p []byte) []byte {
	switch {
	case mime == webrtc.MimeTypeH264 && len(p) > 2 && p[0]&31 == 28:
		return p[2:]
	case mime == webrtc.MimeTypeVP8:
		return mediaBytes(mime, p)
	}
	return p
}
