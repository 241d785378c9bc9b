package harness

import "strings"

func splitFmtp(fmtp string) []string {
	parts := strings.Split(fmtp, ";")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// bitWriter writes an H.264 bit stream.
type bitWriter struct {
	b    []byte
	free int
}

func (w *bitWriter) bits(v uint32, n int) {
	for i := n - 1; i >= 0; i-- {
		if w.free == 0 {
			w.b, w.free = append(w.b, 0), 8
		}
		w.free--
		w.b[len(w.b)-1] |= byte(v>>i&1) << w.free
	}
}

// ue writes an unsigned Exp-Golomb code.
func (w *bitWriter) ue(v uint32) {
	n := 0
	for (v+1)>>(n+1) != 0 {
		n++
	}
	w.bits(0, n)
	w.bits(v+1, n+1)
}

// h264SPS makes a sequence parameter set of the profile and picture size.
func h264SPS(profile [3]byte, pic Picture) []byte {
	w := &bitWriter{}
	w.bits(0x67, 8)
	for _, b := range profile {
		w.bits(uint32(b), 8)
	}
	w.ue(0) // seq_parameter_set_id
	if profile[0] == 100 {
		w.ue(1) // chroma_format_idc 4:2:0
		w.ue(0) // bit_depth_luma_minus8
		w.ue(0) // bit_depth_chroma_minus8
		w.bits(0, 2)
	}
	w.ue(0) // log2_max_frame_num_minus4
	w.ue(2) // pic_order_cnt_type
	w.ue(1) // max_num_ref_frames
	w.bits(0, 1)
	mbW, mbH := (pic.Width+15)/16, (pic.Height+15)/16
	w.ue(uint32(mbW - 1))
	w.ue(uint32(mbH - 1))
	w.bits(1, 1) // frame_mbs_only_flag
	w.bits(1, 1) // direct_8x8_inference_flag
	cropX, cropY := (mbW*16-pic.Width)/2, (mbH*16-pic.Height)/2
	if cropX|cropY == 0 {
		w.bits(0, 1)
	} else {
		w.bits(1, 1)
		for _, v := range []int{0, cropX, 0, cropY} {
			w.ue(uint32(v))
		}
	}
	w.bits(0, 1) // vui_parameters_present_flag
	w.bits(1, 1) // stop bit
	return escape(w.b)
}

// escape inserts emulation prevention bytes.
func escape(b []byte) []byte {
	var out []byte
	zeros := 0
	for _, c := range b {
		if zeros >= 2 && c <= 3 {
			out, zeros = append(out, 3), 0
		}
		if c == 0 {
			zeros++
		} else {
			zeros = 0
		}
		out = append(out, c)
	}
	return out
}
