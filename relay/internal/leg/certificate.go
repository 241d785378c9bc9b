package leg

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	_ "crypto/sha256" // registers SHA-256 for crypto.Hash
	_ "crypto/sha512" // registers SHA-384 and SHA-512
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// NewCertificate makes a self-signed ECDSA P-256 certificate. Peers know it by
// the fingerprint in the SDP, so one per process is enough and cheapest.
func NewCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make DTLS key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make DTLS certificate: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "WebRTC"},
		NotBefore:    now.Add(-24 * time.Hour), // clocks of peers differ
		NotAfter:     now.AddDate(10, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make DTLS certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// Fingerprint is a=fingerprint of an SDP (RFC 8122 5), as in the SDP: hash
// "sha-256", value "AB:CD:...". Letter case does not matter.
type Fingerprint struct{ Hash, Value string }

var (
	errNoFingerprint = errors.New("no usable DTLS fingerprint: the SDP needs a=fingerprint with sha-256, sha-384 or sha-512")
	errWrongCert     = errors.New("the peer's DTLS certificate matches no fingerprint of its SDP")
)

type digest struct {
	hash crypto.Hash
	sum  []byte
}

var fingerprintHashes = map[string]crypto.Hash{
	"sha-256": crypto.SHA256, "sha-384": crypto.SHA384, "sha-512": crypto.SHA512,
}

// parseFingerprints keeps the fingerprints with a hash that is strong enough;
// at least one has to be left.
func parseFingerprints(list []Fingerprint) ([]digest, error) {
	var out []digest
	for _, f := range list {
		hash, ok := fingerprintHashes[strings.ToLower(f.Hash)]
		if !ok {
			continue
		}
		sum, err := hex.DecodeString(strings.ReplaceAll(f.Value, ":", ""))
		if err != nil || len(sum) != hash.Size() {
			return nil, fmt.Errorf("fingerprint %s %.128q is not %d bytes in hex", f.Hash, f.Value, hash.Size())
		}
		out = append(out, digest{hash, sum})
	}
	if len(out) == 0 {
		return nil, errNoFingerprint
	}
	return out, nil
}

// verifyCertificate accepts a certificate that matches any of the digests.
func verifyCertificate(der []byte, digests []digest) error {
	for _, d := range digests {
		if bytes.Equal(sumOf(d.hash, der), d.sum) {
			return nil
		}
	}
	return errWrongCert
}

func sumOf(h crypto.Hash, b []byte) []byte {
	w := h.New()
	w.Write(b)
	return w.Sum(nil)
}

func formatFingerprint(der []byte) string {
	var b strings.Builder
	for i, c := range sumOf(crypto.SHA256, der) {
		if i > 0 {
			b.WriteByte(':')
		}
		fmt.Fprintf(&b, "%02X", c)
	}
	return b.String()
}
