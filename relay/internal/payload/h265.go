package payload

// NAL unit types of H.265 (table 7-1) and the RTP-only ones (RFC 7798 4.4).
const (
	h265IRAPFirst   = 16 // BLA_W_LP
	h265IRAPLast    = 21 // CRA_NUT
	h265VCLLast     = 31
	h265VPS         = 32
	h265SPS         = 33
	h265PPS         = 34
	h265AUD         = 35
	h265PrefixSEI   = 39
	h265AP          = 48
	h265FU          = 49
	h265HeaderBytes = 2
)

// parseH265 reads a payload without decoding order numbers, the only kind that
// WebRTC negotiates (RFC 7798 4.4.1 to 4.4.3).
func parseH265(p []byte) Info {
	if len(p) <= h265HeaderBytes || p[0]&nalForbidden != 0 {
		return Info{}
	}

	switch typ := h265Type(p); typ {
	case h265AP:
		return aggregate(p[h265HeaderBytes:], func(nal []byte) Info {
			if len(nal) <= h265HeaderBytes {
				return Info{}
			}
			return h265NAL(h265Type(nal), nal[h265HeaderBytes:])
		})
	case h265FU:
		if len(p) <= h265HeaderBytes+1 || p[2]&fuStart == 0 {
			return Info{}
		}
		return h265NAL(p[2]&0x3f, p[h265HeaderBytes+1:])
	default:
		return h265NAL(typ, p[h265HeaderBytes:])
	}
}

func h265Type(nal []byte) byte { return nal[0] >> 1 & 0x3f }

// h265NAL describes a unit from its type and the bytes after its header, of
// which there is at least one. A slice begins with the flag
// first_slice_segment_in_pic_flag.
func h265NAL(typ byte, body []byte) Info {
	first := body[0]&firstSlice != 0

	switch {
	case typ >= h265IRAPFirst && typ <= h265IRAPLast:
		return Info{Keyframe: first, FrameStart: first, IDR: true}
	case typ <= h265VCLLast:
		return Info{FrameStart: first}
	case typ == h265VPS, typ == h265SPS:
		return Info{Keyframe: true, FrameStart: true, ParameterSets: typ == h265SPS}
	default:
		return Info{FrameStart: typ == h265PPS || typ == h265AUD || typ == h265PrefixSEI}
	}
}
