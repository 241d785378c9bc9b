package turnsvc

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v3"
)

const (
	nonceRenewal    = 30 * time.Minute // the library accepts its nonces for an hour
	lifetimeReserve = 5 * time.Minute  // by which the library's own timer is later than ours
)

// engine is the TURN library, and this file is the only one that knows it. The library keeps the
// books: which allocation, permission and channel exists, for how long, and which may be made.
// It is asked one question at a time: every question is a fresh message composed here from values
// that were parsed, authenticated and admitted before. No byte of a client ever reaches it, it
// knows a client by the slot of its allocation, and what it answers is only a verdict.
//
// The conversation is serial, so the library needs no answer to count as one: it asked for the next
// message, hence it has finished with the last. That it may end in silence does no harm.
type engine struct {
	mu       sync.Mutex // held for a whole question; protects closed, nonce and nonceAt
	closed   bool
	nonce    stun.Nonce
	nonceAt  time.Time
	key      []byte
	conn     *engineConn
	lookup   func(netip.AddrPort) *allocation
	loopDone chan struct{}
}

// question is a message for the library, and the allocation it is about.
type question struct {
	raw   []byte
	about *allocation
}

func newEngine(log *libraryLog, lookup func(netip.AddrPort) *allocation) (*engine, error) {
	e := &engine{key: make([]byte, 16), lookup: lookup, loopDone: make(chan struct{})}
	_, _ = rand.Read(e.key)
	e.conn = &engineConn{e: e, questions: make(chan question), answered: make(chan struct{})}
	_, err := turn.NewServer(turn.ServerConfig{
		Realm:              "-",
		LoggerFactory:      log,
		AuthHandler:        func(string, string, net.Addr) ([]byte, bool) { return e.key, true },
		ChannelBindTimeout: channelLifetime,
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            e.conn,
			RelayAddressGenerator: (*generator)(e.conn),
			PermissionHandler:     e.conn.permitted,
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("turnsvc: start the TURN library: %w", err)
	}
	return e, nil
}

// allocate opens the books for an allocation. Like the other verdicts, 0 is a success and anything
// else the STUN error code.
func (e *engine) allocate(a *allocation, lifetime time.Duration) int {
	return e.ask(stun.MethodAllocate, a, rawAttr(stun.AttrRequestedTransport, 17, 0, 0, 0), seconds(lifetime+lifetimeReserve))
}

func (e *engine) refresh(a *allocation, lifetime time.Duration) int {
	return e.ask(stun.MethodRefresh, a, seconds(lifetime+lifetimeReserve))
}

// release closes the books of an allocation. When it returns the library has forgotten it.
func (e *engine) release(a *allocation) { e.ask(stun.MethodRefresh, a, seconds(0)) }

func (e *engine) permit(a *allocation, peers ...netip.AddrPort) int {
	attrs := make([]stun.Setter, len(peers))
	for i, p := range peers {
		attrs[i] = peerAttr(p)
	}
	return e.ask(stun.MethodCreatePermission, a, attrs...)
}

func (e *engine) bind(a *allocation, number uint16, peer netip.AddrPort) int {
	return e.ask(stun.MethodChannelBind, a, rawAttr(stun.AttrChannelNumber, byte(number>>8), byte(number), 0, 0), peerAttr(peer))
}

// ask puts one question and returns the verdict.
func (e *engine) ask(method stun.Method, a *allocation, attrs ...stun.Setter) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return 500
	}
	if time.Since(e.nonceAt) > nonceRenewal {
		e.renewNonce(a)
	}
	setters := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, attrs...)
	setters = append(setters, stun.NewUsername("guard"), stun.NewRealm("-"), e.nonce, stun.MessageIntegrity(e.key))
	m, err := stun.Build(setters...)
	if err != nil {
		return 500
	}
	return e.exchange(m, a)
}

// renewNonce asks without integrity and takes the nonce out of the refusal.
func (e *engine) renewNonce(a *allocation) {
	m, err := stun.Build(stun.TransactionID, stun.NewType(stun.MethodRefresh, stun.ClassRequest))
	if err == nil && e.exchange(m, a) == 401 && len(e.conn.nonce) > 0 {
		e.nonce, e.nonceAt = e.conn.nonce, time.Now()
	}
}

func (e *engine) exchange(m *stun.Message, a *allocation) int {
	e.conn.questions <- question{m.Raw, a}
	<-e.conn.answered
	return e.conn.verdict
}

// close ends the library and waits for its loop.
func (e *engine) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	e.closed = true
	close(e.conn.questions)
	<-e.loopDone
}

// engineConn is the socket of the library. Its fields are touched by the loop of the library, or
// by ask between the loop's answer and the next question.
type engineConn struct {
	e         *engine
	questions chan question
	answered  chan struct{}
	asking    bool
	about     *allocation
	verdict   int
	nonce     stun.Nonce
}

var errEngine = errors.New("turnsvc: not a question to the library")

// ReadFrom is called when the library has finished with a message and wants the next.
func (c *engineConn) ReadFrom(p []byte) (int, net.Addr, error) {
	if c.asking {
		c.asking = false
		c.answered <- struct{}{}
	}
	q, ok := <-c.questions
	if !ok {
		close(c.e.loopDone)
		return 0, nil, net.ErrClosed
	}
	c.asking, c.about, c.verdict = true, q.about, 437 // silence: the library knows no such allocation
	return copy(p, q.raw), net.UDPAddrFromAddrPort(q.about.slot), nil
}

// WriteTo takes the verdict out of a response. Data for a client comes here too, from the relay
// sockets of the open relay, whose reading is left to the library.
func (c *engineConn) WriteTo(p []byte, to net.Addr) (int, error) {
	if len(p) < 2 || p[0] >= 0x40 || p[0]&1 == 0 { // ChannelData or an indication
		c.toClient(p, to)
		return len(p), nil
	}
	m := &stun.Message{Raw: append([]byte(nil), p...)}
	if err := m.Decode(); err != nil {
		c.verdict = 500
		return len(p), nil
	}
	c.verdict = 0
	if m.Type.Class == stun.ClassErrorResponse {
		var code stun.ErrorCodeAttribute
		if c.verdict = 403; code.GetFrom(m) == nil { // a refused permission comes without a code
			c.verdict = int(code.Code)
		}
		c.nonce = nil
		_ = c.nonce.GetFrom(m)
	}
	return len(p), nil
}

func (c *engineConn) toClient(p []byte, to net.Addr) {
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return
	}
	a := c.e.lookup(u.AddrPort())
	if a == nil || len(p) > maxFrame {
		return
	}
	k := newPacket()
	k.n = copy(k.buf[:], p)
	if !a.guard.port.send(k, a.client, false) {
		a.srv.counts.add(dropQueue)
	}
}

// permitted repeats the policy inside the library, as a second lock on the same door.
func (c *engineConn) permitted(_ net.Addr, ip net.IP) bool {
	peer, ok := netip.AddrFromSlice(ip)
	return ok && c.about.srv.settings.Load().mayPermit(peer.Unmap())
}

func (c *engineConn) Close() error { return nil }
func (c *engineConn) LocalAddr() net.Addr {
	return &net.UDPAddr{IP: net.IPv4(192, 0, 2, 0), Port: 3478}
}
func (c *engineConn) SetDeadline(time.Time) error      { return nil }
func (c *engineConn) SetReadDeadline(time.Time) error  { return nil }
func (c *engineConn) SetWriteDeadline(time.Time) error { return nil }

// generator hands the library the relayed socket that was made for the allocation in question.
type generator engineConn

func (g *generator) Validate() error { return nil }

func (g *generator) AllocatePacketConn(string, int) (net.PacketConn, net.Addr, error) {
	if !g.asking || g.about.relay == nil {
		return nil, nil, errEngine
	}
	return g.about.relay, g.about.addr, nil
}

func (g *generator) AllocateConn(string, int) (net.Conn, net.Addr, error) { return nil, nil, errEngine }

type setterFunc func(*stun.Message) error

func (f setterFunc) AddTo(m *stun.Message) error { return f(m) }

func rawAttr(t stun.AttrType, v ...byte) stun.Setter { return stun.RawAttribute{Type: t, Value: v} }

func seconds(d time.Duration) stun.Setter {
	s := uint32(d / time.Second)
	return rawAttr(stun.AttrLifetime, byte(s>>24), byte(s>>16), byte(s>>8), byte(s))
}

func peerAttr(p netip.AddrPort) stun.Setter {
	return setterFunc(func(m *stun.Message) error {
		x := stun.XORMappedAddress{IP: p.Addr().AsSlice(), Port: int(p.Port())}
		return x.AddToAs(m, stun.AttrXORPeerAddress)
	})
}
