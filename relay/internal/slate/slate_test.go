package slate

import (
	"bytes"
	"encoding/binary"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/payload"
)

var names = []string{"H264", "H265", "VP8", "VP9", "AV1"}

func TestDefaults(t *testing.T) {
	total := 0
	for _, name := range names {
		c, ok := Default(name)
		if !ok || c.Codec() != name {
			t.Fatalf("there is no picture in %s", name)
		}
		p := NewPlayer(c)
		for round := range 2 * c.Frames() {
			list, shown := p.Next()
			if len(list) == 0 || shown != time.Second {
				t.Fatalf("%s: %d payloads, shown for %v", name, len(list), shown)
			}
			key := false
			for _, pay := range list {
				total += len(pay)
				if len(pay) > mtu {
					t.Errorf("%s: a payload of %d bytes", name, len(pay))
				}
				key = key || payload.Parse(name, pay).Keyframe
			}
			if !payload.Parse(name, list[0]).Keyframe || !key {
				t.Errorf("%s: picture %d is not seen as a key frame", name, round)
			}
			if _, _, ok := sizeOf(name, list); !ok && name != "AV1" {
				t.Errorf("%s: no size", name)
			}
		}
	}
	if total > 200<<10 {
		t.Errorf("the pictures take %d bytes", total)
	}
	if _, ok := Default("opus"); ok {
		t.Error("a picture in opus")
	}
}

func sizeOf(codec string, list [][]byte) (w, h int, ok bool) {
	var sets payload.ParameterSets
	for _, p := range list {
		if w, h, ok = payload.Size(codec, p); ok {
			return w, h, w == 640 && h == 360
		}
		sets.Update(codec, p)
	}
	w, h, ok = sets.Size()
	return w, h, ok && w == 640 && h == 360
}

// The built-in pictures decode, and are not one colour.
func TestDefaultsDecode(t *testing.T) {
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("SKIPPED: there is no ffmpeg: whether the built-in pictures decode was not looked at")
	}
	files, _ := filepath.Glob("assets/default.*")
	if len(files) != len(names) {
		t.Fatalf("%d files", len(files))
	}
	for _, f := range files {
		out, err := exec.Command(ffmpeg, "-v", "error", "-i", f, "-frames:v", "1", "-pix_fmt", "gray", "-f", "rawvideo", "-").Output()
		if err != nil || len(out) != 640*360 {
			t.Errorf("%s: %d bytes, %v", f, len(out), err)
			continue
		}
		lowest, highest := out[0], out[0]
		for _, b := range out {
			lowest, highest = min(lowest, b), max(highest, b)
		}
		if highest-lowest < 60 {
			t.Errorf("%s: from %d to %d", f, lowest, highest)
		}
	}
}

func ivf(fourcc string, frames ...[]byte) []byte {
	b := append([]byte(ivfMagic), 0, 0, ivfHeader, 0)
	b = append(b, fourcc...)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, 25)
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = append(b, make([]byte, 8)...)
	for i, f := range frames {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(f)))
		b = binary.LittleEndian.AppendUint64(b, uint64(i))
		b = append(b, f...)
	}
	return b
}

func TestRead(t *testing.T) {
	vp8Key, vp8Delta := []byte{0x10, 0, 0, 0x9d, 1, 0x2a}, []byte{0x11, 0, 0}
	for _, c := range []struct {
		name, file, err string
		data            []byte
		frames          int
		time            time.Duration
	}{
		{"a loop", "x.ivf", "", ivf("VP80", vp8Key, vp8Delta, vp8Delta), 3, 40 * time.Millisecond},
		{"a still", "x.ivf", "", ivf("VP80", vp8Key), 1, time.Second},
		{"nothing", "x.ivf", "neither IVF", nil, 0, 0},
		{"no key frame", "x.ivf", "no key frame", ivf("VP80", vp8Delta), 0, 0},
		{"no frame", "x.ivf", "no picture", ivf("VP80"), 0, 0},
		{"another codec", "x.ivf", `"THEO"`, ivf("THEO", vp8Key), 0, 0},
		{"cut off", "x.ivf", "cut off", ivf("VP80", vp8Key)[:ivfHeader+14], 0, 0},
		{"many", "x.ivf", "at most", ivf("VP80", slicesOf(vp8Key, maxFrames+1)...), 0, 0},
		{"large", "x.ivf", "larger than", make([]byte, MaxSize+1), 0, 0},
		{"not H.264", "x.h264", "elementary stream", []byte("hello"), 0, 0},
		{"two slices, two pictures", "x.264", "", []byte("\x00\x00\x01\x67aa\x00\x00\x01\x65\x80a\x00\x00\x01\x65\x40b\x00\x00\x01\x41\x80c"), 2, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			clip, err := Read(c.file, bytes.NewReader(c.data))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if clip.Frames() != c.frames || clip.frames[0].time != c.time {
				t.Errorf("%d frames of %v", clip.Frames(), clip.frames[0].time)
			}
		})
	}
}

func slicesOf(b []byte, n int) (list [][]byte) {
	for range n {
		list = append(list, b)
	}
	return list
}

func TestSilence(t *testing.T) {
	for name, n := range map[string]int{"opus": 3, "PCMU": 160, "PCMA": 160} {
		if b, ok := Silence(name); !ok || len(b) != n {
			t.Errorf("%s: %d bytes, %v", name, len(b), ok)
		}
	}
	if _, ok := Silence("VP8"); ok {
		t.Error("silence in VP8")
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"h264", "h265", "vp8.ivf", "vp9.ivf", "av1.ivf"} {
		b, err := assets.ReadFile("assets/default." + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(name, b)
	}
	f.Add("ivf", ivf("AV01", []byte{0x0a, 1, 0}))
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		c, err := Read("x."+name, bytes.NewReader(b))
		if err != nil {
			return
		}
		p := NewPlayer(c)
		for range min(c.Frames(), 8) {
			list, shown := p.Next()
			if shown < shortest || shown > longest {
				t.Fatalf("shown for %v", shown)
			}
			for _, pay := range list {
				if len(pay) > mtu {
					t.Fatalf("a payload of %d bytes", len(pay))
				}
			}
		}
	})
}
