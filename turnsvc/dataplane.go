package turnsvc

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
)

const (
	stunHeader    = 20
	channelHeader = 4
	maxFrame      = 2048
	// maxPayload leaves room for the widest Data indication: header, IPv6 peer, DATA.
	maxPayload = maxFrame - stunHeader - 24 - 4

	cookie              = 0x2112A442
	typeSendIndication  = 0x0016
	typeDataIndication  = 0x0017
	attrXORPeerAddress  = 0x0012
	attrData            = 0x0013
	firstChannel        = 0x4000
	lastChannel         = 0x4FFF // RFC 8656 section 12
	familyIPv4          = 0x01
	familyIPv6          = 0x02
	comprehensionOption = 0x8000
)

// packet is a pooled buffer on its way between a client and the media side.
type packet struct {
	n   int
	rel *allocation // the sender, on the way to the media side
	buf [maxFrame]byte
}

var packets = sync.Pool{New: func() any { return new(packet) }}

func newPacket() *packet    { return packets.Get().(*packet) }
func (p *packet) free()     { p.rel = nil; packets.Put(p) }
func (p *packet) b() []byte { return p.buf[:p.n] }

// fromChannel relays a ChannelData message of the client (RFC 8656 section 12.6).
func (a *allocation) fromChannel(b []byte) {
	size := int(binary.BigEndian.Uint16(b[2:]))
	if size > len(b)-channelHeader {
		a.srv.counts.add(rejectGarbage)
		return
	}
	peer, ok := a.leases.Load().channel(binary.BigEndian.Uint16(b), a.srv.nanos())
	if !ok {
		a.srv.counts.add(dropNoPermission)
		return
	}
	a.toPeer(b[channelHeader:channelHeader+size], peer)
}

// fromSend relays a Send indication of the client (RFC 8656 section 11.2), which must be a whole
// STUN message. Some clients (Firefox) never bind channels, so it is a hot path as well.
func (a *allocation) fromSend(b []byte) {
	var peer netip.AddrPort
	var data []byte
	for rest := b[stunHeader:]; len(rest) >= 4; {
		kind, size := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		padded := (size + 3) &^ 3
		if padded > len(rest)-4 {
			a.srv.counts.add(rejectGarbage)
			return
		}
		value := rest[4 : 4+size]
		switch {
		case kind == attrXORPeerAddress:
			peer, _ = parsePeer(value, b[8:20])
		case kind == attrData:
			data = value
		case kind < comprehensionOption: // unknown and required: the indication is void
			a.srv.counts.add(rejectGarbage)
			return
		}
		rest = rest[4+padded:]
	}
	if !peer.IsValid() || data == nil {
		a.srv.counts.add(rejectGarbage)
		return
	}
	if !a.leases.Load().permits(peer.Addr(), a.srv.nanos()) {
		a.srv.counts.add(dropNoPermission)
		return
	}
	a.toPeer(data, peer)
}

// toPeer is the only way out of an allocation. Whatever was granted before, a packet leaves only
// for an address and port that is a media address now.
func (a *allocation) toPeer(p []byte, peer netip.AddrPort) {
	set := a.srv.settings.Load()
	switch {
	case a.ended.Load():
		a.srv.counts.add(dropNoAllocation)
	case a.open == nil && !set.isMedia(peer), a.open != nil && !set.mayReach(peer):
		a.srv.counts.add(dropNotMedia)
	case set.Bandwidth > 0 && !a.up.takeBytes(a.srv.nanos(), len(p), set.Bandwidth):
		a.srv.counts.add(dropBandwidth)
	default:
		a.packetsIn.Add(1)
		a.bytesIn.Add(uint64(len(p)))
		if a.open != nil {
			_, _ = a.open.udp.WriteToUDPAddrPort(p, peer)
			return
		}
		if last := a.media.Load(); *last != peer {
			spoken := peer // so that only a change allocates
			a.media.Store(&spoken)
		}
		a.srv.hub.push(a, p)
	}
}

// toClient delivers a packet of the media side: as ChannelData when the client bound a channel to
// the sender (RFC 8656 section 12.7), else as a Data indication when it permitted it (11.3).
func (a *allocation) toClient(p []byte, from netip.AddrPort) {
	now := a.srv.nanos()
	l := a.leases.Load()
	number, bound := l.channelTo(from, now)
	switch set := a.srv.settings.Load(); {
	case len(p) > maxPayload:
		a.srv.counts.add(dropTooLong)
		return
	case a.ended.Load():
		a.srv.counts.add(dropNoAllocation)
		return
	case !bound && !l.permits(from.Addr(), now):
		a.srv.counts.add(dropNoPermission)
		return
	case set.Bandwidth > 0 && !a.down.takeBytes(now, len(p), set.Bandwidth):
		a.srv.counts.add(dropBandwidth)
		return
	}
	pkt := newPacket()
	if bound {
		pkt.putChannelData(number, p, a.guard.port.transport() != UDP)
	} else {
		pkt.putDataIndication(from, p)
	}
	if !a.guard.port.send(pkt, a.client, false) {
		a.srv.counts.add(dropQueue)
		return
	}
	a.packetsOut.Add(1)
	a.bytesOut.Add(uint64(len(p)))
}

// putChannelData frames a payload; on streams it is padded to four bytes (RFC 8656 section 12.5).
func (k *packet) putChannelData(number uint16, p []byte, pad bool) {
	binary.BigEndian.PutUint16(k.buf[:], number)
	binary.BigEndian.PutUint16(k.buf[2:], uint16(len(p)))
	k.n = channelHeader + copy(k.buf[channelHeader:], p)
	for pad && k.n%4 != 0 {
		k.buf[k.n] = 0
		k.n++
	}
}

func (k *packet) putDataIndication(from netip.AddrPort, p []byte) {
	b := k.buf[:]
	binary.BigEndian.PutUint16(b, typeDataIndication)
	binary.BigEndian.PutUint32(b[4:], cookie)
	binary.BigEndian.PutUint64(b[8:], rand.Uint64())
	binary.BigEndian.PutUint32(b[16:], rand.Uint32())
	n := stunHeader
	n += putPeer(b[n:], from, b[8:20])
	binary.BigEndian.PutUint16(b[n:], attrData)
	binary.BigEndian.PutUint16(b[n+2:], uint16(len(p)))
	n += 4 + copy(b[n+4:], p)
	for n%4 != 0 {
		b[n] = 0
		n++
	}
	binary.BigEndian.PutUint16(b[2:], uint16(n-stunHeader))
	k.n = n
}

// putPeer writes an XOR-PEER-ADDRESS attribute (RFC 8489 section 14.2) and returns its size.
func putPeer(b []byte, peer netip.AddrPort, txid []byte) int {
	binary.BigEndian.PutUint16(b, attrXORPeerAddress)
	binary.BigEndian.PutUint16(b[6:], peer.Port()^(cookie>>16))
	b[4], b[5] = 0, familyIPv4
	size := 8
	if peer.Addr().Is4() {
		ip := peer.Addr().As4()
		copy(b[8:], ip[:])
	} else {
		ip := peer.Addr().As16()
		copy(b[8:], ip[:])
		b[5], size = familyIPv6, 20
	}
	binary.BigEndian.PutUint16(b[2:], uint16(size))
	xorAddress(b[8:4+size], txid)
	return 4 + size
}

// parsePeer reads the value of an XOR-PEER-ADDRESS. The family is kept as sent: ::ffff:1.2.3.4
// stays an IPv6 address.
func parsePeer(v, txid []byte) (netip.AddrPort, bool) {
	if len(v) != 8 && len(v) != 20 {
		return netip.AddrPort{}, false
	}
	port := binary.BigEndian.Uint16(v[2:]) ^ (cookie >> 16)
	var ip [16]byte
	n := copy(ip[:], v[4:])
	xorAddress(ip[:n], txid)
	switch {
	case v[1] == familyIPv4 && n == 4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[:4])), port), true
	case v[1] == familyIPv6 && n == 16:
		return netip.AddrPortFrom(netip.AddrFrom16(ip), port), true
	}
	return netip.AddrPort{}, false
}

func xorAddress(ip, txid []byte) {
	var mask [16]byte
	binary.BigEndian.PutUint32(mask[:], cookie)
	copy(mask[4:], txid)
	for i := range ip {
		ip[i] ^= mask[i]
	}
}
