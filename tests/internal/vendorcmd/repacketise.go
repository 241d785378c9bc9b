package main

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// framer takes frames apart and packs them anew.
type framer struct {
	split   func(frame []*rtp.Packet) (units [][]byte, ok bool)
	pack    func(units [][]byte, room int) [][]byte
	frame   []*rtp.Packet
	broken  bool // the frame at hand misses a packet
	lastSeq uint16
	lastTS  uint32
	started bool
}

// packed is one new packet.
type packed struct {
	payload []byte
	marker  bool
}

func newFramer(mime string) *framer {
	switch {
	case strings.EqualFold(mime, webrtc.MimeTypeH264):
		return &framer{split: splitH264, pack: packH264}
	case strings.EqualFold(mime, webrtc.MimeTypeVP8):
		picture := uint16(rand.Uint32()) & 0x7fff
		return &framer{split: splitVP8, pack: func(units [][]byte, room int) [][]byte {
			picture = (picture + 1) & 0x7fff
			return packVP8(units, room, picture)
		}}
	}
	return nil
}

func (f *framer) reset() { f.frame, f.broken, f.started = nil, false, false }

// push takes the next packet and returns a frame when it is complete.
func (f *framer) push(p *rtp.Packet, room int) (out []packed) {
	gap := f.started && p.SequenceNumber != f.lastSeq+1
	if f.started && p.Timestamp != f.lastTS || !f.started {
		// A gap ahead of a new timestamp may have been the end of the frame
		// before or the beginning of this one: split tells.
		f.frame, f.broken = nil, false
	} else if gap {
		f.broken = true
	}
	f.started, f.lastSeq, f.lastTS = true, p.SequenceNumber, p.Timestamp
	if len(p.Payload) == 0 {
		return nil
	}
	f.frame = append(f.frame, p)
	if !p.Marker {
		return nil
	}
	frame := f.frame
	f.frame = nil
	if f.broken {
		return nil
	}
	units, ok := f.split(frame)
	if !ok {
		return nil
	}
	payloads := f.pack(units, max(room, 16))
	for i, b := range payloads {
		out = append(out, packed{b, i == len(payloads)-1})
	}
	return out
}

// splitH264 lists the NAL units of a frame (RFC 6184).
func splitH264(frame []*rtp.Packet) (nals [][]byte, ok bool) {
	var fu []byte
	for _, p := range frame {
		b := p.Payload
		switch b[0] & 31 {
		case 24: // STAP-A
			for b = b[1:]; len(b) > 2; {
				n := int(binary.BigEndian.Uint16(b))
				if n == 0 || n > len(b)-2 {
					return nil, false
				}
				nals = append(nals, b[2:2+n])
				b = b[2+n:]
			}
		case 28: // FU-A
			if len(b) < 3 {
				return nil, false
			}
			if b[1]&0x80 != 0 {
				fu = []byte{b[0]&0xe0 | b[1]&31}
			}
			if fu == nil {
				return nil, false // its beginning is missing
			}
			fu = append(fu, b[2:]...)
			if b[1]&0x40 != 0 {
				nals, fu = append(nals, fu), nil
			}
		default:
			nals = append(nals, b)
		}
	}
	return nals, fu == nil && len(nals) > 0
}

// packH264 sends small units alone and big ones as FU-A.
func packH264(nals [][]byte, room int) (out [][]byte) {
	for _, nal := range nals {
		if len(nal) <= room {
			out = append(out, nal)
			continue
		}
		start, head := byte(0x80), nal[0]
		for rest := nal[1:]; len(rest) > 0; start = 0 {
			n := min(len(rest), room-2)
			fu := start | head&31
			if n == len(rest) {
				fu |= 0x40
			}
			out = append(out, append([]byte{head&0xe0 | 28, fu}, rest[:n]...))
			rest = rest[n:]
		}
	}
	return out
}

// splitVP8 joins the data of a frame (RFC 7741).
func splitVP8(frame []*rtp.Packet) (units [][]byte, ok bool) {
	var data []byte
	for i, p := range frame {
		n := vp8DescriptorSize(p.Payload)
		if n == 0 || i == 0 && p.Payload[0]&0x17 != 0x10 {
			return nil, false // its beginning is missing
		}
		data = append(data, p.Payload[n:]...)
	}
	return [][]byte{data}, len(data) > 0
}

func vp8DescriptorSize(p []byte) int {
	n := 1
	if p[0]&0x80 != 0 {
		if len(p) < 3 {
			return 0
		}
		x := p[1]
		n++
		if x&0x80 != 0 {
			if p[n]&0x80 != 0 {
				n++
			}
			n++
		}
		if x&0x40 != 0 {
			n++
		}
		if x&0x30 != 0 {
			n++
		}
	}
	if n >= len(p) {
		return 0
	}
	return n
}

func packVP8(units [][]byte, room int, picture uint16) (out [][]byte) {
	start := byte(0x10)
	for rest := units[0]; len(rest) > 0; start = 0 {
		n := min(len(rest), room-4)
		out = append(out, append([]byte{0x80 | start, 0x80, 0x80 | byte(picture>>8), byte(picture)}, rest[:n]...))
		rest = rest[n:]
	}
	return out
}
