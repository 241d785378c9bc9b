package turnsvc

import (
	"net"
	"net/netip"
	"slices"

	"github.com/pion/stun/v4"
)

// phrases are the reason phrases of RFC 8489 section 14.8 and RFC 8656 section 19.
var phrases = map[int]string{
	400: "Bad Request", 401: "Unauthenticated", 403: "Forbidden", 420: "Unknown Attribute",
	437: "Allocation Mismatch", 438: "Stale Nonce", 440: "Address Family not Supported",
	441: "Wrong Credentials", 442: "Unsupported Transport Protocol", 443: "Peer Address Family Mismatch",
	486: "Allocation Quota Reached", 500: "Server Error", 508: "Insufficient Capacity",
}

// accept answers an authenticated request with success.
func (g *guard) accept(r *request, attrs ...stun.Setter) {
	g.reply(r, stun.ClassSuccessResponse, append(attrs, stun.MessageIntegrity(r.key))...)
}

// reject answers an authenticated request with an error, signed like a success
// (RFC 8489 section 9.2.4: every response to such a request is).
func (g *guard) reject(r *request, code int, why reason, attrs ...stun.Setter) {
	g.srv.counts.add(why)
	attrs = append([]stun.Setter{errorCode(code)}, attrs...)
	g.reply(r, stun.ClassErrorResponse, append(attrs, stun.MessageIntegrity(r.key))...)
}

// challenge answers a request that proved nothing with what is needed to try again.
func (g *guard) challenge(r *request, code int, why reason) {
	if !g.mayAnswer(r, why) {
		return
	}
	nonce := g.srv.nonces.issue(g.srv.clock(), r.from.Addr())
	g.reply(r, stun.ClassErrorResponse, errorCode(code), stun.NewNonce(string(nonce)), stun.NewRealm(r.set.Realm))
}

// rejectBare answers a request that proved nothing with an error only.
func (g *guard) rejectBare(r *request, code int, why reason, attrs ...stun.Setter) {
	if g.mayAnswer(r, why) {
		g.reply(r, stun.ClassErrorResponse, append([]stun.Setter{errorCode(code)}, attrs...)...)
	}
}

// mayAnswer counts an unauthenticated request and tells whether its source may get a reply. Over a
// stream the source is proven by the handshake and the client pays for its own answers.
func (g *guard) mayAnswer(r *request, why reason) bool {
	if why != 0 {
		g.srv.counts.add(why)
	}
	if g.port.transport() != UDP || g.srv.limiter.allow(r.from.Addr(), g.srv.nanos(), r.set.UnauthReplies) {
		return true
	}
	g.srv.counts.add(rejectRate)
	return false
}

func (g *guard) reply(r *request, class stun.MessageClass, attrs ...stun.Setter) {
	head := []stun.Setter{&stun.Message{TransactionID: r.m.TransactionID}, stun.NewType(r.m.Type.Method, class)}
	m, err := stun.Build(append(head, attrs...)...)
	if err != nil || len(m.Raw) > maxFrame {
		return // cannot be: every part is ours and short
	}
	k := newPacket()
	k.n = copy(k.buf[:], m.Raw)
	g.port.send(k, r.from, true)
}

func errorCode(code int) stun.Setter {
	return stun.ErrorCodeAttribute{Code: stun.ErrorCode(code), Reason: []byte(phrases[code])}
}

func addressAttr(t stun.AttrType, a netip.AddrPort) stun.Setter {
	return setterFunc(func(m *stun.Message) error {
		u := net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
		return stun.XORMappedAddress{IP: u.IP, Port: u.Port}.AddToAs(m, t)
	})
}

// understood are the comprehension-required attributes each method may carry. RFC 8489's SHA-256
// and user hash are not offered in challenges and count as unknown; so does DONT-FRAGMENT, as
// RFC 8656 section 7.2 wants of a server without it.
var understood = map[stun.Method][]stun.AttrType{
	stun.MethodBinding: {stun.AttrUsername, stun.AttrMessageIntegrity, stun.AttrPriority, stun.AttrUseCandidate},
	stun.MethodAllocate: {
		stun.AttrRequestedTransport, stun.AttrRequestedAddressFamily, stun.AttrLifetime,
		stun.AttrEvenPort, stun.AttrReservationToken,
	},
	stun.MethodRefresh:          {stun.AttrLifetime, stun.AttrRequestedAddressFamily},
	stun.MethodCreatePermission: {stun.AttrXORPeerAddress},
	stun.MethodChannelBind:      {stun.AttrXORPeerAddress, stun.AttrChannelNumber, stun.AttrLifetime},
}

var authAttrs = []stun.AttrType{stun.AttrUsername, stun.AttrRealm, stun.AttrNonce, stun.AttrMessageIntegrity}

// unknownAttrs lists what a request requires to be understood and is not (RFC 8489 section 6.3.1).
func unknownAttrs(m *stun.Message) stun.UnknownAttributes {
	var unknown stun.UnknownAttributes
	for _, a := range m.Attributes {
		if a.Type.Required() && !slices.Contains(understood[m.Type.Method], a.Type) &&
			!slices.Contains(authAttrs, a.Type) && !slices.Contains(unknown, a.Type) && len(unknown) < 8 {
			unknown = append(unknown, a.Type)
		}
	}
	return unknown
}
