package leg

import (
	"errors"
	"net"
	"net/netip"

	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

// ErrFull is returned by [Path.Write] when a TCP connection's queue is full.
// The peer is slower than its media: shed the rest of the frame.
var ErrFull = errors.New("send queue of the connection is full, drop the rest of the frame")

// Path is one way to a peer: a socket of ours and an address of the peer's.
// It is immutable; a leg that moves publishes another Path.
type Path struct {
	// Socket and Peer are set for UDP only, for callers that batch.
	Socket *udpio.Socket
	Peer   udpio.Peer

	network       string
	local, remote netip.AddrPort

	pc   net.PacketConn // relay
	addr *net.UDPAddr   // relay
	conn *tcpConn       // tcp
}

// Batch reports whether datagrams to this path may be sent in batches through
// Socket and Peer instead of by Write.
func (p *Path) Batch() bool { return p.Socket != nil }

// Write sends one packet. It may be called by many goroutines at once, does
// not keep b and does not block on TCP: ErrFull says that the connection's
// queue is full. A lost datagram is not an error.
func (p *Path) Write(b []byte) error {
	if p.Socket != nil {
		return p.Socket.WriteTo(b, p.Peer)
	}
	if p.conn != nil {
		return p.conn.enqueue(b)
	}
	_, err := p.pc.WriteTo(b, p.addr)
	return err
}

// Network is "udp", "tcp" or "relay".
func (p *Path) Network() string { return p.network }

// Local and Remote are the two ends. Local's address is unspecified when the
// socket is bound to the wildcard and the kernel did not tell.
func (p *Path) Local() netip.AddrPort  { return p.local }
func (p *Path) Remote() netip.AddrPort { return p.remote }

// gone reports whether nothing can be sent on the path any more.
func (p *Path) gone() bool { return p.conn != nil && p.conn.isClosed() }
