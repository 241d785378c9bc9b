// Package rtpx reads and writes RTP headers (RFC 3550 5.1, RFC 8285) in place:
// no allocation, no copy.
package rtpx

import "encoding/binary"

// HeaderLen is the length of a header without CSRCs and extension.
const HeaderLen = 12

// Packet is a parsed packet. Payload points into the parsed bytes, without
// padding.
type Packet struct {
	SSRC    uint32
	TS      uint32
	Seq     uint16
	PT      uint8
	Marker  bool
	Payload []byte
	ext     []byte // one-byte header extension elements
}

// Parse reads b into p and returns false if b is not a whole RTP packet.
func (p *Packet) Parse(b []byte) bool {
	if len(b) < HeaderLen || b[0]>>6 != 2 {
		return false
	}
	n := HeaderLen + 4*int(b[0]&0x0f)
	if len(b) < n {
		return false
	}
	p.ext = nil
	if b[0]&0x10 != 0 {
		if len(b) < n+4 {
			return false
		}
		profile, size := binary.BigEndian.Uint16(b[n:]), 4*int(binary.BigEndian.Uint16(b[n+2:]))
		n += 4
		if len(b) < n+size {
			return false
		}
		if profile == 0xBEDE {
			p.ext = b[n : n+size]
		}
		n += size
	}
	end := len(b)
	if b[0]&0x20 != 0 {
		pad := int(b[end-1])
		if pad == 0 || end-pad < n {
			return false
		}
		end -= pad
	}
	p.Marker, p.PT = b[1]&0x80 != 0, b[1]&0x7f
	p.Seq, p.TS, p.SSRC = binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	p.Payload = b[n:end]
	return true
}

// Extension returns the element with this id (1..14) of the one-byte form, nil
// if there is none.
func (p *Packet) Extension(id uint8) []byte {
	for e := p.ext; len(e) > 0; {
		if e[0] == 0 { // padding
			e = e[1:]
			continue
		}
		got, n := e[0]>>4, int(e[0]&0x0f)+1
		if got == 15 || len(e) < 1+n {
			return nil
		}
		if got == id {
			return e[1 : 1+n]
		}
		e = e[1+n:]
	}
	return nil
}

// Header is what is written in front of a payload.
type Header struct {
	SSRC    uint32
	TS      uint32
	Seq     uint16
	PT      uint8
	Marker  bool
	Padding bool
	// SendTimeID is the id (1..14) of the abs-send-time extension, 0 for none;
	// SendTime its value: 6.18 fixed point seconds, 24 bits.
	SendTimeID uint8
	SendTime   uint32
}

// Append writes the header to b.
func (h *Header) Append(b []byte) []byte {
	b0, b1 := byte(0x80), h.PT
	if h.Padding {
		b0 |= 0x20
	}
	if h.Marker {
		b1 |= 0x80
	}
	if h.SendTimeID != 0 {
		b0 |= 0x10
	}
	b = append(b, b0, b1, byte(h.Seq>>8), byte(h.Seq))
	b = binary.BigEndian.AppendUint32(b, h.TS)
	b = binary.BigEndian.AppendUint32(b, h.SSRC)
	if h.SendTimeID != 0 {
		b = append(b, 0xBE, 0xDE, 0, 1, h.SendTimeID<<4|2, byte(h.SendTime>>16), byte(h.SendTime>>8), byte(h.SendTime))
	}
	return b
}

// AbsSendTime converts a time in ns to the abs-send-time format.
func AbsSendTime(ns int64) uint32 {
	return uint32((uint64(ns)/1000*(1<<18))/1_000_000) & 0xffffff
}
