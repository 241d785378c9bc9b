package payload

import "encoding/binary"

// sizeVP8 reads the frame header of a key frame (RFC 6386 9.1): a frame tag of 3
// bytes, a start code, and 14 bits each, below 2 bits that ask for scaling.
func sizeVP8(p []byte) (width, height int) {
	d, _ := vp8Descriptor(p)
	f := p[d.body:]
	if len(f) < 10 || f[3] != 0x9d || f[4] != 0x01 || f[5] != 0x2a {
		return 0, 0
	}

	return int(binary.LittleEndian.Uint16(f[6:]) & 0x3fff), int(binary.LittleEndian.Uint16(f[8:]) & 0x3fff)
}

const vp9Structure = 0x02 // V of the first byte: a scalability structure follows

// sizeVP9 takes the sizes of the descriptor, or else reads the frame.
func sizeVP9(p []byte) (width, height int) {
	// P is 0 in a key frame, so that no references precede the structure.
	d, _ := vp9Descriptor(p)
	frame := p[d.body:]
	if p[0]&vp9Structure != 0 {
		var ok bool
		if width, height, frame, ok = vp9Sizes(frame); !ok || width > 0 {
			return width, height
		}
	}

	return vp9FrameSize(frame)
}

// vp9Sizes reads a scalability structure (RFC 9628 4.2.1): the size of the
// largest layer, 0 if it has none, and what follows it.
func vp9Sizes(p []byte) (width, height int, rest []byte, ok bool) {
	if len(p) == 0 {
		return 0, 0, nil, false
	}

	layers, sizes, groups := int(p[0]>>5)+1, p[0]&0x10 != 0, p[0]&0x08 != 0
	p = p[1:]
	if sizes {
		if len(p) < 4*layers {
			return 0, 0, nil, false
		}
		largest := uint32(0)
		for i := range layers {
			w, h := binary.BigEndian.Uint16(p[4*i:]), binary.BigEndian.Uint16(p[4*i+2:])
			if area := uint32(w) * uint32(h); area > largest {
				width, height, largest = int(w), int(h), area
			}
		}
		p = p[4*layers:]
	}
	if groups {
		if p, ok = vp9SkipGroup(p); !ok {
			return 0, 0, nil, false
		}
	}

	return width, height, p, true
}

// vp9SkipGroup passes over the description of a group of pictures: for each of
// them a byte with the number of its references, and the references.
func vp9SkipGroup(p []byte) (rest []byte, ok bool) {
	if len(p) == 0 {
		return nil, false
	}

	n := int(p[0])
	p = p[1:]
	for range n {
		if len(p) == 0 {
			return nil, false
		}
		next := 1 + int(p[0]>>2&0x03)
		if next > len(p) {
			return nil, false
		}
		p = p[next:]
	}

	return p, true
}

// Numbers of the VP9 bitstream specification, 6.1 and 7.2.
const (
	vp9FrameMarker = 2
	vp9SyncCode    = 0x498342
	vp9ColourRGB   = 7
)

// vp9FrameSize reads the uncompressed header of a key frame.
func vp9FrameSize(p []byte) (width, height int) {
	r := bitReader{p: p, raw: true}
	if r.bits(2) != vp9FrameMarker {
		return 0, 0
	}

	profile := r.bit() | r.bit()<<1
	if profile == 3 {
		r.bit() // reserved
	}
	existing, inter := r.flag(), r.flag()
	r.bits(2) // show_frame, error_resilient_mode
	if existing || inter || r.bits(24) != vp9SyncCode {
		return 0, 0
	}

	if profile >= 2 {
		r.bit() // ten_or_twelve_bit
	}
	if r.bits(3) != vp9ColourRGB {
		r.bit() // color_range
		if profile&1 != 0 {
			r.bits(3) // subsampling_x, subsampling_y, reserved
		}
	} else if profile&1 != 0 {
		r.bit() // reserved
	}

	width, height = int(r.bits(16))+1, int(r.bits(16))+1
	if r.bad {
		return 0, 0
	}

	return width, height
}
