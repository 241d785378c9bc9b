package leg

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	pipeDepth = 16
	// slotIdle is how long a handshake keeps its slot without being seen to
	// work: longer than any flight takes to compute, short enough that a peer
	// that stalls costs the others nothing.
	slotIdle = 2 * time.Millisecond
)

// pipe is the net.PacketConn below pion's DTLS connection: the leg pushes what
// arrives, writes go to the leg's path.
//
// It also bounds how many handshakes compute at once. A slot is taken with
// each datagram that is handed to the handshake and given back when the answer
// is written or nothing happens; waiting for the peer holds none, so that
// peers that never finish cannot keep others out.
type pipe struct {
	leg  *Leg
	in   chan []byte
	done chan struct{}
	once sync.Once

	holding atomic.Bool
	free    atomic.Bool // the handshake is over: no slots any more

	mu      sync.Mutex
	expired chan struct{} // closed when the read deadline has passed
	timer   *time.Timer
}

func newPipe(l *Leg) *pipe {
	return &pipe{
		leg: l, in: make(chan []byte, pipeDepth),
		done: make(chan struct{}), expired: make(chan struct{}),
	}
}

// push queues a datagram, which it keeps. False when the queue is full.
func (p *pipe) push(b []byte) bool {
	select {
	case p.in <- b:
		return true
	default:
		return false
	}
}

func (p *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	p.mu.Lock()
	expired := p.expired
	p.mu.Unlock()
	var idle <-chan time.Time
	if p.holding.Load() {
		t := time.NewTimer(slotIdle)
		defer t.Stop()
		idle = t.C
	}
	for {
		select {
		case d := <-p.in:
			if err := p.acquire(expired); err != nil {
				return 0, nil, err
			}
			return copy(b, d), pipeAddr{}, nil
		case <-idle:
			idle = nil
			p.release()
		case <-p.done:
			return 0, nil, net.ErrClosed
		case <-expired:
			return 0, nil, os.ErrDeadlineExceeded
		}
	}
}

func (p *pipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	p.leg.sendDTLS(b)
	p.release()
	return len(b), nil
}

func (p *pipe) acquire(expired <-chan struct{}) error {
	if p.free.Load() || p.holding.Load() {
		return nil
	}
	select {
	case p.leg.t.slots <- struct{}{}:
	case <-p.done:
		return net.ErrClosed
	case <-expired:
		return os.ErrDeadlineExceeded
	}
	p.holding.Store(true)
	if p.free.Load() {
		p.release()
	}
	return nil
}

func (p *pipe) release() {
	if p.holding.CompareAndSwap(true, false) {
		<-p.leg.t.slots
	}
}

// handshakeDone ends the use of slots.
func (p *pipe) handshakeDone() {
	p.free.Store(true)
	p.release()
}

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.done) })
	p.handshakeDone()
	return nil
}

func (p *pipe) SetReadDeadline(at time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	select {
	case <-p.expired:
		p.expired = make(chan struct{})
	default:
	}
	if at.IsZero() {
		return nil
	}
	expired := p.expired
	if wait := time.Until(at); wait > 0 {
		p.timer = time.AfterFunc(wait, func() { close(expired) })
	} else {
		close(expired)
	}
	return nil
}

// SetDeadline sets the read deadline: writes never block.
func (p *pipe) SetDeadline(at time.Time) error   { return p.SetReadDeadline(at) }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }
func (p *pipe) LocalAddr() net.Addr              { return pipeAddr{} }

// pipeAddr stands for the peer, whose address may change.
type pipeAddr struct{}

func (pipeAddr) Network() string { return "leg" }
func (pipeAddr) String() string  { return "leg" }
