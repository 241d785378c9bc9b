package caddymodule

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-jose/go-jose/v4"
)

const (
	maxKeySetSize = 256 << 10
	maxKeys       = 64
	minRSABits    = 2048
)

// verifyKey is a key with the one algorithm it is for.
type verifyKey struct {
	id  string // empty: none
	alg jose.SignatureAlgorithm
	key any
}

// matching are the keys for an algorithm and, if given, a key id. A key
// without an id fits every id.
func matching(keys []verifyKey, alg jose.SignatureAlgorithm, id string) []verifyKey {
	var out []verifyKey
	for _, k := range keys {
		if k.alg == alg && (id == "" || k.id == "" || k.id == id) {
			out = append(out, k)
		}
	}
	return out
}

// algorithmOf is the algorithm of a public key.
func algorithmOf(key any) (jose.SignatureAlgorithm, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return "", fmt.Errorf("the RSA key has %d bits: at least %d are needed", k.N.BitLen(), minRSABits)
		}
		return jose.RS256, nil
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return "", fmt.Errorf("the key is on the curve %s: ES256 needs P-256", k.Curve.Params().Name)
		}
		return jose.ES256, nil
	case ed25519.PublicKey:
		return jose.EdDSA, nil
	}
	return "", fmt.Errorf("%T is no public key of RSA, P-256 or Ed25519", key)
}

// readKeyFile reads PEM or a JSON Web Key Set. Each PEM block must be usable.
func readKeyFile(name string) ([]verifyKey, error) {
	path, err := caddy.NewReplacer().ReplaceOrErr(name, true, true)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxKeySetSize+1))
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	var keys []verifyKey
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		keys, err = parseKeySet(raw)
	} else {
		keys, err = parsePEM(raw)
	}
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return keys, nil
}

func parsePEM(raw []byte) ([]verifyKey, error) {
	var keys []verifyKey
	for {
		var block *pem.Block
		if block, raw = pem.Decode(raw); block == nil {
			break
		}
		key, err := parseBlock(block)
		if err != nil {
			return nil, err
		}
		alg, err := algorithmOf(key)
		if err != nil {
			return nil, err
		}
		keys = append(keys, verifyKey{alg: alg, key: key})
	}
	if len(keys) == 0 || len(keys) > maxKeys {
		return nil, fmt.Errorf("%d PEM blocks: 1 to %d public keys are needed", len(keys), maxKeys)
	}
	return keys, nil
}

func parseBlock(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	}
	return nil, fmt.Errorf("a %s is no public key: write it with `openssl pkey -pubout`", block.Type)
}

// parseKeySet reads a JSON Web Key Set (RFC 7517 section 5). Keys that are
// not understood or not for verifying are left out, as it asks; secrets
// always are, so that a leaked set can sign nothing.
func parseKeySet(raw []byte) ([]verifyKey, error) {
	if len(raw) > maxKeySetSize {
		return nil, fmt.Errorf("the key set is larger than %d KiB", maxKeySetSize>>10)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, fmt.Errorf("no JSON Web Key Set: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("the key set has %d keys: at most %d are read", len(set.Keys), maxKeys)
	}
	var keys []verifyKey
	for _, r := range set.Keys {
		var k jose.JSONWebKey
		if err := k.UnmarshalJSON(r); err != nil || !k.IsPublic() || k.Use != "" && k.Use != "sig" {
			continue
		}
		alg, err := algorithmOf(k.Key)
		if err != nil || k.Algorithm != "" && k.Algorithm != string(alg) {
			continue
		}
		keys = append(keys, verifyKey{id: k.KeyID, alg: alg, key: k.Key})
	}
	if len(keys) == 0 {
		return nil, errors.New("the key set has no key for RS256, ES256 or EdDSA")
	}
	return keys, nil
}
