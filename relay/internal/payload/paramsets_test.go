package payload

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The H.265 sets have the shape that encoders give them: profile_tier_level
// holds emulation prevention bytes, and the SPS id is behind them.
const (
	spsA  = "67 42c01f d9 0050"  // SPS 0
	spsB  = "67 640028 ac d9 40" // SPS 0, other content
	sps1  = "67 42c01f 59 0050"  // SPS 1
	ppsA  = "68 ce 3c 80"        // PPS 0
	hvps  = "4001 0c01ffff016000000300b0000003000003007bac09"
	hsps  = "4201 01016000000300b0000003000003007ba003c08010e58dae4914bf37010101008"
	hpps  = "4401 c0f2c68d03b340"
	hsps0 = hsps + "0"
)

func aggregated(header []byte, nals ...[]byte) []byte {
	p := append([]byte{}, header...)
	for _, n := range nals {
		p = binary.BigEndian.AppendUint16(p, uint16(len(n)))
		p = append(p, n...)
	}
	return p
}

func TestParameterSetsH264(t *testing.T) {
	a, b, one, pps := unhex(t, spsA), unhex(t, spsB), unhex(t, sps1), unhex(t, ppsA)
	stap := func(nals ...[]byte) []byte { return aggregated([]byte{0x78}, nals...) }
	long := append(bytes.Clone(a), make([]byte, maxSetBytes)...)
	tests := []struct {
		name     string
		updates  [][]byte
		want     []byte
		complete bool
	}{
		{"nothing", nil, nil, false},
		{"slices only", [][]byte{{0x65, 0x88}, {0x41, 0x9a}, {}}, nil, false},
		{"one set goes alone", [][]byte{a}, a, false},
		{"single units", [][]byte{a, pps}, stap(a, pps), true},
		{"order of the decoder", [][]byte{pps, a}, stap(a, pps), true},
		{"stap-a", [][]byte{stap(a, pps, []byte{0x65, 0x88})}, stap(a, pps), true},
		{"newest of an id", [][]byte{a, pps, b}, stap(b, pps), true},
		{"two ids", [][]byte{a, one, pps}, stap(a, one, pps), true},
		{"too long makes the old one useless", [][]byte{a, pps, long}, pps, false},
		{"broken stap-a keeps what is whole", [][]byte{append(stap(a, pps), 0, 9)}, stap(a, pps), true},
		{"cut before the id", [][]byte{{0x67, 0x42, 0xc0}}, nil, false},
		{"id out of range", [][]byte{{0x67, 0x42, 0xc0, 0x1f, 0x04, 0x20}}, nil, false}, // ue = 32
		{"endless id", [][]byte{{0x68, 0, 0, 0, 0, 0, 0}}, nil, false},
		{"forbidden bit", [][]byte{append([]byte{0xe7}, a[1:]...)}, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s ParameterSets
			for _, u := range tt.updates {
				s.Update(H264, u)
			}
			if got := s.Payload(nil); !bytes.Equal(got, tt.want) || (got == nil) != (tt.want == nil) {
				t.Errorf("Payload = %x, want %x", got, tt.want)
			}
			if s.Complete() != tt.complete {
				t.Errorf("Complete = %v", s.Complete())
			}
		})
	}
}

func TestParameterSetsH265(t *testing.T) {
	vps, sps, pps := unhex(t, hvps), unhex(t, hsps0), unhex(t, hpps)
	want := aggregated([]byte{48 << 1, 1}, vps, sps, pps)

	var s ParameterSets
	s.Update(H265, vps)
	s.Update(H265, sps)
	if s.Complete() {
		t.Error("complete without a PPS")
	}
	s.Update(H265, pps)
	if got := s.Payload(nil); !bytes.Equal(got, want) || !s.Complete() {
		t.Errorf("Payload = %x, want %x", got, want)
	}
	if info := Parse(H265, want); !info.Keyframe || !info.ParameterSets {
		t.Errorf("own packet reads as %+v", info)
	}

	// The same id read through the emulation prevention bytes: it replaces.
	other := bytes.Clone(sps)
	other[len(other)-1] ^= 0x10
	s.Update(H265, aggregated([]byte{48 << 1, 1}, vps, other, pps))
	if got := s.Payload(nil); !bytes.Equal(got, aggregated([]byte{48 << 1, 1}, vps, other, pps)) {
		t.Errorf("after a change: %x", got)
	}

	layer := bytes.Clone(sps)
	layer[1] |= 1 << 3
	s.Update(H265, layer)
	if got := s.Payload(nil); !bytes.Equal(got, aggregated([]byte{48 << 1, 1}, vps, other, pps)) {
		t.Errorf("a set of another layer was learnt: %x", got)
	}

	s.Update(H264, unhex(t, spsA))
	if got := s.Payload(nil); !bytes.Equal(got, unhex(t, spsA)) {
		t.Errorf("after a change of codec: %x", got)
	}
}

// TestH265SPSID builds the syntax bit by bit, with sub-layers, and puts the
// emulation prevention in as an encoder does.
func TestH265SPSID(t *testing.T) {
	profile, level := func(i int) int { return (i + 1) & 1 }, func(i int) int { return i >> 1 & 1 }
	for _, sub := range []int{0, 1, 3, 6} {
		for _, id := range []uint32{0, 1, 2, 15} {
			var w bitWriter
			w.put(0, 4)
			w.put(uint32(sub), 3)
			w.put(1, 1)
			for range 96 {
				w.put(0, 1)
			}
			if sub > 0 {
				for i := range 8 {
					if i < sub {
						w.put(uint32(profile(i)<<1|level(i)), 2)
					} else {
						w.put(0, 2)
					}
				}
				for i := range sub {
					for range 88 * profile(i) {
						w.put(0, 1)
					}
					w.put(0, 8*level(i))
				}
			}
			w.ue(id)
			w.put(1, 1)
			r := bitReader{p: w.escaped()}
			if got := h265SPSID(&r); got != id || r.bad {
				t.Errorf("sub-layers %d: id %d (bad %v), want %d", sub, got, r.bad, id)
			}
		}
	}
}

type bitWriter struct {
	p []byte
	n int
}

func (w *bitWriter) put(v uint32, bits int) {
	for i := bits - 1; i >= 0; i-- {
		if w.n%8 == 0 {
			w.p = append(w.p, 0)
		}
		w.p[w.n/8] |= byte(v>>i&1) << (7 - w.n%8)
		w.n++
	}
}

func (w *bitWriter) ue(v uint32) {
	bits := 0
	for (v+1)>>bits > 1 {
		bits++
	}
	w.put(0, bits)
	w.put(v+1, bits+1)
}

func (w *bitWriter) escaped() (out []byte) {
	zeros := 0
	for _, b := range w.p {
		if zeros == 2 && b <= 3 {
			out, zeros = append(out, 3), 0
		}
		out = append(out, b)
		if zeros++; b != 0 {
			zeros = 0
		}
	}
	return out
}

func ppsWithID(id uint32, size int) []byte {
	var w bitWriter
	w.put(0x68, 8)
	w.ue(id)
	w.put(1, 1)
	return append(w.p, bytes.Repeat([]byte{0xaa}, size-len(w.p))...)
}

func TestParameterSetsBounds(t *testing.T) {
	var s ParameterSets
	for id := range uint32(256) {
		s.Update(H264, ppsWithID(id, 20))
	}
	if len(s.pps.sets) != maxSets || s.pps.sets[0].id != 248 || s.pps.sets[7].id != 255 {
		t.Fatalf("kept %d sets, from id %d", len(s.pps.sets), s.pps.sets[0].id)
	}
	if s.Payload(nil) == nil {
		t.Error("nil for 8 short sets")
	}

	// 1 header byte, two sets of 2+size: exactly 1100 and one more.
	for _, tt := range []struct {
		last int
		ok   bool
	}{{511, true}, {512, false}} {
		var s ParameterSets
		s.Update(H264, ppsWithID(0, 512))
		s.Update(H264, ppsWithID(1, 68))
		s.Update(H264, ppsWithID(2, tt.last))
		s.Update(H264, ppsWithID(1, 70))
		if got := s.Payload(nil); (got != nil) != tt.ok || got != nil && len(got) != maxPayloadBytes {
			t.Errorf("last set of %d bytes: %d bytes", tt.last, len(got))
		}
	}
}

func TestParameterSetsDoNotAllocate(t *testing.T) {
	var s ParameterSets
	p := aggregated([]byte{0x78}, unhex(t, spsA), unhex(t, ppsA))
	dst := make([]byte, 0, maxPayloadBytes)
	s.Update(H264, p)
	n := testing.AllocsPerRun(100, func() {
		s.Update(H264, p)
		if s.Payload(dst) == nil {
			t.Fatal("no payload")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParameterSets(f *testing.F) {
	f.Add(false, aggregated([]byte{0x78}, unhex(f, spsA), unhex(f, ppsA)))
	f.Add(false, unhex(f, sps1))
	f.Add(true, aggregated([]byte{48 << 1, 1}, unhex(f, hvps), unhex(f, hsps0), unhex(f, hpps)))
	f.Add(true, unhex(f, hsps0))
	f.Fuzz(func(t *testing.T, h265 bool, p []byte) {
		codec := H264
		if h265 {
			codec = H265
		}
		var s, again ParameterSets
		s.Update(codec, p)
		out := s.Payload(nil)
		if out == nil {
			return
		}
		if len(out) > maxPayloadBytes {
			t.Fatalf("%d bytes", len(out))
		}
		again.Update(codec, out)
		if got := again.Payload(nil); !bytes.Equal(got, out) {
			t.Fatalf("own packet %x is learnt as %x", out, got)
		}
	})
}

func BenchmarkParameterSetsUpdate(b *testing.B) {
	for _, bm := range []struct {
		name string
		p    []byte
	}{
		{"slice", []byte{0x7c, 0x05, 0x88}},
		{"sets", aggregated([]byte{0x78}, unhex(b, spsA), unhex(b, ppsA))},
	} {
		b.Run(bm.name, func(b *testing.B) {
			var s ParameterSets
			b.ReportAllocs()
			for b.Loop() {
				s.Update(H264, bm.p)
			}
		})
	}
}
