package ring

// BatchSize is how many packets a Batch holds: what one viewer gets in one
// burst at the most.
const BatchSize = 16

const (
	headroom = 2  // for the original sequence number of RFC 4588
	padRoom  = 16 // for RTP padding
	stride   = headroom + MaxPayload + padRoom
	// maxPad is the most bytes a packet is padded by to make a run of equal
	// sizes. Encoders that split a frame evenly differ by one byte.
	maxPad = 4
)

// Packet is one packet of a Batch. The payload is the batch's copy and stays
// until the batch is filled again.
type Packet struct {
	Meta
	buf []byte
	n   int
	pad int
}

// Payload is the RTP payload.
func (p *Packet) Payload() []byte { return p.buf[headroom : headroom+p.n] }

// Padded is the payload followed by the RTP padding (RFC 3550 5.1) that makes it
// as long as its neighbours; the same as Payload when Pad is 0.
func (p *Packet) Padded() []byte { return p.buf[headroom : headroom+p.n+p.pad] }

// Pad is the number of padding bytes in Padded.
func (p *Packet) Pad() int { return p.pad }

// Retransmission is the payload of an RTX packet (RFC 4588 4): the original
// sequence number, as the receiver knows it, and the payload.
func (p *Packet) Retransmission(osn uint16) []byte {
	p.buf[0], p.buf[1] = byte(osn>>8), byte(osn)
	return p.buf[:headroom+p.n]
}

// Batch is a reader's own copy of some packets. It is used by one goroutine.
type Batch struct {
	pkts [BatchSize]Packet
	n    int
	mem  []byte
}

// NewBatch makes an empty batch.
func NewBatch() *Batch {
	b := &Batch{mem: make([]byte, BatchSize*stride)}
	for i := range b.pkts {
		b.pkts[i].buf = b.mem[i*stride : (i+1)*stride : (i+1)*stride]
	}
	return b
}

// Reset empties the batch.
func (b *Batch) Reset() { b.n = 0 }

// Packets are those filled in.
func (b *Batch) Packets() []Packet { return b.pkts[:b.n] }

// Full tells that there was no room for more.
func (b *Batch) Full() bool { return b.n == len(b.pkts) }

func (b *Batch) add(m *Meta, payload []byte) {
	p := &b.pkts[b.n]
	p.Meta, p.n, p.pad = *m, len(payload), 0
	copy(p.buf[headroom:], payload)
	b.n++
}

// Level decides which packets to pad so that a viewer's burst becomes long
// runs of equal sizes, which one segmented message can carry (only the last of
// a run may be shorter). It is done once for all viewers.
func (b *Batch) Level() {
	for i := 0; i < b.n; {
		i = b.levelRun(i)
	}
}

// levelRun levels the longest run that starts at i and returns where the next
// one starts.
func (b *Batch) levelRun(i int) int {
	lo, hi := b.pkts[i].n, b.pkts[i].n
	end := i + 1
	for ; end < b.n; end++ {
		n := b.pkts[end].n
		if n+maxPad < hi { // shorter than padding evens out: it ends the run
			end++
			break
		}
		if max(hi, n)-lo > maxPad {
			break
		}
		lo, hi = min(lo, n), max(hi, n)
	}
	for j := i; j < end; j++ {
		p := &b.pkts[j]
		last := j == end-1
		if p.pad = hi - p.n; p.pad == 0 || (last && p.n < hi) {
			p.pad = 0
			continue
		}
		writePadding(p.buf[headroom+p.n:headroom+p.n+p.pad], p.pad)
	}
	return end
}

func writePadding(b []byte, n int) {
	clear(b)
	b[n-1] = byte(n)
}
