// Package rtcpx walks compound RTCP packets (RFC 3550 6) without allocating.
package rtcpx

import "encoding/binary"

// Packet types and formats that mean something to a gateway.
const (
	TypeSR    = 200
	TypeRR    = 201
	TypeRTPFB = 205 // RFC 4585 6.2
	TypePSFB  = 206 // RFC 4585 6.3

	FormatNACK = 1  // of TypeRTPFB
	FormatPLI  = 1  // of TypePSFB
	FormatFIR  = 4  // of TypePSFB, RFC 5104 4.3.1
	FormatAFB  = 15 // of TypePSFB: application layer feedback, as REMB
)

// Packet is one packet of a compound, without padding.
type Packet struct {
	Type  uint8
	Count uint8  // report count, or the format of a feedback message
	Body  []byte // behind the first word; begins with the sender's SSRC
}

// Next cuts the first packet off b. ok is false at the end or where b is not RTCP.
func Next(b []byte) (p Packet, rest []byte, ok bool) {
	if len(b) < 8 || b[0]>>6 != 2 {
		return Packet{}, nil, false
	}
	n := 4 * (int(binary.BigEndian.Uint16(b[2:])) + 1)
	if n < 8 || n > len(b) {
		return Packet{}, nil, false
	}
	end := n
	if b[0]&0x20 != 0 { // padding
		if end -= int(b[n-1]); b[n-1] == 0 || end < 8 {
			return Packet{}, nil, false
		}
	}
	return Packet{Type: b[1], Count: b[0] & 0x1f, Body: b[4:end]}, b[n:], true
}

// MediaSSRC is the stream that a feedback message is about, 0 if it names none.
func (p *Packet) MediaSSRC() uint32 {
	if len(p.Body) < 8 {
		return 0
	}
	return binary.BigEndian.Uint32(p.Body[4:])
}

// FCI is the feedback control information of a feedback message.
func (p *Packet) FCI() []byte {
	if len(p.Body) < 8 {
		return nil
	}
	return p.Body[8:]
}

// SenderInfo reads the NTP and RTP times of a sender report.
func (p *Packet) SenderInfo() (ssrc uint32, ntp uint64, ts uint32, ok bool) {
	if p.Type != TypeSR || len(p.Body) < 24 {
		return 0, 0, 0, false
	}
	return binary.BigEndian.Uint32(p.Body), binary.BigEndian.Uint64(p.Body[4:]), binary.BigEndian.Uint32(p.Body[12:]), true
}

// Block is one reception report.
type Block struct {
	SSRC         uint32
	FractionLost uint8  // of 256
	TotalLost    uint32 // 24 bits
	Jitter       uint32 // ticks
	LSR, DLSR    uint32 // 16.16 fixed point seconds
}

// Blocks calls f for each reception report of a sender or receiver report.
func (p *Packet) Blocks(f func(Block)) {
	b := p.Body
	switch skip := 4; p.Type {
	case TypeSR:
		skip = 24
		fallthrough
	case TypeRR:
		if len(b) < skip {
			return
		}
		b = b[skip:]
	default:
		return
	}
	for range p.Count {
		if len(b) < 24 {
			return
		}
		f(Block{
			SSRC: binary.BigEndian.Uint32(b), FractionLost: b[4], TotalLost: binary.BigEndian.Uint32(b[4:]) & 0xffffff,
			Jitter: binary.BigEndian.Uint32(b[12:]), LSR: binary.BigEndian.Uint32(b[16:]), DLSR: binary.BigEndian.Uint32(b[20:]),
		})
		b = b[24:]
	}
}

// REMB reads a receiver's estimate of the bandwidth, in bits/s
// (draft-alvestrand-rmcat-remb 2.2).
func (p *Packet) REMB() (bitrate uint64, ok bool) {
	f := p.FCI()
	if p.Type != TypePSFB || p.Count != FormatAFB || len(f) < 8 || string(f[:4]) != "REMB" {
		return 0, false
	}
	exp := f[5] >> 2
	mantissa := uint64(f[5]&3)<<16 | uint64(f[6])<<8 | uint64(f[7])
	if exp > 45 {
		return 0, false
	}
	return mantissa << exp, true
}
