package slate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

const (
	ivfMagic       = "DKIF"
	ivfHeader      = 32
	ivfFrameHeader = 12
)

var ivfCodecs = map[string]string{"VP80": "VP8", "VP90": "VP9", "AV01": "AV1", "H264": "H264", "H265": "H265", "HEVC": "H265"}

// readIVF reads the container of libvpx: a header, then frames with their size
// and time.
func readIVF(b []byte) (*Clip, error) {
	if len(b) < ivfHeader {
		return nil, errors.New("the IVF header is cut off")
	}
	fourcc := string(b[8:12])
	c := &Clip{codec: ivfCodecs[fourcc]}
	if c.codec == "" {
		return nil, fmt.Errorf("the IVF file holds %q: use VP8, VP9, AV1, H.264 or H.265", fourcc)
	}
	rate, scale := binary.LittleEndian.Uint32(b[16:]), binary.LittleEndian.Uint32(b[20:])
	if rate == 0 || scale == 0 {
		return nil, errors.New("the IVF file has no time base")
	}
	header := int(binary.LittleEndian.Uint16(b[6:]))
	if header < ivfHeader || header > len(b) {
		return nil, errors.New("the IVF header has a wrong length")
	}
	var stamps []uint64
	for b = b[header:]; len(b) > 0 && len(c.frames) <= maxFrames; {
		if len(b) < ivfFrameHeader {
			return nil, errors.New("the IVF file is cut off")
		}
		size := int(binary.LittleEndian.Uint32(b))
		if size > len(b)-ivfFrameHeader || size < 0 {
			return nil, errors.New("the IVF file is cut off")
		}
		data := b[ivfFrameHeader : ivfFrameHeader+size]
		stamps = append(stamps, binary.LittleEndian.Uint64(b[4:]))
		c.frames = append(c.frames, frame{data: data, key: isKey(c.codec, data)})
		b = b[ivfFrameHeader+size:]
	}
	for i := range c.frames {
		c.frames[i].time = stillTime
		switch {
		case i+1 < len(stamps):
			ticks := min(stamps[i+1]-stamps[i], 1<<32) // a wrong order becomes the longest time
			c.frames[i].time = bounded(float64(ticks) * float64(scale) / float64(rate))
		case i > 0:
			c.frames[i].time = c.frames[i-1].time
		}
	}
	return c, nil
}

func bounded(seconds float64) time.Duration {
	if !(seconds < longest.Seconds()) {
		return longest
	}
	return max(shortest, time.Duration(seconds*float64(time.Second)))
}

// isKey tells whether a frame can be decoded by itself.
func isKey(codec string, b []byte) bool {
	if len(b) == 0 {
		return false
	}
	switch codec {
	case "VP8": // RFC 6386 9.1
		return b[0]&1 == 0
	case "VP9": // frame_marker, profile, show_existing_frame, frame_type
		if b[0]>>6 != 2 {
			return false
		}
		if b[0]&0x30 == 0x30 { // profile 3 has a reserved bit
			return b[0]&0x06 == 0
		}
		return b[0]&0x0c == 0
	case "AV1":
		return hasSequenceHeader(b)
	}
	for _, n := range splitNALs(b) {
		if isIDR(codec, n) {
			return true
		}
	}
	return false
}

// hasSequenceHeader looks for the OBU that begins a coded video sequence (AV1
// 7.5).
func hasSequenceHeader(b []byte) bool {
	for len(b) > 1 {
		kind, extended, sized := b[0]>>3&15, b[0]&4 != 0, b[0]&2 != 0
		if kind == 1 {
			return true
		}
		b = b[1:]
		if extended {
			b = b[1:]
		}
		if !sized {
			return false
		}
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return false
		}
		b = b[n+int(size):]
	}
	return false
}
