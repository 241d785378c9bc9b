package harness

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
)

// wire is the UDP socket of one peer, with a knife: it can be cut, as by a
// killed process or a pulled cable, and it can lose chosen packets.
//
// It is a plain net.PacketConn on purpose: were it to show the methods of
// *net.UDPConn, pion would use those and go round the knife.
type wire struct {
	net.PacketConn
	cut  atomic.Bool
	lose atomic.Pointer[func(packet []byte) bool]

	loseOut atomic.Pointer[onceEach]
}

func newWire() (*wire, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	// Best effort: a test process that is slow for a moment should not be
	// taken for a gateway that loses packets.
	_ = c.SetReadBuffer(8 << 20)
	return &wire{PacketConn: c}, nil
}

func (w *wire) WriteTo(b []byte, to net.Addr) (int, error) {
	if w.cut.Load() {
		return len(b), nil
	}
	if lose := w.loseOut.Load(); lose != nil && isRTP(b) && lose.hits(b) {
		return len(b), nil
	}
	return w.PacketConn.WriteTo(b, to)
}

func (w *wire) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := w.PacketConn.ReadFrom(b)
		if err != nil {
			return n, from, err
		}
		if w.cut.Load() {
			continue
		}
		if lose := w.lose.Load(); lose != nil && isRTP(b[:n]) && (*lose)(b[:n]) {
			continue
		}
		return n, from, nil
	}
}

// onceEach hits one in so many packets, each the first time only.
type onceEach struct {
	every uint16
	rtx   uint8 // payload type never hit
	mu    sync.Mutex
	seen  map[uint32]bool
}

func (o *onceEach) hits(b []byte) bool {
	seq := binary.BigEndian.Uint16(b[2:])
	if b[1]&0x7f == o.rtx || seq%o.every != 0 {
		return false
	}
	key := uint32(b[1]&0x7f)<<16 | uint32(seq)
	o.mu.Lock()
	defer o.mu.Unlock()
	first := !o.seen[key]
	o.seen[key] = true
	return first
}

// isRTP tells (S)RTP from STUN, DTLS and (S)RTCP by its first bytes
// (RFC 5764 section 5.1.2, RFC 5761 section 4).
func isRTP(b []byte) bool {
	return len(b) > 12 && b[0]>>6 == 2 && (b[1] < 192 || b[1] > 223)
}
