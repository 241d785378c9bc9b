package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"hash"
)

const (
	authKeyLen = 20
	authTagLen = 10
	// keystreamLen is how much key stream is made at a time: long enough that one
	// XOR runs over many blocks, short enough to stay in the first-level cache.
	keystreamLen = 64 * aes.BlockSize
)

// counterMode is AES-CM with HMAC-SHA1-80, RFC 3711 sections 4.1.1 and 4.2.1.
//
// cipher.NewCTR would encrypt several blocks at once, but a stream cannot be moved
// to another counter, so it costs an allocation of half a kilobyte per packet.
type counterMode struct {
	block  cipher.Block
	mac    hash.Hash
	saltHi uint64 // bytes 0-7 of the session salt
	saltLo uint64 // bytes 8-13, shifted to their place in the counter block

	// Scratch that would escape through the interfaces above.
	counter   [aes.BlockSize]byte
	roc       [4]byte
	sum       [sha1.Size]byte
	keystream [keystreamLen]byte
}

func newCM(sessionKey, sessionSalt, authKey []byte) (*Sealer, error) {
	block, err := aes.NewCipher(sessionKey)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	var salt [aes.BlockSize]byte
	copy(salt[:14], sessionSalt)
	return &Sealer{
		overhead: authTagLen,
		cm: &counterMode{
			block:  block,
			mac:    hmac.New(sha1.New, authKey),
			saltHi: binary.BigEndian.Uint64(salt[:]),
			saltLo: binary.BigEndian.Uint64(salt[8:]),
		},
	}, nil
}

// seal appends payload and tag to dst, which has room for both.
func (c *counterMode) seal(dst, payload []byte, ssrc uint32, index uint64) []byte {
	header := len(dst)
	dst = dst[:header+len(payload)]
	c.xor(dst[header:], payload, c.saltHi^uint64(ssrc), c.saltLo^index<<16)

	binary.BigEndian.PutUint32(c.roc[:], uint32(index>>16))
	c.mac.Reset()
	c.mac.Write(dst)
	c.mac.Write(c.roc[:])
	return append(dst, c.mac.Sum(c.sum[:0])[:authTagLen]...)
}

// xor encrypts src into dst, which is as long. hi and lo are the first counter
// block; the block number is in the low 16 bits of lo and does not overflow them.
func (c *counterMode) xor(dst, src []byte, hi, lo uint64) {
	binary.BigEndian.PutUint64(c.counter[:], hi)
	for len(src) > 0 {
		n := min(len(src), keystreamLen)
		for i := 0; i < n; i += aes.BlockSize {
			binary.BigEndian.PutUint64(c.counter[8:], lo)
			c.block.Encrypt(c.keystream[i:i+aes.BlockSize], c.counter[:])
			lo++
		}
		subtle.XORBytes(dst, src, c.keystream[:n])
		dst, src = dst[n:], src[n:]
	}
}
