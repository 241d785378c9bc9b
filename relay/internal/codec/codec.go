package codec

import (
	"fmt"
	"strconv"
	"strings"
)

// Kind is the kind of media. The zero value is neither audio nor video.
type Kind uint8

// The two kinds a stream can have, at most one track of each.
const (
	Audio Kind = iota + 1
	Video
)

// String returns "audio", "video", or "other" for the zero value; the first
// two are also the words of the SDP m-line.
func (k Kind) String() string {
	switch k {
	case Audio:
		return "audio"
	case Video:
		return "video"
	}
	return "other"
}

// Codec is one payload type of an m-section together with the retransmission
// payload type that belongs to it and the RTCP feedback agreed for it.
type Codec struct {
	Kind      Kind
	Name      string // canonical: opus PCMU PCMA G722 H264 H265 VP8 VP9 AV1
	ClockRate uint32 // Hz, as in the rtpmap (8000 for G722, by RFC 3551)
	Channels  uint8  // audio: 1 or 2; video: 0
	FMTP      string // format parameters as the peer wrote them, may be empty

	PT    uint8 // 0..127
	RTXPT uint8 // RFC 4588 payload type for PT, 0 = none

	NACK, PLI, FIR, TransportCC, REMB bool // a=rtcp-fb
}

// format is what an rtpmap must say for a name.
type format struct {
	name     string
	kind     Kind
	clock    uint32
	channels uint8
}

var formats = []format{
	{"opus", Audio, 48000, 2}, // always /48000/2 (RFC 7587 section 4.1)
	{"PCMU", Audio, 8000, 1},
	{"PCMA", Audio, 8000, 1},
	{"G722", Audio, 8000, 1},
	{"H264", Video, 90000, 0},
	{"H265", Video, 90000, 0},
	{"VP8", Video, 90000, 0},
	{"VP9", Video, 90000, 0},
	{"AV1", Video, 90000, 0},
}

func lookup(name string) (format, bool) {
	for _, f := range formats {
		if strings.EqualFold(f.name, name) {
			return f, true
		}
	}
	return format{}, false
}

// Supported tells whether the gateway carries the codec of this name, and how
// the name is written canonically. Case does not matter (some senders write
// OPUS).
func Supported(name string) (canonical string, kind Kind, ok bool) {
	f, ok := lookup(name)
	return f.name, f.kind, ok
}

// Names lists the canonical names of a kind, for messages and configuration.
func Names(kind Kind) []string {
	var names []string
	for _, f := range formats {
		if f.kind == kind {
			names = append(names, f.name)
		}
	}
	return names
}

// Parse reads the encoding of an rtpmap, such as "opus/48000/2" or
// "H264/90000" (RFC 8866 section 6.6). It reports false for a codec the
// gateway does not carry and for a clock rate or channel count that the codec
// cannot have. The channel count of opus may be missing.
func Parse(encoding string) (Codec, bool) {
	parts := strings.Split(strings.TrimSpace(encoding), "/")
	if len(parts) < 2 || len(parts) > 3 {
		return Codec{}, false
	}
	f, ok := lookup(parts[0])
	if !ok {
		return Codec{}, false
	}
	if clock, err := strconv.ParseUint(parts[1], 10, 32); err != nil || uint32(clock) != f.clock {
		return Codec{}, false
	}
	if len(parts) == 3 && f.kind == Audio {
		if n, err := strconv.ParseUint(parts[2], 10, 8); err != nil || uint8(n) != f.channels {
			return Codec{}, false
		}
	}
	return Codec{Kind: f.kind, Name: f.name, ClockRate: f.clock, Channels: f.channels}, true
}

// Static returns the codec of a static payload type (RFC 3551 section 6),
// which may be offered without an rtpmap.
func Static(pt uint8) (Codec, bool) {
	switch pt {
	case 0:
		return Parse("PCMU/8000")
	case 8:
		return Parse("PCMA/8000")
	case 9:
		return Parse("G722/8000")
	}
	return Codec{}, false
}

// Encoding is the codec as an rtpmap writes it, for example "opus/48000/2".
func (c Codec) Encoding() string {
	s := c.Name + "/" + strconv.FormatUint(uint64(c.ClockRate), 10)
	if c.Channels > 1 {
		s += "/" + strconv.FormatUint(uint64(c.Channels), 10)
	}
	return s
}

// String describes the codec for a reader by what decides decoding, for
// example "H264 high level 3.1 packetization-mode 1".
func (c Codec) String() string {
	switch c.Name {
	case "H264":
		return "H264 " + parseH264(c.FMTP).String()
	case "H265":
		return "H265 " + parseH265(c.FMTP).String()
	case "VP9":
		return fmt.Sprintf("VP9 profile %d", intParam(c.FMTP, "profile-id", 0))
	case "AV1":
		return fmt.Sprintf("AV1 profile %d", intParam(c.FMTP, "profile", 0))
	}
	return c.Name
}

// param returns one parameter of a format parameter line. Keys are compared
// without regard to case; the first of several wins.
func param(fmtp, key string) (string, bool) {
	for pair := range strings.SplitSeq(fmtp, ";") {
		k, v, _ := strings.Cut(pair, "=")
		if strings.EqualFold(strings.TrimSpace(k), key) {
			return strings.TrimSpace(v), true
		}
	}
	return "", false
}

// intParam is param for numbers; anything that is no number up to 65535 counts
// as absent.
func intParam(fmtp, key string, absent int) int {
	v, ok := param(fmtp, key)
	if !ok {
		return absent
	}
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil {
		return absent
	}
	return int(n)
}
