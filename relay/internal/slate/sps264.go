package slate

import "time"

// spsInfo is what a sequence parameter set says about showing pictures.
type spsInfo struct {
	duration   time.Duration // of a picture; frameDuration if it is not told
	interlaced bool
	reorders   bool // pictures are not shown in the order in which they come
}

// seconds turns a rate of rate/scale pictures per second into a duration.
func seconds(scale, rate float64) time.Duration {
	if d := scale / rate; d >= minDuration.Seconds() && d <= maxDuration.Seconds() {
		return time.Duration(d * float64(time.Second))
	}

	return frameDuration
}

// readH264SPS reads H.264 7.3.2.1.1 up to the timing of the VUI (E.1.1).
func readH264SPS(nal []byte) (info spsInfo, ok bool) {
	info.duration = frameDuration
	r := newBitReader(nal[1:])
	profile := r.bits(8)
	r.bits(16) // constraint flags, level
	r.ue()     // identifier

	switch profile {
	case 44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244:
		skipH264Format(r)
	}

	r.ue() // log2_max_frame_num
	switch r.ue() {
	case 0:
		r.ue() // log2_max_pic_order_cnt_lsb
	case 1:
		r.bit()
		r.ues(2)
		r.ues(int(min(r.ue(), 255)))
	}
	r.ue()  // max_num_ref_frames
	r.bit() // gaps_in_frame_num_value_allowed
	r.ues(2)
	if info.interlaced = !r.flag(); info.interlaced { // frame_mbs_only
		r.bit()
	}
	r.bit()       // direct_8x8_inference
	if r.flag() { // cropping
		r.ues(4)
	}
	if r.bad {
		return info, false
	}

	if vui := r.flag(); vui {
		skipVideoSignal(r)
		if timing := r.flag(); timing {
			scale, rate := r.bits(32), r.bits(32)
			if !r.bad {
				info.duration = seconds(2*float64(scale), float64(rate)) // a tick is a field
			}
		}
	}

	return info, true
}

// skipH264Format passes over the sample format and scaling lists of the high
// profiles.
func skipH264Format(r *bitReader) {
	lists := 8
	if chroma := r.ue(); chroma == 3 {
		r.bit()
		lists = 12
	}
	r.ues(2) // bit depths
	r.bit()
	if matrix := r.flag(); !matrix {
		return
	}

	for i := range lists {
		if present := r.flag(); !present {
			continue
		}
		size := 16
		if i >= 6 {
			size = 64
		}
		skipScalingList(r, size)
	}
}

// skipScalingList reads deltas until the next scale becomes 0 (7.3.2.1.1.1).
func skipScalingList(r *bitReader, size int) {
	last, next := int64(8), int64(8)
	for i := 0; i < size && next != 0 && !r.bad; i++ {
		code := int64(r.ue())
		delta := (code + 1) / 2
		if code%2 == 0 {
			delta = -delta
		}
		if next = (last + delta) & 0xff; next != 0 {
			last = next
		}
	}
}

// skipVideoSignal passes over the beginning of a VUI, which both codecs share.
func skipVideoSignal(r *bitReader) {
	if aspect := r.flag(); aspect && r.bits(8) == 255 {
		r.bits(32)
	}
	if overscan := r.flag(); overscan {
		r.bit()
	}
	if signal := r.flag(); signal {
		r.bits(4)
		if colour := r.flag(); colour {
			r.bits(24)
		}
	}
	if chroma := r.flag(); chroma {
		r.ues(2)
	}
}

// sliceB reports whether a slice refers to later pictures (H.264 7.3.3). Data
// partitions B and C have another header, and follow an A.
func sliceB(nal []byte) bool {
	if typ := nal[0] & 0x1f; typ == 3 || typ == 4 {
		return false
	}

	r := newBitReader(nal[1:])
	r.ue() // first_mb_in_slice

	return r.ue()%5 == 1 && !r.bad
}
