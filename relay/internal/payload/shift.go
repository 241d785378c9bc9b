package payload

// Shift moves the running numbers of a VP8 or VP9 stream for one viewer who
// went over from one encoding of a picture to another (RFC 7741 4.2, RFC 9628
// 4.2). The zero value moves nothing.
type Shift struct {
	Picture  uint16
	TL0, Key uint8
}

// Follow is the shift by which next, the first packet of a key frame, continues
// behind last, a packet as the viewer got it. What one of them does not have
// stays as it is.
func Follow(codec string, last, next []byte) (s Shift) {
	a, ok := describe(codec, last)
	b, fine := describe(codec, next)
	if !ok || !fine {
		return s
	}
	if a.picture > 0 && b.picture > 0 {
		s.Picture = a.pictureIn(last) + 1 - b.pictureIn(next)
	}
	if a.tl0 > 0 && b.tl0 > 0 {
		s.TL0 = last[a.tl0] + 1 - next[b.tl0]
	}
	if a.key > 0 && b.key > 0 {
		s.Key = (last[a.key] + 1 - next[b.key]) & 0x1f
	}
	return s
}

// Apply writes the moved numbers into payload. They keep their width.
func (s Shift) Apply(codec string, payload []byte) {
	d, ok := describe(codec, payload)
	if !ok {
		return
	}
	if d.picture > 0 {
		id := d.pictureIn(payload) + s.Picture
		if d.wide {
			payload[d.picture], payload[d.picture+1] = 0x80|byte(id>>8), byte(id)
		} else {
			payload[d.picture] = byte(id) & 0x7f
		}
	}
	if d.tl0 > 0 {
		payload[d.tl0] += s.TL0
	}
	if d.key > 0 {
		payload[d.key] = payload[d.key]&^0x1f | (payload[d.key]+s.Key)&0x1f
	}
}

// Undo takes back what Apply did.
func (s Shift) Undo(codec string, payload []byte) {
	Shift{-s.Picture, -s.TL0, -s.Key}.Apply(codec, payload)
}

// describe reads the descriptor of a codec that has running numbers.
func describe(codec string, payload []byte) (d descriptor, ok bool) {
	switch codec {
	case VP8:
		return vp8Descriptor(payload)
	case VP9:
		return vp9Descriptor(payload)
	}
	return d, false
}

// pictureIn is the PictureID of the payload that was described.
func (d *descriptor) pictureIn(payload []byte) uint16 {
	if d.wide {
		return uint16(payload[d.picture]&0x7f)<<8 | uint16(payload[d.picture+1])
	}
	return uint16(payload[d.picture])
}
