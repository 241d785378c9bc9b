package udpio

import "sync/atomic"

const (
	// maxMessages is the most messages of one system call.
	maxMessages = 64
	// maxMessage bounds the bytes of one message, below the limit of a datagram.
	maxMessage = 65000
	// arenaLen is the room for the packets of one flush. It is bounded by the cache,
	// not by the system: more than some ten long messages per call gain nothing.
	arenaLen = 256 << 10

	// usualPacket is a size that most packets keep below.
	usualPacket = 1250

	defaultSegments = 16
	maxSegments     = 64 // UDP_MAX_SEGMENTS of older kernels
)

// SenderOptions of [NewSender].
type SenderOptions struct {
	// MaxSegments is the most packets of one message, 1 to 64; 0 means 16. A message
	// reaches the peer's link as one burst, and 8 packets have most of the gain.
	MaxSegments int
}

// SenderStats counts what a [Sender] has done since it was made.
type SenderStats struct {
	Packets  uint64 // taken by the kernel
	Messages uint64 // that these packets were in
	Syscalls uint64 // that these messages took
	Bytes    uint64 // of these packets, without UDP and IP headers
	Errors   uint64 // packets the kernel refused, on account of their peer or address
	Dropped  uint64 // packets given up: send buffer full, socket closed, too long
}

// Sender collects packets for many peers and sends them in few system calls. It is
// for one goroutine, except Stats.
//
//	sender.Begin(sock, &peer)
//	b := sender.Buffer(n)
//	b = append(b, packet...)
//	sender.Commit(b)
//	...
//	sender.Flush()
type Sender struct {
	segments int
	arena    []byte
	used     int // end of the last packet that was committed

	sock    *Socket
	peer    Peer
	segment bool // sock takes segmented messages

	// The run that is open: count packets, from start to used.
	start, count int
	size         int  // of all packets in it but the last
	ended        bool // by a shorter packet

	out   *batch
	err   error // of a flush the caller did not ask for
	stats counters
}

// counters are written once per flush, so that they may be read from anywhere.
type counters struct {
	packets, messages, syscalls, bytes, errors, dropped atomic.Uint64
}

func (c *counters) add(t *tally) {
	c.packets.Add(t.packets)
	c.messages.Add(t.messages)
	c.syscalls.Add(t.syscalls)
	c.bytes.Add(t.bytes)
	c.errors.Add(t.errors)
	c.dropped.Add(t.dropped)
}

// tally is what one flush did.
type tally struct {
	packets, messages, syscalls, bytes, errors, dropped uint64
}

// NewSender returns a sender with a buffer of its own, of about 300 KiB.
func NewSender(opts SenderOptions) *Sender {
	if opts.MaxSegments <= 0 {
		opts.MaxSegments = defaultSegments
	}
	return &Sender{
		segments: min(opts.MaxSegments, maxSegments),
		arena:    make([]byte, arenaLen),
		out:      newBatch(maxMessages),
	}
}

// Begin makes `to`, as seen from sock, the peer of the packets that follow. A change
// of the socket sends what was collected for the old one.
func (s *Sender) Begin(sock *Socket, to *Peer) {
	s.closeRun()
	if sock != s.sock || s.used+s.segments*usualPacket > len(s.arena) {
		s.flush() // the latter so that the run does not have to be cut
	}
	s.sock, s.peer, s.segment = sock, *to, sock.GSO()
}

// Buffer returns the place of the next packet: length 0, capacity at least n. It is
// valid until the next call of Buffer, Begin or Flush. What was collected is sent
// first if there is no room left.
func (s *Sender) Buffer(n int) []byte {
	if n > maxMessage {
		return make([]byte, 0, n) // Commit will not take it
	}
	if s.used+n > len(s.arena) {
		s.flush()
	}
	return s.arena[s.used:s.used]
}

// Commit adds the packet that was written to the slice from Buffer, whose length is
// now that of the packet. Nothing is added if it is empty. A slice that outgrew its
// capacity is copied back.
func (s *Sender) Commit(b []byte) {
	if len(b) == 0 {
		return
	}
	if len(b) > maxMessage || s.sock == nil {
		s.stats.dropped.Add(1)
		return
	}
	if s.used >= len(s.arena) || &b[0] != &s.arena[s.used] {
		b = append(s.Buffer(len(b)), b...)
	}
	if s.count > 0 && !s.extends(len(b)) {
		s.closeRun()
	}
	if s.count == 0 {
		s.start, s.size, s.ended = s.used, len(b), false
	}
	s.ended = len(b) < s.size
	s.used += len(b)
	s.count++
}

// extends tells whether a packet of n bytes can join the open run.
func (s *Sender) extends(n int) bool {
	return s.segment && !s.ended && n <= s.size && s.count < s.segments && s.used-s.start+n <= maxMessage
}

// closeRun makes the open run a message. It may send the messages before it.
func (s *Sender) closeRun() {
	if s.count == 0 {
		return
	}
	if s.out.n == maxMessages {
		s.send()
	}
	if !s.out.add(s.sock, &s.peer, s.arena[s.start:s.used], s.size, s.count) {
		s.stats.errors.Add(uint64(s.count))
	}
	s.count = 0
}

// Flush sends everything that was committed. Packets that could not be sent are
// counted in [Sender.Stats] and are no error; the error is [net.ErrClosed] if a
// socket was closed.
func (s *Sender) Flush() error {
	s.flush()
	err := s.err
	s.err = nil
	return err
}

func (s *Sender) flush() {
	s.closeRun()
	if s.out.n > 0 {
		s.send()
	}
	s.used = 0
}

func (s *Sender) send() {
	var t tally
	if err := s.out.send(s.sock, &t); err != nil {
		s.err = err
	}
	s.stats.add(&t)
}

// Stats returns the counters. It may be called from any goroutine.
func (s *Sender) Stats() SenderStats {
	c := &s.stats
	return SenderStats{
		Packets:  c.packets.Load(),
		Messages: c.messages.Load(),
		Syscalls: c.syscalls.Load(),
		Bytes:    c.bytes.Load(),
		Errors:   c.errors.Load(),
		Dropped:  c.dropped.Load(),
	}
}
