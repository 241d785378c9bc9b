package leg

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

var start = time.Now()

// Now is the clock of arrival times: monotonic nanoseconds since the start of
// the process.
func Now() int64 { return int64(time.Since(start)) }

// Config is what a Transport needs.
type Config struct {
	Logger      *zap.Logger     // nil: none
	Certificate tls.Certificate // of NewCertificate
}

// Transport owns the sockets and gives each datagram to its leg. Its methods
// are safe for concurrent use.
type Transport struct {
	log         *zap.Logger
	certificate tls.Certificate
	tieBreaker  uint64
	slots       chan struct{} // of handshakes that compute
	stats       counters
	stop        chan struct{}
	wg          sync.WaitGroup // all goroutines

	handshakeTimeout, tcpFirst, consentExpiry time.Duration // shorter in tests

	mu        sync.RWMutex
	closed    bool
	count     int64 // legs made
	ufrags    map[string]*credentials
	legs      map[*Leg]struct{}
	hops      map[*hop]struct{}
	listeners map[net.Listener]*tcpListener
	limit     connLimit
}

// NewTransport makes a Transport without sockets.
func NewTransport(c Config) (*Transport, error) {
	if len(c.Certificate.Certificate) == 0 || c.Certificate.PrivateKey == nil {
		return nil, errors.New("transport needs a certificate, make one with NewCertificate")
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	return &Transport{
		log: c.Logger, certificate: c.Certificate,
		tieBreaker:       binary.BigEndian.Uint64(random[:]),
		slots:            make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		stop:             make(chan struct{}),
		handshakeTimeout: handshakeTimeout, tcpFirst: tcpFirst, consentExpiry: consentExpiry,
		ufrags:    make(map[string]*credentials),
		legs:      make(map[*Leg]struct{}),
		hops:      make(map[*hop]struct{}),
		listeners: make(map[net.Listener]*tcpListener),
	}, nil
}

// Fingerprint is the certificate's for a=fingerprint: "sha-256", "AB:CD:...".
func (t *Transport) Fingerprint() (hash, value string) {
	return "sha-256", formatFingerprint(t.certificate.Certificate[0])
}

// NewLeg makes a leg that answers checks at all sockets from now on. One that is
// controlling sends checks as well.
func (t *Transport) NewLeg(p Params) (*Leg, error) {
	if p.Handler == nil {
		return nil, errors.New("leg needs a handler")
	}
	if err := checkRemote(p.RemoteUfrag, p.RemotePwd); err != nil {
		return nil, err
	}
	digests, err := parseFingerprints(p.Fingerprints)
	if err != nil {
		return nil, err
	}
	l := &Leg{
		t: t, active: p.Active, handler: p.Handler, digests: digests, grant: legGrant,
		log:  t.log.With(zap.String("session", p.ID)),
		done: make(chan struct{}),
	}
	if p.Controlling {
		l.ctl = newController(l, p)
	}
	l.lastReceived.Store(Now())
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil, fmt.Errorf("new leg: %w", ErrClosed)
	}
	t.count++
	l.number = t.count
	t.legs[l] = struct{}{}
	t.mu.Unlock()

	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed { // by Close of the transport, just now
		return nil, fmt.Errorf("new leg: %w", ErrClosed)
	}
	c := newCredentials(l, p.RemoteUfrag, p.RemotePwd)
	if p.Ufrag != "" {
		c.ufrag, c.pwd = p.Ufrag, p.Pwd
	}
	l.current = t.addUfrag(c)
	l.newest.Store(l.current)
	if l.ctl != nil {
		l.ctl.begin(Now())
	}
	return l, nil
}

// addHop takes a hop into service, false (and the hop closed) after Close.
func (t *Transport) addHop(h *hop) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		h.close()
		return false
	}
	t.hops[h] = struct{}{}
	t.wg.Add(1)
	return true
}

func (t *Transport) dropHop(h *hop) {
	t.mu.Lock()
	delete(t.hops, h)
	t.mu.Unlock()
	h.close()
}

// ServeUDP reads a socket in a goroutine of its own until the Transport or,
// after RetireUDP, its last leg ends; then it is closed.
func (t *Transport) ServeUDP(s *udpio.Socket) {
	h := newHop("udp")
	h.sock = s
	if t.addHop(h) {
		go t.readUDP(h)
	}
}

// ReviveUDP takes back a RetireUDP: legs made from now on may use the socket
// again. It reports false when the socket was closed with its last leg.
func (t *Transport) ReviveUDP(s *udpio.Socket) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for h := range t.hops {
		if h.sock == s && !h.doomed && !h.closed.Load() {
			h.retired.Store(0)
			h.waiting = nil
			return true
		}
	}
	return false
}

// HoldsUDP reports whether the socket is open, retired or not.
func (t *Transport) HoldsUDP(s *udpio.Socket) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for h := range t.hops {
		if h.sock == s {
			return !h.doomed && !h.closed.Load()
		}
	}
	return false
}

// ServePacketConn is ServeUDP for a packet conn in memory, as a TURN server in
// the same process has it. Its addresses are *net.UDPAddr.
func (t *Transport) ServePacketConn(pc net.PacketConn) {
	h := newHop("relay")
	h.pc = pc
	if t.addHop(h) {
		go t.readPackets(h)
	}
}

// RetireUDP keeps legs made from now on off the socket and closes it when the
// last of those that exist now has ended.
func (t *Transport) RetireUDP(s *udpio.Socket) {
	t.retire(func(h *hop) bool { return h.sock == s })
}

// RetirePacketConn is RetireUDP for what ServePacketConn was given.
func (t *Transport) RetirePacketConn(pc net.PacketConn) {
	t.retire(func(h *hop) bool { return h.pc != nil && h.pc == pc })
}

func (t *Transport) retire(match func(*hop) bool) {
	var idle []*hop
	t.mu.Lock()
	for h := range t.hops {
		if !match(h) || h.retired.Load() != 0 {
			continue
		}
		// 0 means in service, so that number -1 stands for "no leg at all".
		last := t.count
		if last == 0 {
			last = -1
		}
		h.retired.Store(last)
		h.waiting = make(map[*Leg]struct{}, len(t.legs))
		for l := range t.legs {
			h.waiting[l] = struct{}{}
		}
		if len(h.waiting) == 0 {
			h.doomed = true
			idle = append(idle, h)
		}
	}
	t.mu.Unlock()
	for _, h := range idle {
		h.close()
	}
}

// forget is the end of a leg: retired sockets that waited for it are closed.
func (t *Transport) forget(l *Leg) {
	var idle []*hop
	t.mu.Lock()
	delete(t.legs, l)
	for h := range t.hops {
		if h.retired.Load() == 0 {
			continue
		}
		delete(h.waiting, l)
		if len(h.waiting) == 0 {
			h.doomed = true
			idle = append(idle, h)
		}
	}
	t.mu.Unlock()
	for _, h := range idle {
		h.close()
	}
}

// Close ends all legs, closes all sockets and waits for all goroutines. It
// must not be called by a Handler. Idempotent.
func (t *Transport) Close() {
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		close(t.stop)
	}
	legs := make([]*Leg, 0, len(t.legs))
	for l := range t.legs {
		legs = append(legs, l)
	}
	listeners := make([]*tcpListener, 0, len(t.listeners))
	for _, l := range t.listeners {
		listeners = append(listeners, l)
	}
	t.mu.Unlock()

	for _, l := range listeners {
		l.close()
	}
	for _, l := range legs {
		l.Close()
	}
	t.mu.RLock()
	hops := make([]*hop, 0, len(t.hops))
	for h := range t.hops {
		hops = append(hops, h)
	}
	t.mu.RUnlock()
	// close_notify may wait in the queue of a connection.
	linger, cancel := context.WithTimeout(context.Background(), tcpLinger)
	defer cancel()
	for _, h := range hops {
		if h.conn != nil {
			h.conn.await(linger.Done())
		}
		h.close()
	}
	t.wg.Wait()
}
