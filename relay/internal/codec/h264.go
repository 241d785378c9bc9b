package codec

import (
	"encoding/hex"
	"fmt"
	"strconv"
)

// h264Profile is a class of H.264 profiles. Several values of
// profile-level-id mean the same class (RFC 6184 section 8.1, table 5).
type h264Profile uint8

const (
	profileUnknown h264Profile = iota
	constrainedBaseline
	baseline
	mainProfile
	extended
	constrainedHigh
	high
	high10
	high422
	high444
	high10Intra
	high422Intra
	high444Intra
	cavlc444Intra
)

var h264Names = [...]string{
	"unknown profile", "constrained baseline", "baseline", "main", "extended",
	"constrained high", "high", "high 10", "high 4:2:2", "high 4:4:4",
	"high 10 intra", "high 4:2:2 intra", "high 4:4:4 intra", "CAVLC 4:4:4 intra",
}

// contains is the lattice of decoders: a decoder for a key also decodes the
// classes listed with it, and through them everything further down.
//
//	constrained baseline < baseline < main < constrained high < high
//	high < high 10 < high 4:2:2 < high 4:4:4, each above its intra profile
//	baseline < extended
//
// Two edges go beyond the letter of the standard. Baseline may use FMO and
// ASO, constrained high may not use B slices and interlace, so that a decoder
// of constrained baseline need not take baseline, nor one of constrained high
// all of main and high. But no WebRTC sender uses these tools, browsers
// advertise 42001f with decoders that lack them, and 640c1f is what Safari
// writes for a full high decoder. So each pair counts as mutually decodable;
// [Rank] still prefers the exact class.
var contains = map[h264Profile][]h264Profile{
	constrainedBaseline: {baseline},
	baseline:            {constrainedBaseline},
	mainProfile:         {baseline},
	extended:            {baseline},
	constrainedHigh:     {high, mainProfile},
	high:                {constrainedHigh, mainProfile},
	high10:              {high, high10Intra},
	high422:             {high10, high422Intra},
	high444:             {high422, high444Intra},
	high422Intra:        {high10Intra},
	high444Intra:        {high422Intra, cavlc444Intra},
}

// profileDistance is the number of steps from a viewer's profile down to the
// source's: 0 is the same class, -1 means it cannot be decoded.
func profileDistance(source, viewer h264Profile) int {
	var seen [len(h264Names)]bool
	seen[viewer] = true
	level := []h264Profile{viewer}
	for steps := 0; len(level) > 0; steps++ {
		var next []h264Profile
		for _, p := range level {
			if p == source {
				return steps
			}
			for _, q := range contains[p] {
				if !seen[q] {
					seen[q] = true
					next = append(next, q)
				}
			}
		}
		level = next
	}
	return -1
}

// h264 is what the format parameters of an H.264 entry mean.
type h264 struct {
	profile   h264Profile
	raw       uint32 // profile_idc and constraint flags, to tell unknown profiles apart
	level     int    // 10 times the level, doubled (3.1 = 62, 1b = 21); 0 = not stated
	mode      int    // packetization-mode
	asymmetry bool   // level-asymmetry-allowed
}

// parseH264 never fails. A missing profile-level-id reads as constrained
// baseline of any level: RFC 6184 says baseline level 1, but every sender that
// leaves it out means what RFC 7742 requires of all.
func parseH264(fmtp string) h264 {
	h := h264{
		profile:   constrainedBaseline,
		raw:       0x42e0,
		mode:      intParam(fmtp, "packetization-mode", 0),
		asymmetry: intParam(fmtp, "level-asymmetry-allowed", 0) == 1,
	}
	v, ok := param(fmtp, "profile-level-id")
	if !ok {
		return h
	}
	b, err := hex.DecodeString(v)
	if err != nil || len(b) != 3 {
		h.profile, h.raw = profileUnknown, 0
		return h
	}
	h.profile = classifyH264(b[0], b[1])
	h.raw = uint32(b[0])<<8 | uint32(b[1])
	h.level = 2 * int(b[2])
	// Level 1b is written as level 1.1 with constraint_set3 below high.
	if b[2] == 11 && b[1]&0x10 != 0 && (b[0] == 0x42 || b[0] == 0x4d || b[0] == 0x58) || b[2] == 9 {
		h.level = 21
	}
	return h
}

// classifyH264 maps profile_idc and the constraint flags (set0 is the highest
// bit) to a class. Reserved flags are not looked at.
func classifyH264(idc, iop byte) h264Profile {
	set := func(n int) bool { return iop&(0x80>>n) != 0 }
	intra := func(yes, no h264Profile) h264Profile {
		if set(3) {
			return yes
		}
		return no
	}
	switch idc {
	case 0x42:
		if set(1) {
			return constrainedBaseline
		}
		return baseline
	case 0x4d:
		if set(0) {
			return constrainedBaseline
		}
		return mainProfile
	case 0x58:
		switch {
		case set(0) && set(1):
			return constrainedBaseline
		case set(0):
			return baseline
		}
		return extended
	case 0x64:
		if set(4) && set(5) {
			return constrainedHigh
		}
		return high
	case 0x6e:
		return intra(high10Intra, high10)
	case 0x7a:
		return intra(high422Intra, high422)
	case 0xf4:
		return intra(high444Intra, high444)
	case 0x2c:
		return cavlc444Intra
	}
	return profileUnknown
}

// String writes the meaning the way an operator would say it.
func (h h264) String() string {
	s := h264Names[h.profile]
	switch h.level {
	case 0:
	case 21:
		s += " level 1b"
	default:
		s += fmt.Sprintf(" level %d.%d", h.level/20, h.level/2%10)
	}
	return s + " packetization-mode " + strconv.Itoa(h.mode)
}

// sameProfile compares classes; unknown ones are the same if written alike.
func (h h264) sameProfile(o h264) bool {
	return h.profile == o.profile && (h.profile != profileUnknown || h.raw == o.raw)
}

// distance returns how far a viewer's entry is from the source's, or why it
// cannot decode it.
func (h h264) distance(viewer h264) (int, error) {
	if h.mode != viewer.mode && (h.mode != 0 || viewer.mode != 1) {
		return 0, fmt.Errorf("the source uses packetization-mode %d and the viewer takes mode %d", h.mode, viewer.mode)
	}
	if h.level > viewer.level && viewer.level != 0 && !viewer.asymmetry {
		return 0, fmt.Errorf("the source has a higher level (%v) than the viewer allows (%v, without level-asymmetry-allowed=1)", h, viewer)
	}
	steps := profileDistance(h.profile, viewer.profile)
	if steps < 0 || steps == 0 && !h.sameProfile(viewer) {
		return 0, fmt.Errorf("the source is H264 %s and the viewer decodes H264 %s", h264Names[h.profile], h264Names[viewer.profile])
	}
	d := steps * 4
	if h.mode != viewer.mode {
		d += 2
	}
	if h.level > viewer.level {
		d++
	}
	return d, nil
}
