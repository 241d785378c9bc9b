package payload

import (
	"bytes"
	"testing"
)

const no = -1 // a field that is absent

// frame is one packet's numbers; bits is the width of its PictureID.
type frame struct{ bits, id, tl0, key int }

func appendID(p []byte, f frame) []byte {
	if f.bits == 15 {
		return append(p, 0x80|byte(f.id>>8), byte(f.id))
	}
	return append(p, byte(f.id))
}

func (f frame) vp8() []byte {
	var ext byte
	p := []byte{0x90, 0}
	if f.bits > 0 {
		ext |= vp8Picture
		p = appendID(p, f)
	}
	if f.tl0 != no {
		ext |= vp8TL0 | vp8TID
		p = append(p, byte(f.tl0))
	}
	if f.key != no {
		ext |= vp8Key
	}
	if ext&(vp8TID|vp8Key) != 0 {
		p = append(p, 0x60|byte(max(f.key, 0)))
	}
	p[1] = ext
	return append(p, 0x01, 0xbe, 0xef)
}

func (f frame) vp9() []byte {
	p := []byte{vp9Start | vp9Inter}
	if f.bits > 0 {
		p[0] |= vp9Picture
		p = appendID(p, f)
	}
	p[0] |= vp9Layers
	p = append(p, 0x20)
	if f.tl0 == no {
		p[0] |= vp9Flexible
		p = append(p, 0x02) // P_DIFF, stays
	} else {
		p = append(p, byte(f.tl0))
	}
	return append(p, 0xbe, 0xef)
}

var (
	switchNow = frame{bits: no}
	same      = frame{bits: no} // expect the payload itself
)

type step struct{ in, out frame }

func TestPictureIDs(t *testing.T) {
	sw := step{in: switchNow}
	tests := []struct {
		name  string
		steps []step
	}{
		{"first source passes", []step{
			{frame{15, 32766, 254, 30}, same}, {frame{15, 32767, 255, 31}, same}, {frame{15, 0, 0, 0}, same},
		}},
		{"first source that changes width passes", []step{
			{frame{7, 126, no, no}, same}, {frame{7, 127, no, no}, same}, {frame{15, 128, no, no}, same},
			{frame{15, 32767, no, no}, same}, {frame{7, 0, no, no}, same}, {frame{7, 1, no, no}, same},
		}},
		{"switch before anything", []step{sw, {frame{15, 77, 3, 2}, same}, {frame{15, 78, 4, 2}, same}}},
		{"switch", []step{
			{frame{15, 100, 10, 5}, same}, sw,
			{frame{15, 5000, 200, 0}, frame{15, 101, 11, 6}},
			{frame{15, 5001, 200, 0}, frame{15, 102, 11, 6}},
			{frame{15, 5003, 201, 1}, frame{15, 104, 12, 7}},
		}},
		{"switch, all wrap on the way out", []step{
			{frame{15, 32767, 255, 31}, same}, sw,
			{frame{15, 9, 9, 9}, frame{15, 0, 0, 0}}, {frame{15, 10, 10, 10}, frame{15, 1, 1, 1}},
		}},
		{"switch, all wrap on the way in", []step{
			{frame{15, 50, 50, 20}, same}, sw,
			{frame{15, 32767, 255, 31}, frame{15, 51, 51, 21}}, {frame{15, 0, 0, 0}, frame{15, 52, 52, 22}},
		}},
		{"late packet keeps its place", []step{
			{frame{15, 100, 10, 5}, same}, sw,
			{frame{15, 32766, 254, 30}, frame{15, 101, 11, 6}},
			{frame{15, 1, 1, 1}, frame{15, 104, 14, 9}},
			{frame{15, 32767, 255, 31}, frame{15, 102, 12, 7}},
			{frame{15, 2, 2, 2}, frame{15, 105, 15, 10}},
			sw, {frame{15, 7, 7, 7}, frame{15, 106, 16, 11}},
		}},
		{"late packet of the first source does not count", []step{
			{frame{15, 100, 10, 5}, same}, {frame{15, 99, 9, 4}, same}, sw,
			{frame{15, 7, 7, 7}, frame{15, 101, 11, 6}},
		}},
		{"same numbers by chance", []step{
			{frame{15, 100, 10, 5}, same}, sw, {frame{15, 101, 11, 6}, same}, {frame{15, 102, 12, 7}, same},
		}},
		{"7 bits stay 7 bits", []step{
			{frame{7, 126, no, no}, same}, sw,
			{frame{7, 3, no, no}, frame{7, 127, no, no}}, {frame{7, 4, no, no}, frame{7, 0, no, no}},
		}},
		{"7 bits after 15 are widened", []step{
			{frame{15, 300, 1, 1}, same}, sw,
			{frame{7, 126, 9, 9}, frame{15, 301, 2, 2}}, {frame{7, 127, 9, 9}, frame{15, 302, 2, 2}},
			{frame{7, 0, 10, 9}, frame{15, 303, 3, 2}}, {frame{7, 127, 9, 9}, frame{15, 302, 2, 2}},
			{frame{7, 1, 10, 9}, frame{15, 304, 3, 2}},
		}},
		{"7 bits after 15, same number by chance", []step{
			{frame{15, 4, no, no}, same}, sw, {frame{7, 5, no, no}, frame{15, 5, no, no}},
		}},
		{"15 bits after 7", []step{
			{frame{7, 127, no, no}, same}, sw,
			{frame{15, 32767, no, no}, frame{15, 128, no, no}}, {frame{15, 0, no, no}, frame{15, 129, no, no}},
		}},
		{"second source grows to 15 bits", []step{
			{frame{7, 10, no, no}, same}, sw,
			{frame{7, 127, no, no}, frame{7, 11, no, no}}, {frame{15, 128, no, no}, frame{15, 12, no, no}},
			{frame{15, 129, no, no}, frame{15, 13, no, no}},
		}},
		{"second source has no numbers, third has", []step{
			{frame{15, 100, 10, 5}, same}, sw, {frame{0, 0, no, no}, same}, sw,
			{frame{15, 7, 7, 7}, frame{15, 101, 11, 6}},
		}},
		{"a field that appears late", []step{
			{frame{15, 100, 10, no}, same}, sw,
			{frame{15, 7, no, no}, frame{15, 101, no, no}}, {frame{15, 8, 77, no}, frame{15, 102, 11, no}},
		}},
		{"a field that only the second source has", []step{
			{frame{15, 100, no, no}, same}, sw, {frame{15, 7, 77, no}, frame{15, 101, 77, no}},
		}},
		{"two switches", []step{
			{frame{15, 100, 10, 5}, same}, sw, {frame{15, 7, 7, 7}, frame{15, 101, 11, 6}}, sw, sw,
			{frame{15, 7, 7, 7}, frame{15, 102, 12, 7}},
		}},
	}
	formats := []struct {
		codec  string
		encode func(frame) []byte
	}{{VP8, frame.vp8}, {VP9, frame.vp9}}

	for _, format := range formats {
		for _, tt := range tests {
			t.Run(format.codec+" "+tt.name, func(t *testing.T) {
				p := NewPictureIDs(format.codec)
				buf := make([]byte, 0, 64)
				for i, s := range tt.steps {
					if s.in == switchNow {
						p.Switch()
						continue
					}
					checkStep(t, p, i, buf, format.encode, s)
				}
			})
		}
	}
}

func checkStep(t *testing.T, p *PictureIDs, i int, buf []byte, encode func(frame) []byte, s step) {
	t.Helper()
	in := encode(s.in)
	before := bytes.Clone(in)
	out, ok := p.Rewrite(buf, in)
	if !ok {
		t.Fatalf("step %d: %x refused", i, in)
	}
	if !bytes.Equal(in, before) {
		t.Fatalf("step %d: the input was changed", i)
	}
	want := in
	if s.out != same {
		want = encode(s.out)
	}
	if !bytes.Equal(out, want) {
		t.Errorf("step %d: %x became %x, want %x", i, in, out, want)
	}
	if untouched := &out[0] == &in[0]; untouched != bytes.Equal(in, want) {
		t.Errorf("step %d: same slice = %v", i, untouched)
	}
}

func TestPictureIDsRefuses(t *testing.T) {
	p := NewPictureIDs(VP8)
	for _, in := range [][]byte{nil, {0x90}, {0x90, 0x80, 0x80}, {0x90, 0xf0, 1, 2}} {
		if _, ok := p.Rewrite(nil, in); ok {
			t.Errorf("%x accepted", in)
		}
	}
	if *p != *NewPictureIDs(VP8) {
		t.Errorf("refused packets left %+v", *p)
	}

	other := NewPictureIDs(H264)
	other.Switch()
	in := []byte{0x90}
	if out, ok := other.Rewrite(nil, in); !ok || &out[0] != &in[0] {
		t.Error("another codec does not pass through")
	}
}

func FuzzPictureIDs(f *testing.F) {
	f.Add(false, frame{15, 100, 10, 5}.vp8(), frame{7, 1, 2, 3}.vp8())
	f.Add(false, frame{7, 127, no, no}.vp8(), frame{15, 32767, 255, 31}.vp8())
	f.Add(true, frame{15, 100, 10, 5}.vp9(), frame{7, 1, no, 3}.vp9())
	f.Fuzz(func(t *testing.T, vp9 bool, a, b []byte) {
		codec := VP8
		if vp9 {
			codec = VP9
		}
		p := NewPictureIDs(codec)
		if out, ok := p.Rewrite(nil, a); ok && &out[0] != &a[0] {
			t.Fatal("the first source was rewritten")
		}
		p.Switch()
		out, ok := p.Rewrite(nil, b)
		if !ok {
			return
		}
		if len(out) < len(b) || len(out) > len(b)+1 {
			t.Fatalf("%d bytes became %d", len(b), len(out))
		}
		was, is := Parse(codec, b), Parse(codec, out)
		if was != is {
			t.Fatalf("%x (%+v) became %x (%+v)", b, was, out, is)
		}
	})
}

func TestPictureIDsDoNotAllocate(t *testing.T) {
	p, in, dst := switched()
	n := testing.AllocsPerRun(100, func() {
		if out, ok := p.Rewrite(dst, in); !ok || &out[0] == &in[0] {
			t.Fatal("not rewritten")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func switched() (p *PictureIDs, in, dst []byte) {
	p = NewPictureIDs(VP8)
	p.Rewrite(nil, frame{15, 100, 10, 5}.vp8())
	p.Switch()
	in = append(frame{7, 1, 2, 3}.vp8(), make([]byte, 1100)...)
	return p, in, make([]byte, 0, 1500)
}

func BenchmarkPictureIDsRewrite(b *testing.B) {
	p, in, dst := switched()
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		p.Rewrite(dst, in)
	}
}
