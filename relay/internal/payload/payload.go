package payload

// Codec names as they stand in an rtpmap line. Compare exactly: the negotiation
// normalises the letter case before it gets here.
const (
	H264 = "H264"
	H265 = "H265"
	VP8  = "VP8"
	VP9  = "VP9"
	AV1  = "AV1"
	Opus = "opus"
	PCMU = "PCMU"
	PCMA = "PCMA"
	G722 = "G722"
)

// Info is what one RTP payload says about the frame it belongs to. The zero
// value means "a packet from the middle of something", which is also the answer
// for a malformed payload or an unknown codec.
type Info struct {
	// Keyframe says that decoding can begin with this packet: it opens a random
	// access point. Later packets of the same key frame do not have it, so a
	// viewer who becomes ready in the middle of a key frame waits for the next.
	// It may be set on two packets of one frame (the SPS, then the first slice).
	Keyframe bool
	// FrameStart says that, as far as the payload alone can tell, a frame begins
	// here. H.264 and H.265 set it on every unit that may precede the first
	// slice as well, AV1 on every packet that starts with a new OBU, and VP9 on
	// the start of each spatial layer: combine it with the marker or timestamp.
	FrameStart bool
	// IDR says that a slice of an H.264 IDR or H.265 IRAP picture starts here,
	// the first or a later one. Such a picture needs ParameterSets before it.
	IDR bool
	// ParameterSets says that the packet carries an SPS (H.264, H.265).
	ParameterSets bool
}

// Parse reads payload p of the named codec. Audio packets each stand alone, so
// every audio packet that is not empty is a Keyframe and a FrameStart.
func Parse(codec string, p []byte) Info {
	if len(p) == 0 {
		return Info{}
	}

	switch codec {
	case H264:
		return parseH264(p)
	case H265:
		return parseH265(p)
	case VP8:
		return parseVP8(p)
	case VP9:
		return parseVP9(p)
	case AV1:
		return parseAV1(p)
	case Opus, PCMU, PCMA, G722:
		return Info{Keyframe: true, FrameStart: true}
	default:
		return Info{}
	}
}
