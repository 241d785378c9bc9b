package turnsvc

import (
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Endpoint is one place where clients arrive: a UDP address, a listener, or the Inlet. The server
// owns what it was given and closes it when the endpoint ends.
//
// To move to another address, serve the new socket and Drain the old endpoint: it takes no new
// allocation or connection but keeps the established ones until their clients leave.
type Endpoint struct {
	srv      *Server
	addr     net.Addr
	draining atomic.Bool
	stop     chan struct{}
	stopOnce sync.Once
	done     chan struct{}
	wg       sync.WaitGroup // the goroutines of the endpoint
	shut     func()         // stops arrivals

	mu    sync.Mutex
	conns map[*streamPort]struct{} // nil for UDP
	udp   *udpGroup
}

// Addr is the local address of the socket or listener, nil for the Inlet.
func (e *Endpoint) Addr() net.Addr { return e.addr }

// Done is closed when the endpoint has ended: its socket closed, its allocations and goroutines gone.
func (e *Endpoint) Done() <-chan struct{} { return e.done }

// Drain stops arrivals and lets what is established run out; it returns at once. A listener is
// closed now, the sockets of a UDP address when its last allocation has ended. Idempotent.
func (e *Endpoint) Drain() {
	if e.draining.Swap(true) {
		return
	}
	e.shut()
}

// Resume takes back a Drain: a UDP address that was kept for its allocations takes new ones again. It
// reports false when there is nothing to resume: a listener, or sockets that are closed.
func (e *Endpoint) Resume() bool { return e.udp != nil && !e.stopping() && e.udp.resume() }

// Close ends the endpoint with everything on it and waits for its goroutines. Idempotent.
func (e *Endpoint) Close() {
	e.Drain()
	e.mu.Lock() // against an admission that has just looked
	e.stopOnce.Do(func() { close(e.stop) })
	e.mu.Unlock()
	if e.udp != nil {
		e.udp.close()
	}
	e.mu.Lock()
	for p := range e.conns {
		p.close()
	}
	e.mu.Unlock()
	<-e.done
}

func (e *Endpoint) stopping() bool {
	select {
	case <-e.stop:
		return true
	default:
		return false
	}
}

func (e *Endpoint) endReason() EndReason {
	if e.srv.closing.Load() {
		return EndShutdown
	}
	return EndClosed
}

// ServeUDP serves one listening address for UDP in the background until it is closed, drained or closed
// through the returned Endpoint, or the server closes. The address may have several sockets, as
// ListenUDP opens them, for as many goroutines: it does not matter by which of them a packet of a
// client arrives. Sockets with the AddrPort methods of *net.UDPConn are served without allocating. If
// one is bound to no address, what a client gets comes from the address it sent to (on Linux, for
// a *net.UDPConn). Receive buffers are raised to 4 MiB if the system allows. On error, which is ErrAddress
// without sockets or ErrClosed, they have been closed.
func (s *Server) ServeUDP(sockets ...net.PacketConn) (*Endpoint, error) {
	if len(sockets) == 0 || slices.Contains(sockets, nil) {
		closeAll(sockets)
		return nil, ErrAddress
	}
	e := s.newEndpoint(sockets[0].LocalAddr())
	e.udp = newUDPGroup(e, sockets)
	e.shut = e.udp.closeIdle
	if err := s.addEndpoint(e); err != nil {
		closeAll(sockets)
		return nil, err
	}
	e.run(e.udp.serve)
	return e, nil
}

// Serve accepts TURN connections, plain or TLS, from a listener in the background. A connection
// counts as TLS when it has a ConnectionState method, like *tls.Conn; a handshake that is still
// to be done happens within AuthTimeout on the connection's own goroutine.
func (s *Server) Serve(ln net.Listener) (*Endpoint, error) {
	if ln == nil {
		return nil, ErrAddress
	}
	e := s.newEndpoint(ln.Addr())
	e.conns = map[*streamPort]struct{}{}
	var once sync.Once
	e.shut = func() { once.Do(func() { _ = ln.Close() }) }
	if err := s.addEndpoint(e); err != nil {
		_ = ln.Close()
		return nil, err
	}
	e.run(func() { e.accept(ln) })
	return e, nil
}

// accept takes connections until the listener is closed, waiting out passing errors such as a lack
// of file descriptors.
func (e *Endpoint) accept(ln net.Listener) {
	wait := 5 * time.Millisecond
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			wait = 5 * time.Millisecond
			_ = e.admit(conn)
			continue
		case errors.Is(err, net.ErrClosed), e.draining.Load():
			e.Drain()
			return
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, time.Second)
		case <-e.stop:
		}
	}
}

// Inlet takes connections that somebody else accepted: a listener wrapper that shares the HTTPS
// port finds out by the first bytes that a connection speaks TURN, and pushes it. There is one per
// server and it stays through any change of listeners.
type Inlet struct{ e *Endpoint }

// Inlet returns the inlet of the server; every call returns the same one.
func (s *Server) Inlet() *Inlet { return s.inlet }

// Push hands a connection over; it returns at once. The connection belongs to the server from
// now on: on error it has been closed. The error is ErrClosed, ErrTooManyConns or ErrAddress.
// Bytes that were read to recognise it must be returned again by its Read. Safe for concurrent use.
func (i *Inlet) Push(conn net.Conn) error { return i.e.admit(conn) }

// admit starts a connection within the caps.
func (e *Endpoint) admit(conn net.Conn) error {
	client, err := addrPort(conn.RemoteAddr())
	if err != nil {
		_ = conn.Close()
		return err
	}
	s := e.srv
	if !s.conns.acquire(s.settings.Load(), client.Addr()) {
		_ = conn.Close()
		s.counts.add(rejectConns)
		return ErrTooManyConns
	}
	p := newStreamPort(e, conn, client)
	g := newGuard(e, p, newClients(1))
	e.mu.Lock()
	if e.draining.Load() || e.stopping() {
		e.mu.Unlock()
		_ = conn.Close()
		s.conns.release(client.Addr(), false)
		return ErrClosed
	}
	e.conns[p] = struct{}{}
	e.wg.Add(2)
	e.mu.Unlock()
	go func() {
		defer e.wg.Done()
		p.writeLoop()
	}()
	go func() {
		defer e.wg.Done()
		p.serve(g)
		e.mu.Lock()
		delete(e.conns, p)
		e.mu.Unlock()
	}()
	return nil
}
