package leg

import (
	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

// maxDatagram is the longest datagram taken from a relay or a TCP frame.
const maxDatagram = 2048

// inbound is the state of one reader goroutine. It keeps the lock of the leg
// it is at, so that packets of one leg that follow each other cost one lock.
type inbound struct {
	t       *Transport
	at      *Leg   // locked, or nil
	touched []*Leg // got media since the last flush
}

func newInbound(t *Transport) *inbound {
	return &inbound{t: t, touched: make([]*Leg, 0, 64)}
}

func (in *inbound) lock(l *Leg) {
	if in.at == l {
		return
	}
	in.unlock()
	l.mu.Lock()
	in.at = l
}

func (in *inbound) unlock() {
	if in.at != nil {
		in.at.mu.Unlock()
		in.at = nil
	}
}

// datagram gives one datagram to its leg, by the first byte (RFC 7983 7).
func (in *inbound) datagram(h *hop, peer udpio.Peer, b []byte, now int64) {
	switch {
	case len(b) == 0:
	case b[0]&0xC0 == 0x80: // 128..191
		in.media(h, peer, b, now)
		return
	case b[0] <= 3:
		in.stun(h, peer, b, now)
		return
	case b[0] >= 20 && b[0] <= 63:
		in.dtls(h, peer, b, now)
		return
	}
	in.t.stats.malformed.Add(1)
}

// media opens an SRTP or SRTCP packet and gives it to the leg's handler.
func (in *inbound) media(h *hop, peer udpio.Peer, b []byte, now int64) {
	c := h.lookup(peer)
	if c == nil {
		in.t.stats.unknownAddress.Add(1)
		return
	}
	l := c.leg
	in.lock(l)
	if l.opener == nil {
		l.keepEarly(c, b, now)
		return
	}
	if l.closed || !l.deliver(c, b, now) {
		in.t.stats.badMedia.Add(1)
		return
	}
	in.touch(l)
}

// deliver opens a packet in place and hands it over.
func (l *Leg) deliver(c *candidate, b []byte, now int64) bool {
	if len(b) < 2 {
		return false
	}
	rtcp := b[1] >= 192 && b[1] <= 223 // RFC 5761 4
	var out []byte
	var err error
	if rtcp {
		out, err = l.opener.OpenRTCP(b, b)
	} else {
		out, err = l.opener.OpenRTP(b, b)
	}
	if err != nil {
		return false
	}
	c.lastSeen.Store(now)
	l.lastReceived.Store(now)
	l.carried(c, now)
	if rtcp {
		l.handler.HandleRTCP(out, now)
	} else {
		l.handler.HandleRTP(out, now)
	}
	return true
}

func (in *inbound) touch(l *Leg) {
	for i := len(in.touched) - 1; i >= 0; i-- { // mostly the last one
		if in.touched[i] == l {
			return
		}
	}
	in.touched = append(in.touched, l)
}

// flush ends one socket read.
func (in *inbound) flush() {
	for i, l := range in.touched {
		in.lock(l)
		if !l.closed {
			l.handler.HandleFlush()
		}
		in.touched[i] = nil
	}
	in.touched = in.touched[:0]
	in.unlock()
}
