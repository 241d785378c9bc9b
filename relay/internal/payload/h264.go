package payload

// NAL unit types of H.264 (table 7-1) and the RTP-only ones (RFC 6184 5.2).
const (
	h264Slice      = 1
	h264PartitionA = 2
	h264IDR        = 5
	h264SEI        = 6
	h264SPS        = 7
	h264PPS        = 8
	h264AUD        = 9
	h264SPSExt     = 13
	h264Reserved18 = 18
	h264STAPA      = 24
	h264FUA        = 28
	h264FUB        = 29
)

const (
	nalForbidden = 0x80 // forbidden_zero_bit, H.264 and H.265 alike
	fuStart      = 0x80
	firstSlice   = 0x80 // see firstMacroblock and h265NAL
)

// parseH264 reads a payload of packetization mode 0 or 1 (RFC 6184 5.6 to 5.8),
// and FU-B for senders that use it without interleaving.
func parseH264(p []byte) Info {
	if p[0]&nalForbidden != 0 {
		return Info{}
	}

	switch typ := p[0] & 0x1f; typ {
	case h264STAPA:
		return aggregate(p[1:], func(nal []byte) Info { return h264NAL(nal[0]&0x1f, nal[1:]) })
	case h264FUA:
		return h264Fragment(p, 2)
	case h264FUB:
		return h264Fragment(p, 4) // a decoding order number follows the FU header
	default:
		return h264NAL(typ, p[1:])
	}
}

func h264Fragment(p []byte, header int) Info {
	if len(p) <= header || p[1]&fuStart == 0 {
		return Info{}
	}

	return h264NAL(p[1]&0x1f, p[header:])
}

// h264NAL describes a unit from its type and the bytes after its header.
func h264NAL(typ byte, body []byte) Info {
	if len(body) == 0 {
		// Only the delimiters may be empty, and they carry nothing for us.
		return Info{}
	}

	switch typ {
	case h264IDR:
		first := firstMacroblock(body)
		return Info{Keyframe: first, FrameStart: first, IDR: true}
	case h264Slice, h264PartitionA:
		return Info{FrameStart: firstMacroblock(body)}
	case h264SPS:
		return Info{Keyframe: true, FrameStart: true, ParameterSets: true}
	case h264SEI, h264PPS, h264AUD:
		return Info{FrameStart: true}
	default:
		// Types 13 to 18 may stand before the first slice only (7.4.1.2.3).
		return Info{FrameStart: typ >= h264SPSExt && typ <= h264Reserved18}
	}
}

// firstMacroblock reports whether first_mb_in_slice is 0. It is the first field
// of a slice header, an Exp-Golomb number whose zero is a single 1 bit.
// Encoders with sliced threads send many slices for a picture, and a viewer who
// starts at the second one would see a torn picture until the next key frame.
func firstMacroblock(body []byte) bool { return body[0]&firstSlice != 0 }
