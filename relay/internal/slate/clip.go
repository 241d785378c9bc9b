// Package slate makes RTP payloads of a picture that stands in for a stream
// whose sources are all gone: a still or a short loop in the stream's own codec,
// and silence. It has no clock: whoever plays it asks for one frame after the
// other and waits as long as each is shown.
package slate

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

const (
	// MaxSize bounds a file, in bytes, and maxFrames the pictures in it.
	MaxSize   = 4 << 20
	maxFrames = 600
	// stillTime is how long a picture without a time of its own is shown when
	// there are no more than stillFrames, loopTime when there are.
	stillTime   = time.Second
	stillFrames = 2
	loopTime    = 40 * time.Millisecond
	// longest bounds what a file may say about the time of one frame, and
	// shortest keeps a file from making a stream of nothing but frames.
	longest, shortest = 10 * time.Second, 10 * time.Millisecond
)

// Clip is the pictures of one codec. It never changes.
type Clip struct {
	codec  string
	frames []frame
}

// frame is one picture: as the codec has it, or the NAL units of an access unit
// with their start codes.
type frame struct {
	data []byte
	key  bool
	time time.Duration
}

// Codec is its canonical name: H264, H265, VP8, VP9 or AV1.
func (c *Clip) Codec() string { return c.codec }

// Frames is how many pictures there are.
func (c *Clip) Frames() int { return len(c.frames) }

// Read reads a clip: an IVF file, or an elementary stream of H.264 or H.265 by
// the end of its name (.h264, .264, .h265, .265, .hevc). The first picture has to
// be a key frame.
func Read(name string, r io.Reader) (*Clip, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > MaxSize:
		return nil, fmt.Errorf("the file is larger than %d MiB: use a still or a short loop", MaxSize>>20)
	}
	var c *Clip
	switch ext := strings.ToLower(path.Ext(name)); {
	case len(b) >= 4 && string(b[:4]) == ivfMagic:
		c, err = readIVF(b)
	case ext == ".h264" || ext == ".264":
		c, err = readNALs("H264", b)
	case ext == ".h265" || ext == ".265" || ext == ".hevc":
		c, err = readNALs("H265", b)
	default:
		return nil, errors.New("the file is neither IVF nor named .h264 or .h265: make it with ffmpeg -i picture.png -c:v libvpx slate.ivf")
	}
	switch {
	case err != nil:
		return nil, err
	case len(c.frames) == 0:
		return nil, errors.New("the file has no picture")
	case len(c.frames) > maxFrames:
		return nil, fmt.Errorf("the file has %d pictures: use at most %d", len(c.frames), maxFrames)
	case !c.frames[0].key:
		return nil, errors.New("the first picture is no key frame: encode the file anew")
	}
	return c, nil
}

//go:embed assets/default.*
var assets embed.FS

var defaults = func() map[string]*Clip {
	m := make(map[string]*Clip)
	for _, name := range []string{"h264", "h265", "vp8.ivf", "vp9.ivf", "av1.ivf"} {
		f, err := assets.Open("assets/default." + name)
		if err != nil {
			panic(err) // it is in the binary
		}
		c, err := Read("default."+name, f)
		if err != nil {
			panic(fmt.Sprintf("built-in slate %s: %v", name, err))
		}
		m[c.codec] = c
	}
	return m
}()

// Default is the built-in picture in a codec: a pause sign on dark ground,
// 640x360, without words.
func Default(codec string) (*Clip, bool) {
	c, ok := defaults[codec]
	return c, ok
}

// Silence is 20 ms without sound in an audio codec; false for one that has none
// here.
func Silence(codec string) ([]byte, bool) {
	switch codec {
	case "opus":
		return []byte{0xf8, 0xff, 0xfe}, true // RFC 6716: one CELT frame, fullband, that says nothing
	case "PCMU":
		return repeat(0xff, 160), true
	case "PCMA":
		return repeat(0xd5, 160), true
	}
	return nil, false
}

func repeat(b byte, n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = b
	}
	return out
}
