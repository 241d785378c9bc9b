package payload

// descriptor tells where the running numbers stand in a VP8 or VP9 payload
// descriptor. Positions are byte offsets; 0 means absent, because the first
// byte never holds a number.
type descriptor struct {
	picture int  // PictureID, one byte or two
	wide    bool // the PictureID has 15 bits
	tl0     int  // TL0PICIDX
	key     int  // byte with KEYIDX in its low 5 bits (VP8)
	layer   byte // spatial layer (VP9)
	body    int  // end of what was read; for VP8 the VP8 payload header
}

// pictureID reads the id that starts at p[at] and returns the offset behind it.
func (d *descriptor) pictureID(p []byte, at int) (next int, ok bool) {
	if at >= len(p) {
		return 0, false
	}

	d.picture, d.wide = at, p[at]&0x80 != 0
	if d.wide {
		return at + 2, at+2 <= len(p)
	}

	return at + 1, true
}

// Bits of the VP8 descriptor (RFC 7741 4.2).
const (
	vp8Extended  = 0x80 // X, first byte
	vp8Start     = 0x10 // S, first byte
	vp8Partition = 0x07 // PID, first byte
	vp8Picture   = 0x80 // I, extension byte
	vp8TL0       = 0x40 // L
	vp8TID       = 0x20 // T
	vp8Key       = 0x10 // K
	vp8Inter     = 0x01 // P of the VP8 payload header (4.3)
)

// vp8Descriptor reads the whole descriptor; at least one byte follows it.
func vp8Descriptor(p []byte) (d descriptor, ok bool) {
	if len(p) == 0 {
		return d, false
	}

	at := 1
	if p[0]&vp8Extended != 0 {
		if len(p) < 2 {
			return d, false
		}
		ext := p[1]
		at = 2

		if ext&vp8Picture != 0 {
			if at, ok = d.pictureID(p, at); !ok {
				return d, false
			}
		}
		if ext&vp8TL0 != 0 {
			d.tl0 = at
			at++
		}
		if ext&(vp8TID|vp8Key) != 0 {
			if ext&vp8Key != 0 {
				d.key = at
			}
			at++
		}
	}
	d.body = at

	return d, at < len(p)
}

func parseVP8(p []byte) Info {
	d, ok := vp8Descriptor(p)
	if !ok || p[0]&vp8Start == 0 || p[0]&vp8Partition != 0 {
		return Info{}
	}

	return Info{Keyframe: p[d.body]&vp8Inter == 0, FrameStart: true}
}

// Bits of the first byte of the VP9 descriptor (RFC 9628 4.2).
const (
	vp9Picture  = 0x80 // I
	vp9Inter    = 0x40 // P
	vp9Layers   = 0x20 // L
	vp9Flexible = 0x10 // F
	vp9Start    = 0x08 // B
)

// vp9Descriptor reads the descriptor up to and with TL0PICIDX. What follows
// (references, scalability structure) is relative or static and stays as it is.
func vp9Descriptor(p []byte) (d descriptor, ok bool) {
	if len(p) == 0 {
		return d, false
	}

	at := 1
	if p[0]&vp9Picture != 0 {
		if at, ok = d.pictureID(p, at); !ok {
			return d, false
		}
	}
	if p[0]&vp9Layers != 0 {
		if at >= len(p) {
			return d, false
		}
		d.layer = p[at] >> 1 & 0x07
		at++

		if p[0]&vp9Flexible == 0 {
			d.tl0 = at
			at++
		}
	}
	d.body = at

	return d, at < len(p)
}

func parseVP9(p []byte) Info {
	d, ok := vp9Descriptor(p)
	if !ok || p[0]&vp9Start == 0 {
		return Info{}
	}

	return Info{Keyframe: p[0]&vp9Inter == 0 && d.layer == 0, FrameStart: true}
}
