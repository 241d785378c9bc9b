package payload

// bitReader reads the fields at the start of a parameter set, leaving out the
// emulation prevention bytes (00 00 03) of H.264 7.4.1 and H.265 7.4.2, which
// VP9 and AV1 do not have (raw). After a read beyond the end, bad is set and all
// further reads give 0.
type bitReader struct {
	p     []byte
	raw   bool
	at    int  // next byte
	left  uint // unread bits of cur
	cur   byte
	zeros int // zero bytes in a row before p[at]
	bad   bool
}

func (r *bitReader) bit() uint32 {
	if r.left == 0 && !r.load() {
		return 0
	}
	r.left--

	return uint32(r.cur>>r.left) & 1
}

func (r *bitReader) load() bool {
	if !r.raw && r.zeros >= 2 && r.at < len(r.p) && r.p[r.at] == 3 {
		r.at++
		r.zeros = 0
	}
	if r.at >= len(r.p) {
		r.bad = true
		return false
	}

	r.cur, r.left = r.p[r.at], 8
	r.at++
	if r.cur == 0 {
		r.zeros++
	} else {
		r.zeros = 0
	}

	return true
}

func (r *bitReader) bits(n int) (v uint32) {
	for range n {
		v = v<<1 | r.bit()
	}

	return v
}

// flag reads one bit as a truth value.
func (r *bitReader) flag() bool { return r.bit() != 0 }

// ue reads an Exp-Golomb number. Identifiers and sizes are below 2^16; a longer
// code is an error.
func (r *bitReader) ue() uint32 { return r.golomb(16) }

// se reads a signed Exp-Golomb number of up to 32 bits.
func (r *bitReader) se() int32 {
	v := r.golomb(31)
	if v&1 != 0 {
		return int32(v/2 + 1)
	}

	return -int32(v / 2)
}

// golomb reads an Exp-Golomb number whose code begins with at most limit (31)
// zeros.
func (r *bitReader) golomb(limit int) uint32 {
	zeros := 0
	for r.bit() == 0 {
		zeros++
		if r.bad || zeros > limit {
			r.bad = true
			return 0
		}
	}

	return 1<<zeros - 1 + r.bits(zeros)
}
