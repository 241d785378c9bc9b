package slate

// readH265SPS reads H.265 7.3.2.2.1 up to the timing of the VUI (E.2.1). The rate
// of the rare sequence with predicted reference sets is not read.
func readH265SPS(nal []byte) (info spsInfo, ok bool) {
	info.duration = frameDuration
	r := newBitReader(nal[2:])
	r.bits(4) // VPS
	sub := int(r.bits(3))
	r.bit()
	skipH265Profile(r, sub)
	r.ue()           // identifier
	if r.ue() == 3 { // chroma_format_idc
		r.bit()
	}
	r.ues(2) // width, height
	if window := r.flag(); window {
		r.ues(4)
	}
	r.ues(2) // bit depths
	log2POC := int(min(r.ue(), 12)) + 4

	layers := 1
	if each := r.flag(); each {
		layers = sub + 1
	}
	for range layers {
		r.ue()
		info.reorders = r.ue() > 0 || info.reorders // sps_max_num_reorder_pics
		r.ue()
	}
	if r.bad {
		return info, false
	}

	if skipH265Tools(r, log2POC) && r.flag() {
		readH265VUI(r, &info)
	}

	return info, true
}

// skipH265Profile passes over profile_tier_level (7.3.3).
func skipH265Profile(r *bitReader, sub int) {
	r.bits(88 + 8)
	if sub == 0 {
		return
	}

	present := r.bits(16) // two flags for each of 8 sub-layers
	for i := range sub {
		flags := present >> (14 - 2*i)
		if flags&2 != 0 {
			r.bits(88)
		}
		if flags&1 != 0 {
			r.bits(8)
		}
	}
}

// skipH265Tools passes over everything between the layers and the VUI.
func skipH265Tools(r *bitReader, log2POC int) (ok bool) {
	r.ues(6) // block sizes and depths
	if enabled := r.flag(); enabled && r.flag() {
		skipH265Scaling(r)
	}
	r.bits(2) // amp, sample_adaptive_offset
	if pcm := r.flag(); pcm {
		r.bits(8)
		r.ues(2)
		r.bit()
	}

	sets := r.ue()
	if sets > 64 {
		return false
	}
	for i := range sets {
		if predicted := i > 0 && r.flag(); predicted {
			return false
		}
		negative, positive := r.ue(), r.ue()
		if negative > 16 || positive > 16 {
			return false
		}
		for range negative + positive {
			r.ue()
			r.bit()
		}
	}

	if longTerm := r.flag(); longTerm {
		for range min(r.ue(), 32) {
			r.bits(log2POC + 1)
		}
	}
	r.bits(2) // temporal_mvp, strong_intra_smoothing

	return !r.bad
}

// skipH265Scaling passes over scaling_list_data (7.3.4).
func skipH265Scaling(r *bitReader) {
	for size := range 4 {
		step := 1
		if size == 3 {
			step = 3
		}
		for matrix := 0; matrix < 6 && !r.bad; matrix += step {
			if own := r.flag(); !own {
				r.ue()
				continue
			}
			if size > 1 {
				r.ue()
			}
			r.ues(min(64, 1<<(4+size<<1)))
		}
	}
}

func readH265VUI(r *bitReader, info *spsInfo) {
	skipVideoSignal(r)
	r.bit()                    // neutral_chroma_indication
	info.interlaced = r.flag() // field_seq
	r.bit()                    // frame_field_info_present
	if window := r.flag(); window {
		r.ues(4)
	}
	if timing := r.flag(); timing {
		scale, rate := r.bits(32), r.bits(32)
		if !r.bad {
			info.duration = seconds(float64(scale), float64(rate))
		}
	}
}
