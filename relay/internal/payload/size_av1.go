package payload

// Fields of an OBU header (AV1 5.3.2).
const (
	obuForbidden = 0x80
	obuExtension = 0x04
	obuHasSize   = 0x02
	obuSequence  = 1 // type, in the 4 bits below the forbidden one
)

// sizeAV1 looks for the sequence header in the first packet of a coded video
// sequence. W says how many elements there are, of which the last has no length;
// 0 says that each has one (AV1 RTP payload format, 4.4).
func sizeAV1(p []byte) (width, height int) {
	count := int(p[0] >> 4 & 0x03)
	p = p[1:]
	for i := 1; len(p) > 0; i++ {
		obu := p
		if i == count {
			p = nil
		} else {
			var ok bool
			if obu, p, ok = nextOBU(p); !ok {
				return 0, 0
			}
		}
		if header, ok := av1SequenceHeader(obu); ok {
			return av1MaxSize(header)
		}
	}

	return 0, 0
}

// nextOBU cuts an element off that follows its length.
func nextOBU(p []byte) (obu, rest []byte, ok bool) {
	n, used := leb128(p)
	if used == 0 || n > len(p)-used {
		return nil, nil, false
	}

	return p[used : used+n], p[used+n:], true
}

// leb128 reads a length (AV1 4.10.5) of at most 4 bytes; used is 0 if there is
// none.
func leb128(p []byte) (n, used int) {
	for i := range min(len(p), 4) {
		n |= int(p[i]&0x7f) << (7 * i)
		if p[i]&0x80 == 0 {
			return n, i + 1
		}
	}

	return 0, 0
}

// av1SequenceHeader returns the body of obu if it is a sequence header.
func av1SequenceHeader(obu []byte) (body []byte, ok bool) {
	if len(obu) == 0 || obu[0]&obuForbidden != 0 || obu[0]>>3 != obuSequence {
		return nil, false
	}

	at := 1
	if obu[0]&obuExtension != 0 {
		at++
	}
	if at > len(obu) {
		return nil, false
	}
	if obu[0]&obuHasSize != 0 {
		_, used := leb128(obu[at:])
		if used == 0 {
			return nil, false
		}
		at += used
	}

	return obu[at:], true
}

// av1MaxSize reads max_frame_width and max_frame_height (AV1 5.5.1).
func av1MaxSize(p []byte) (width, height int) {
	r := bitReader{p: p, raw: true}
	r.bits(4) // seq_profile, still_picture
	if reduced := r.flag(); reduced {
		r.bits(5) // seq_level_idx
	} else {
		av1SkipOperatingPoints(&r)
	}

	wide, high := int(r.bits(4))+1, int(r.bits(4))+1
	width, height = int(r.bits(wide))+1, int(r.bits(high))+1
	if r.bad {
		return 0, 0
	}

	return width, height
}

// av1SkipOperatingPoints passes over timing, decoder model and operating points.
func av1SkipOperatingPoints(r *bitReader) {
	delayBits := 0 // of the decoder model, if there is one
	if timing := r.flag(); timing {
		r.bits(64) // num_units_in_display_tick, time_scale
		if equal := r.flag(); equal {
			r.golomb(31) // num_ticks_per_picture_minus_1
		}
		if model := r.flag(); model {
			delayBits = int(r.bits(5)) + 1
			r.bits(42) // num_units_in_decoding_tick, two lengths
		}
	}

	display := r.flag()
	for range r.bits(5) + 1 {
		r.bits(12) // operating_point_idc
		if level := r.bits(5); level > 7 {
			r.bit() // seq_tier
		}
		if delayBits > 0 && r.flag() {
			r.bits(2*delayBits + 1) // two delays, low_delay_mode_flag
		}
		if display && r.flag() {
			r.bits(4) // initial_display_delay_minus_1
		}
	}
}
