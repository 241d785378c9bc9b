package harness

import (
	"encoding/binary"

	"github.com/pion/webrtc/v4"
)

// Frame is a run of packets with one timestamp.
type Frame struct {
	Packets []Packet
	First   int // index of the first packet in the record
}

// Frames groups packets of a record, as they stand, into frames.
func Frames(pkts []Packet) []Frame {
	var out []Frame
	for i, p := range pkts {
		if n := len(out); n > 0 && out[n-1].Packets[0].TS == p.TS {
			out[n-1].Packets = append(out[n-1].Packets, p)
			continue
		}
		out = append(out, Frame{Packets: []Packet{p}, First: i})
	}
	return out
}

// Source is the publisher that made the frame; ok is false when no packet of
// it carries a stamp, mixed when they carry different ones.
func (f Frame) Source() (source uint16, ok, mixed bool) {
	for _, p := range f.Packets {
		s, _, stamped := Stamp(p.Payload)
		if !stamped {
			continue
		}
		if ok && s != source {
			return source, true, true
		}
		source, ok = s, true
	}
	return source, ok, false
}

// Keyframe says whether a decoder can start at this frame. It looks at the
// bytes on the wire only, parameter sets included, not at the sender's word.
func (f Frame) Keyframe(mime string) bool {
	switch mime {
	case webrtc.MimeTypeH264:
		types := f.nalTypes(h264NALs)
		return types[7] && types[8] && types[5]
	case webrtc.MimeTypeH265:
		types := f.nalTypes(h265NALs)
		return types[32] && types[33] && types[34] && (types[19] || types[20] || types[21])
	case webrtc.MimeTypeVP8:
		d, ok := parseVP8(f.Packets[0].Payload)
		return ok && d.start && len(d.data) > 5 && d.data[0]&1 == 0 && d.data[3] == 0x9d && d.data[4] == 0x01
	case webrtc.MimeTypeVP9:
		p := f.Packets[0].Payload
		return len(p) > 3 && p[0]&0x48 == 0x08 // B, not P
	case webrtc.MimeTypeAV1:
		p := f.Packets[0].Payload
		return len(p) > 2 && p[0]&0x88 == 0x08 // N, not Z
	default:
		return true // audio
	}
}

func (f Frame) nalTypes(split func([]byte) []byte) map[byte]bool {
	types := map[byte]bool{}
	for _, p := range f.Packets {
		for _, t := range split(p.Payload) {
			types[t] = true
		}
	}
	return types
}

// h264NALs lists the types of the NAL units that begin in a payload.
func h264NALs(p []byte) (types []byte) {
	if len(p) < 2 {
		return nil
	}
	switch t := p[0] & 31; t {
	case 24:
		return aggregated(p[1:], 0, func(b byte) byte { return b & 31 })
	case 28:
		if p[1]&0x80 != 0 {
			return []byte{p[1] & 31}
		}
		return nil
	default:
		return []byte{t}
	}
}

func h265NALs(p []byte) (types []byte) {
	if len(p) < 3 {
		return nil
	}
	switch t := p[0] >> 1 & 63; t {
	case 48:
		return aggregated(p[2:], 0, func(b byte) byte { return b >> 1 & 63 })
	case 49:
		if p[2]&0x80 != 0 {
			return []byte{p[2] & 63}
		}
		return nil
	default:
		return []byte{t}
	}
}

func aggregated(p []byte, at int, typ func(byte) byte) (types []byte) {
	for len(p) > 2 {
		n := int(binary.BigEndian.Uint16(p))
		if n == 0 || len(p) < 2+n {
			return types
		}
		types = append(types, typ(p[2+at]))
		p = p[2+n:]
	}
	return types
}

// vp8Descriptor is a parsed VP8 payload descriptor (RFC 7741 section 4.2).
type vp8Descriptor struct {
	start          bool
	hasID, hasTL0  bool
	pictureID      uint16
	idBits         int
	tl0            uint8
	data           []byte
	hasKey         bool
	keyIdx         uint8
	descriptorSize int
}

func parseVP8(p []byte) (d vp8Descriptor, ok bool) {
	size := len(p)
	next := func() (b byte) {
		if len(p) == 0 {
			ok = false
			return 0
		}
		b, p = p[0], p[1:]
		return b
	}
	ok = true
	b0 := next()
	d.start = b0&0x10 != 0 && b0&0x07 == 0
	var x byte
	if b0&0x80 != 0 {
		x = next()
	}
	if x&0x80 != 0 {
		d.hasID, d.idBits = true, 7
		d.pictureID = uint16(next())
		if d.pictureID&0x80 != 0 {
			d.idBits = 15
			d.pictureID = d.pictureID&0x7f<<8 | uint16(next())
		}
	}
	if x&0x40 != 0 {
		d.hasTL0, d.tl0 = true, next()
	}
	if x&0x30 != 0 {
		d.hasKey = x&0x10 != 0
		d.keyIdx = next() & 31
	}
	d.data, d.descriptorSize = p, size-len(p)
	return d, ok && len(p) > 0
}

// mediaBytes is the payload without what a gateway may rewrite: the payload
// descriptor of VP8 and the picture id of VP9.
func mediaBytes(mime string, payload []byte) []byte {
	switch mime {
	case webrtc.MimeTypeVP8:
		if d, ok := parseVP8(payload); ok {
			return d.data
		}
	case webrtc.MimeTypeVP9:
		if len(payload) > 3 && payload[0]&0x80 != 0 {
			if payload[1]&0x80 != 0 {
				return payload[3:]
			}
			return payload[2:]
		}
	}
	return payload
}
