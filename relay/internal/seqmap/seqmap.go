package seqmap

// history is how many steps of the staircase are remembered.
const history = 64

// step holds for the input numbers from first up to, but without, end. Numbers
// between the end of one step and the start of the next were dropped.
type step struct {
	first, end uint64
	offset     uint64 // out = in + offset, modulo 2^64
}

const open = ^uint64(0) // end of the last step

// Map relates extended input numbers to extended output numbers, all below 2^63.
// The zero value is the identity.
type Map struct {
	steps [history]step // a ring; step i is at i % history
	count uint64        // steps ever made; the last history of them are valid
	next  uint64        // the newest input number forwarded, plus 1
}

// Map returns the output number of in. A number of the past gets the offset
// that held then. The result is false if in was dropped, lies before the last
// Reset, or is older than the 64 remembered changes: do not forward it.
func (m *Map) Map(in uint64) (out uint64, ok bool) {
	m.start()
	for i := range m.past() + 1 {
		s := m.back(i)
		if in >= s.end {
			return 0, false // dropped
		}
		if in >= s.first {
			m.next = max(m.next, in+1)
			return in + s.offset, true
		}
	}

	return 0, false
}

// Drop leaves in out and closes the gap: the number after it gets the output
// number that in would have had. Losses before in stay holes. The result is
// false if in is not newer than every number so far; its place is then visible
// already, and the caller must forward it.
func (m *Map) Drop(in uint64) bool {
	last := m.last()
	if in < m.next || in < last.first {
		return false
	}

	if in == last.first {
		last.first++
		last.offset--
	} else {
		last.end = in
		m.push(in+1, last.offset-1)
	}

	return true
}

// Insert reserves n output numbers directly behind the newest number so far,
// for packets that the relay adds, and returns the first of them. Before any
// number was seen on a zero Map "behind the newest" means nothing; use
// [Map.InsertBefore] or [Map.Reset] then.
func (m *Map) Insert(n uint64) (out uint64) {
	out, _ = m.InsertBefore(max(m.next, m.last().first), n)
	return out
}

// InsertBefore reserves n output numbers directly in front of in, and returns
// the first of them. Numbers below in that are still missing keep their places
// before the added packets. The result is false if in is not newer than every
// number so far.
func (m *Map) InsertBefore(in, n uint64) (out uint64, ok bool) {
	last := m.last()
	if in < m.next || in < last.first {
		return 0, false
	}

	out = in + last.offset
	switch {
	case n == 0:
	case in == last.first:
		last.offset += n
	default:
		last.end = in
		m.push(in, last.offset+n)
	}

	return out, true
}

// Reset starts anew with another source: in becomes out, and the numbers behind
// it follow. Numbers before in and before out are refused from now on.
func (m *Map) Reset(in, out uint64) {
	m.count = 0
	m.next = in
	m.push(in, out-in)
}

// Inverse returns the input number that went out as out. The result is false
// for a number that was added, was not reached yet, lies before the last Reset,
// or is older than the remembered changes.
func (m *Map) Inverse(out uint64) (in uint64, ok bool) {
	m.start()
	for i := range m.past() + 1 {
		s := m.back(i)
		in = out - s.offset
		if in >= s.first && in < s.end && in < m.next {
			return in, true
		}
	}

	return 0, false
}

// start makes the zero value the identity.
func (m *Map) start() {
	if m.count == 0 {
		m.push(0, 0)
	}
}

// last returns the step that holds now.
func (m *Map) last() *step {
	m.start()
	return m.back(0)
}

// past is the number of valid steps before the last.
func (m *Map) past() uint64 { return min(m.count, history) - 1 }

// back returns the step i changes ago.
func (m *Map) back(i uint64) *step { return &m.steps[(m.count-1-i)%history] }

func (m *Map) push(first, offset uint64) {
	m.steps[m.count%history] = step{first: first, end: open, offset: offset}
	m.count++
}
