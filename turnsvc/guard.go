package turnsvc

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v4"
)

// port is where clients arrive: a UDP socket with all its clients, or one stream connection.
type port interface {
	transport() Transport
	// send takes the packet over and writes or queues it. It never waits for a client; false means
	// dropped. urgent marks replies, for which a queue keeps a reserve.
	send(k *packet, to netip.AddrPort, urgent bool) bool
	// allocated follows each new or refreshed allocation of the port, released each ended one.
	allocated(lifetime time.Duration, fresh bool)
	released()
}

// guard stands between one port and everything else. It alone reads what clients send: data goes
// straight to the data plane, requests are authenticated and judged here, and the library hears only
// of those that passed. One goroutine, the one that reads the port, runs a guard; it owns the table.
type guard struct {
	srv      *Server
	port     port
	endpoint *Endpoint
	clients  map[netip.AddrPort]*allocation
	msg      stun.Message

	hasDead atomic.Bool
	mu      sync.Mutex
	dead    []*allocation // ended, still in clients
}

func newGuard(s *Server, e *Endpoint) *guard {
	return &guard{srv: s, endpoint: e, clients: map[netip.AddrPort]*allocation{}}
}

// handle takes one datagram or frame of a client. b is used only during the call.
func (g *guard) handle(b []byte, from netip.AddrPort) {
	if g.hasDead.Load() {
		g.sweep()
	}
	switch {
	case len(b) >= channelHeader && b[0]>>4 == firstChannel>>12:
		if a := g.clients[from]; a != nil {
			a.fromChannel(b)
			return
		}
		g.srv.counts.add(dropNoAllocation)
	case wholeSTUN(b):
		g.message(b, from)
	default:
		g.srv.counts.add(rejectGarbage)
	}
}

// wholeSTUN tells whether b is exactly one STUN message by its header (RFC 8489 section 5).
func wholeSTUN(b []byte) bool {
	return len(b) >= stunHeader && b[0]>>6 == 0 && binary.BigEndian.Uint32(b[4:]) == cookie &&
		int(binary.BigEndian.Uint16(b[2:])) == len(b)-stunHeader && len(b)%4 == 0
}

func (g *guard) message(b []byte, from netip.AddrPort) {
	if binary.BigEndian.Uint16(b) == typeSendIndication {
		if a := g.clients[from]; a != nil {
			a.fromSend(b)
			return
		}
		g.srv.counts.add(dropNoAllocation)
		return
	}
	g.msg.Raw = append(g.msg.Raw[:0], b...)
	if g.msg.Decode() != nil || g.msg.Type.Class != stun.ClassRequest || len(b) > maxFrame {
		g.srv.counts.add(rejectGarbage)
		return
	}
	if g.msg.Contains(stun.AttrFingerprint) && stun.Fingerprint.Check(&g.msg) != nil {
		g.srv.counts.add(rejectGarbage) // RFC 8489 section 6.3: silently discarded
		return
	}
	r := &request{m: &g.msg, from: from, set: g.srv.settings.Load(), alloc: g.clients[from]}
	if r.alloc != nil && r.alloc.ended.Load() {
		r.alloc = nil
	}
	g.request(r)
}

// forget is called by an allocation that ended, from any goroutine.
func (g *guard) forget(a *allocation) {
	g.mu.Lock()
	g.dead = append(g.dead, a)
	g.mu.Unlock()
	g.hasDead.Store(true)
	g.port.released()
}

func (g *guard) sweep() {
	g.mu.Lock()
	dead := g.dead
	g.dead = nil
	g.hasDead.Store(false)
	g.mu.Unlock()
	for _, a := range dead {
		if g.clients[a.client] == a {
			delete(g.clients, a.client)
		}
	}
}

// endAll ends what the port carried; the reading goroutine calls it when it stops.
func (g *guard) endAll(why EndReason) {
	for _, a := range g.clients {
		a.end(why)
	}
}
