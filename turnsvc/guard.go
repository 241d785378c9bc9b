package turnsvc

import (
	"encoding/binary"
	"time"

	"github.com/pion/stun/v4"
)

// port is where packets of clients arrive: a UDP socket, or one stream connection.
type port interface {
	transport() Transport
	// send takes the packet over and writes or queues it. It never waits for a client; false means
	// dropped. urgent marks replies, for which a queue keeps a reserve.
	send(k *packet, to fiveTuple, urgent bool) bool
	// allocated follows each new or refreshed allocation of the port, released each ended one.
	allocated(lifetime time.Duration, fresh bool)
	released()
}

// guard stands between one port and everything else. It alone reads what clients send: data goes
// straight to the data plane, requests are authenticated and judged here, and the library hears only
// of those that passed. One goroutine, the one that reads the port, runs a guard; the table of clients
// it shares with the guards of the other sockets of its listening address.
type guard struct {
	srv      *Server
	port     port
	endpoint *Endpoint
	clients  *clients
	msg      stun.Message
}

func newGuard(e *Endpoint, p port, c *clients) *guard {
	return &guard{srv: e.srv, endpoint: e, port: p, clients: c}
}

// handle takes one datagram or frame of a client. b is used only during the call.
func (g *guard) handle(b []byte, from fiveTuple) {
	switch {
	case len(b) >= channelHeader && b[0]>>4 == firstChannel>>12:
		if a := g.clients.get(from); a != nil {
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

func (g *guard) message(b []byte, from fiveTuple) {
	if binary.BigEndian.Uint16(b) == typeSendIndication {
		if a := g.clients.get(from); a != nil {
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
	r := &request{m: &g.msg, from: from, set: g.srv.settings.Load(), alloc: g.living(from)}
	g.request(r)
}

// living is the allocation of a client, if it has one that did not end.
func (g *guard) living(from fiveTuple) *allocation {
	if a := g.clients.get(from); a != nil && !a.ended.Load() {
		return a
	}
	return nil
}

// forget is called by an allocation that ended, from any goroutine.
func (g *guard) forget(a *allocation) {
	g.clients.remove(a)
	g.port.released()
}
