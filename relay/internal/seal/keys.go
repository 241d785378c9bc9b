package seal

import (
	"crypto/aes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pion/srtp/v3"
)

// Profile is a DTLS-SRTP protection profile (RFC 5764 section 4.1.2).
type Profile uint8

const (
	// AES128GCM is AEAD_AES_128_GCM, RFC 7714.
	AES128GCM Profile = iota + 1
	// AES128CMSHA1 is AES128_CM_HMAC_SHA1_80, RFC 3711.
	AES128CMSHA1
)

// Errors of this package. They are returned as they are, so that refusing a flood
// of bad packets allocates as little as possible.
var (
	ErrProfile      = errors.New("seal: unknown protection profile: use AES128GCM or AES128CMSHA1")
	ErrKeyLength    = errors.New("seal: wrong key or salt length for the profile")
	ErrHeader       = errors.New("seal: dst must hold an RTP header of the ssrc and sequence number that are sealed")
	ErrIndex        = errors.New("seal: packet index above 48 bits: the session has to be keyed anew")
	ErrShortBuffer  = errors.New("seal: dst has no room for payload and overhead")
	ErrTooLong      = errors.New("seal: packet longer than a datagram")
	ErrTooShort     = errors.New("seal: packet too short to be protected")
	ErrTooManySSRCs = errors.New("seal: too many ssrcs in one session")
	// ErrAuth is in the chain of the error for a packet that was forged, damaged or
	// sealed with other keys.
	ErrAuth = srtp.ErrFailedToVerifyAuthTag
)

// Keys are the master keys and salts of both directions as DTLS exports them
// (RFC 5764 section 4.2). Lengths are those of [Profile.KeyLen] and
// [Profile.SaltLen].
type Keys struct{ LocalKey, LocalSalt, RemoteKey, RemoteSalt []byte }

// KeyLen is the length of a master key in bytes.
func (p Profile) KeyLen() int { return 16 }

// SaltLen is the length of a master salt in bytes; 0 for an unknown profile.
func (p Profile) SaltLen() int {
	switch p {
	case AES128GCM:
		return 12
	case AES128CMSHA1:
		return 14
	}
	return 0
}

// Overhead is what SRTP adds to a packet, in bytes; 0 for an unknown profile.
func (p Profile) Overhead() int {
	switch p {
	case AES128GCM:
		return 16
	case AES128CMSHA1:
		return 10
	}
	return 0
}

// String returns the name of the IANA registry.
func (p Profile) String() string {
	switch p {
	case AES128GCM:
		return "AEAD_AES_128_GCM"
	case AES128CMSHA1:
		return "AES128_CM_HMAC_SHA1_80"
	}
	return fmt.Sprintf("seal.Profile(%d)", uint8(p))
}

func (p Profile) pion() srtp.ProtectionProfile {
	if p == AES128GCM {
		return srtp.ProtectionProfileAeadAes128Gcm
	}
	return srtp.ProtectionProfileAes128CmHmacSha1_80
}

func (p Profile) check(key, salt []byte) error {
	if p.SaltLen() == 0 {
		return ErrProfile
	}
	if len(key) != p.KeyLen() || len(salt) != p.SaltLen() {
		return fmt.Errorf("%w: %v wants key %d and salt %d bytes, got %d and %d",
			ErrKeyLength, p, p.KeyLen(), p.SaltLen(), len(key), len(salt))
	}
	return nil
}

// Labels of the key derivation function, RFC 3711 section 4.3.2.
const (
	labelCipher = 0
	labelAuth   = 1
	labelSalt   = 2
)

// derive is the AES-CM key derivation of RFC 3711 section 4.3.3 with a key
// derivation rate of zero, the only one DTLS-SRTP knows. The 96-bit salt of GCM is
// used as if two zero bytes followed it.
func derive(key, salt []byte, label byte, n int) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal: derive session key: %w", err)
	}
	var x [aes.BlockSize]byte
	copy(x[:], salt)
	x[7] ^= label
	out := make([]byte, (n+aes.BlockSize-1)/aes.BlockSize*aes.BlockSize)
	for i := 0; i < len(out); i += aes.BlockSize {
		binary.BigEndian.PutUint16(x[14:], uint16(i/aes.BlockSize))
		block.Encrypt(out[i:], x[:])
	}
	return out[:n], nil
}
