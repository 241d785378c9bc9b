package payload

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

// sizeCases are made by x264, x265, libvpx, libaom and SVT-AV1 (the first bytes
// of what they wrote), but for those marked "written": these were written bit by
// bit, put into an encoder's stream and confirmed by ffprobe (not so separate colour
// planes, which it does not know).
var sizeCases = []struct {
	name, codec, hex string
	width, height    int
}{
	{"baseline", H264, "6742c01eda0280bfe5c044000003000400000300c83c58ba80", 640, 360},
	{"high, cropped", H264, "67640028acb403c0113f2e0220000003002000000641e30654", 1920, 1080},
	{"high, cropped on both sides", H264, "67640020acb402b030f37808800000030080000019078c1950", 1366, 768},
	{"interlaced", H264, "67640028ace8078044fde022000003000200000300643e2c5d40", 1920, 1080},
	{"4:2:2", H264, "677a001ebcb405217f111180880000030008000003019078b175", 642, 361},
	{"4:2:2, 10 bits, interlaced", H264, "677a0028b6ce805a044fcb808800000300080000030190f8b175", 1440, 1080},
	{"4:4:4", H264, "67f4001e919680a42fe1088c0440000003004000000c83c58ba8", 641, 361},
	{"monochrome", H264, "6764000df2d02a37c91180b640000003004000000c83c50aa8", 333, 201},
	{"scaling lists (written)", H264, "67640028ad9124924924924a09c892492492492210492492492492492492492492492492492492492492492493680780227e54", 1920, 1080},
	{"scaling that wraps around (written)", H264, "67640028ad874240770121ffe07ffffffffffffffff6805005b9", 1280, 720},
	{"4:4:4 with 12 scaling lists (written)", H264, "67f4002891b224924924924a44924924924948924924924929124924924925224924924924a4492492492494209249249249249249249249249249249249249249249249242092492492492492492492492492492492492492492492492420924924924924924924924924924924924924924924924925a0290bf20d8840", 641, 361},
	{"picture order type 1 (written)", H264, "674d0028d40001117080002bf202228000080000405017fca8", 640, 360},
	{"cropped left and above (written)", H264, "67640028acda0280bf29d110", 620, 360},
	{"4:4:4, separate planes (written)", H264, "67f40028939680a42fe10884", 641, 361},
	{"in a STAP-A behind a delimiter", H264, "78 0002 09f0 0019 67640028acb403c0113f2e0220000003002000000641e30654 0004 68ee0fcb", 1920, 1080},

	{"main", H265, "4201010408000003009fa800000300003fa005020171f2e5ba4a4c2f016808000003000800000300c840", 640, 360},
	{"conformance window", H265, "420101016000000300900000030000030078a003c0801107cb965654a4c2f0168080000003008000000c84", 1920, 1080},
	{"10 bits", H265, "420101022000000300900000030000030078a002b080301cdb6595952930bc05a02000000300200000030321", 1366, 768},
	{"4:2:2", H265, "4201010408000003009d0800000300003fb005220171c44f965654a4c2f0168080000003008000000c84", 642, 362},
	{"4:4:4", H265, "4201010408000003009e0800000300003f9000a4402e3842232caca94985e02d010000030001000003001908", 641, 361},
	{"monochrome", H265, "4201010408000003009fc800000300003cc02a203472446595952930bc05b02000000300200000030321", 333, 201},
	{"sub-layers (written)", H265, "42010501600000030090000003000003005df00001600000030090000003000003005a01600000030090000003000003005aa00280802d165ad6bb930820", 1280, 720},
	{"7 sub-layers, window (written)", H265, "42010d01600000030090000003000003005dfff001600000030090000003000003005a01600000030090000003000003005a01600000030090000003000003005a01600000030090000003000003005a01600000030090000003000003005a01600000030090000003000003005aa00280802d9b22265ad6b5ad6bb93082", 1270, 720},
	{"in an aggregation packet", H265, "6001 0018 40010c01ffff016000000300900000030000030078959409 002b 420101016000000300900000030000030078a003c0801107cb965654a4c2f0168080000003008000000c84 0006 4401c073c189", 1920, 1080},

	{"no extension", VP8, "10 10e9009d012a5603e0010007", 854, 480},
	{"all of the descriptor", VP8, "90f0 8123 05 21 9043009d012ab00090000007", 176, 144},
	{"with scaling bits", VP8, "10 10e9009d012a5643e0810007", 854, 480},

	{"structure", VP9, "8a 8123 10 0500 02d0 8249834200550500", 1280, 720},
	{"structure, three layers and groups", VP9, "aa 8123 00 05 58 0140 00b4 0280 0168 0500 02d0 02 04 01 00 82498342", 1280, 720},
	{"structure without sizes", VP9, "8a 8123 08 02 08 01 02 00 824983420055502ff60438241c", 1366, 768},
	{"profile 0", VP9, "88 05 824983420055502ff60438241c", 1366, 768},
	{"profile 1", VP9, "08 a249834200050002d0c107048383", 641, 361},
	{"profile 2", VP9, "08 924983420027f8167b041c120e", 1280, 720},
	{"profile 3", VP9, "08 b124c1a142013f80b3b061c120e0", 640, 360},
	{"RGB", VP9, "08 a2498342e013f00b361038241c18", 320, 180},

	{"libaom, one element", AV1, "18 08 0000002d4cffb3ccaf9004", 1280, 720},
	{"libaom, 4:4:4", AV1, "18 08 2000000cc5016836be4080", 641, 361},
	{"SVT-AV1, with a frame behind", AV1, "28 0c 08 00000042abbfc373efe401 30 1000 d151", 1920, 1080},
	{"reduced header", AV1, "18 08 1866281b4b4010", 642, 362},
	{"timing and decoder model", AV1, "18 08 040000000400000065780000000a530000135f915f90bcc6abdf36be4010", 854, 480},
	{"timing", AV1, "18 08 040000000400000067400004bcc6abdf36be4010", 854, 480},
	{"lengths for all, delimiter, size field", AV1, "08 02 1200 0d 0a0b 0000002d4cffb3ccaf9004 03 301000", 1280, 720},
	{"extension byte", AV1, "18 0c 08 0000002d4cffb3ccaf9004", 1280, 720},
}

func TestSize(t *testing.T) {
	for _, c := range sizeCases {
		t.Run(c.codec+", "+c.name, func(t *testing.T) {
			width, height, ok := Size(c.codec, unhexSize(t, c.hex))
			if !ok || width != c.width || height != c.height {
				t.Fatalf("Size is %d x %d, %v; want %d x %d", width, height, ok, c.width, c.height)
			}
		})
	}
}

// Whatever is cut off must not be guessed at, nor must it be read.
func TestSizeOfTruncated(t *testing.T) {
	for _, c := range sizeCases {
		whole := unhexSize(t, c.hex)
		for n := range whole {
			width, height, ok := Size(c.codec, slices.Clip(whole[:n]))
			if ok && (width != c.width || height != c.height) {
				t.Fatalf("%s, %s: the first %d bytes give %d x %d", c.codec, c.name, n, width, height)
			}
			if n < 7 && ok {
				t.Fatalf("%s, %s: a size from %d bytes", c.codec, c.name, n)
			}
		}
	}
}

func TestSizeUnknown(t *testing.T) {
	for _, c := range []struct{ name, codec, hex string }{
		{"IDR slice", H264, "65888404ffff"},
		{"forbidden bit", H264, "e742c01eda0280bfe5c044"},
		{"STAP-A without SPS", H264, "78 0004 68ce0fc8"},
		{"STAP-A with a wrong size", H264, "78 00ff 6742c01eda0280bfe5c0440000"},
		{"STAP-A broken behind the SPS", H264, "78 0019 67640028acb403c0113f2e0220000003002000000641e30654 00ff 68"},
		{"cropped to nothing", H264, "674d0028ed01405f80a10143a0"},
		{"SPS of an upper layer", H265, "4209010408000003009fa800000300003fa005020171f2e5ba4a4c2f01"},
		{"VPS", H265, "40010c01ffff016000000300900000030000030078959409"},
		{"inter frame", VP8, "10 11e9009d012a5603e0010007"},
		{"later partition", VP8, "11 10e9009d012a5603e0010007"},
		{"other start code", VP8, "10 10e9009d012b5603e0010007"},
		{"width 0", VP8, "10 10e9009d012a0000e0010007"},
		{"inter frame", VP9, "c8 05 824983420055502ff60438241c"},
		{"other sync code", VP9, "88 05 824983430055502ff60438241c"},
		{"existing frame", VP9, "88 05 8a4983420055502ff60438241c"},
		{"not a new sequence", AV1, "10 08 0000002d4cffb3ccaf9004"},
		{"continued", AV1, "98 08 0000002d4cffb3ccaf9004"},
		{"no sequence header", AV1, "18 30 1000d15110008c"},
		{"audio", Opus, "fc6742c01eda0280bfe5c044"},
		{"empty", H264, ""},
	} {
		t.Run(c.codec+", "+c.name, func(t *testing.T) {
			if width, height, ok := Size(c.codec, unhexSize(t, c.hex)); ok || width != 0 || height != 0 {
				t.Fatalf("Size is %d x %d, %v; want none", width, height, ok)
			}
		})
	}
}

// The sets that a sender announces, or sent before, tell the size as well.
func TestParameterSetsSize(t *testing.T) {
	var s ParameterSets
	if _, _, ok := s.Size(); ok {
		t.Fatal("a size without a set")
	}
	for _, c := range sizeCases {
		if c.codec != H264 && c.codec != H265 {
			continue
		}
		s.Update(c.codec, unhexSize(t, c.hex))
		if width, height, ok := s.Size(); !ok || width != c.width || height != c.height {
			t.Errorf("%s, %s: Size is %d x %d, %v; want %d x %d", c.codec, c.name, width, height, ok, c.width, c.height)
		}
	}
}

func TestSizeDoesNotAllocate(t *testing.T) {
	for _, c := range sizeCases {
		p := unhexSize(t, c.hex)
		if n := testing.AllocsPerRun(100, func() { Size(c.codec, p) }); n != 0 {
			t.Errorf("%s, %s: %v allocations", c.codec, c.name, n)
		}
	}
}

func FuzzSize(f *testing.F) {
	for _, c := range sizeCases {
		f.Add(c.codec, unhexSize(f, c.hex))
	}
	f.Fuzz(func(t *testing.T, codec string, p []byte) {
		before := slices.Clone(p)
		width, height, ok := Size(codec, p)
		if ok != (width > 0 && height > 0) || width > maxSide || height > maxSide {
			t.Fatalf("Size is %d x %d, %v", width, height, ok)
		}
		if !slices.Equal(p, before) {
			t.Fatal("the payload was changed")
		}
		if ok && !Parse(codec, p).Keyframe {
			t.Fatal("a size where no key frame begins")
		}
	})
}

func BenchmarkSize(b *testing.B) {
	for _, c := range sizeCases {
		p := unhexSize(b, c.hex)
		b.Run(c.codec+"/"+strings.ReplaceAll(c.name, " ", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Size(c.codec, p)
			}
		})
	}
}

func unhexSize(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
