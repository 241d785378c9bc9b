package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
)

const (
	rtpHeaderLen = 12
	maxIndex     = 1<<48 - 1
	// maxPayload keeps a packet within a datagram, and thereby the AES-CM block
	// counter within its 16 bits.
	maxPayload = 65000
)

// Sealer protects the outgoing RTP of one session. It keeps scratch space, so it
// belongs to one goroutine at a time.
type Sealer struct {
	overhead int
	aead     cipher.AEAD // nil for AES128CMSHA1
	saltHi   uint32      // the session salt as numbers: bytes 0-3
	saltLo   uint64      // and bytes 4-11
	iv       [12]byte    // scratch: a local one would escape through the interface
	cm       *counterMode
}

// NewSealer returns a sealer for packets protected with the local master key and
// salt. The SRTP session keys are derived once, here.
func NewSealer(p Profile, key, salt []byte) (*Sealer, error) {
	if err := p.check(key, salt); err != nil {
		return nil, err
	}
	sessionKey, err := derive(key, salt, labelCipher, p.KeyLen())
	if err != nil {
		return nil, err
	}
	sessionSalt, err := derive(key, salt, labelSalt, p.SaltLen())
	if err != nil {
		return nil, err
	}
	if p == AES128GCM {
		return newGCM(sessionKey, sessionSalt)
	}
	authKey, err := derive(key, salt, labelAuth, authKeyLen)
	if err != nil {
		return nil, err
	}
	return newCM(sessionKey, sessionSalt, authKey)
}

func newGCM(sessionKey, sessionSalt []byte) (*Sealer, error) {
	block, err := aes.NewCipher(sessionKey)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return &Sealer{
		overhead: AES128GCM.Overhead(),
		aead:     aead,
		saltHi:   binary.BigEndian.Uint32(sessionSalt),
		saltLo:   binary.BigEndian.Uint64(sessionSalt[4:]),
	}, nil
}

// Overhead is the number of bytes Seal adds to header and payload: 16 or 10.
func (s *Sealer) Overhead() int { return s.overhead }

// Seal protects one packet. dst holds the whole RTP header (fixed part, CSRCs,
// extensions) and has room for payload and [Sealer.Overhead] behind it; index is
// the SRTP packet index, roll-over counter<<16 | sequence number, in 48 bits
// (RFC 3711 section 3.3.1). The result shares dst's memory. payload is only read;
// it must not overlap dst, except that it may lie exactly where the ciphertext goes.
//
// One (ssrc, index) may be sealed again only with the very same header and
// payload: see the package comment for what a breach of this gives away.
//
// dst is unchanged if an error is returned: [ErrHeader], [ErrIndex],
// [ErrShortBuffer] or [ErrTooLong].
func (s *Sealer) Seal(dst, payload []byte, ssrc uint32, index uint64) ([]byte, error) {
	if len(dst) < rtpHeaderLen ||
		binary.BigEndian.Uint32(dst[8:]) != ssrc || binary.BigEndian.Uint16(dst[2:]) != uint16(index) {
		return nil, ErrHeader
	}
	if index > maxIndex {
		return nil, ErrIndex
	}
	if len(payload) > maxPayload {
		return nil, ErrTooLong
	}
	if cap(dst)-len(dst) < len(payload)+s.overhead {
		return nil, ErrShortBuffer
	}
	if s.aead == nil {
		return s.cm.seal(dst, payload, ssrc, index), nil
	}
	// RFC 7714 section 8.1: (00 00 | SSRC | ROC | SEQ) XOR salt.
	binary.BigEndian.PutUint32(s.iv[0:], s.saltHi^ssrc>>16)
	binary.BigEndian.PutUint64(s.iv[4:], s.saltLo^uint64(ssrc)<<48^index)
	return s.aead.Seal(dst, s.iv[:], payload, dst), nil
}
