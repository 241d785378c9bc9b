//go:build !linux || udpio_portable

// The tag udpio_portable builds this on Linux too, so that the tests can run it.

package udpio

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"
)

// setup sets the buffers. There is no segmentation and no packet information.
func (s *Socket) setup(opts Options) error {
	s.inet6 = true // the net package maps addresses by itself
	_ = s.conn.SetReadBuffer(opts.ReadBufferBytes)
	_ = s.conn.SetWriteBuffer(opts.WriteBufferBytes)
	return nil
}

// ReadBuffer holds one datagram here. It belongs to one reader.
type ReadBuffer struct {
	peers [1]Peer
	data  [MaxPacket + 1]byte // one more, to see that a datagram is too long
	n     int
}

// NewReadBuffer returns an empty buffer.
func NewReadBuffer() *ReadBuffer { return new(ReadBuffer) }

func (b *ReadBuffer) packet(int) []byte { return b.data[:b.n] }

func (b *ReadBuffer) recv(s *Socket) (int, error) {
	n, from, err := s.conn.ReadFromUDPAddrPort(b.data[:])
	if err != nil {
		return 0, err
	}
	if n == 0 || n > MaxPacket {
		return 0, nil
	}
	b.n, b.peers[0] = n, PeerFrom(from, s.local.Addr())
	return 1, nil
}

// transient tells the errors that belong to one datagram or peer.
func transient(err error) bool {
	var e syscall.Errno
	if !errors.As(err, &e) {
		return false
	}
	if runtime.GOOS == "windows" {
		const msgSize, netReset, connReset = 10040, 10052, 10054 // WSAE*
		return e == msgSize || e == netReset || e == connReset
	}
	return e == syscall.ECONNREFUSED || e == syscall.EHOSTUNREACH || e == syscall.ENETUNREACH || e == syscall.EMSGSIZE
}

// batch is a list of datagrams to send one after the other.
type batch struct {
	n     int
	peers []Peer
	data  [][]byte
}

func newBatch(n int) *batch { return &batch{peers: make([]Peer, n), data: make([][]byte, n)} }

// add appends one datagram: size and count are those of a single packet, because no
// socket claims segmentation.
func (b *batch) add(_ *Socket, p *Peer, data []byte, _, _ int) bool {
	if *p == (Peer{}) {
		return false
	}
	b.peers[b.n], b.data[b.n] = *p, data
	b.n++
	return true
}

// send sends the batch and empties it. The deadline bounds the wait for room in the
// socket's buffer. It is the socket's and not ours alone, but all who write set it anew.
func (b *batch) send(s *Socket, t *tally) error {
	n := b.n
	b.n = 0
	_ = s.conn.SetWriteDeadline(time.Now().Add(fullWait))
	for i := range n {
		err := s.write(b.data[i], b.peers[i])
		t.syscalls++
		switch {
		case err == nil:
			t.packets++
			t.messages++
			t.bytes += uint64(len(b.data[i]))
		case errors.Is(err, net.ErrClosed):
			t.dropped += uint64(n - i)
			return net.ErrClosed
		case errors.Is(err, os.ErrDeadlineExceeded):
			t.dropped += uint64(n - i)
			return nil
		default:
			t.errors++
		}
	}
	return nil
}

// WriteTo sends one datagram to a peer. It may be called from any goroutine and waits
// at most some milliseconds. Errors: [net.ErrClosed], [ErrBufferFull], [ErrFamily], or
// what the system reports.
func (s *Socket) WriteTo(data []byte, p Peer) error {
	if p == (Peer{}) {
		return ErrFamily
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(fullWait))
	err := s.write(data, p)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, net.ErrClosed):
		return net.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrBufferFull
	}
	return fmt.Errorf("udpio: write to %v: %w", p, err)
}

func (s *Socket) write(data []byte, p Peer) error {
	if s.closed.Load() { // a wrapper may have left the inner socket open
		return net.ErrClosed
	}
	_, err := s.conn.WriteToUDPAddrPort(data, p.Remote())
	return err
}
