package rtpx

import (
	"bytes"
	"testing"

	"github.com/pion/rtp"
)

func TestParse(t *testing.T) {
	head := []byte{0x80, 0xE0, 0x12, 0x34, 1, 2, 3, 4, 5, 6, 7, 8}
	with := func(b0 byte, rest ...byte) []byte {
		b := append(bytes.Clone(head), rest...)
		b[0] = b0
		return b
	}
	for _, c := range []struct {
		name    string
		in      []byte
		ok      bool
		payload string
	}{
		{"header only", head, true, ""},
		{"payload", with(0x80, 'a', 'b', 'c'), true, "abc"},
		{"two sources", with(0x82, []byte("11112222abc")...), true, "abc"},
		{"extension", with(0x90, append([]byte{0xBE, 0xDE, 0, 1, 0x10, 9, 0, 0}, "abc"...)...), true, "abc"},
		{"extension of two-byte form", with(0x90, append([]byte{0x10, 0, 0, 1, 1, 1, 9, 0}, "abc"...)...), true, "abc"},
		{"empty extension", with(0x90, 0xBE, 0xDE, 0, 0, 'a'), true, "a"},
		{"padding", with(0xA0, 'a', 0, 0, 3), true, "a"},
		{"padding only", with(0xA0, 0, 0, 3), true, ""},
		{"everything", with(0xB1, append([]byte("1111\xBE\xDE\x00\x01\x10\x09\x00\x00"), 'a', 'b', 0, 2)...), true, "ab"},
		{"empty", nil, false, ""},
		{"short", head[:11], false, ""},
		{"version 1", with(0x40), false, ""},
		{"sources cut off", with(0x8F, 1, 2, 3, 4), false, ""},
		{"extension header cut off", with(0x90, 0xBE, 0xDE, 0), false, ""},
		{"extension cut off", with(0x90, 0xBE, 0xDE, 0, 2, 0, 0, 0, 0), false, ""},
		{"no padding length", with(0xA0, 'a', 0), false, ""},
		{"padding reaches the header", with(0xA0, 'a', 0, 4), false, ""},
		{"padding and nothing", with(0xA0), false, ""},
	} {
		var p Packet
		if ok := p.Parse(c.in); ok != c.ok {
			t.Errorf("%s: %v", c.name, ok)
			continue
		}
		if !c.ok {
			continue
		}
		if string(p.Payload) != c.payload || !p.Marker || p.PT != 96 || p.Seq != 0x1234 || p.TS != 0x01020304 || p.SSRC != 0x05060708 {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
}

func TestExtension(t *testing.T) {
	for _, c := range []struct {
		name string
		ext  []byte
		id   uint8
		want []byte
	}{
		{"none", nil, 1, nil},
		{"first", []byte{0x10, 7, 0x21, 8, 9, 0, 0, 0}, 1, []byte{7}},
		{"second", []byte{0x10, 7, 0x21, 8, 9, 0, 0, 0}, 2, []byte{8, 9}},
		{"absent", []byte{0x10, 7, 0x21, 8, 9, 0, 0, 0}, 3, nil},
		{"behind padding", []byte{0, 0, 0x30, 5}, 3, []byte{5}},
		{"cut off", []byte{0x13, 1, 2, 3}, 1, nil},
		{"id 15 ends the list", []byte{0xF0, 0, 0x10, 1}, 1, nil},
		{"16 bytes", append([]byte{0x1F}, make([]byte, 19)...), 1, make([]byte, 16)},
	} {
		p := Packet{ext: c.ext}
		if got := p.Extension(c.id); !bytes.Equal(got, c.want) || (got == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// A packet without an extension must not show that of the one before.
func TestParseForgetsTheLastExtension(t *testing.T) {
	var p Packet
	p.Parse([]byte{0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xBE, 0xDE, 0, 1, 0x10, 9, 0, 0})
	if p.Extension(1) == nil {
		t.Fatal("no extension")
	}
	p.Parse(make([]byte, 11)) // malformed
	p.Parse(append([]byte{0x80}, make([]byte, 11)...))
	if p.Extension(1) != nil {
		t.Error("the extension of an earlier packet")
	}
}

// What Append writes, pion reads.
func TestAppend(t *testing.T) {
	for _, h := range []Header{
		{},
		{SSRC: 0xFFFFFFFF, TS: 0xFFFFFFFE, Seq: 0xFFFF, PT: 127, Marker: true},
		{SSRC: 1, TS: 2, Seq: 3, PT: 96, SendTimeID: 14, SendTime: 0xABCDEF},
		{SSRC: 1, TS: 2, Seq: 3, PT: 96, Marker: true, Padding: true, SendTimeID: 1, SendTime: 1},
	} {
		b := append(h.Append(nil), 'x', 0, 2)
		var got rtp.Packet
		if err := got.Unmarshal(b); err != nil {
			t.Fatalf("%+v: %v", h, err)
		}
		if got.SSRC != h.SSRC || got.Timestamp != h.TS || got.SequenceNumber != h.Seq || got.PayloadType != h.PT || got.Marker != h.Marker || got.Header.Padding != h.Padding {
			t.Errorf("%+v became %+v", h, got.Header)
		}
		var want []byte
		if h.SendTimeID != 0 {
			want = []byte{byte(h.SendTime >> 16), byte(h.SendTime >> 8), byte(h.SendTime)}
		}
		if e := got.GetExtension(h.SendTimeID); h.SendTimeID != 0 && !bytes.Equal(e, want) {
			t.Errorf("%+v: extension %v", h, e)
		}
		var own Packet
		if !own.Parse(b) || own.Seq != h.Seq || !bytes.Equal(own.Extension(max(h.SendTimeID, 1)), want) {
			t.Errorf("%+v: read back as %+v", h, own)
		}
	}
}

func TestAbsSendTime(t *testing.T) {
	const second = int64(1e9)
	for ns, want := range map[int64]uint32{
		0: 0, second: 1 << 18, second / 2: 1 << 17, 63 * second: 63 << 18,
		64 * second: 0, 65 * second: 1 << 18, 10 * 365 * 86400 * second / 10: uint32(365*86400%64) << 18,
	} {
		if got := AbsSendTime(ns); got != want {
			t.Errorf("%d ns: %#x, want %#x", ns, got, want)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	h, buf := Header{SSRC: 1, SendTimeID: 3}, make([]byte, 0, 64)
	var p Packet
	if n := testing.AllocsPerRun(100, func() {
		p.Parse(h.Append(buf))
		p.Extension(3)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Parse accepts nothing that pion refuses, and both see the same payload.
func FuzzParse(f *testing.F) {
	f.Add([]byte{0x80, 0xE0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 'a'})
	f.Add([]byte{0xB1, 0x60, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1, 0xBE, 0xDE, 0, 1, 0x10, 9, 0, 0, 'a', 'b', 0, 2})
	f.Add([]byte{0x90, 0x60, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0x10, 0, 0, 1, 1, 1, 9, 0, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Packet
		if !p.Parse(b) {
			return
		}
		if len(p.Payload)+HeaderLen > len(b) {
			t.Fatal("payload longer than the packet")
		}
		for id := range uint8(16) {
			p.Extension(id)
		}
		var want rtp.Header
		n, err := want.Unmarshal(b)
		if err != nil {
			return // pion checks the extension elements, which are not looked at here
		}
		if p.SSRC != want.SSRC || p.Seq != want.SequenceNumber || p.TS != want.Timestamp || p.PT != want.PayloadType || p.Marker != want.Marker {
			t.Fatalf("%+v, pion says %+v", p, want)
		}
		if len(p.Payload) > 0 && &p.Payload[0] != &b[n] {
			t.Fatalf("payload does not begin at %d", n)
		}
	})
}
