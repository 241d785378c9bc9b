package turnsvc

import (
	"encoding/binary"
	"io"
)

// frameBuffer holds at least one frame of the largest size, and usually several small ones, so
// that one read of the stream brings many packets.
const frameBuffer = 2 * maxFrame

// IsSTUN tells by its first 8 bytes whether a connection speaks TURN: every TURN client begins with
// a STUN request (RFC 8489 section 5). No HTTP/1 method, HTTP/2 preface or TLS record begins so.
// With fewer than 8 bytes the answer is false.
func IsSTUN(first []byte) bool {
	return len(first) >= 8 && first[0]>>6 == 0 && binary.BigEndian.Uint32(first[4:]) == cookie
}

// frameReader cuts a stream into TURN messages (RFC 8656 section 3.1): STUN by its own length,
// ChannelData by its length padded to four. Memory is one buffer per connection whatever the
// peer sends and however slowly; a frame beyond maxFrame is an error, after which the stream cannot
// be trusted and has to be closed.
type frameReader struct {
	r          io.Reader
	start, end int
	buf        [frameBuffer]byte
}

// next returns the next whole frame, without its padding; it is valid until the next call.
func (f *frameReader) next() ([]byte, error) {
	for {
		size, padded, err := frameSize(f.buf[f.start:f.end])
		if err != nil {
			return nil, err
		}
		if size > 0 && f.end-f.start >= padded {
			frame := f.buf[f.start : f.start+size]
			f.start += padded
			return frame, nil
		}
		if f.start > 0 {
			f.end = copy(f.buf[:], f.buf[f.start:f.end])
			f.start = 0
		}
		n, err := f.r.Read(f.buf[f.end:])
		f.end += n
		if n == 0 && err != nil {
			return nil, err
		}
	}
}

// frameSize tells the size of the frame that b begins with, and its size on the wire; 0 when b is
// too short to tell. It refuses a beginning that no acceptable frame can have.
func frameSize(b []byte) (size, padded int, err error) {
	if len(b) == 0 {
		return 0, 0, nil
	}
	stun, data := b[0]>>6 == 0, b[0]>>4 == firstChannel>>12
	if !stun && !data {
		return 0, 0, errFrame
	}
	if len(b) < channelHeader {
		return 0, 0, nil
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	if size = channelHeader + length; stun {
		size = stunHeader + length
	}
	padded = (size + 3) &^ 3
	switch {
	case padded > maxFrame, stun && padded != size:
		return 0, 0, errFrame
	case stun && len(b) >= 8 && binary.BigEndian.Uint32(b[4:]) != cookie:
		return 0, 0, errFrame
	}
	return size, padded, nil
}
