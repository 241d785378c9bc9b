package payload

// PictureIDs keeps the running numbers of a VP8 or VP9 stream continuous while
// its sources change: PictureID, TL0PICIDX and, for VP8, KEYIDX (RFC 7741 4.2,
// RFC 9628 4.2). VP9 in flexible mode has a PictureID only.
//
// The numbers belong to the stream, not to a viewer: one value serves all
// viewers, who see the same packets. Every number is followed by itself. Within
// one source a packet is placed by its distance from the newest packet, so late
// and lost packets keep their places. The distance is taken over the width of
// the field: a 7-bit PictureID that is widened is ambiguous across a hole of 64
// frames or more.
//
// A field that a source does not have is not added, and goes on from its last
// value when a later source has it.
type PictureIDs struct {
	codec   string
	wide    bool // some source used 15 bits
	picture counter
	tl0     counter
	key     counter
}

// NewPictureIDs returns the state for a stream of the named codec. For codecs
// other than VP8 and VP9 it passes everything through.
func NewPictureIDs(codec string) *PictureIDs { return &PictureIDs{codec: codec} }

// Switch says that the next packet is the first of a key frame of a new source.
// Each number goes on with the one after the newest that was sent.
func (p *PictureIDs) Switch() {
	p.picture.pending = true
	p.tl0.pending = true
	p.key.pending = true
}

// Rewrite gives payload its numbers in the stream. While they equal those of
// the source, it returns payload itself; otherwise it writes over dst, which
// must not overlap payload, and returns that. The result is at most one byte
// longer than payload: once a source has used 15-bit PictureIDs, a later source
// with 7 bits is widened, because receivers do not expect to go back. With a
// dst of sufficient capacity nothing is allocated.
//
// It returns false, without a change of state, if the descriptor is malformed;
// the packet is then of no use to any decoder.
func (p *PictureIDs) Rewrite(dst, payload []byte) (out []byte, ok bool) {
	if p.codec != VP8 && p.codec != VP9 {
		return payload, true
	}
	d, ok := describe(p.codec, payload)
	if !ok {
		return nil, false
	}

	picture, changed := p.mapPicture(d, payload)

	var tl0, key byte
	if d.tl0 > 0 {
		tl0 = byte(p.tl0.next(uint16(payload[d.tl0]), 8, 0xff))
		changed = changed || tl0 != payload[d.tl0]
	}
	if d.key > 0 {
		in := payload[d.key] & 0x1f
		key = byte(p.key.next(uint16(in), 5, 0x1f))
		changed = changed || key != in
	}
	if !changed {
		return payload, true
	}

	return p.write(dst[:0], payload, d, picture, tl0, key), true
}

// mapPicture maps the PictureID and reports whether the field has to change.
func (p *PictureIDs) mapPicture(d descriptor, payload []byte) (id uint16, changed bool) {
	if d.picture == 0 {
		return 0, false
	}

	in, bits := uint16(payload[d.picture]&0x7f), uint(7)
	if d.wide {
		in, bits = in<<8|uint16(payload[d.picture+1]), 15
		p.wide = true
	}
	mask := uint16(0x7f)
	if p.wide {
		mask = 0x7fff
	}
	id = p.picture.next(in, bits, mask)

	// A first source that itself changes width is left alone.
	return id, id != in || p.picture.moved && p.wide && !d.wide
}

func (p *PictureIDs) write(dst, payload []byte, d descriptor, picture uint16, tl0, key byte) []byte {
	grown := 0
	rest := payload
	if d.picture > 0 {
		dst = append(dst, payload[:d.picture]...)
		rest = payload[d.picture+1:]
		if p.wide {
			dst = append(dst, 0x80|byte(picture>>8), byte(picture))
		} else {
			dst = append(dst, byte(picture))
		}
		if d.wide {
			rest = rest[1:]
		} else if p.wide {
			grown = 1
		}
	}
	dst = append(dst, rest...)

	if d.tl0 > 0 {
		dst[d.tl0+grown] = tl0
	}
	if d.key > 0 {
		dst[d.key+grown] = dst[d.key+grown]&^0x1f | key
	}

	return dst
}

// counter maps one running number by its distance from the newest.
type counter struct {
	in, out uint16 // the newest number, as it came and as it went
	seen    bool   // in and out are valid
	pending bool   // the next number is of a new source
	moved   bool   // a source has followed another: out is not simply in
}

// next maps v, a number of the given width. The result is cut to mask.
func (c *counter) next(v uint16, bits uint, mask uint16) uint16 {
	switch {
	case !c.seen:
		*c = counter{in: v, out: v, seen: true}
		return v
	case c.pending:
		*c = counter{in: v, out: (c.out + 1) & mask, seen: true, moved: true}
		return c.out
	}

	distance := int16((v-c.in)<<(16-bits)) >> (16 - bits)
	out := v
	if c.moved {
		out = (c.out + uint16(distance)) & mask
	}
	if distance > 0 {
		c.in, c.out = v, out
	}

	return out
}
