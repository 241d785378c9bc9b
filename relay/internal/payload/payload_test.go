package payload

import "testing"

func TestParse(t *testing.T) {
	var (
		none  = Info{}
		start = Info{FrameStart: true}
		key   = Info{Keyframe: true, FrameStart: true}
		sps   = Info{Keyframe: true, FrameStart: true, ParameterSets: true}
		idr   = Info{Keyframe: true, FrameStart: true, IDR: true}
		later = Info{IDR: true}
		both  = Info{Keyframe: true, FrameStart: true, IDR: true, ParameterSets: true}
	)
	tests := []struct {
		name, codec string
		p           []byte
		want        Info
	}{
		{"h264 idr, first slice", H264, []byte{0x65, 0x88, 0x84}, idr},
		{"h264 idr, later slice", H264, []byte{0x65, 0x40, 0x84}, later},
		{"h264 slice", H264, []byte{0x41, 0x9a}, start},
		{"h264 later slice", H264, []byte{0x41, 0x1a}, none},
		{"h264 partition B", H264, []byte{0x43, 0x9a}, none},
		{"h264 sps", H264, []byte{0x67, 0x42, 0xc0, 0x1f}, sps},
		{"h264 pps", H264, []byte{0x68, 0xce}, start},
		{"h264 access unit delimiter", H264, []byte{0x09, 0x10}, start},
		{"h264 prefix unit", H264, []byte{0x6e, 0x10}, start},
		{"h264 filler", H264, []byte{0x0c, 0xff}, none},
		{"h264 stap-a sps pps", H264, []byte{0x78, 0, 2, 0x67, 0x42, 0, 2, 0x68, 0xce}, sps},
		{"h264 stap-a sps idr", H264, []byte{0x78, 0, 2, 0x67, 0x42, 0, 2, 0x65, 0x88}, both},
		{"h264 stap-a sei idr", H264, []byte{0x78, 0, 2, 0x06, 0x05, 0, 2, 0x65, 0x88}, idr},
		{"h264 stap-a later slices", H264, []byte{0x78, 0, 2, 0x41, 0x40, 0, 2, 0x41, 0x20}, none},
		{"h264 stap-a size too large", H264, []byte{0x78, 0, 2, 0x67, 0x42, 0, 9, 0x68}, none},
		{"h264 stap-a size zero", H264, []byte{0x78, 0, 0}, none},
		{"h264 stap-a size cut", H264, []byte{0x78, 0, 2, 0x67, 0x42, 0}, none},
		{"h264 stap-a empty", H264, []byte{0x78}, none},
		{"h264 stap-b is not negotiated", H264, []byte{0x79, 0, 0, 0, 2, 0x67, 0x42}, none},
		{"h264 fu-a idr start", H264, []byte{0x7c, 0x85, 0x88}, idr},
		{"h264 fu-a idr start, later slice", H264, []byte{0x7c, 0x85, 0x22}, later},
		{"h264 fu-a idr middle", H264, []byte{0x7c, 0x05, 0x88}, none},
		{"h264 fu-a idr end", H264, []byte{0x7c, 0x45, 0x88}, none},
		{"h264 fu-a slice start", H264, []byte{0x5c, 0x81, 0x9a}, start},
		{"h264 fu-a cut", H264, []byte{0x7c, 0x85}, none},
		{"h264 fu-b idr start", H264, []byte{0x7d, 0x85, 0, 1, 0x88}, idr},
		{"h264 fu-b cut", H264, []byte{0x7d, 0x85, 0, 1}, none},
		{"h264 forbidden bit", H264, []byte{0xe5, 0x88}, none},
		{"h264 header only", H264, []byte{0x65}, none},

		{"h265 idr", H265, []byte{19 << 1, 1, 0xaf}, idr},
		{"h265 cra", H265, []byte{21 << 1, 1, 0xaf}, idr},
		{"h265 bla", H265, []byte{16 << 1, 1, 0xaf}, idr},
		{"h265 idr, later slice", H265, []byte{19 << 1, 1, 0x2f}, later},
		{"h265 reserved irap", H265, []byte{22 << 1, 1, 0xaf}, start},
		{"h265 trail", H265, []byte{1 << 1, 1, 0xd0}, start},
		{"h265 trail, later slice", H265, []byte{1 << 1, 1, 0x50}, none},
		{"h265 vps", H265, []byte{32 << 1, 1, 0x0c}, key},
		{"h265 sps", H265, []byte{33 << 1, 1, 0x01}, sps},
		{"h265 pps", H265, []byte{34 << 1, 1, 0xc1}, start},
		{"h265 prefix sei", H265, []byte{39 << 1, 1, 0x01}, start},
		{"h265 suffix sei", H265, []byte{40 << 1, 1, 0x01}, none},
		{"h265 ap sps idr", H265, []byte{48 << 1, 1, 0, 3, 33 << 1, 1, 1, 0, 3, 19 << 1, 1, 0xaf}, both},
		{"h265 ap broken", H265, []byte{48 << 1, 1, 0, 3, 33 << 1, 1, 1, 0, 3, 19 << 1}, none},
		{"h265 ap with a short unit", H265, []byte{48 << 1, 1, 0, 2, 33 << 1, 1}, none},
		{"h265 fu idr start", H265, []byte{49 << 1, 1, 0x80 | 20, 0xaf}, idr},
		{"h265 fu idr middle", H265, []byte{49 << 1, 1, 20, 0xaf}, none},
		{"h265 fu cut", H265, []byte{49 << 1, 1, 0x80 | 20}, none},
		{"h265 header only", H265, []byte{19 << 1, 1}, none},
		{"h265 forbidden bit", H265, []byte{0x80 | 19<<1, 1, 0xaf}, none},

		{"vp8 key, short descriptor", VP8, []byte{0x10, 0x00}, key},
		{"vp8 inter", VP8, []byte{0x10, 0x01}, start},
		{"vp8 continuation", VP8, []byte{0x00, 0x00}, none},
		{"vp8 other partition", VP8, []byte{0x11, 0x00}, none},
		{"vp8 key, all fields", VP8, []byte{0x90, 0xf0, 0x81, 0x23, 0x04, 0x25, 0x00}, key},
		{"vp8 inter, all fields", VP8, []byte{0x90, 0xf0, 0x81, 0x23, 0x04, 0x25, 0x01}, start},
		{"vp8 key, 7-bit id", VP8, []byte{0x90, 0x80, 0x12, 0x00}, key},
		{"vp8 no extension byte", VP8, []byte{0x90}, none},
		{"vp8 cut in picture id", VP8, []byte{0x90, 0x80, 0x81}, none},
		{"vp8 nothing behind the descriptor", VP8, []byte{0x90, 0x80, 0x12}, none},
		{"vp8 cut before keyidx", VP8, []byte{0x90, 0x50, 0x01}, none},

		{"vp9 key", VP9, []byte{0x88, 0x12, 0xaa}, key},
		{"vp9 key without id", VP9, []byte{0x08, 0xaa}, key},
		{"vp9 inter", VP9, []byte{0xc8, 0x81, 0x12, 0xaa}, start},
		{"vp9 continuation", VP9, []byte{0x80, 0x12, 0xaa}, none},
		{"vp9 key, layer 0", VP9, []byte{0xa8, 0x12, 0x00, 0x07, 0xaa}, key},
		{"vp9 key picture, layer 1", VP9, []byte{0xa8, 0x12, 0x03, 0x07, 0xaa}, start},
		{"vp9 key, flexible", VP9, []byte{0xb8, 0x12, 0x00, 0xaa}, key},
		{"vp9 cut", VP9, []byte{0xa8, 0x12, 0x00}, none},
		{"vp9 cut in picture id", VP9, []byte{0x88, 0x92}, none},

		{"av1 new sequence", AV1, []byte{0x18, 0x0a}, key},
		{"av1 frame", AV1, []byte{0x10, 0x32}, start},
		{"av1 continuation", AV1, []byte{0x90, 0x32}, none},
		{"av1 contradiction", AV1, []byte{0x98, 0x32}, none},
		{"av1 header only", AV1, []byte{0x18}, none},

		{"opus", Opus, []byte{0x78}, key},
		{"pcmu", PCMU, []byte{0xff}, key},
		{"opus empty", Opus, nil, none},
		{"unknown", "rtx", []byte{0x65, 0x88}, none},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Parse(tt.codec, tt.p); got != tt.want {
				t.Errorf("Parse(%s, %x) = %+v, want %+v", tt.codec, tt.p, got, tt.want)
			}
		})
	}
}

var codecs = []string{H264, H265, VP8, VP9, AV1, Opus}

func FuzzParse(f *testing.F) {
	for i, p := range [][]byte{
		{0x78, 0, 2, 0x67, 0x42, 0, 2, 0x65, 0x88},
		{48 << 1, 1, 0, 3, 33 << 1, 1, 1, 0, 3, 19 << 1, 1, 0xaf},
		{0x90, 0xf0, 0x81, 0x23, 0x04, 0x25, 0x00},
		{0xa8, 0x12, 0x00, 0x07, 0xaa},
		{0x18, 0x0a},
	} {
		f.Add(byte(i), p)
	}
	f.Fuzz(func(t *testing.T, codec byte, p []byte) {
		name := codecs[int(codec)%len(codecs)]
		info := Parse(name, p)
		if info.Keyframe && !info.FrameStart && name != H264 && name != H265 {
			t.Fatalf("%s %x: key frame without a frame start: %+v", name, p, info)
		}
		if (info.IDR || info.ParameterSets) && name != H264 && name != H265 {
			t.Fatalf("%s %x: %+v", name, p, info)
		}
		if info.ParameterSets && !info.Keyframe {
			t.Fatalf("%s %x: an SPS is a place to start: %+v", name, p, info)
		}
	})
}

func TestParseDoesNotAllocate(t *testing.T) {
	p := []byte{0x78, 0, 2, 0x67, 0x42, 0, 2, 0x65, 0x88}
	for _, codec := range codecs {
		if n := testing.AllocsPerRun(100, func() { Parse(codec, p) }); n != 0 {
			t.Errorf("%s: %v allocations", codec, n)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, bm := range []struct {
		codec string
		p     []byte
	}{
		{H264, []byte{0x7c, 0x05, 0x88, 0x84}},
		{VP8, []byte{0x90, 0xf0, 0x81, 0x23, 0x04, 0x25, 0x00}},
	} {
		b.Run(bm.codec, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Parse(bm.codec, bm.p)
			}
		})
	}
}
