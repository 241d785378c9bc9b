package leg

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

// readUDP is the reader goroutine of a UDP socket.
func (t *Transport) readUDP(h *hop) {
	defer t.wg.Done()
	defer t.dropHop(h)
	in, rb := newInbound(t), udpio.NewReadBuffer()
	var failed failures
	for {
		n, err := h.sock.Read(rb)
		if err != nil {
			if !failed.again(t, h, err) {
				return
			}
			continue
		}
		failed = 0
		now := Now()
		for i := range n {
			in.datagram(h, rb.Peer(i), rb.Packet(i), now)
		}
		in.flush()
	}
}

// readPackets is the reader goroutine of a packet conn in memory.
func (t *Transport) readPackets(h *hop) {
	defer t.wg.Done()
	defer t.dropHop(h)
	in, buf := newInbound(t), make([]byte, maxDatagram)
	var failed failures
	for {
		n, from, err := h.pc.ReadFrom(buf)
		if err != nil {
			if !failed.again(t, h, err) {
				return
			}
			continue
		}
		failed = 0
		if peer := addrPort(from); peer.IsValid() {
			in.datagram(h, udpio.PeerFrom(peer, netip.Addr{}), buf[:n], Now())
			in.flush()
		}
	}
}

// failures counts reads of a socket that failed one after the other.
type failures int

// again reports whether to read again after err, after a pause that grows: a
// socket may fail for a moment (no buffers, an ICMP error), and must neither
// spin nor end the service.
func (f *failures) again(t *Transport, h *hop, err error) bool {
	if h.closed.Load() || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
		return false
	}
	t.stats.readErrors.Add(1)
	if *f == 0 {
		t.log.Warn("read of a media socket failed, trying again", zap.String("network", h.network), zap.Error(err))
	}
	pause := time.NewTimer(min(time.Second, time.Millisecond<<min(int(*f), 10)))
	defer pause.Stop()
	*f++
	select {
	case <-pause.C:
		return !h.closed.Load()
	case <-t.stop:
		return false
	}
}
