package caddymodule

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/talwtn/caddy-wtn/turnsvc"
)

const (
	maxUndecided     = 1024             // connections at once of which it is not known what they speak
	handshakeTimeout = 10 * time.Second // of TLS
	silenceTimeout   = 5 * time.Second  // after which a connection that says nothing is taken for HTTP
)

// front is the listener of an HTTP server whose port TURN shares. One
// goroutine accepts; what a connection speaks is found out on a goroutine of
// its own, so that a silent client keeps nobody waiting.
type front struct {
	net.Listener
	pool   *turnPool
	http   chan net.Conn
	slots  chan struct{}
	done   chan struct{}
	once   sync.Once
	https  bool        // on the port Caddy takes for HTTPS, which outside is 443
	secure atomic.Bool // TLS is below
}

// tlsListener is the type of the listener TLS makes, which has no name.
var tlsListener = reflect.TypeOf(tls.NewListener(nil, new(tls.Config)))

func newFront(p *turnPool, inner net.Listener, httpsPort int) *front {
	f := &front{
		Listener: inner, pool: p, https: portOf(inner.Addr()) == httpsPort,
		http: make(chan net.Conn), slots: make(chan struct{}, maxUndecided), done: make(chan struct{}),
	}
	f.secure.Store(reflect.TypeOf(inner) == tlsListener)
	p.mu.Lock()
	p.fronts[f] = struct{}{}
	p.mu.Unlock()
	go f.run()
	return f
}

// Accept gives the HTTP server what is not TURN.
func (f *front) Accept() (net.Conn, error) {
	select {
	case c := <-f.http:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// Close ends the listener. A connection that was not decided on yet goes to
// the listener that came after it, if there is one.
func (f *front) Close() error {
	f.once.Do(func() {
		close(f.done)
		f.pool.mu.Lock()
		delete(f.pool.fronts, f)
		f.pool.mu.Unlock()
	})
	return f.Listener.Close()
}

func (f *front) closed() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

func (f *front) run() {
	wait := 5 * time.Millisecond
	for {
		c, err := f.Listener.Accept()
		if err == nil {
			wait = 5 * time.Millisecond
			f.decide(c)
			continue
		}
		if f.closed() || errors.Is(err, net.ErrClosed) {
			_ = f.Close()
			return
		}
		select { // as of a lack of file descriptors
		case <-time.After(wait):
			wait = min(2*wait, time.Second)
		case <-f.done:
		}
	}
}

// decide finds out what c speaks. When too many connections are undecided it
// is left to HTTP as it is: that is the port's first business.
func (f *front) decide(c net.Conn) {
	select {
	case f.slots <- struct{}{}:
	default:
		f.deliver(c)
		return
	}
	go func() {
		turn, c := f.sniff(c)
		<-f.slots
		if turn {
			f.pool.push(c)
		} else {
			f.deliver(c)
		}
	}()
}

// deliver gives c to the HTTP server, or to the one that has come after it.
func (f *front) deliver(c net.Conn) {
	for ; f != nil; f = f.successor() {
		select {
		case f.http <- c:
			return
		case <-f.done:
		}
	}
	_ = c.Close()
}

func (f *front) successor() *front {
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	for other := range f.pool.fronts {
		if other.Addr().String() == f.Addr().String() && reflect.TypeOf(other.Listener) == reflect.TypeOf(f.Listener) {
			return other
		}
	}
	return nil
}

// secured is a connection below which TLS is.
type secured interface {
	net.Conn
	ConnectionState() tls.ConnectionState
}

// sniff reports whether c speaks TURN, and returns it with nothing missing. A
// connection that fails goes to HTTP, which knows what to do and log about it.
func (f *front) sniff(c net.Conn) (turn bool, _ net.Conn) {
	s, ok := c.(secured)
	if !ok {
		return peek(c)
	}
	f.secure.Store(true)
	if h, ok := c.(interface{ HandshakeContext(context.Context) error }); ok {
		ctx, cancel := context.WithTimeout(noContext, handshakeTimeout)
		defer cancel()
		if h.HandshakeContext(ctx) != nil {
			return false, c
		}
	}
	switch s.ConnectionState().NegotiatedProtocol {
	case "stun.turn":
		return true, c
	case "", "http/1.1": // what browsers agree to for turns:, and plain HTTPS
		return peek(c)
	}
	return false, c
}

// peek looks at the first bytes of c.
func peek(c net.Conn) (turn bool, _ net.Conn) {
	const enough = 8 // for IsSTUN
	_ = c.SetReadDeadline(time.Now().Add(silenceTimeout))
	head := make([]byte, 0, enough)
	for len(head) < enough {
		n, err := c.Read(head[len(head):enough])
		head = head[:len(head)+n]
		if err != nil || n > 0 && head[0]>>6 != 0 {
			break
		}
		if n > 0 && head[0] > 3 { // a TLS record; no request of TURN begins so
			break
		}
	}
	_ = c.SetReadDeadline(time.Time{})
	if len(head) == 0 {
		return false, c
	}
	turn = turnsvc.IsSTUN(head)
	if s, ok := c.(secured); ok {
		return turn, &peekedTLS{secured: s, head: head}
	}
	return turn, &peeked{Conn: c, head: head}
}

// peeked gives back the bytes that were looked at.
type peeked struct {
	net.Conn
	head []byte
}

func (p *peeked) Read(b []byte) (int, error) {
	if len(p.head) > 0 {
		return unread(&p.head, b)
	}
	return p.Conn.Read(b)
}

// CloseWrite lets the HTTP server end its side first, so that a client reads
// the whole reply to a request that was refused half way.
func (p *peeked) CloseWrite() error { return closeWrite(p.Conn) }

// peekedTLS is peeked for a connection below which TLS is: it keeps its
// ConnectionState, by which the HTTP server knows of it.
type peekedTLS struct {
	secured
	head []byte
}

func (p *peekedTLS) Read(b []byte) (int, error) {
	if len(p.head) > 0 {
		return unread(&p.head, b)
	}
	return p.secured.Read(b)
}

// CloseWrite is that of peeked.
func (p *peekedTLS) CloseWrite() error { return closeWrite(p.secured) }

func unread(head *[]byte, b []byte) (int, error) {
	n := copy(b, *head)
	*head = (*head)[n:]
	return n, nil
}

func closeWrite(c net.Conn) error {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// frontPort is the port at which an HTTP server's port serves turns: (secure) or
// turn:, as a client sees it that sent its request to asked (0: not said); 0
// if none does.
func (p *turnPool) frontPort(secure bool, asked int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ports []int
	for f := range p.fronts {
		port := portOf(f.Addr())
		switch {
		case f.secure.Load() != secure:
			continue
		case port == asked:
			return port
		case f.https:
			port = 443
		}
		ports = append(ports, port)
	}
	if len(ports) == 0 {
		return 0
	}
	if slices.Contains(ports, 443) {
		return 443
	}
	return slices.Min(ports)
}

// frontAddresses are the HTTP ports TURN shares.
func (p *turnPool) frontAddresses() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := []string{}
	for f := range p.fronts {
		name := "tcp/"
		if f.secure.Load() {
			name = "tls/"
		}
		out = append(out, name+f.Addr().String())
	}
	slices.Sort(out)
	return slices.Compact(out)
}
