package slate

import (
	"errors"

	"github.com/pion/rtp/codecs/av1/obu"
)

var errDamaged = errors.New("it is damaged: encode the file again")

// readVP8 reads the frame tag (RFC 6386 9.1).
func readVP8(data []byte) (frame, error) {
	if len(data) < 3 {
		return frame{}, errDamaged
	}

	return frame{data: data, key: data[0]&1 == 0}, nil
}

// readVP9 reads the first bits of the uncompressed header (VP9 6.2): a marker of
// 2 bits, the profile in 2, show_existing_frame, frame_type.
func readVP9(data []byte) (frame, error) {
	switch {
	case len(data) == 0 || data[0]>>6 != 2:
		return frame{}, errDamaged
	case data[0]>>4&3 != 0:
		return frame{}, errors.New("it is not of VP9 profile 0, which is what browsers decode: encode with -pix_fmt yuv420p")
	case data[0]&0x08 != 0:
		return frame{}, errors.New("it repeats a hidden picture: encode with -auto-alt-ref 0 -lag-in-frames 0")
	}

	return frame{data: data, key: data[0]&0x04 == 0}, nil
}

// readAV1 walks over the OBUs of a temporal unit (AV1 5.3). A key frame counts
// if it comes with its sequence header.
func readAV1(data []byte) (frame, error) {
	f := frame{data: data}
	sequence, pictures := false, 0

	for rest := data; len(rest) > 0; {
		typ, body, next, ok := nextOBU(rest)
		if !ok {
			return frame{}, errDamaged
		}
		rest = next

		switch typ {
		case obu.OBUSequenceHeader:
			if len(body) == 0 || body[0]>>5 != 0 {
				return frame{}, errors.New("it is not of AV1 profile main, which is what browsers decode: encode with -pix_fmt yuv420p")
			}
			if body[0]&0x08 != 0 {
				return frame{}, errors.New("it has the short header of an AVIF picture: encode it as video")
			}
			sequence = true
		case obu.OBUFrame, obu.OBUFrameHeader:
			if len(body) == 0 {
				return frame{}, errDamaged
			}
			// show_existing_frame 0, frame_type 0 (2 bits), show_frame 1.
			if pictures++; pictures == 1 {
				f.key = sequence && body[0]>>4 == 1
			}
		}
	}
	if pictures == 0 {
		return frame{}, errDamaged
	}

	return f, nil
}

// nextOBU cuts off one OBU. Without a size it goes to the end.
func nextOBU(data []byte) (typ obu.Type, body, rest []byte, ok bool) {
	h, err := obu.ParseOBUHeader(data)
	if err != nil || h.Size() > len(data) {
		return 0, nil, nil, false
	}
	data = data[h.Size():]
	if !h.HasSizeField {
		return h.Type, data, nil, true
	}

	n, used, err := obu.ReadLeb128(data)
	if err != nil || used > uint(len(data)) || n > uint(len(data))-used {
		return 0, nil, nil, false
	}

	return h.Type, data[used : used+n], data[used+n:], true
}
