package turnsvc

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

const (
	streamQueue   = 256 // packets to one stream client that wait to be written
	urgentReserve = 16  // places of it that only replies may take
	coalesce      = 16 << 10
	refreshLeeway = 30 * time.Second // by which a connection outlives its allocation
)

// streamPort is one TCP or TLS connection. Two goroutines run it: serve reads, writeLoop writes.
type streamPort struct {
	endpoint *Endpoint
	conn     net.Conn
	client   fiveTuple
	kind     Transport
	queue    chan *packet
	done     chan struct{}
	once     sync.Once

	mu     sync.Mutex // the deadline and who may set it
	authed bool
	closed bool
}

func newStreamPort(e *Endpoint, conn net.Conn, client netip.AddrPort) *streamPort {
	kind := TCP
	if _, ok := conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
		kind = TLS
	}
	return &streamPort{
		endpoint: e, conn: conn, client: fiveTuple{AddrPort: client}, kind: kind,
		queue: make(chan *packet, streamQueue), done: make(chan struct{}),
	}
}

func (p *streamPort) transport() Transport { return p.kind }

func (p *streamPort) send(k *packet, _ fiveTuple, urgent bool) bool {
	if !urgent && len(p.queue) >= streamQueue-urgentReserve {
		k.free()
		return false
	}
	select {
	case p.queue <- k:
		return true
	default:
		k.free()
		return false
	}
}

// allocated lets the connection live as long as its allocation, and some more.
func (p *streamPort) allocated(lifetime time.Duration, _ bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.authed {
		p.authed = true
		p.endpoint.srv.conns.authenticated(true)
	}
	p.setDeadline(lifetime + refreshLeeway)
}

// released gives the client the time of a newcomer to make another allocation.
func (p *streamPort) released() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.authed && !p.closed {
		p.authed = false
		p.endpoint.srv.conns.authenticated(false)
	}
	p.setDeadline(p.endpoint.srv.settings.Load().AuthTimeout)
}

func (p *streamPort) setDeadline(d time.Duration) {
	if !p.closed {
		_ = p.conn.SetReadDeadline(time.Now().Add(d))
	}
}

func (p *streamPort) close() {
	p.once.Do(func() {
		close(p.done)
		_ = p.conn.Close()
	})
}

// serve reads frames until the stream ends, breaks a rule or runs out of time. The deadline is the
// time of the next required event and not moved by traffic: dripping bytes does not help.
func (p *streamPort) serve(g *guard) {
	s := g.srv
	timeout := s.settings.Load().AuthTimeout
	_ = p.conn.SetDeadline(time.Now().Add(timeout)) // a TLS handshake, done by the first read, writes too
	f := &frameReader{r: p.conn}
	for {
		frame, err := f.next()
		if err != nil {
			p.count(err)
			break
		}
		g.handle(frame, p.client)
	}
	g.clients.endAll(p.endpoint.endReason())
	p.mu.Lock()
	p.closed = true
	authed := p.authed
	p.mu.Unlock()
	p.close()
	s.conns.release(p.client.Addr(), authed)
}

func (p *streamPort) count(err error) {
	switch {
	case errors.Is(err, errFrame):
		p.endpoint.srv.counts.add(rejectFrame)
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.endpoint.srv.counts.add(rejectTimeout)
	}
}

// writeLoop writes what is queued, as much as fits one TLS record at a time. A client that stalls a
// write for too long loses the connection.
func (p *streamPort) writeLoop() {
	var buf []byte // not for connections that never say anything
	for {
		select {
		case k := <-p.queue:
			if buf == nil {
				buf = make([]byte, 0, coalesce)
			}
			buf = p.gather(buf[:0], k)
		case <-p.done:
			return
		}
		_ = p.conn.SetWriteDeadline(time.Now().Add(p.endpoint.srv.settings.Load().AuthTimeout))
		if _, err := p.conn.Write(buf); err != nil {
			p.close()
			return
		}
		_ = p.conn.SetWriteDeadline(time.Time{}) // TLS may write an answer of its own at any later time
	}
}

// gather appends k and what else is queued, within the capacity of buf.
func (p *streamPort) gather(buf []byte, k *packet) []byte {
	for {
		buf = append(buf, k.b()...)
		k.free()
		if len(buf)+maxFrame > cap(buf) {
			return buf
		}
		select {
		case k = <-p.queue:
		default:
			return buf
		}
	}
}
