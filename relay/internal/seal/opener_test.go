package seal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync"
	"testing"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

func newHeader() *rtp.Header { return &rtp.Header{} }

func compound(t testing.TB, ssrc uint32) []byte {
	t.Helper()
	b, err := rtcp.Marshal([]rtcp.Packet{
		&rtcp.ReceiverReport{SSRC: ssrc, Reports: []rtcp.ReceptionReport{{SSRC: 9, LastSequenceNumber: 77}}},
		&rtcp.PictureLossIndication{SenderSSRC: ssrc, MediaSSRC: 9},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Both pion's packets and our own open, in order and out of it, across a roll-over,
// into given memory and in place.
func TestOpenRTPInterop(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			enc, s, o := pionContext(t, p), mustSealer(t, p), mustOpener(t, p)
			buf := make([]byte, 2048)
			const ssrc = 0xbeef
			for index := uint64(65536 - 200); index < 65536+200; index++ {
				header, payload := rtpHeader(ssrc, uint16(index)), payloadOf(int(index%300))
				want := append(bytes.Clone(header), payload...)
				pkt, err := enc.EncryptRTP(nil, want, nil)
				if err != nil {
					t.Fatal(err)
				}
				if index%2 == 0 {
					pkt = sealed(t, s, header, payload, ssrc, index)
				}
				dst := buf
				if index%3 == 0 {
					dst = pkt // in place
				}
				at := &dst[0]
				got, err := o.OpenRTP(dst, pkt)
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("index %#x: %v", index, err)
				}
				if &got[0] != at {
					t.Fatalf("index %#x: opened into new memory", index)
				}
			}
			// Late packets from before the roll-over, still inside the window.
			late := sealed(t, s, rtpHeader(0xabcd, 10), payloadOf(50), 0xabcd, 1<<16|10)
			first := sealed(t, s, rtpHeader(0xabcd, 65530), payloadOf(50), 0xabcd, 65530)
			older := sealed(t, s, rtpHeader(0xabcd, 65520), payloadOf(50), 0xabcd, 65520)
			for _, pkt := range [][]byte{first, late, older} {
				if _, err := o.OpenRTP(buf, pkt); err != nil {
					t.Fatalf("reordered around a roll-over: %v", err)
				}
			}
		})
	}
}

func TestOpenRTPRefusesForgedAndReplayed(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			s, o := mustSealer(t, p), mustOpener(t, p)
			pkt := sealed(t, s, rtpHeader(3, 100), payloadOf(64), 3, 100)
			for i := range pkt {
				bad := bytes.Clone(pkt)
				bad[i] ^= 1
				if _, err := o.OpenRTP(nil, bad); err == nil {
					t.Fatalf("a packet with byte %d changed was accepted", i)
				}
			}
			for n := range len(pkt) {
				if _, err := o.OpenRTP(nil, pkt[:n]); err == nil {
					t.Fatalf("a packet cut to %d bytes was accepted", n)
				}
			}
			bad := bytes.Clone(pkt)
			bad[len(bad)-1] ^= 1
			if _, err := o.OpenRTP(nil, bad); !errors.Is(err, ErrAuth) {
				t.Fatalf("forged tag: %v, want ErrAuth", err)
			}
			if len(o.rtpSSRCs) != 0 {
				t.Fatal("forged packets left state behind")
			}
			if _, err := o.OpenRTP(nil, pkt); err != nil {
				t.Fatalf("the true packet after forgeries: %v", err)
			}
			if _, err := o.OpenRTP(nil, pkt); err == nil {
				t.Fatal("a replay was accepted")
			}
			// Behind the window: authentic, never seen, but too old to tell from a replay.
			if _, err := o.OpenRTP(nil, sealed(t, s, rtpHeader(3, 101+rtpWindow), nil, 3, 101+rtpWindow)); err != nil {
				t.Fatal(err)
			}
			if _, err := o.OpenRTP(nil, sealed(t, s, rtpHeader(3, 101), nil, 3, 101)); err == nil {
				t.Fatal("a packet behind the window was accepted")
			}
			if _, err := o.OpenRTP(nil, sealed(t, s, rtpHeader(3, 102), nil, 3, 102)); err != nil {
				t.Fatalf("the oldest packet of the window: %v", err)
			}
		})
	}
}

func TestOpenerBoundsSSRCs(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			s, o, enc := mustSealer(t, p), mustOpener(t, p), pionContext(t, p)
			for i := range uint32(10 * MaxSSRCs) {
				_, err := o.OpenRTP(nil, sealed(t, s, rtpHeader(i, 1), nil, i, 1))
				if want := i >= MaxSSRCs; errors.Is(err, ErrTooManySSRCs) != want {
					t.Fatalf("rtp ssrc number %d: %v", i+1, err)
				}
				pkt, _ := enc.EncryptRTCP(nil, compound(t, i), nil)
				_, err = o.OpenRTCP(nil, pkt)
				if want := i >= MaxSSRCs; errors.Is(err, ErrTooManySSRCs) != want {
					t.Fatalf("rtcp ssrc number %d: %v", i+1, err)
				}
			}
			if len(o.rtpSSRCs) != MaxSSRCs || len(o.rtcpSSRCs) != MaxSSRCs {
				t.Fatalf("%d and %d ssrcs kept", len(o.rtpSSRCs), len(o.rtcpSSRCs))
			}
			if _, err := o.OpenRTP(nil, sealed(t, s, rtpHeader(0, 2), nil, 0, 2)); err != nil {
				t.Fatalf("a known ssrc at the bound: %v", err)
			}
		})
	}
}

// RTCP to and from pion; the sealer's output also opens with our own opener.
func TestRTCPInterop(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			key, salt := masterKeys(p)
			s, err := NewRTCPSealer(p, key, salt)
			if err != nil {
				t.Fatal(err)
			}
			dec, enc, o := pionContext(t, p), pionContext(t, p), mustOpener(t, p)
			want := compound(t, 0x1111)
			buf := make([]byte, 1500)
			for range 50 {
				pkt, err := s.SealRTCP(buf, want)
				if err != nil || len(pkt) != len(want)+s.Overhead() || &pkt[0] != &buf[0] {
					t.Fatalf("SealRTCP: %d bytes, %v", len(pkt), err)
				}
				for name, open := range map[string]func([]byte) ([]byte, error){
					"pion": func(b []byte) ([]byte, error) { return dec.DecryptRTCP(nil, b, nil) },
					"own":  func(b []byte) ([]byte, error) { return o.OpenRTCP(nil, b) },
				} {
					if got, err := open(pkt); err != nil || !bytes.Equal(got, want) {
						t.Fatalf("%s: %v", name, err)
					}
				}
				if _, err := o.OpenRTCP(nil, pkt); err == nil {
					t.Fatal("a replayed compound was accepted")
				}
			}
			pkt, _ := enc.EncryptRTCP(nil, compound(t, 0x2222), nil)
			for i := range pkt {
				bad := bytes.Clone(pkt)
				bad[i] ^= 0x40
				if _, err := o.OpenRTCP(nil, bad); err == nil {
					t.Fatalf("a compound with byte %d changed was accepted", i)
				}
			}
			if got, err := o.OpenRTCP(nil, pkt); err != nil || !bytes.Equal(got, compound(t, 0x2222)) {
				t.Fatalf("pion's compound: %v", err)
			}
		})
	}
}

// Concurrent callers must not be given one SRTCP index twice.
func TestSealRTCPConcurrent(t *testing.T) {
	for _, p := range profiles {
		key, salt := masterKeys(p)
		s, err := NewRTCPSealer(p, key, salt)
		if err != nil {
			t.Fatal(err)
		}
		clear := compound(t, 5)
		tail := p.Overhead() // of the index from the end, under SHA1
		if p == AES128GCM {
			tail = 0
		}
		var mu sync.Mutex
		seen := map[uint32]bool{}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 200 {
					pkt, err := s.SealRTCP(nil, clear)
					if err != nil {
						t.Error(err)
						return
					}
					index := binary.BigEndian.Uint32(pkt[len(pkt)-tail-4:])
					mu.Lock()
					if seen[index] {
						t.Errorf("%v: index %#x used twice", p, index)
					}
					seen[index] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(seen) != 800 {
			t.Errorf("%v: %d indexes, want 800", p, len(seen))
		}
	}
}

func TestSealRTCPRefusesMalformed(t *testing.T) {
	key, salt := masterKeys(AES128GCM)
	s, err := NewRTCPSealer(AES128GCM, key, salt)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{nil, make([]byte, 7), make([]byte, 12)} { // the last: version 0
		if _, err := s.SealRTCP(nil, b); err == nil {
			t.Errorf("%d bytes accepted", len(b))
		}
	}
}

func TestOpenAllocs(t *testing.T) {
	for _, p := range profiles {
		s, o := mustSealer(t, p), mustOpener(t, p)
		header, payload, pkt, dst := rtpHeader(1, 0), payloadOf(1152), make([]byte, 1500), make([]byte, 1500)
		seq := uint16(0)
		if n := testing.AllocsPerRun(200, func() {
			seq++
			copy(pkt, header)
			binary.BigEndian.PutUint16(pkt[2:], seq)
			out, err := s.Seal(pkt[:len(header)], payload, 1, uint64(seq))
			if err != nil {
				t.Fatal(err)
			}
			if _, err = o.OpenRTP(dst, out); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v: %v allocations per packet", p, n)
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, p := range profiles {
		key, salt := masterKeys(p)
		s, _ := NewSealer(p, key, salt)
		r, _ := NewRTCPSealer(p, key, salt)
		rtpPkt := sealed(f, s, rtpHeader(1, 1), payloadOf(40), 1, 1)
		rtcpPkt, _ := r.SealRTCP(nil, compound(f, 1))
		f.Add(rtpPkt)
		f.Add(rtcpPkt)
		f.Add(rtpPkt[:30])
		f.Add(rtcpPkt[:28])
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, pkt []byte) {
		for _, p := range profiles {
			o := mustOpener(t, p)
			for _, open := range []func(_, _ []byte) ([]byte, error){o.OpenRTP, o.OpenRTCP} {
				if out, err := open(nil, bytes.Clone(pkt)); err == nil && len(out) > len(pkt)-p.Overhead() {
					t.Fatalf("%d bytes out of %d", len(out), len(pkt))
				}
				in := bytes.Clone(pkt)
				_, _ = open(in, in)
			}
		}
	})
}

func BenchmarkOpenRTP(b *testing.B) {
	for _, p := range profiles {
		b.Run(p.String(), func(b *testing.B) {
			s, o := mustSealer(b, p), mustOpener(b, p)
			header, payload, pkt, dst := rtpHeader(1, 0), payloadOf(1152), make([]byte, 1500), make([]byte, 1500)
			b.ReportAllocs()
			index := uint64(0)
			for b.Loop() {
				index++
				copy(pkt, header)
				binary.BigEndian.PutUint16(pkt[2:], uint16(index))
				out, err := s.Seal(pkt[:len(header)], payload, 1, index)
				if err != nil {
					b.Fatal(err)
				}
				if _, err = o.OpenRTP(dst, out); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
