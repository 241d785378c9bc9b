package slate

// bitReader reads the fields of a parameter set or a slice header, leaving out
// the emulation prevention bytes (00 00 03) of H.264 7.4.1 and H.265 7.4.2.
// After a read beyond the end, bad is set and all further reads give 0.
type bitReader struct {
	p     []byte
	left  int // unread bits of p[0]
	zeros int // zero bytes in a row before p[0]
	bad   bool
}

func newBitReader(p []byte) *bitReader { return &bitReader{p: p, left: 8} }

func (r *bitReader) bit() uint32 {
	if r.left == 8 && r.zeros >= 2 && len(r.p) > 0 && r.p[0] == 3 {
		r.p, r.zeros = r.p[1:], 0
	}
	if len(r.p) == 0 {
		r.bad = true
		return 0
	}

	r.left--
	v := uint32(r.p[0]>>r.left) & 1
	if r.left == 0 {
		if r.p[0] == 0 {
			r.zeros++
		} else {
			r.zeros = 0
		}
		r.p, r.left = r.p[1:], 8
	}

	return v
}

// bits reads up to 32 bits. To skip more, the value is of no interest.
func (r *bitReader) bits(n int) (v uint32) {
	for range n {
		v = v<<1 | r.bit()
	}

	return v
}

func (r *bitReader) flag() bool { return r.bit() != 0 }

// ue reads an Exp-Golomb number; of a signed one it reads the code.
func (r *bitReader) ue() uint32 {
	zeros := 0
	for r.bit() == 0 {
		if zeros++; r.bad || zeros > 31 {
			r.bad = true
			return 0
		}
	}

	return 1<<zeros - 1 + r.bits(zeros)
}

// ues skips n Exp-Golomb numbers.
func (r *bitReader) ues(n int) {
	for i := 0; i < n && !r.bad; i++ {
		r.ue()
	}
}
