package slate

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/payload"
)

func TestPayloads(t *testing.T) {
	for _, codec := range videoCodecs {
		for _, mtu := range []int{-1, 0, 1, 256, 500, 1188, 70000} {
			limit := mtu
			switch {
			case mtu == 0 || mtu > 1188:
				limit = 1188
			case mtu < 256:
				limit = 256
			}
			p := NewPlayer(nil, codec, mtu)
			want := received(t, codec, NewPlayer(nil, codec, 0), 3)
			if got := received(t, codec, NewPlayer(nil, codec, mtu), 3); !bytes.Equal(got, want) {
				t.Errorf("%s: payloads of %d bytes make another picture", codec, mtu)
			}

			for range 3 {
				payloads, key, duration := p.Next()
				if !key || duration != time.Second {
					t.Errorf("%s: key %v, for %v", codec, key, duration)
				}
				for i, pay := range payloads {
					if len(pay) == 0 || len(pay) > limit {
						t.Errorf("%s: payload of %d bytes, limit %d", codec, len(pay), limit)
					}
					info := payload.Parse(codec, pay)
					if i == 0 && !(info.Keyframe && info.FrameStart) {
						t.Errorf("%s: the first payload says %+v", codec, info)
					}
				}
				if w, h, ok := payload.Size(codec, payloads[0]); !ok || w != 640 || h != 360 {
					t.Errorf("%s: the first payload says %dx%d", codec, w, h)
				}
			}
		}
	}
}

// The relay repeats parameter sets for viewers who come late: it must find them.
func TestParameterSetsAreLearnt(t *testing.T) {
	for _, codec := range []string{payload.H264, payload.H265} {
		var sets payload.ParameterSets
		payloads, _, _ := NewPlayer(nil, codec, 0).Next()
		sets.Update(codec, payloads[0])
		if !sets.Complete() {
			t.Errorf("%s: parameter sets are missing in the first payload", codec)
		}
	}
}

// pictureID reads 15 bits.
func pictureID(t *testing.T, codec string, p []byte) uint16 {
	t.Helper()
	at := 1
	if codec == payload.VP8 {
		if p[0]&0x80 == 0 || p[1] != 0x80 {
			t.Fatalf("VP8: descriptor %x", p[:4])
		}
		at = 2
	}
	if p[0]&0x80 == 0 || p[at]&0x80 == 0 {
		t.Fatalf("%s: descriptor %x", codec, p[:4])
	}

	return binary.BigEndian.Uint16(p[at:]) & 0x7fff
}

// TestPictureIDsGoOn lets a slate follow a publisher, and goes on past the end
// of the numbers.
func TestPictureIDsGoOn(t *testing.T) {
	before := map[string][]byte{
		payload.VP8: {0x90, 0x80, 0x80 | 0x12, 0x34, 0x10, 0},
		payload.VP9: {0x88, 0x80 | 0x12, 0x34, 0x82},
	}
	for codec, last := range before {
		ids := payload.NewPictureIDs(codec)
		if _, ok := ids.Rewrite(nil, last); !ok {
			t.Fatal("the publisher's packet is malformed")
		}
		ids.Switch()

		p, dst := NewPlayer(nil, codec, 0), make([]byte, 0, 1500)
		for i := range 1<<15 + 200 {
			payloads, _, _ := p.Next()
			for _, pay := range payloads {
				if got := pictureID(t, codec, pay); got != uint16(i)&0x7fff {
					t.Fatalf("%s: picture %d has the number %d", codec, i, got)
				}
				out, ok := ids.Rewrite(dst, pay)
				if want := uint16(0x1235+i) & 0x7fff; !ok || pictureID(t, codec, out) != want || len(out) != len(pay) {
					t.Fatalf("%s: picture %d becomes %x, want number %d", codec, i, out[:5], want)
				}
				if payload.Parse(codec, out) != payload.Parse(codec, pay) {
					t.Fatalf("%s: the rewritten payload says something else", codec)
				}
			}
		}
	}
}

// An operator's picture in another codec is of no use to a stream.
func TestPlayerChoosesByCodec(t *testing.T) {
	own, err := Read("own.ivf", bytes.NewReader(asset(t, payload.VP8)))
	if err != nil {
		t.Fatal(err)
	}
	if p := NewPlayer(own, payload.VP8, 0); p.clip != own {
		t.Error("the operator's picture is not played")
	}
	if p := NewPlayer(own, payload.AV1, 0); p.clip.Codec() != payload.AV1 {
		t.Errorf("%s is played to a stream in AV1", p.clip.Codec())
	}
	if p := NewPlayer(own, "H263", 0); p != nil {
		t.Error("there is a player for H263")
	}
}

func TestLoopAndRestart(t *testing.T) {
	key := pictures(t, asset(t, payload.VP8))[0]
	c, err := Read("loop.ivf", bytes.NewReader(ivf("VP80", key, []byte{1, 0, 0, 1}, []byte{1, 0, 0, 2})))
	if err != nil {
		t.Fatal(err)
	}

	p := NewPlayer(c, payload.VP8, 0)
	next := func(wantKey bool, last byte) {
		t.Helper()
		payloads, key, duration := p.Next()
		pay := payloads[len(payloads)-1]
		if key != wantKey || duration != 40*time.Millisecond || !key && pay[len(pay)-1] != last {
			t.Errorf("key %v, for %v, %x", key, duration, pay[:4])
		}
	}
	for range 2 {
		next(true, 0)
		next(false, 1)
		next(false, 2)
	}
	next(true, 0)
	next(false, 1)
	p.Restart()
	next(true, 0)
}

func BenchmarkNext(b *testing.B) {
	for _, codec := range videoCodecs {
		b.Run(codec, func(b *testing.B) {
			p := NewPlayer(nil, codec, 0)
			b.ReportAllocs()
			for b.Loop() {
				p.Next()
			}
		})
	}
}
