package payload

func sizeH264(p []byte) (width, height int) {
	if p[0]&0x1f != h264STAPA {
		return h264SPSSize(p)
	}

	for body := p[1:]; len(body) > 0; {
		nal, rest, ok := nextUnit(body)
		if !ok {
			return 0, 0
		}
		if width, height = h264SPSSize(nal); width > 0 {
			return width, height
		}
		body = rest
	}

	return 0, 0
}

func sizeH265(p []byte) (width, height int) {
	if h265Type(p) != h265AP {
		return h265SPSSize(p)
	}

	for body := p[h265HeaderBytes:]; len(body) > 0; {
		nal, rest, ok := nextUnit(body)
		if !ok {
			return 0, 0
		}
		if width, height = h265SPSSize(nal); width > 0 {
			return width, height
		}
		body = rest
	}

	return 0, 0
}

// h264SPSSize reads a sequence parameter set (H.264 7.3.2.1.1); zero if nal is
// none or is damaged.
func h264SPSSize(nal []byte) (width, height int) {
	if nal[0]&nalForbidden != 0 || nal[0]&0x1f != h264SPS {
		return 0, 0
	}

	r := bitReader{p: nal[1:]}
	profile := r.bits(8)
	r.bits(16) // constraint flags, level_idc
	r.ue()     // identifier
	chroma := uint32(1)
	if h264HasChroma(profile) {
		chroma = h264Chroma(&r)
	}

	r.ue() // log2_max_frame_num_minus4
	h264SkipOrder(&r)
	r.ue()  // max_num_ref_frames
	r.bit() // gaps_in_frame_num_value_allowed_flag
	wide, high := int(r.ue())+1, int(r.ue())+1
	fields := 1 // rows of macroblocks in a row of map units
	if !r.flag() {
		fields = 2
		r.bit() // mb_adaptive_frame_field_flag
	}
	r.bit() // direct_8x8_inference_flag

	unitX, unitY := chromaUnits(chroma)

	return crop(&r, wide*16, high*16*fields, unitX, unitY*fields)
}

// h264HasChroma tells the profiles that carry what h264Chroma reads.
func h264HasChroma(profile uint32) bool {
	switch profile {
	case 44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244:
		return true
	default:
		return false
	}
}

// h264Chroma reads the fields of the high profiles and returns
// chroma_format_idc, as 0 if the colour planes are coded apart (ChromaArrayType).
func h264Chroma(r *bitReader) uint32 {
	chroma, lists := r.ue(), 8
	apart := false
	if chroma == 3 {
		lists = 12
		apart = r.flag()
	}
	r.ue()  // bit_depth_luma_minus8
	r.ue()  // bit_depth_chroma_minus8
	r.bit() // qpprime_y_zero_transform_bypass_flag
	if r.flag() {
		for i := range lists {
			if r.flag() {
				h264SkipScaling(r, i)
			}
		}
	}
	if apart {
		return 0
	}

	return chroma
}

// h264SkipScaling passes over a scaling list (7.3.2.1.1.1), which ends early when
// the rest repeats the last value.
func h264SkipScaling(r *bitReader, list int) {
	n := 16
	if list >= 6 {
		n = 64
	}

	scale := int32(8)
	for range n {
		if scale = (scale + r.se()) & 0xff; scale == 0 || r.bad {
			return
		}
	}
}

// h264SkipOrder passes over what says how the picture order is counted.
func h264SkipOrder(r *bitReader) {
	switch r.ue() {
	case 0:
		r.ue() // log2_max_pic_order_cnt_lsb_minus4
	case 1:
		r.bit() // delta_pic_order_always_zero_flag
		r.se()  // offset_for_non_ref_pic
		r.se()  // offset_for_top_to_bottom_field
		cycle := r.ue()
		if cycle > 255 {
			r.bad = true
			return
		}
		for range cycle {
			r.se() // offset_for_ref_frame
		}
	}
}

// h265SPSSize reads a sequence parameter set of the base layer (H.265
// 7.3.2.2.1); zero if nal is none or is damaged.
func h265SPSSize(nal []byte) (width, height int) {
	if len(nal) <= h265HeaderBytes || h265Type(nal) != h265SPS ||
		nal[0]&(nalForbidden|1) != 0 || nal[1]>>3 != 0 {
		return 0, 0
	}

	r := bitReader{p: nal[h265HeaderBytes:]}
	h265SPSID(&r)
	chroma := r.ue()
	if chroma == 3 {
		r.bit() // separate_colour_plane_flag
	}
	unitX, unitY := chromaUnits(chroma)

	return crop(&r, int(r.ue()), int(r.ue()), unitX, unitY)
}

// chromaUnits are the pixels for a sample of chroma, across and down, in which
// cropping is counted (H.264 table 6-1, H.265 table 6-1).
func chromaUnits(chroma uint32) (x, y int) {
	switch chroma {
	case 1:
		return 2, 2
	case 2:
		return 2, 1
	default:
		return 1, 1
	}
}

// crop reads the cropping window, which the two codecs write in the same way,
// and returns what is left of the picture.
func crop(r *bitReader, width, height, unitX, unitY int) (int, int) {
	if r.flag() {
		width -= unitX * (int(r.ue()) + int(r.ue()))
		height -= unitY * (int(r.ue()) + int(r.ue()))
	}
	if r.bad || width < 1 || height < 1 {
		return 0, 0
	}

	return width, height
}
