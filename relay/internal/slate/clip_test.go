package slate

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/payload"
)

// annexB joins units with start codes of three and four bytes in turn.
func annexB(units ...[]byte) (data []byte) {
	for i, nal := range units {
		data = append(append(data, startCode[i%2:]...), nal...)
	}

	return data
}

func TestReadRefuses(t *testing.T) {
	vp8 := pictures(t, asset(t, payload.VP8))[0]
	vp9 := pictures(t, asset(t, payload.VP9))[0]
	av1 := pictures(t, asset(t, payload.AV1))[0]
	delta := []byte{1, 0, 0, 0}
	h264, h265 := nals(asset(t, payload.H264)), nals(asset(t, payload.H265))
	sps, pps, idr := h264[0], h264[1], h264[2]
	small := slices.Clone(vp8)
	small[6], small[7] = 8, 0
	huge := slices.Clone(vp8)
	huge[6], huge[7] = 0x10, 0x27 // 10000
	backwards := ivf("VP80", vp8, delta, delta)
	backwards[len(backwards)-4-8] = 0
	noRate := ivf("VP80", vp8)
	noRate[16] = 0
	otherSPS := append(slices.Clone(sps), 0x80)

	tests := []struct {
		name, file, want string
		data             []byte
	}{
		{"empty", "a.ivf", "empty", nil},
		{"too large", "a.ivf", "larger than 4 MiB", make([]byte, maxBytes+1)},
		{"png", "a.png", "unknown format", []byte("\x89PNG\r\n\x1a\n")},
		{"no extension", "slate", "unknown format", asset(t, payload.H264)},
		{"ivf, other codec", "a.ivf", `"THEO"`, ivf("THEO", vp8)},
		{"ivf, header cut", "a.ivf", "cut off", ivf("VP80")[:20]},
		{"ivf, frame header cut", "a.ivf", "cut off", ivf("VP80", vp8)[:40]},
		{"ivf, frame cut", "a.ivf", "cut off", ivf("VP80", vp8)[:100]},
		{"ivf, no rate", "a.ivf", "header is damaged", noRate},
		{"ivf, no picture", "a.ivf", "no picture", ivf("VP80")},
		{"ivf, too many", "a.ivf", "more than 600", ivf("VP80", slices.Repeat([][]byte{vp8[:20]}, 601)...)},
		{"ivf, times go back", "a.ivf", "picture 2 is not shown", backwards},
		{"vp8, no key frame", "a.ivf", "not a key frame", ivf("VP80", delta, vp8)},
		{"vp8, short", "a.ivf", "picture 2: it is damaged", ivf("VP80", vp8, nil)},
		{"vp8, no size", "a.ivf", "size of the picture cannot be read", ivf("VP80", vp8[:5])},
		{"vp8, small", "a.ivf", "8x360", ivf("VP80", small)},
		{"vp8, huge", "a.ivf", "10000x360", ivf("VP80", huge)},
		{"vp8, size changes", "a.ivf", "640x360 to", ivf("VP80", vp8, append(append(slices.Clone(vp8[:6]), 64, 0, 64, 0), vp8[10:]...))},
		{"vp9, profile 1", "a.ivf", "profile 0", ivf("VP90", append([]byte{vp9[0] | 0x20}, vp9[1:]...))},
		{"vp9, hidden picture shown", "a.ivf", "auto-alt-ref", ivf("VP90", vp9, []byte{0x88})},
		{"vp9, not vp9", "a.ivf", "damaged", ivf("VP90", vp8)},
		{"vp9, no sync code", "a.ivf", "damaged", ivf("VP90", []byte{vp9[0], 0, 0, 0, 0, 0, 0, 0, 0, 0})},
		{"av1, no sequence header", "a.ivf", "not a key frame", ivf("AV01", av1[15:])},
		{"av1, profile high", "a.ivf", "profile main", ivf("AV01", append(append(slices.Clone(av1[:4]), av1[4]|0x20), av1[5:]...))},
		{"av1, cut", "a.ivf", "damaged", ivf("AV01", av1[:len(av1)-1])},
		{"av1, delimiter only", "a.ivf", "damaged", ivf("AV01", []byte{0x12, 0})},
		{"av1, header repeated", "a.ivf", "mixes parts", ivf("AV01", av1, append(slices.Clone(av1[:15]), 0x32, 1, 0x30))},

		{"h264, not annex b", "a.h264", "start code", []byte("hello")},
		{"h264, mp4", "a.h264", "start code", append([]byte{0, 0, 0, 24}, annexB(sps, pps, idr)...)},
		{"h264, nothing", "a.h264", "no picture", annexB(sps, pps)},
		{"h264, no idr", "a.h264", "begin with an IDR", annexB(sps, pps, []byte{0x41, 0x9a, 1})},
		{"h264, no pps", "a.264", "parameter sets", annexB(sps, idr)},
		{"h264, no sps", "a.264", "parameter sets", annexB(pps, idr)},
		{"h264, cut sps", "a.264", "damaged", annexB(sps[:6], pps, idr)},
		{"h264, b slice", "a.264", "B-frames", annexB(sps, pps, idr, []byte{0x01, 0x9c, 1})},
		{"h264, sets change", "a.264", "change outside", annexB(sps, pps, idr, otherSPS, []byte{0x41, 0x9a, 1})},
		{"h264, mixed slices", "a.264", "damaged", annexB(sps, pps, idr, []byte{0x41, 0x1a, 1})},
		{"h264 in ivf, no slice", "a.ivf", "no slice", ivf("H264", annexB(sps, pps))},
		{"h265, no vps", "a.h265", "parameter sets", annexB(h265[1:]...)},
		{"h265, cut sps", "a.hevc", "damaged", annexB(h265[0], h265[1][:12], h265[2], h265[3])},
		{"h265, begins with cra", "a.265", "begin with an IDR", annexB(h265[0], h265[1], h265[2], append([]byte{21 << 1}, h265[3][1:]...))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Read(tt.file, bytes.NewReader(tt.data))
			if c != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v, want %q", err, tt.want)
			}
			if !strings.HasPrefix(err.Error(), "slate "+tt.file+": ") {
				t.Errorf("%v: does not name the file", err)
			}
		})
	}
}

// Many encoders write parameter sets once. Each key frame needs them, and later
// pictures go without.
func TestParameterSetsAreRepeated(t *testing.T) {
	list := nals(asset(t, payload.H264))
	sps, pps, idr, other := list[0], list[1], list[2], list[5]
	aud, sei, filler := []byte{9, 0x10}, []byte{6, 5, 1, 0x80}, []byte{12, 0xff, 0x80}
	slice, later := []byte{0x41, 0x9a, 1}, []byte{0x41, 0x46, 1}

	file := annexB(aud, sps, pps, sei, idr, aud, sps, pps, slice, later, filler, aud, slice, other, []byte{10}, []byte{11})
	c, err := Read("a.h264", bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	want := [][][]byte{{sps, pps, sei, idr}, {slice, later}, {slice}, {sps, pps, other}}
	if c.Frames() != len(want) {
		t.Fatalf("%d pictures, want %d", c.Frames(), len(want))
	}

	p := NewPlayer(c, payload.H264, 0)
	for i, units := range want {
		payloads, key, _ := p.Next()
		if got := nals(receive(t, payload.H264, payloads)); !slices.EqualFunc(got, units, bytes.Equal) {
			t.Errorf("picture %d: %d units %x", i, len(got), got)
		}
		if key != (len(units[0]) == len(sps)) {
			t.Errorf("picture %d: key %v", i, key)
		}
	}
}

// The payloader of the library knows one picture parameter set at a time, and
// forgets sets that do not fit.
func TestUnusualParameterSetsSurvive(t *testing.T) {
	list := nals(asset(t, payload.H264))
	sps, pps, idr := list[0], list[1], list[2]
	second := []byte{0x68, 0x5a, 0x80}
	long := append(slices.Clone(pps), bytes.Repeat([]byte{0x55}, 1400)...)
	for name, units := range map[string][][]byte{"two": {sps, pps, second, idr}, "long": {sps, long, idr}} {
		c, err := Read("a.h264", bytes.NewReader(annexB(units...)))
		if err != nil {
			t.Fatal(err)
		}
		for _, mtu := range []int{256, 1188} {
			payloads, _, _ := NewPlayer(c, payload.H264, mtu).Next()
			if got := nals(receive(t, payload.H264, payloads)); !slices.EqualFunc(got, units, bytes.Equal) {
				t.Errorf("%s, mtu %d: %d units", name, mtu, len(got))
			}
			if !payload.Parse(payload.H264, payloads[0]).Keyframe {
				t.Errorf("%s, mtu %d: the first payload does not begin a key frame", name, mtu)
			}
		}
	}
}

// TestLoopsOfEncoders reads what an operator may bring, and decodes what a viewer
// gets of two rounds.
func TestLoopsOfEncoders(t *testing.T) {
	const source = "testsrc2=size=320x240:rate=30:duration=0.4"
	tests := []struct {
		name, codec, file, args string
		duration                time.Duration // of a picture
	}{
		{"h264", payload.H264, "a.h264", "-c:v libx264 -bf 0 -g 10", time.Second / 30},
		{"h264 sliced", payload.H264, "a.264", "-c:v libx264 -profile:v baseline -g 10 -x264-params slices=4:aud=1:nal-hrd=vbr:vbv-maxrate=2000:vbv-bufsize=2000", time.Second / 30},
		{"h264 high, matrices", payload.H264, "a.h264", "-c:v libx264 -bf 0 -x264-params cqm=jvt", time.Second / 30},
		{"h264, 50 Hz", payload.H264, "a.h264", "-c:v libx264 -bf 0 -r 50", 20 * time.Millisecond},
		{"h265", payload.H265, "a.h265", "-c:v libx265 -x265-params bframes=0:keyint=10:log-level=none", time.Second / 30},
		{"h265, sliced", payload.H265, "a.hevc", "-c:v libx265 -x265-params bframes=0:keyint=10:aud=1:slices=2:log-level=none", time.Second / 30},
		{"h265, matrices", payload.H265, "a.265", "-c:v libx265 -x265-params bframes=0:scaling-list=default:colorprim=bt709:log-level=none", time.Second / 30},
		{"vp8", payload.VP8, "a.ivf", "-c:v libvpx -auto-alt-ref 0 -g 10 -b:v 1M", time.Second / 30},
		{"vp9", payload.VP9, "a.ivf", "-c:v libvpx-vp9 -auto-alt-ref 0 -lag-in-frames 0 -g 10 -b:v 1M -deadline realtime", time.Second / 30},
		{"av1", payload.AV1, "a.ivf", "-c:v libaom-av1 -cpu-used 8 -usage realtime -lag-in-frames 0 -g 10 -b:v 1M -tiles 2x2", time.Second / 30},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := encode(t, source, tt.file, tt.args)
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Read(file, bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}

			count := int(400 * time.Millisecond / tt.duration)
			if w, h := c.Size(); w != 320 || h != 240 || c.Frames() != count {
				t.Errorf("%d pictures of %dx%d, want %d", c.Frames(), w, h, count)
			}
			for i, f := range c.frames {
				if d := f.duration - tt.duration; d < -time.Millisecond || d > time.Millisecond {
					t.Errorf("picture %d is shown for %v, want %v", i, f.duration, tt.duration)
				}
			}

			once := luma(t, file)
			got := luma(t, store(t, filepath.Base(file), received(t, tt.codec, NewPlayer(c, tt.codec, 0), 2*count)))
			if !bytes.Equal(got, slices.Concat(once, once)) {
				t.Errorf("%d bytes of pixels differ from two times %d of the file", len(got), len(once))
			}
		})
	}
}

// Without B-frames is not what encoders do by themselves.
func TestReorderedFilesAreRefused(t *testing.T) {
	for file, args := range map[string]string{
		"a.h264": "-c:v libx264",
		"a.h265": "-c:v libx265 -x265-params log-level=none",
	} {
		name := encode(t, "testsrc2=size=320x240:rate=30:duration=0.4", file, args)
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Read(name, bytes.NewReader(data)); err == nil || !strings.Contains(err.Error(), "B-frames") {
			t.Errorf("%s: %v", file, err)
		}
	}

	name := encode(t, "testsrc2=size=320x240:rate=30:duration=0.4", "a.h264", "-c:v libx264 -bf 0 -flags +ildct+ilme -x264-params interlaced=1")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Read(name, bytes.NewReader(data)); err == nil || !strings.Contains(err.Error(), "interlaced") {
		t.Errorf("interlaced: %v", err)
	}
}

func encode(t *testing.T, source, name, args string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), name)
	all := append([]string{"-nostdin", "-v", "error", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p"}, strings.Fields(args)...)
	if out, err := exec.Command(ffmpeg(t), append(all, file)...).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: ffmpeg cannot make %s with %s: %s", name, args, out)
	}

	return file
}

func FuzzRead(f *testing.F) {
	for _, codec := range videoCodecs {
		f.Add(files[codec], asset(f, codec))
	}
	h265 := nals(asset(f, payload.H265))
	f.Add("a.hevc", annexB(h265[0], h265[1], h265[2], h265[3][:40]))
	f.Add("a.ivf", ivf("H264", annexB(nals(asset(f, payload.H264))[:3]...)))
	f.Add("a.ivf", ivf("VP80", pictures(f, asset(f, payload.VP8))[0][:20], []byte{1, 0, 0, 0}))
	f.Add("a.ivf", ivf("VP90", pictures(f, asset(f, payload.VP9))[0][:20], []byte{0x86, 0}))
	f.Add("a.ivf", ivf("AV01", pictures(f, asset(f, payload.AV1))[0][:80]))

	f.Fuzz(func(t *testing.T, name string, data []byte) {
		c, err := Read(name, bytes.NewReader(data))
		if err != nil {
			return
		}
		if w, h := c.Size(); min(w, h) < minSide || max(w, h) > maxSide || c.Frames() < 1 || c.Frames() > maxFrames {
			t.Fatalf("%d pictures of %dx%d", c.Frames(), w, h)
		}

		p := NewPlayer(c, c.Codec(), minPayload)
		for i := range c.Frames() + 1 {
			payloads, key, duration := p.Next()
			if len(payloads) == 0 || duration < minDuration || duration > maxDuration {
				t.Fatalf("picture %d: %d payloads, for %v", i, len(payloads), duration)
			}
			begins := false
			for _, pay := range payloads {
				if len(pay) == 0 || len(pay) > minPayload {
					t.Fatalf("picture %d: payload of %d bytes", i, len(pay))
				}
				begins = begins || payload.Parse(c.Codec(), pay).Keyframe
			}
			if begins != key || i == 0 && !key {
				t.Fatalf("picture %d: key %v, the payloads say %v", i, key, begins)
			}
		}
	})
}
