package harness

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
)

// maxPayload bounds the RTP payloads of the encoders, bytes.
const maxPayload = 1100

// stampSize is the length of the stamp at the end of each media payload.
const stampSize = 16

var stampMagic = [4]byte{0xd7, 0x5a, 0xe1, 0x93}

// stamp writes magic, source (16 bits) and packet number (32 bits) over the
// last bytes of b, one nibble per byte, so that no zero byte and thus no
// start code comes to be.
func stamp(b []byte, source uint16, n uint32) {
	s := b[len(b)-stampSize:]
	copy(s, stampMagic[:])
	for i := range 4 {
		s[4+i] = 0xa0 | byte(source>>(12-4*i))&15
	}
	for i := range 8 {
		s[8+i] = 0xa0 | byte(n>>(28-4*i))&15
	}
}

// Stamp reads the source and the packet number a payload was stamped with.
// Parameter sets carry no stamp.
func Stamp(payload []byte) (source uint16, n uint32, ok bool) {
	if len(payload) < stampSize {
		return 0, 0, false
	}
	s := payload[len(payload)-stampSize:]
	if [4]byte(s[:4]) != stampMagic {
		return 0, 0, false
	}
	for _, b := range s[4:8] {
		source = source<<4 | uint16(b&15)
	}
	for _, b := range s[8:] {
		n = n<<4 | uint32(b&15)
	}
	return source, n, true
}

// encoder makes the RTP payloads of one frame after the other. The last one
// of a video frame goes out with the marker bit.
type encoder interface {
	frame(key bool, size int) [][]byte
}

// Picture is what a publisher's video claims to be in its parameter sets.
type Picture struct {
	Width, Height int
}

type stamper struct {
	source uint16
	n      uint32
	rng    *rand.Rand
}

// body returns size bytes of noise without zero bytes, stamped at the end.
func (s *stamper) body(size int) []byte {
	b := make([]byte, max(size, stampSize))
	for i := range b {
		b[i] = byte(s.rng.Uint32()) | 1
	}
	stamp(b, s.source, s.n)
	s.n++
	return b
}

func newEncoder(t testing.TB, c Codec, source uint16, pic Picture) encoder {
	t.Helper()
	s := stamper{source: source, rng: rand.New(rand.NewPCG(uint64(source), 7))}
	if pic.Width == 0 {
		pic = Picture{640, 360}
	}
	start := uint16(s.rng.Uint32())
	switch c.MimeType {
	case webrtc.MimeTypeH264:
		profile, mode := parseH264Fmtp(c.SDPFmtpLine)
		return &h264Encoder{stamper: s, sps: h264SPS(profile, pic), pps: []byte{0x68, 0xce, 0x3c, 0x80}, mode: mode}
	case webrtc.MimeTypeH265:
		return &h265Encoder{stamper: s}
	case webrtc.MimeTypeVP8:
		return &vp8Encoder{stamper: s, pic: pic, pictureID: start & 0x7fff, tl0: uint8(start >> 3), keyIdx: uint8(start) & 31}
	case webrtc.MimeTypeVP9:
		return &vp9Encoder{stamper: s, pic: pic, pictureID: start & 0x7fff}
	case webrtc.MimeTypeAV1:
		return &av1Encoder{stamper: s}
	default:
		if c.Kind != webrtc.RTPCodecTypeAudio {
			t.Fatalf("no encoder for %s", c.MimeType)
		}
		return &audioEncoder{stamper: s, opus: c.MimeType == webrtc.MimeTypeOpus}
	}
}

// chunks cuts a frame of about size bytes into bodies, each stamped.
func (s *stamper) chunks(size, room int) [][]byte {
	var out [][]byte
	for left := size; ; left -= room {
		if left <= room+stampSize*2 {
			return append(out, s.body(min(max(left, 40), room)))
		}
		out = append(out, s.body(room))
	}
}

// audioEncoder makes 20 ms packets.
type audioEncoder struct {
	stamper
	opus bool
}

const audioFrame = 20 * time.Millisecond

func (e *audioEncoder) frame(bool, int) [][]byte {
	if e.opus {
		b := e.body(120)
		b[0] = 0xfc // CELT, full band, 20 ms, stereo, one frame
		return [][]byte{b}
	}
	return [][]byte{e.body(160)} // 8000 octets/s: G.711 and G.722 alike
}

// h264Encoder: parameter sets in a STAP-A ahead of each IDR picture; pictures
// in FU-A (mode 1) or as several small slices (mode 0).
type h264Encoder struct {
	stamper
	sps, pps []byte
	mode     int
}

func (e *h264Encoder) frame(key bool, size int) [][]byte {
	nal := byte(0x41) // non-IDR slice
	var out [][]byte
	if key {
		nal = 0x65
		out = e.parameterSets()
	}
	chunks := e.chunks(size, maxPayload-2)
	if e.mode == 0 || len(chunks) == 1 {
		for i, c := range chunks {
			out = append(out, e.slice(nal, c, i == 0))
		}
		return out
	}
	for i, c := range chunks {
		fu := nal & 0x1f
		if i == 0 {
			fu |= 0x80
			sliceHeader(c, key)
		}
		if i == len(chunks)-1 {
			fu |= 0x40
		}
		out = append(out, append([]byte{nal&0x60 | 28, fu}, c...))
	}
	return out
}

func (e *h264Encoder) parameterSets() [][]byte {
	if e.mode == 0 {
		return [][]byte{e.sps, e.pps}
	}
	stap := []byte{0x78}
	for _, n := range [][]byte{e.sps, e.pps} {
		stap = binary.BigEndian.AppendUint16(stap, uint16(len(n)))
		stap = append(stap, n...)
	}
	return [][]byte{stap}
}

func (e *h264Encoder) slice(nal byte, body []byte, first bool) []byte {
	if first {
		sliceHeader(body, nal == 0x65)
	} else {
		body[0] = 0x42 // first_mb_in_slice is not 0
	}
	return append([]byte{nal}, body...)
}

// sliceHeader writes first_mb_in_slice 0 and the slice type (I or P).
func sliceHeader(body []byte, key bool) {
	body[0] = 0x9a
	if key {
		body[0] = 0x88
	}
}

func parseH264Fmtp(fmtp string) (profile [3]byte, mode int) {
	var v uint32
	for _, p := range splitFmtp(fmtp) {
		_, _ = fmt.Sscanf(p, "profile-level-id=%06x", &v)
		_, _ = fmt.Sscanf(p, "packetization-mode=%d", &mode)
	}
	return [3]byte{byte(v >> 16), byte(v >> 8), byte(v)}, mode
}

// h265Encoder: parameter sets in an aggregation packet, pictures in FUs.
type h265Encoder struct{ stamper }

var (
	h265VPS = []byte{0x40, 0x01, 0x0c, 0x01, 0xff, 0xff, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x5d, 0x95, 0x98, 0x09}
	h265SPS = []byte{0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x5d, 0xa0, 0x02, 0x80, 0x80, 0x2d, 0x16, 0x59, 0x59, 0xa4, 0x93, 0x2b, 0xc0, 0x5a, 0x70, 0x80, 0x00, 0x00, 0x03, 0x00, 0x80, 0x00, 0x00, 0x19, 0x04}
	h265PPS = []byte{0x44, 0x01, 0xc1, 0x72, 0xb4, 0x62, 0x40}
)

func (e *h265Encoder) frame(key bool, size int) [][]byte {
	typ := byte(1) // TRAIL_R
	var out [][]byte
	if key {
		typ = 19 // IDR_W_RADL
		ap := []byte{48 << 1, 1}
		for _, n := range [][]byte{h265VPS, h265SPS, h265PPS} {
			ap = binary.BigEndian.AppendUint16(ap, uint16(len(n)))
			ap = append(ap, n...)
		}
		out = append(out, ap)
	}
	chunks := e.chunks(size, maxPayload-3)
	for i, c := range chunks {
		if len(chunks) == 1 {
			out = append(out, append([]byte{typ << 1, 1}, c...))
			break
		}
		fu := typ
		if i == 0 {
			fu |= 0x80
			c[0] = 0xaf // first_slice_segment_in_pic_flag
		}
		if i == len(chunks)-1 {
			fu |= 0x40
		}
		out = append(out, append([]byte{49 << 1, 1, fu}, c...))
	}
	return out
}

// vp8Encoder writes 15-bit picture ids, TL0PICIDX and KEYIDX.
type vp8Encoder struct {
	stamper
	pic       Picture
	pictureID uint16
	tl0       uint8
	keyIdx    uint8
}

func (e *vp8Encoder) frame(key bool, size int) [][]byte {
	if key {
		e.keyIdx = (e.keyIdx + 1) & 31
	}
	var out [][]byte
	for i, c := range e.chunks(size, maxPayload-6) {
		d := []byte{0x80, 0xf0, 0x80 | byte(e.pictureID>>8), byte(e.pictureID), e.tl0, e.keyIdx}
		if i == 0 {
			d[0] |= 0x10
			c[0] |= 0x11 // not a key frame, shown
			if key {
				copy(c, []byte{0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a,
					byte(e.pic.Width), byte(e.pic.Width >> 8), byte(e.pic.Height), byte(e.pic.Height >> 8)})
			}
		}
		out = append(out, append(d, c...))
	}
	e.pictureID = (e.pictureID + 1) & 0x7fff
	e.tl0++
	return out
}

// vp9Encoder: flexible mode off, one spatial layer, 15-bit picture ids, the
// scalability structure with each key frame.
type vp9Encoder struct {
	stamper
	pic       Picture
	pictureID uint16
}

func (e *vp9Encoder) frame(key bool, size int) [][]byte {
	chunks := e.chunks(size, maxPayload-16)
	var out [][]byte
	for i, c := range chunks {
		b0 := byte(0x80) // I
		if !key {
			b0 |= 0x40 // P
		}
		if i == 0 {
			b0 |= 0x08 // B
			if key {
				b0 |= 0x02 // V
			}
		}
		if i == len(chunks)-1 {
			b0 |= 0x04 // E
		}
		d := []byte{b0, 0x80 | byte(e.pictureID>>8), byte(e.pictureID)}
		if i == 0 {
			c[0] = 0x86
			if key {
				d = append(d, 0x10) // N_S 0, Y 1
				d = binary.BigEndian.AppendUint16(d, uint16(e.pic.Width))
				d = binary.BigEndian.AppendUint16(d, uint16(e.pic.Height))
				copy(c, []byte{0x82, 0x49, 0x83, 0x42})
			}
		}
		out = append(out, append(d, c...))
	}
	e.pictureID = (e.pictureID + 1) & 0x7fff
	return out
}

// av1Encoder: one temporal unit per frame; a key frame begins with its
// sequence header.
type av1Encoder struct{ stamper }

var av1Sequence = []byte{0x08, 0x00, 0x00, 0x00, 0x24, 0xcf, 0x7f, 0x0d, 0xbf, 0xff, 0x30, 0x08}

func (e *av1Encoder) frame(key bool, size int) [][]byte {
	chunks := e.chunks(size, maxPayload-16)
	var out [][]byte
	for i, c := range chunks {
		agg := byte(0x10) // W 1: one element, without a length
		if i > 0 {
			agg |= 0x80 // Z
		}
		if i < len(chunks)-1 {
			agg |= 0x40 // Y
		}
		var p []byte
		if i == 0 {
			c[0], c[1] = 0x30, 0x30 // OBU_FRAME; inter frame, shown
			if key {
				agg = agg&^0x30 | 0x28 // W 2, N
				c[1] = 0x10            // key frame, shown
				p = append([]byte{byte(len(av1Sequence))}, av1Sequence...)
			}
		}
		out = append(out, append(append([]byte{agg}, p...), c...))
	}
	return out
}
