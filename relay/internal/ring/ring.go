// Package ring keeps the newest packets of one track, once for all who read
// them.
//
// A Ring is a circle of fixed slots in order of arrival. Writers append clear
// RTP payloads together with what was parsed of them; sending loops follow with
// a cursor (an arrival index) and copy what is new into a Batch of their own, so
// that a packet is copied once per loop and not once per viewer, and no loop can
// hold a writer up for longer than that copy. Retransmission looks a packet up
// by its sequence number.
//
// An arrival index grows by one for each packet and never wraps (64 bits).
package ring

import (
	"sync"
	"sync/atomic"
)

// MaxPayload is the largest payload a slot holds, in bytes: what fits an
// Ethernet frame.
const MaxPayload = 1480

// slab is the number of slots whose memory is taken at once, so that a quiet
// track does not cost a whole ring.
const slab = 32

const noIndex = ^uint64(0)

// Flags tell what a packet means for those who join, leave or skip.
type Flags uint8

const (
	Marker   Flags = 1 << iota // RTP marker bit
	Keyframe                   // first packet of a random access point
)

// Meta is what is known of a packet besides its payload.
type Meta struct {
	Seq     uint64 // extended sequence number in the program's timeline
	Arrival int64  // monotonic ns
	TS      uint32 // RTP timestamp in the program's timeline
	Codec   uint8  // index of its codec in the program
	Flags   Flags
}

type slot struct {
	Meta
	n   int
	buf []byte
}

// Ring is safe for concurrent use.
type Ring struct {
	mu    sync.Mutex
	size  uint64
	slots []slot   // made with the first packet
	bySeq []uint64 // sequence number modulo size -> arrival index
	next  atomic.Uint64
	key   uint64 // arrival index of the newest key frame's first packet
}

// New makes a ring of size slots; size is rounded up to a power of two.
func New(size int) *Ring {
	n := slab
	for n < size {
		n *= 2
	}
	return &Ring{size: uint64(n), key: noIndex}
}

// make takes the memory of the slots, without that of their payloads.
func (r *Ring) make() {
	r.slots, r.bySeq = make([]slot, r.size), make([]uint64, r.size)
	for i := range r.bySeq {
		r.bySeq[i] = noIndex
	}
}

// Append stores a copy of the packet and returns false if the payload does not
// fit a slot.
func (r *Ring) Append(m Meta, payload []byte) bool {
	if len(payload) > MaxPayload {
		return false
	}
	r.mu.Lock()
	if r.slots == nil {
		r.make()
	}
	i := r.next.Load()
	s := &r.slots[i&r.mask()]
	if s.buf == nil {
		r.grow(int(i & r.mask()))
	}
	s.Meta = m
	s.n = copy(s.buf, payload)
	r.bySeq[m.Seq&r.mask()] = i
	if m.Flags&Keyframe != 0 {
		r.key = i
	}
	r.next.Store(i + 1)
	r.mu.Unlock()
	return true
}

func (r *Ring) mask() uint64 { return r.size - 1 }

// grow gives memory to the slab that holds slot i.
func (r *Ring) grow(i int) {
	first := i &^ (slab - 1)
	mem := make([]byte, slab*MaxPayload)
	for j := range slab {
		r.slots[first+j].buf = mem[j*MaxPayload : (j+1)*MaxPayload : (j+1)*MaxPayload]
	}
}

// Next is the arrival index the next packet will get.
func (r *Ring) Next() uint64 { return r.next.Load() }

// Keyframe returns the arrival index at which the newest key frame starts, if
// the ring still holds it and all that came after.
func (r *Ring) Keyframe() (uint64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.key, r.key != noIndex && r.next.Load()-r.key <= r.size
}

// Forget makes Keyframe answer no until the next one: what is held belongs to a
// source whose pictures the next packets do not continue.
func (r *Ring) Forget() {
	r.mu.Lock()
	r.key = noIndex
	r.mu.Unlock()
}

// Read copies the packets from arrival index from (but not beyond limit) into b
// until b is full. It returns the index to go on from. missed is true when
// packets at from were overwritten already: the reader fell behind by a whole
// ring.
func (r *Ring) Read(from, limit uint64, b *Batch) (next uint64, missed bool) {
	b.Reset()
	r.mu.Lock()
	defer r.mu.Unlock()
	head := min(r.next.Load(), limit)
	if r.next.Load() > from+r.size {
		from, missed = r.next.Load()-r.size, true
	}
	for ; from < head && b.n < len(b.pkts); from++ {
		s := &r.slots[from&r.mask()]
		b.add(&s.Meta, s.buf[:s.n])
	}
	return from, missed
}

// Get copies the packet with this sequence number into b; false if the ring
// does not hold it.
func (r *Ring) Get(seq uint64, b *Batch) bool {
	b.Reset()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.slots == nil {
		return false
	}
	i := r.bySeq[seq&r.mask()]
	if i == noIndex {
		return false
	}
	s := &r.slots[i&r.mask()]
	if s.Seq != seq || s.buf == nil {
		return false
	}
	b.add(&s.Meta, s.buf[:s.n])
	return true
}
