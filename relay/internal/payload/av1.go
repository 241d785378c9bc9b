package payload

// Bits of the AV1 aggregation header (AV1 RTP payload format, section 4.4).
const (
	av1Continues   = 0x80 // Z: the first element continues an OBU
	av1NewSequence = 0x08 // N: first packet of a coded video sequence
)

// parseAV1 believes the aggregation header. N together with Z is a
// contradiction: a new sequence cannot begin in the middle of an OBU.
func parseAV1(p []byte) Info {
	if len(p) < 2 || p[0]&av1Continues != 0 {
		return Info{}
	}

	return Info{Keyframe: p[0]&av1NewSequence != 0, FrameStart: true}
}
