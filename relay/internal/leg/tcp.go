package leg

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

const (
	tcpFirst    = 10 * time.Second // until the first authentic check
	tcpIdle     = 60 * time.Second
	tcpPending  = 256 // connections without a leg
	tcpPerHost  = 16  // of them per host: IPv4 address or IPv6 /64
	frameHeader = 2   // RFC 4571 2
)

// tcpListener is one accepting socket.
type tcpListener struct {
	l    net.Listener
	stop chan struct{}
}

func (l *tcpListener) close() { _ = l.l.Close() }

// ServeTCP accepts ICE-TCP connections (RFC 6544, passive) in a goroutine of
// its own until the Transport ends or RetireTCP.
func (t *Transport) ServeTCP(l net.Listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = l.Close()
		return
	}
	tl := &tcpListener{l: l, stop: make(chan struct{})}
	t.listeners[l] = tl
	t.wg.Add(1)
	go t.accept(tl)
}

// RetireTCP stops accepting at once. Connections live on with their legs.
func (t *Transport) RetireTCP(l net.Listener) {
	t.mu.Lock()
	tl := t.listeners[l]
	delete(t.listeners, l)
	t.mu.Unlock()
	if tl != nil {
		close(tl.stop)
		tl.close()
	}
}

func (t *Transport) accept(tl *tcpListener) {
	defer t.wg.Done()
	pause := 5 * time.Millisecond
	for {
		conn, err := tl.l.Accept()
		if err == nil {
			pause = 5 * time.Millisecond
			t.admit(conn)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		t.stats.readErrors.Add(1)
		t.log.Warn("accept of an ICE-TCP connection failed, trying again", zap.Error(err))
		timer := time.NewTimer(pause)
		pause = min(2*pause, time.Second)
		select {
		case <-timer.C:
		case <-tl.stop:
			timer.Stop()
			return
		case <-t.stop:
			timer.Stop()
			return
		}
	}
}

// admit takes an accepted connection, if the limits allow it.
func (t *Transport) admit(conn net.Conn) {
	remote := addrPort(conn.RemoteAddr())
	host := hostOf(remote.Addr())
	if !remote.IsValid() || !t.limit.take(host) {
		t.stats.rejectedConnections.Add(1)
		_ = conn.Close()
		return
	}
	t.stats.pending.Add(1)
	h := newHop("tcp")
	h.conn = newTCPConn(conn)
	if !t.serveConn(h, &tcpReader{host: host, peer: udpio.PeerFrom(remote, netip.Addr{})}) {
		t.limit.give(host)
		t.stats.pending.Add(-1)
	}
}

// serveConn starts the two goroutines of a connection, false (and the
// connection closed) after Close.
func (t *Transport) serveConn(h *hop, r *tcpReader) bool {
	if !t.addHop(h) { // which closed the connection
		h.conn.abandon()
		return false
	}
	t.wg.Add(1)
	go func() {
		defer t.wg.Done()
		h.conn.drain()
	}()
	r.t, r.h, r.in, r.r = t, h, newInbound(t), bufio.NewReaderSize(h.conn.conn, 2*maxDatagram)
	go r.run()
	return true
}

// tcpReader is the reading side of a connection.
type tcpReader struct {
	t      *Transport
	h      *hop
	in     *inbound
	r      *bufio.Reader
	host   netip.Addr
	peer   udpio.Peer
	proven bool      // it belongs to a leg: an authentic check came, or we dialed
	until  time.Time // read deadline in force
}

func (r *tcpReader) run() {
	defer r.t.wg.Done()
	defer r.t.dropHop(r.h)
	defer func() {
		r.h.conn.close()
		if !r.proven {
			r.admitted()
		}
		if c := r.h.lookup(r.peer); c != nil {
			c.leg.lost(c)
		}
	}()
	_ = r.h.conn.conn.SetReadDeadline(time.Now().Add(r.t.tcpFirst))
	for {
		frame, err := r.frame()
		if err != nil {
			r.in.flush()
			return
		}
		if !r.proven {
			if frame[0] > 3 || !r.in.stun(r.h, r.peer, frame, Now()) {
				r.in.flush()
				return
			}
			r.proven = true
			r.admitted()
		} else {
			r.in.datagram(r.h, r.peer, frame, Now())
		}
		_, _ = r.r.Discard(len(frame))
		if !r.whole() {
			r.in.flush()
			r.extend()
		}
	}
}

// admitted gives the place among the pending connections back.
func (r *tcpReader) admitted() {
	r.t.limit.give(r.host)
	r.t.stats.pending.Add(-1)
}

// frame returns the next frame in the reader's buffer, to be discarded by the
// caller.
func (r *tcpReader) frame() ([]byte, error) {
	for {
		head, err := r.r.Peek(frameHeader)
		if err != nil {
			return nil, err
		}
		size := int(binary.BigEndian.Uint16(head))
		if size > maxDatagram {
			r.t.stats.malformed.Add(1)
			return nil, io.ErrShortBuffer
		}
		_, _ = r.r.Discard(frameHeader)
		if size > 0 {
			return r.r.Peek(size)
		}
	}
}

// whole reports whether another frame is in the buffer.
func (r *tcpReader) whole() bool {
	n := r.r.Buffered()
	if n < frameHeader {
		return false
	}
	head, _ := r.r.Peek(frameHeader)
	return n-frameHeader >= int(binary.BigEndian.Uint16(head))
}

// extend moves the deadline on, not for each packet.
func (r *tcpReader) extend() {
	if now := time.Now(); r.until.Sub(now) < tcpIdle {
		r.until = now.Add(tcpIdle + tcpIdle/6)
		_ = r.h.conn.conn.SetReadDeadline(r.until)
	}
}
