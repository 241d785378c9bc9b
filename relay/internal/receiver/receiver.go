package receiver

// Status says what a packet is to the stream.
type Status uint8

const (
	// Fresh is ahead of all packets so far. Numbers skipped became holes.
	Fresh Status = iota
	// Late fills a hole. It is wanted.
	Late
	// Duplicate was received before. Drop it.
	Duplicate
	// TooOld is too far behind to be told from a duplicate. Drop it.
	TooOld
	// Restart begins a new run of numbers, unrelated to the packets before it.
	// The extended number is higher than all before, by any distance: renumber
	// from here, and wait for a key frame.
	Restart
)

var statusNames = [...]string{"fresh", "late", "duplicate", "too old", "restart"}

func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}

	return "unknown"
}

const (
	window     = 1024 // numbers remembered behind the newest, a power of 2
	maxJump    = 3000 // farther is a restart (MAX_DROPOUT of RFC 3550 A.1)
	staleRun   = 64   // old packets in direct order that make a restart, too
	guardTime  = second
	second     = int64(1e9)
	firstCycle = 1 << 16 // added to numbers, so that early ones stay above 0
)

// Receiver is the state of one source stream. Make it with [New].
type Receiver struct {
	clockRate float64

	started bool
	base    uint64 // lowest number since the last restart
	highest uint64
	seen    [window / 64]uint64

	stale        uint16 // length of the current run of old packets
	staleNext    uint16 // the number that would continue it
	replaced     uint64 // highest number before the last restart
	replacedTime int64  // when that was

	holes  holes
	count  counts
	jitter jitter
	rate   rate
	sender senderReport
}

// New returns the state for a stream whose RTP clock runs at clockRate Hz.
func New(clockRate uint32) *Receiver {
	return &Receiver{clockRate: float64(max(clockRate, 1))}
}

// Packet accounts for one packet with the sequence number seq, timestamp ts and
// size bytes, which arrived at the given time. Set recovered if it came by way
// of a retransmission stream (RFC 4588); such packets fill holes but tell
// nothing about the network, and do not enter the reports.
//
// It returns the extended sequence number, at least 32768, and what the packet
// is. The number means nothing for TooOld.
func (r *Receiver) Packet(seq uint16, ts uint32, size int, arrival int64, recovered bool) (ext uint64, status Status) {
	ext, status = r.place(seq, arrival, recovered)

	switch status {
	case Duplicate, TooOld:
		r.count.refused(status, recovered)
		return ext, status
	case Fresh, Restart:
		if !recovered {
			r.jitter.update(ts, arrival, r.clockRate)
		}
	case Late:
		if asked := r.holes.fill(ext); asked || recovered {
			r.count.recovered++
		}
	}
	r.mark(ext)
	r.count.accepted(size, recovered)
	r.rate.add(size, arrival)
	r.count.lastArrival = arrival

	return ext, status
}

// place finds the extended number and moves the window.
func (r *Receiver) place(seq uint16, arrival int64, recovered bool) (ext uint64, status Status) {
	if !r.started {
		r.started = true
		r.base = firstCycle + uint64(seq)
		r.highest = r.base
		return r.base, Fresh
	}

	distance := int(int16(seq - uint16(r.highest)))
	ext = r.highest + uint64(int64(distance))

	switch {
	case distance > 0 && distance <= maxJump:
		r.advance(ext, arrival)
		r.stale = 0
		return ext, Fresh
	case distance > -window && distance <= 0:
		if !r.marked(ext) {
			r.base = min(r.base, ext)
			return ext, Late
		}
		status = Duplicate
	default:
		status = TooOld
	}

	if recovered || !r.restarts(seq, distance, arrival) {
		return ext, status
	}

	return r.restart(seq, arrival), Restart
}

// restarts decides whether an unexpected packet shows that the source started
// over. A far jump shows it at once, so that the key frame which such a source
// begins with is not lost; unless the packet is a straggler from before a
// restart just seen. A new run that by chance begins a little behind the old one
// looks like old packets: then many of them in direct order show it.
func (r *Receiver) restarts(seq uint16, distance int, arrival int64) bool {
	if distance > maxJump || distance < -maxJump {
		behind := int(int16(seq - uint16(r.replaced)))
		straggler := r.replaced != 0 && arrival-r.replacedTime < guardTime &&
			behind > -maxJump && behind <= maxJump

		return !straggler
	}

	if seq != r.staleNext {
		r.stale = 0
	}
	r.stale++
	r.staleNext = seq + 1

	return r.stale >= staleRun
}

func (r *Receiver) restart(seq uint16, arrival int64) (ext uint64) {
	r.count.restart(r.highest - r.base + 1)
	r.replaced, r.replacedTime = r.highest, arrival

	ahead := uint64(seq - uint16(r.highest))
	if ahead == 0 {
		ahead = firstCycle
	}
	r.highest += ahead
	r.base = r.highest
	r.stale = 0
	r.seen = [window / 64]uint64{}
	r.jitter.started = false

	return r.highest
}

// advance moves the window up to ext and opens holes for the numbers skipped.
func (r *Receiver) advance(ext uint64, arrival int64) {
	for n := r.highest + 1; n < ext; n++ {
		r.seen[n%window/64] &^= 1 << (n % 64)
	}
	if ext > r.highest+1 {
		r.holes.open(r.highest+1, ext, arrival, r.count.unique)
	}
	r.highest = ext
}

func (r *Receiver) mark(ext uint64) { r.seen[ext%window/64] |= 1 << (ext % 64) }

func (r *Receiver) marked(ext uint64) bool { return r.seen[ext%window/64]>>(ext%64)&1 == 1 }
