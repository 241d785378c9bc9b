package seqmap

// Unwrapper extends 16-bit sequence numbers to 64 bits (RFC 3550 A.1), for
// packets that arrive within 2^15 of the newest. The low 16 bits of the result
// are the number itself. The first number v becomes 65536+v, so that packets
// from before it do not fall below 0.
type Unwrapper struct {
	newest  uint64
	started bool
}

// Unwrap extends v, which becomes the newest number if it is ahead.
func (u *Unwrapper) Unwrap(v uint16) uint64 {
	ext := u.Peek(v)
	if !u.started || ext > u.newest {
		u.newest, u.started = ext, true
	}

	return ext
}

// Peek extends v and remembers nothing.
func (u *Unwrapper) Peek(v uint16) uint64 {
	if !u.started {
		return 1<<16 + uint64(v)
	}

	return u.newest + uint64(int64(int16(v-uint16(u.newest))))
}

// TimestampUnwrapper extends 32-bit RTP timestamps to 64 bits, for timestamps
// within 2^31 of the newest. The low 32 bits of the result are the timestamp
// itself, and the first timestamp v becomes 2^32+v.
type TimestampUnwrapper struct {
	newest  uint64
	started bool
}

// Unwrap extends v, which becomes the newest timestamp if it is ahead.
func (u *TimestampUnwrapper) Unwrap(v uint32) uint64 {
	ext := u.Peek(v)
	if !u.started || ext > u.newest {
		u.newest, u.started = ext, true
	}

	return ext
}

// Peek extends v and remembers nothing.
func (u *TimestampUnwrapper) Peek(v uint32) uint64 {
	if !u.started {
		return 1<<32 + uint64(v)
	}

	return u.newest + uint64(int64(int32(v-uint32(u.newest))))
}
