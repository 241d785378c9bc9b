package harness

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

// SentPacket is one RTP packet as a publisher sent it.
type SentPacket struct {
	At      time.Time
	TS      uint32
	Marker  bool
	Payload []byte
}

// settleTime is how long after its first packet a record may still be
// catching up with the live edge.
const settleTime = time.Second

// MatchSent checks that a record is an unbroken part of what was sent: the
// same payloads, byte for byte (VP8 and VP9 without their descriptors' ids),
// the same markers and the same steps of the timestamp. The steps do not count
// in the first second of the record: the frames a newcomer is served from the
// cache may have timestamps closer together, so that they are decoded at once.
// It returns the index range of the sent packets the record covers.
func MatchSent(mime string, sent []SentPacket, got []Packet) (from, to int, err error) {
	if len(got) == 0 {
		return 0, 0, fmt.Errorf("nothing arrived of %d sent packets", len(sent))
	}
	// The first packet may be a parameter set, which is sent many times over:
	// the first stamped one tells the place.
	anchor := slices.IndexFunc(got, func(p Packet) bool { _, _, ok := Stamp(p.Payload); return ok })
	if anchor < 0 {
		return 0, 0, fmt.Errorf("none of the %d packets carries a stamp", len(got))
	}
	at := slices.IndexFunc(sent, func(s SentPacket) bool {
		return bytes.Equal(mediaBytes(mime, s.Payload), mediaBytes(mime, got[anchor].Payload))
	})
	if at < 0 {
		return 0, 0, fmt.Errorf("packet %d was never sent", anchor)
	}
	from = at - anchor
	if from < 0 {
		return 0, 0, fmt.Errorf("%d packets arrived ahead of the first one sent", -from)
	}
	last := len(got) - 1
	for i, g := range got {
		if from+i >= len(sent) {
			return from, from + i, fmt.Errorf("packet %d (seq %d) is one more than was sent", i, g.Seq)
		}
		s := sent[from+i]
		switch {
		case !bytes.Equal(mediaBytes(mime, s.Payload), mediaBytes(mime, g.Payload)):
			return from, from + i, fmt.Errorf("packet %d (seq %d) is not packet %d as sent:\n got %.48x\nsent %.48x", i, g.Seq, from+i, g.Payload, s.Payload)
		case s.Marker != g.Marker:
			return from, from + i, fmt.Errorf("packet %d (seq %d): marker is %t, sent was %t", i, g.Seq, g.Marker, s.Marker)
		case from+last < len(sent) && g.Arrival.Sub(got[0].Arrival) > settleTime && got[last].TS-g.TS != sent[from+last].TS-s.TS:
			return from, from + i, fmt.Errorf("packet %d (seq %d): timestamp is %d ahead of the last, sent was %d", i, g.Seq, got[last].TS-g.TS, sent[from+last].TS-s.TS)
		}
	}
	return from, from + len(got), nil
}
