package slate

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/payload"
)

// Limits of a file.
const (
	maxBytes  = 4 << 20
	maxFrames = 600
	minSide   = 16   // pixels
	maxSide   = 4096 // pixels

	minDuration = 5 * time.Millisecond
	maxDuration = 10 * time.Second
)

const (
	// stillDuration is how often a clip of one picture is sent.
	stillDuration = time.Second
	// frameDuration is that of a picture whose file does not tell, which is what
	// other tools assume as well.
	frameDuration = 40 * time.Millisecond
)

// Clip is a still picture or a short loop of one codec. It does not change and
// may be used by any number of goroutines and Players.
type Clip struct {
	codec         string
	width, height int
	frames        []frame
}

// frame is a coded picture (for AV1 a temporal unit).
type frame struct {
	// data is as the payloaders of pion/rtp take it. For H.264 and H.265 that is
	// Annex B, without delimiters and filler, and with the parameter sets in
	// front of every key frame.
	data     []byte
	key      bool
	stapA    int // bytes of a STAP-A with the parameter sets, 0: not aggregated
	duration time.Duration
}

// Codec is the name as it stands in an rtpmap line: "H264", "H265", "VP8", "VP9"
// or "AV1".
func (c *Clip) Codec() string { return c.codec }

// Frames is the number of pictures, from 1 to 600.
func (c *Clip) Frames() int { return len(c.frames) }

// Size is that of the picture, in pixels; each side is between 16 and 4096.
func (c *Clip) Size() (width, height int) { return c.width, c.height }

// Duration is the time from one beginning to the next.
func (c *Clip) Duration() (sum time.Duration) {
	for _, f := range c.frames {
		sum += f.duration
	}

	return sum
}

// Read takes a file apart. An IVF file says itself which codec it has (VP8, VP9,
// AV1, H.264 or H.265) and when its pictures are shown. Anything else has to be
// an Annex B byte stream, whose codec is in the extension of name: .h264 or .264,
// .h265, .265 or .hevc. Its rate is the one in the sequence parameter set, or
// else 25 pictures per second. A single picture is a still, whatever its rate.
//
// The file has at most 4 MiB and 600 pictures, begins with a key frame (of H.264
// and H.265 an IDR picture), and has its pictures in the order in which they are
// shown, because WebRTC has no B-frames. Every error says what to do.
func Read(name string, r io.Reader) (*Clip, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("slate %s: %w", name, err)
	}

	c, err := parse(name, data)
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return nil, fmt.Errorf("slate %s: %w", name, err)
	}

	return c, nil
}

func parse(name string, data []byte) (*Clip, error) {
	switch {
	case len(data) == 0:
		return nil, errors.New("the file is empty")
	case len(data) > maxBytes:
		return nil, errors.New("the file is larger than 4 MiB: make a shorter loop, or a still")
	case isIVF(data):
		return parseIVF(data)
	}

	switch strings.ToLower(path.Ext(name)) {
	case ".h264", ".264":
		return parseAnnexB(payload.H264, data)
	case ".h265", ".265", ".hevc":
		return parseAnnexB(payload.H265, data)
	default:
		return nil, errors.New("unknown format: convert it to IVF (VP8, VP9, AV1), .h264 or .h265, for instance with ffmpeg")
	}
}

// check sends the clip through a Player once, and asks the relay's own parser
// whether viewers can start where they have to.
func (c *Clip) check() error {
	switch {
	case len(c.frames) == 0:
		return errors.New("there is no picture in the file")
	case !c.frames[0].key:
		return errors.New("the first picture is not a key frame: cut the file at one, or encode it again")
	case len(c.frames) == 1:
		c.frames[0].duration = stillDuration
	}

	p := play(c, maxPayload)
	for i := range c.frames {
		payloads, key, _ := p.Next()
		if len(payloads) == 0 {
			return fmt.Errorf("picture %d is damaged: encode the file again", i+1)
		}

		begins := false
		for _, pay := range payloads {
			begins = begins || payload.Parse(c.codec, pay).Keyframe
		}
		if begins != key {
			return fmt.Errorf("picture %d mixes parts of a key frame with those of another picture: encode the file again", i+1)
		}
		if !key {
			continue
		}
		if err := c.measure(payloads); err != nil {
			return fmt.Errorf("picture %d: %w", i+1, err)
		}
	}

	return nil
}

// measure takes the size from the payloads of a key frame.
func (c *Clip) measure(payloads [][]byte) error {
	width, height, ok := 0, 0, false
	for i := 0; i < len(payloads) && !ok; i++ {
		width, height, ok = payload.Size(c.codec, payloads[i])
	}

	switch {
	case !ok:
		return errors.New("the size of the picture cannot be read: encode the file again")
	case min(width, height) < minSide || max(width, height) > maxSide:
		return fmt.Errorf("the size is %dx%d: make each side %d to %d pixels long", width, height, minSide, maxSide)
	case c.width == 0:
		c.width, c.height = width, height
	case c.width != width || c.height != height:
		return fmt.Errorf("the size changes from %dx%d to %dx%d: encode all pictures in one size", c.width, c.height, width, height)
	}

	return nil
}

// add appends a picture.
func (c *Clip) add(f frame) error {
	if len(c.frames) == maxFrames {
		return errors.New("there are more than 600 pictures: make the loop shorter")
	}
	c.frames = append(c.frames, f)

	return nil
}
