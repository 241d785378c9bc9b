package payload

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestFollow(t *testing.T) {
	for _, c := range []struct {
		name, codec      string
		last, next, want []byte // want: next as the viewer gets it
	}{
		{"VP8, all fields", VP8, []byte{0x90, 0xf0, 0xff, 0xff, 255, 0x3f, 0}, []byte{0x90, 0xf0, 0x81, 0x23, 7, 0x25, 0}, []byte{0x90, 0xf0, 0x80, 0x00, 0, 0x20, 0}},
		{"VP8, 7 bits", VP8, []byte{0x90, 0x80, 0x7f, 0}, []byte{0x90, 0x80, 0x05, 0}, []byte{0x90, 0x80, 0x00, 0}},
		{"VP8, 15 bits before 7", VP8, []byte{0x90, 0x80, 0x81, 0x02, 0}, []byte{0x90, 0x80, 0x50, 0}, []byte{0x90, 0x80, 0x03, 0}},
		{"VP8, a field that was not there", VP8, []byte{0x90, 0x80, 0x05, 0}, []byte{0x90, 0xc0, 0x50, 9, 0}, []byte{0x90, 0xc0, 0x06, 9, 0}},
		{"VP8 without numbers", VP8, []byte{0x10, 0}, []byte{0x10, 0}, []byte{0x10, 0}},
		{"VP9", VP9, []byte{0xa8, 0x80, 0x10, 0x00, 0xfe, 0}, []byte{0xa8, 0x92, 0x34, 0x00, 0x01, 0}, []byte{0xa8, 0x80, 0x11, 0x00, 0xff, 0}},
		{"VP9, flexible", VP9, []byte{0x98, 0x41, 0}, []byte{0x98, 0x01, 0}, []byte{0x98, 0x42, 0}},
		{"malformed", VP8, []byte{0x90}, []byte{0x90, 0x80, 0x05, 0}, []byte{0x90, 0x80, 0x05, 0}},
		{"no numbers at all", "H264", []byte{0x65, 1}, []byte{0x65, 2}, []byte{0x65, 2}},
	} {
		got := bytes.Clone(c.next)
		Follow(c.codec, c.last, c.next).Apply(c.codec, got)
		if !bytes.Equal(got, c.want) {
			t.Errorf("%s: %x behind %x is %x, want %x", c.name, c.next, c.last, got, c.want)
		}
	}
}

// Whatever the bytes are, what was applied can be taken back.
func TestShiftIsUndone(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	changed := 0
	for range 100_000 {
		p := make([]byte, 1+r.IntN(12))
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		was, s := bytes.Clone(p), Shift{uint16(r.Uint32()), uint8(r.Uint32()), uint8(r.Uint32())}
		codec := []string{VP8, VP9, "H264"}[r.IntN(3)]
		s.Apply(codec, p)
		if !bytes.Equal(p, was) {
			changed++
		}
		if s.Undo(codec, p); !bytes.Equal(p, was) {
			t.Fatalf("%s: %x became %x", codec, was, p)
		}
	}
	if changed < 20_000 {
		t.Errorf("only %d payloads had numbers", changed)
	}
}
