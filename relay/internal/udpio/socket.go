package udpio

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// ReadBatch is the most datagrams one [Socket.Read] returns.
	ReadBatch = 64
	// MaxPacket is the length in bytes of the longest datagram that is read.
	MaxPacket = 2048

	defaultBuffer = 8 << 20
	// fullWait bounds the time one flush waits for room in the socket's buffer.
	fullWait = 5 * time.Millisecond
)

// ErrBufferFull is returned by [Socket.WriteTo] if the socket's send buffer stayed
// full: the datagram is lost.
var ErrBufferFull = errors.New("udpio: socket send buffer is full, datagram dropped")

// ErrFamily is returned by [Socket.WriteTo] for an address the socket cannot reach:
// IPv6 from an IPv4 socket, or the zero Peer.
var ErrFamily = errors.New("udpio: peer address does not fit the socket's address family")

// Options of a [Socket].
type Options struct {
	// DisableGSO sends every packet as a message of its own.
	DisableGSO bool
	// Sizes of the socket's kernel buffers in bytes; 0 means 8 MiB. Without
	// CAP_NET_ADMIN the kernel grants at most net.core.rmem_max and wmem_max.
	ReadBufferBytes, WriteBufferBytes int
}

// Socket is an unconnected UDP socket. Read is for one goroutine at a time, the
// other methods are for any.
type Socket struct {
	outer net.PacketConn // closes
	conn  *net.UDPConn   // reads and writes
	raw   syscall.RawConn
	local netip.AddrPort

	inet6    bool // an AF_INET6 socket, which has IPv4 peers in mapped form
	wildcard bool // bound to no address: peers carry the local one

	gso       atomic.Bool
	gsoProven atomic.Bool // a segmented message has been accepted
	closed    atomic.Bool
	closeOnce sync.Once
	closeErr  error

	readBuffer, writeBuffer int
}

// New takes over conn: a *net.UDPConn, or a wrapper with Unwrap() net.PacketConn
// around one. Input and output pass the wrapper by, but Close closes the wrapper. On
// error conn is left open and belongs to the caller.
func New(conn net.PacketConn, opts Options) (*Socket, error) {
	udp, err := unwrap(conn)
	if err != nil {
		return nil, err
	}
	if udp.RemoteAddr() != nil {
		return nil, errors.New("udpio: socket is connected: use net.ListenPacket, not net.Dial")
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("udpio: %w", err)
	}
	s := &Socket{outer: conn, conn: udp, raw: raw, local: unmapPort(udp.LocalAddr().(*net.UDPAddr).AddrPort())}
	s.wildcard = s.local.Addr().IsUnspecified()
	if opts.ReadBufferBytes <= 0 {
		opts.ReadBufferBytes = defaultBuffer
	}
	if opts.WriteBufferBytes <= 0 {
		opts.WriteBufferBytes = defaultBuffer
	}
	if err := s.setup(opts); err != nil {
		return nil, fmt.Errorf("udpio: set up %v: %w", s.local, err)
	}
	return s, nil
}

// unwrap finds the socket inside the wrappers of a listener pool.
func unwrap(conn net.PacketConn) (*net.UDPConn, error) {
	const depth = 8
	for c, i := conn, 0; i < depth; i++ {
		if udp, ok := c.(*net.UDPConn); ok && udp != nil {
			return udp, nil
		}
		w, ok := c.(interface{ Unwrap() net.PacketConn })
		if !ok {
			break
		}
		c = w.Unwrap()
	}
	return nil, fmt.Errorf("udpio: %T is neither a *net.UDPConn nor a wrapper around one: listen on a udp network address", conn)
}

// LocalAddr is the address the socket is bound to, IPv4 as IPv4.
func (s *Socket) LocalAddr() netip.AddrPort { return s.local }

// GSO reports whether runs of packets are sent as one segmented message. It can turn
// false while the socket is in use, if the system proves unable.
func (s *Socket) GSO() bool { return s.gso.Load() }

// BufferSizes are the sizes of the kernel buffers, in bytes, that the system granted;
// 0 where it does not tell. Compare them with what [Options] asked for.
func (s *Socket) BufferSizes() (read, write int) { return s.readBuffer, s.writeBuffer }

// Close closes the socket and makes a blocked Read return. It is idempotent.
func (s *Socket) Close() error {
	s.closeOnce.Do(func() {
		s.closed.Store(true)
		// A wrapper may keep the inner socket open for another user, so the reader
		// has to be woken apart.
		_ = s.conn.SetReadDeadline(time.Unix(1, 0))
		s.closeErr = s.outer.Close()
	})
	return s.closeErr
}

// Read waits for a datagram, fills b with all that have arrived, up to [ReadBatch],
// and returns their number. Empty datagrams and those above [MaxPacket] are dropped.
// Passing errors of single peers are not reported. The error is [net.ErrClosed] after
// Close; after any other the socket may be read again, but not in a tight loop.
func (s *Socket) Read(b *ReadBuffer) (int, error) {
	for {
		if s.closed.Load() {
			return 0, net.ErrClosed
		}
		n, err := b.recv(s)
		switch {
		case err == nil && n > 0:
			return n, nil
		case err == nil, transient(err):
			continue
		case s.closed.Load():
			// The deadline that woke us is not for others who share the socket.
			_ = s.conn.SetReadDeadline(time.Time{})
			return 0, net.ErrClosed
		case errors.Is(err, os.ErrDeadlineExceeded):
			// Meant for another user of a shared socket, or left behind by one.
			if err := s.conn.SetReadDeadline(time.Time{}); err != nil {
				return 0, fmt.Errorf("udpio: read %v: %w", s.local, err)
			}
		default:
			return 0, fmt.Errorf("udpio: read %v: %w", s.local, err)
		}
	}
}

// Packet is datagram i of the last Read, valid until the next.
func (b *ReadBuffer) Packet(i int) []byte { return b.packet(i) }

// Peer is where datagram i of the last Read came from.
func (b *ReadBuffer) Peer(i int) Peer { return b.peers[i] }

func unmapPort(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
