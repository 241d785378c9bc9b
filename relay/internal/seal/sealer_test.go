package seal

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/pion/srtp/v3"
)

var profiles = []Profile{AES128GCM, AES128CMSHA1}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func masterKeys(p Profile) (key, salt []byte) {
	key, salt = make([]byte, p.KeyLen()), make([]byte, p.SaltLen())
	for i := range key {
		key[i] = byte(0xa0 + i)
	}
	for i := range salt {
		salt[i] = byte(0x11 * i)
	}
	return key, salt
}

// rtpHeader is a header with a one-byte-form extension, as the relay sends it.
func rtpHeader(ssrc uint32, seq uint16) []byte {
	h := make([]byte, 12, 20)
	h[0], h[1] = 0x90, 96
	binary.BigEndian.PutUint16(h[2:], seq)
	binary.BigEndian.PutUint32(h[4:], 0xfeedbeef)
	binary.BigEndian.PutUint32(h[8:], ssrc)
	return append(h, 0xbe, 0xde, 0, 1, 0x31, 0xaa, 0xbb, 0)
}

func payloadOf(n int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func mustSealer(t testing.TB, p Profile) *Sealer {
	t.Helper()
	key, salt := masterKeys(p)
	s, err := NewSealer(p, key, salt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustOpener(t testing.TB, p Profile) *Opener {
	t.Helper()
	key, salt := masterKeys(p)
	o, err := NewOpener(p, key, salt)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func pionContext(t testing.TB, p Profile) *srtp.Context {
	t.Helper()
	key, salt := masterKeys(p)
	c, err := srtp.CreateContext(key, salt, p.pion())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sealed puts header and payload together and seals them.
func sealed(t testing.TB, s *Sealer, header, payload []byte, ssrc uint32, index uint64) []byte {
	t.Helper()
	dst := make([]byte, len(header), len(header)+len(payload)+s.Overhead())
	copy(dst, header)
	out, err := s.Seal(dst, payload, ssrc, index)
	if err != nil {
		t.Fatalf("Seal: %v", err)
	}
	if &out[0] != &dst[0] || len(out) != cap(dst) {
		t.Fatalf("Seal returned %d bytes of other memory, want %d in place", len(out), cap(dst))
	}
	return out
}

// RFC 7714 section 16.1.1: session key and salt are given, not derived.
func TestSealRFC7714Vector(t *testing.T) {
	s, err := newGCM(unhex(t, "000102030405060708090a0b0c0d0e0f"), unhex(t, "517569642070726f2071756f"))
	if err != nil {
		t.Fatal(err)
	}
	clear := unhex(t, `8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
		69736120 696e2070 61727465 73207472 6573`)
	want := unhex(t, `8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5
		0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce`)
	got := sealed(t, s, clear[:12], clear[12:], 0x5501a0b2, 0xf17b)
	if !bytes.Equal(got, want) {
		t.Fatalf("got  %x\nwant %x", got, want)
	}
}

// RFC 3711 appendix B.2: the key stream of AES-CM, with zero SSRC and index.
func TestCounterModeRFC3711Vector(t *testing.T) {
	s, err := newCM(unhex(t, "2B7E151628AED2A6ABF7158809CF4F3C"), unhex(t, "F0F1F2F3F4F5F6F7F8F9FAFBFCFD"), make([]byte, authKeyLen))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 0xff02*aes.BlockSize)
	s.cm.xor(got, got, s.cm.saltHi, s.cm.saltLo)
	for at, want := range map[int]string{
		0:      "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0",
		0xfeff: "EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE 6A2CC3787889374FBEB4C81B17BA6C44",
	} {
		w := unhex(t, want)
		if g := got[at*aes.BlockSize:][:len(w)]; !bytes.Equal(g, w) {
			t.Errorf("block %#x: got %x want %x", at, g, w)
		}
	}
}

// RFC 3711 appendix B.3.
func TestDeriveRFC3711Vectors(t *testing.T) {
	key := unhex(t, "E1F97A0D3E018BE0D64FA32C06DE4139")
	salt := unhex(t, "0EC675AD498AFEEBB6960B3AABE6")
	for label, want := range map[byte]string{
		labelCipher: "C61E7A93744F39EE10734AFE3FF7A087",
		labelSalt:   "30CBBC08863D8C85D49DB34A9AE1",
		labelAuth:   "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4",
	} {
		w := unhex(t, want)
		got, err := derive(key, salt, label, len(w))
		if err != nil || !bytes.Equal(got, w) {
			t.Errorf("label %d: got %x (%v) want %x", label, got, err, w)
		}
	}
}

// What Seal makes is, byte for byte, what pion's context makes, and pion opens it:
// every payload length around the block and chunk edges, over two roll-overs.
func TestSealInteropWithPion(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			s, enc, dec := mustSealer(t, p), pionContext(t, p), pionContext(t, p)
			const ssrc = 0xcafe1234
			index := uint64(65536 - 700)
			for n := range 1400 {
				header, payload := rtpHeader(ssrc, uint16(index)), payloadOf(n)
				got := sealed(t, s, header, payload, ssrc, index)
				want, err := enc.EncryptRTP(nil, append(bytes.Clone(header), payload...), nil)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Fatalf("index %#x length %d: differs from pion", index, n)
				}
				clear, err := dec.DecryptRTP(nil, got, nil)
				if err != nil || !bytes.Equal(clear[len(header):], payload) {
					t.Fatalf("index %#x length %d: pion opens to other bytes: %v", index, n, err)
				}
				index++
			}
			if index>>16 != 1 {
				t.Fatalf("the test did not cross a roll-over: index %#x", index)
			}
			// A large roll-over counter, which pion has to be told.
			index = 0x89ab_cdef_0007
			enc.SetROC(ssrc, uint32(index>>16))
			header, payload := rtpHeader(ssrc, 7), payloadOf(999)
			want, _ := enc.EncryptRTP(nil, append(bytes.Clone(header), payload...), nil)
			if got := sealed(t, s, header, payload, ssrc, index); !bytes.Equal(got, want) {
				t.Fatal("index with a large roll-over counter: differs from pion")
			}
		})
	}
}

func TestSealIsDeterministicAndSeparatesPackets(t *testing.T) {
	for _, p := range profiles {
		s := mustSealer(t, p)
		payload := payloadOf(100)
		a := sealed(t, s, rtpHeader(1, 9), payload, 1, 9)
		sealed(t, s, rtpHeader(2, 9), payload, 2, 9)
		if again := sealed(t, s, rtpHeader(1, 9), payload, 1, 9); !bytes.Equal(a, again) {
			t.Errorf("%v: a resend differs", p)
		}
		other := sealed(t, s, rtpHeader(2, 9), payload, 2, 9)
		if bytes.Equal(a[20:], other[20:]) {
			t.Errorf("%v: two ssrcs share a key stream", p)
		}
		rolled := sealed(t, s, rtpHeader(1, 9), payload, 1, 1<<16|9)
		if bytes.Equal(a[20:], rolled[20:]) {
			t.Errorf("%v: two roll-over counters share a key stream", p)
		}
	}
}

func TestSealInPlacePayload(t *testing.T) {
	for _, p := range profiles {
		s := mustSealer(t, p)
		header, payload := rtpHeader(5, 5), payloadOf(1000)
		want := sealed(t, s, header, payload, 5, 5)
		buf := make([]byte, len(header)+len(payload), len(header)+len(payload)+s.Overhead())
		copy(buf, header)
		copy(buf[len(header):], payload)
		got, err := s.Seal(buf[:len(header)], buf[len(header):], 5, 5)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: payload in place: %v", p, err)
		}
	}
}

func TestSealRefuses(t *testing.T) {
	for _, p := range profiles {
		s := mustSealer(t, p)
		header := rtpHeader(7, 1)
		roomy := func() []byte { return append(make([]byte, 0, 70000), header...) }
		for name, c := range map[string]struct {
			dst, payload []byte
			ssrc         uint32
			index        uint64
			want         error
		}{
			"no header":      {make([]byte, 11, 2000), nil, 0, 0, ErrHeader},
			"other ssrc":     {roomy(), nil, 8, 1, ErrHeader},
			"other sequence": {roomy(), nil, 7, 2, ErrHeader},
			"49-bit index":   {roomy(), nil, 7, 1<<48 | 1, ErrIndex},
			"huge payload":   {roomy(), make([]byte, maxPayload+1), 7, 1, ErrTooLong},
			"one byte short": {append(make([]byte, 0, 20+99+s.Overhead()), header...), make([]byte, 100), 7, 1, ErrShortBuffer},
		} {
			if out, err := s.Seal(c.dst, c.payload, c.ssrc, c.index); !errors.Is(err, c.want) || out != nil {
				t.Errorf("%v %s: got %v, want %v", p, name, err, c.want)
			}
		}
	}
}

func TestConstructorsRefuseBadKeys(t *testing.T) {
	for name, c := range map[string]struct {
		p         Profile
		key, salt int
		want      error
	}{
		"unknown profile": {0, 16, 12, ErrProfile},
		"gcm cm salt":     {AES128GCM, 16, 14, ErrKeyLength},
		"cm gcm salt":     {AES128CMSHA1, 16, 12, ErrKeyLength},
		"long key":        {AES128GCM, 32, 12, ErrKeyLength},
		"no key":          {AES128CMSHA1, 0, 0, ErrKeyLength},
	} {
		key, salt := make([]byte, c.key), make([]byte, c.salt)
		_, e1 := NewSealer(c.p, key, salt)
		_, e2 := NewOpener(c.p, key, salt)
		_, e3 := NewRTCPSealer(c.p, key, salt)
		for _, err := range []error{e1, e2, e3} {
			if !errors.Is(err, c.want) {
				t.Errorf("%s: got %v, want %v", name, err, c.want)
			}
		}
	}
}

func TestSealAllocs(t *testing.T) {
	for _, p := range profiles {
		s := mustSealer(t, p)
		header, payload := rtpHeader(1, 1), payloadOf(1152)
		buf := make([]byte, 1500)
		if n := testing.AllocsPerRun(200, func() {
			copy(buf, header)
			if _, err := s.Seal(buf[:len(header)], payload, 1, 1); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v: %v allocations per packet", p, n)
		}
	}
}

// A packet of 1172 bytes, as in the relay: 20 bytes of header and 1152 of payload.
func BenchmarkSeal(b *testing.B) {
	for _, p := range profiles {
		header, payload := rtpHeader(1, 1), payloadOf(1152)
		buf := make([]byte, 1500)
		b.Run(p.String()+"/seal", func(b *testing.B) {
			s := mustSealer(b, p)
			b.ReportAllocs()
			b.SetBytes(1172)
			for b.Loop() {
				copy(buf, header)
				if _, err := s.Seal(buf[:len(header)], payload, 1, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(p.String()+"/pion", func(b *testing.B) {
			c := pionContext(b, p)
			clear := append(bytes.Clone(header), payload...)
			var h = newHeader()
			b.ReportAllocs()
			b.SetBytes(1172)
			for b.Loop() {
				if _, err := c.EncryptRTP(buf, clear, h); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
