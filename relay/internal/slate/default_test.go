package slate

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/payload"
)

func TestDefaults(t *testing.T) {
	for _, codec := range videoCodecs {
		c, ok := Default(codec)
		if !ok || c.Codec() != codec {
			t.Fatalf("there is no picture for %s", codec)
		}
		if w, h := c.Size(); w != 640 || h != 360 {
			t.Errorf("%s: %dx%d", codec, w, h)
		}
		if c.Duration() != time.Duration(c.Frames())*time.Second {
			t.Errorf("%s: %d pictures in %v", codec, c.Frames(), c.Duration())
		}
		for i, f := range c.frames {
			if !f.key {
				t.Errorf("%s: picture %d is not a key frame", codec, i)
			}
		}
		if n := len(asset(t, codec)); n > 10<<10 {
			t.Errorf("%s: the file has %d bytes", codec, n)
		}
	}

	for _, codec := range []string{"", "opus", "h264"} {
		if c, ok := Default(codec); ok || c != nil {
			t.Errorf("there is a picture for %q", codec)
		}
	}
}

// What sessions negotiate is a promise about the bits.
func TestDefaultProfiles(t *testing.T) {
	h264, _ := Default(payload.H264)
	if h264.Frames() != 2 || bytes.Equal(h264.frames[0].data, h264.frames[1].data) {
		t.Error("H264: IDR pictures in a row do not differ in idr_pic_id")
	}
	for _, f := range h264.frames {
		types := ""
		for _, nal := range nals(f.data) {
			types += string('0' + nal[0]&0x1f)
		}
		// 42e01f covers constraint_set0 and 1 of profile 66 up to level 31.
		if sps := nals(f.data)[0]; types != "785" || sps[1] != 66 || sps[2]&0xc0 != 0xc0 || sps[3] != 31 {
			t.Errorf("H264: units %s, SPS %x", types, sps[:4])
		}
	}

	h265, _ := Default(payload.H265)
	list := nals(h265.frames[0].data)
	if sps := list[1]; len(list) != 4 || sps[0]>>1 != 33 || sps[3]&0x1f != 1 {
		t.Errorf("H265: %d units, SPS %x", len(list), sps[:8])
	}

	vp9, _ := Default(payload.VP9)
	if first := vp9.frames[0].data[0]; first>>4 != 0b1000 {
		t.Errorf("VP9: the frame begins with %08b", first)
	}
}

// TestDefaultsArrive compares what a viewer receives with the file.
func TestDefaultsArrive(t *testing.T) {
	for _, codec := range videoCodecs {
		file := asset(t, codec)
		p := NewPlayer(nil, codec, 0)
		got := received(t, codec, p, p.clip.Frames())

		switch codec {
		case payload.H264, payload.H265:
			if !slices.EqualFunc(nals(got), nals(file), bytes.Equal) {
				t.Errorf("%s: the units differ", codec)
			}
		default:
			if !slices.EqualFunc(pictures(t, got), pictures(t, file), bytes.Equal) {
				t.Errorf("%s: the pictures differ", codec)
			}
		}
	}
}

// TestDefaultsDecode looks at the picture itself, after the way over RTP, three
// times in a row.
func TestDefaultsDecode(t *testing.T) {
	const width, height, times = 640, 360, 3
	for _, codec := range videoCodecs {
		y := luma(t, store(t, files[codec], received(t, codec, NewPlayer(nil, codec, 0), times)))
		if len(y) != times*width*height {
			t.Errorf("%s: %d bytes", codec, len(y))
			continue
		}
		for at := 0; at < len(y); at += width * height {
			corner, ring, bar, middle := y[at], y[at+180*width+247], y[at+180*width+301], y[at+180*width+320]
			if corner < 35 || corner > 50 || middle < 50 || middle > 70 || ring < 165 || bar < 165 {
				t.Errorf("%s: corner %d, middle %d, ring %d, bar %d", codec, corner, middle, ring, bar)
			}
		}
	}
}
