package leg

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
)

// The part of STUN (RFC 8489) that ICE connectivity checks use.
const (
	stunHeaderSize = 20
	stunCookie     = 0x2112A442
	stunTIDSize    = 12
	stunMaxSize    = 1280 // no check is near this; a longer one is not worth a look

	stunRequest  = 0x0001
	stunSuccess  = 0x0101
	stunFailure  = 0x0111
	roleConflict = 487

	attrUsername     = 0x0006
	attrIntegrity    = 0x0008
	attrErrorCode    = 0x0009
	attrXORMapped    = 0x0020
	attrPriority     = 0x0024
	attrUseCandidate = 0x0025
	attrFingerprint  = 0x8028
	attrControlled   = 0x8029
	attrControlling  = 0x802A

	integritySize   = 20
	fingerprintSize = 4
	fingerprintXOR  = 0x5354554e
)

var errSTUN = errors.New("malformed STUN message")

// stunMessage is a parsed view of a message; its slices point into raw.
type stunMessage struct {
	raw          []byte
	typ          uint16
	tid          []byte
	username     []byte
	priority     uint32
	integrity    int // offset of MESSAGE-INTEGRITY, 0: none
	fingerprint  int // offset of FINGERPRINT, 0: none
	useCandidate bool
	controlled   bool
	controlling  bool
	tieBreaker   uint64 // with either of them
	code         int    // of ERROR-CODE
}

// parse reads b. What follows MESSAGE-INTEGRITY is not authenticated and
// therefore not looked at, except FINGERPRINT (RFC 8489 14.5).
func (m *stunMessage) parse(b []byte) error {
	*m = stunMessage{raw: b}
	if len(b) < stunHeaderSize || len(b) > stunMaxSize || len(b)%4 != 0 || b[0]&0xC0 != 0 ||
		int(binary.BigEndian.Uint16(b[2:])) != len(b)-stunHeaderSize ||
		binary.BigEndian.Uint32(b[4:]) != stunCookie {
		return errSTUN
	}
	m.typ = binary.BigEndian.Uint16(b)
	m.tid = b[8:stunHeaderSize]
	for at := stunHeaderSize; at < len(b); {
		typ, size := binary.BigEndian.Uint16(b[at:]), int(binary.BigEndian.Uint16(b[at+2:]))
		next := at + 4 + (size+3)&^3
		if next > len(b) {
			return errSTUN
		}
		if err := m.attribute(typ, at, b[at+4:at+4+size], next == len(b)); err != nil {
			return err
		}
		at = next
	}
	return nil
}

func (m *stunMessage) attribute(typ uint16, at int, v []byte, last bool) error {
	if typ == attrFingerprint {
		if len(v) != fingerprintSize || !last {
			return errSTUN
		}
		m.fingerprint = at
		return nil
	}
	if m.integrity != 0 {
		return nil
	}
	switch typ {
	case attrUsername:
		m.username = v
	case attrIntegrity:
		if len(v) != integritySize {
			return errSTUN
		}
		m.integrity = at
	case attrPriority:
		if len(v) != 4 {
			return errSTUN
		}
		m.priority = binary.BigEndian.Uint32(v)
	case attrUseCandidate:
		m.useCandidate = true
	case attrControlled, attrControlling:
		m.controlled, m.controlling = typ == attrControlled, typ == attrControlling
		if len(v) == 8 { // else it counts as 0, the weakest
			m.tieBreaker = binary.BigEndian.Uint64(v)
		}
	case attrErrorCode:
		if len(v) >= 4 {
			m.code = int(v[2]&7)*100 + int(v[3])
		}
	}
	return nil
}

// authentic reports whether MESSAGE-INTEGRITY is there and made with key
// (compared in constant time) and FINGERPRINT, when there, is right.
func (m *stunMessage) authentic(key string) bool {
	if m.integrity == 0 {
		return false
	}
	if at := m.fingerprint; at != 0 &&
		crc32.ChecksumIEEE(m.raw[:at])^fingerprintXOR != binary.BigEndian.Uint32(m.raw[at+4:]) {
		return false
	}
	// The length field counts up to and with MESSAGE-INTEGRITY (RFC 8489 14.5).
	var head [stunHeaderSize]byte
	copy(head[:], m.raw)
	binary.BigEndian.PutUint16(head[2:], uint16(m.integrity-stunHeaderSize+4+integritySize))
	mac := hmac.New(sha1.New, []byte(key))
	mac.Write(head[:])
	mac.Write(m.raw[stunHeaderSize:m.integrity])
	return hmac.Equal(mac.Sum(nil), m.raw[m.integrity+4:m.integrity+4+integritySize])
}

// beginSTUN starts a message; finishSTUN sets its length.
func beginSTUN(typ uint16, tid []byte) []byte {
	b := make([]byte, 0, 160)
	b = binary.BigEndian.AppendUint16(b, typ)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint32(b, stunCookie)
	return append(b, tid...)
}

func appendAttr(b []byte, typ uint16, v []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, typ)
	b = binary.BigEndian.AppendUint16(b, uint16(len(v)))
	b = append(b, v...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// finishSTUN appends MESSAGE-INTEGRITY made with key, and FINGERPRINT.
func finishSTUN(b []byte, key string) []byte {
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-stunHeaderSize+4+integritySize))
	mac := hmac.New(sha1.New, []byte(key))
	mac.Write(b)
	b = appendAttr(b, attrIntegrity, mac.Sum(nil))
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-stunHeaderSize+4+fingerprintSize))
	return appendAttr(b, attrFingerprint, binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)^fingerprintXOR))
}

// appendXORMapped appends XOR-MAPPED-ADDRESS (RFC 8489 14.2).
func appendXORMapped(b, tid []byte, addr netip.AddrPort) []byte {
	ip := addr.Addr().Unmap()
	v := make([]byte, 4, 20)
	v[1] = 1
	if ip.Is6() {
		v[1] = 2
	}
	binary.BigEndian.PutUint16(v[2:], addr.Port()^stunCookie>>16)
	v = append(v, ip.AsSlice()...)
	var mask [16]byte
	binary.BigEndian.PutUint32(mask[:], stunCookie)
	copy(mask[4:], tid)
	for i := range v[4:] {
		v[4+i] ^= mask[i]
	}
	return appendAttr(b, attrXORMapped, v)
}

// successResponse answers a check that came from addr (RFC 8445 7.3.1.2).
func successResponse(tid []byte, addr netip.AddrPort, key string) []byte {
	return finishSTUN(appendXORMapped(beginSTUN(stunSuccess, tid), tid, addr), key)
}

// errorResponse refuses an authentic request.
func errorResponse(tid []byte, code int, reason, key string) []byte {
	v := append([]byte{0, 0, byte(code / 100), byte(code % 100)}, reason...)
	return finishSTUN(appendAttr(beginSTUN(stunFailure, tid), attrErrorCode, v), key)
}

// checkRequest is a check of ours (RFC 8445 7.1).
type checkRequest struct {
	tid        []byte
	username   string
	key        string
	priority   uint32
	role       uint16 // attrControlled or attrControlling
	tieBreaker uint64
	nominate   bool
}

func (c *checkRequest) message() []byte {
	b := appendAttr(beginSTUN(stunRequest, c.tid), attrUsername, []byte(c.username))
	b = appendAttr(b, attrPriority, binary.BigEndian.AppendUint32(nil, c.priority))
	b = appendAttr(b, c.role, binary.BigEndian.AppendUint64(nil, c.tieBreaker))
	if c.nominate {
		b = appendAttr(b, attrUseCandidate, nil)
	}
	return finishSTUN(b, c.key)
}
