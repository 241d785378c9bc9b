package leg

import (
	"encoding/binary"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// tcpQueue is what may wait in a connection's queue, in bytes: about 0.8 s
	// of 2.5 Mbit/s. More would be latency, not help.
	tcpQueue  = 256 << 10
	tcpKeep   = 32 << 10         // a larger buffer is not kept when idle
	tcpWrite  = 10 * time.Second // for one write to make its way
	tcpLinger = time.Second      // for the last write of an ending leg
)

// tcpConn is the writing side of a connection: senders append frames to a
// queue, one goroutine writes all that waits in one call.
type tcpConn struct {
	conn   net.Conn
	wake   chan struct{}
	done   chan struct{} // closed by close
	closed atomic.Bool

	mu        sync.Mutex
	queue     []byte
	spare     []byte
	finishing bool // write what waits, then close
}

func newTCPConn(conn net.Conn) *tcpConn {
	return &tcpConn{conn: conn, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// enqueue appends one frame (RFC 4571 2). It never blocks.
func (c *tcpConn) enqueue(b []byte) error {
	if len(b) > math.MaxUint16 {
		return ErrFull
	}
	c.mu.Lock()
	if c.closed.Load() || c.finishing {
		c.mu.Unlock()
		return net.ErrClosed
	}
	if len(c.queue)+frameHeader+len(b) > tcpQueue {
		c.mu.Unlock()
		return ErrFull
	}
	c.queue = binary.BigEndian.AppendUint16(c.queue, uint16(len(b)))
	c.queue = append(c.queue, b...)
	c.mu.Unlock()
	c.signal()
	return nil
}

func (c *tcpConn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// drain is the writer goroutine.
func (c *tcpConn) drain() {
	defer c.close()
	for {
		select {
		case <-c.wake:
		case <-c.done:
			return
		}
		for {
			c.mu.Lock()
			out, last := c.queue, c.finishing
			c.queue = c.spare[:0]
			c.spare = nil
			c.mu.Unlock()
			if len(out) == 0 {
				c.mu.Lock()
				c.spare = keep(out)
				c.mu.Unlock()
				if last {
					return
				}
				break
			}
			if !last { // finish has set its own deadline
				_ = c.conn.SetWriteDeadline(time.Now().Add(tcpWrite))
			}
			if _, err := c.conn.Write(out); err != nil {
				return
			}
			c.mu.Lock()
			c.spare = keep(out)
			c.mu.Unlock()
		}
	}
}

func keep(b []byte) []byte {
	if cap(b) > tcpKeep {
		return nil
	}
	return b[:0]
}

// finish closes the connection when what waits is written, or soon.
func (c *tcpConn) finish() {
	c.mu.Lock()
	c.finishing = true
	c.mu.Unlock()
	_ = c.conn.SetWriteDeadline(time.Now().Add(tcpLinger))
	c.signal()
}

// await waits until a finishing connection has closed, or for the limit.
func (c *tcpConn) await(limit <-chan struct{}) {
	c.mu.Lock()
	finishing := c.finishing
	c.mu.Unlock()
	if !finishing {
		return
	}
	select {
	case <-c.done:
	case <-limit:
	}
}

func (c *tcpConn) close() {
	if !c.closed.Swap(true) {
		close(c.done)
		_ = c.conn.Close()
	}
}

// abandon closes a connection whose goroutines were never started.
func (c *tcpConn) abandon() { c.close() }

func (c *tcpConn) isClosed() bool { return c.closed.Load() }
