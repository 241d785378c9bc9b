package turnsvc

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/pion/stun/v4"
)

const (
	nonceLifetime = time.Hour // RFC 8489 section 9.2: at least hourly
	nonceTime     = 4
	nonceMAC      = 8
)

// nonces are stateless: the time of issue and a MAC over it and the address of the client. Sixteen
// characters keep the challenge near the size of the request it answers; the address makes a
// nonce that was overheard useless elsewhere.
type nonces struct{ key []byte }

func (n *nonces) mac(t []byte, ip netip.Addr) []byte {
	h := hmac.New(sha256.New, n.key)
	h.Write(t)
	b := ip.Unmap().As16()
	h.Write(b[:])
	return h.Sum(nil)[:nonceMAC]
}

func (n *nonces) issue(now time.Time, ip netip.Addr) []byte {
	var t [nonceTime]byte
	binary.BigEndian.PutUint32(t[:], uint32(now.Unix()))
	return base64.RawURLEncoding.AppendEncode(nil, append(t[:], n.mac(t[:], ip)...))
}

func (n *nonces) valid(text []byte, now time.Time, ip netip.Addr) bool {
	if len(text) != base64.RawURLEncoding.EncodedLen(nonceTime+nonceMAC) {
		return false
	}
	b, err := base64.RawURLEncoding.AppendDecode(nil, text)
	if err != nil || !hmac.Equal(b[nonceTime:], n.mac(b[:nonceTime], ip)) {
		return false
	}
	age := now.Sub(time.Unix(int64(binary.BigEndian.Uint32(b)), 0))
	return age > -time.Minute && age <= nonceLifetime
}

// request is one request of a client, and what became known about its sender.
type request struct {
	m        *stun.Message
	from     fiveTuple
	set      *settings
	alloc    *allocation // of this 5-tuple, if any
	username string
	userID   string // empty when the username is only known from the allocation
	key      []byte
}

// authenticate checks a request by the long-term mechanism (RFC 8489 section 9.2.4) and answers it
// when it fails. The owner of an allocation is recognised by the key of the allocation, so neither
// the expiry of a credential nor a new secret or realm cuts what is established.
func (g *guard) authenticate(r *request) bool {
	if !r.m.Contains(stun.AttrMessageIntegrity) {
		g.challenge(r, 401, rejectUnauthenticated)
		return false
	}
	username, errU := r.m.Get(stun.AttrUsername)
	nonce, errN := r.m.Get(stun.AttrNonce)
	if errU != nil || errN != nil || !r.m.Contains(stun.AttrRealm) {
		g.rejectBare(r, 400, rejectBad)
		return false
	}
	if !g.srv.nonces.valid(nonce, g.srv.clock(), r.from.Addr()) {
		g.challenge(r, 438, rejectNonce)
		return false
	}
	r.username = string(username)
	if r.alloc != nil && r.alloc.username == r.username && signed(r.m, r.alloc.key) {
		r.key = r.alloc.key
		return true
	}
	id, why, err := g.srv.checkUsername(r.set, r.username)
	if err != nil {
		g.challenge(r, 401, why)
		return false
	}
	for _, secret := range r.set.Secrets {
		key := longTermKey(r.username, r.set.Realm, password(secret, r.username))
		if signed(r.m, key) {
			r.key, r.userID = key, id
			return true
		}
	}
	g.challenge(r, 401, rejectCredential)
	return false
}

func signed(m *stun.Message, key []byte) bool { return stun.MessageIntegrity(key).Check(m) == nil }
