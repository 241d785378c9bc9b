package slate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/payload"
)

// IVF: a file header, and a header of 12 bytes (size, timestamp) before each
// picture; all numbers are little-endian.
const (
	ivfSignature   = "DKIF"
	ivfHeader      = 32
	ivfFrameHeader = 12
)

var ivfCodecs = map[string]string{
	"VP80": payload.VP8,
	"VP90": payload.VP9,
	"AV01": payload.AV1,
	"H264": payload.H264,
	"H265": payload.H265,
}

var errCut = errors.New("the file is cut off: copy or encode it again")

func isIVF(data []byte) bool {
	return len(data) >= len(ivfSignature) && string(data[:len(ivfSignature)]) == ivfSignature
}

func parseIVF(data []byte) (*Clip, error) {
	if len(data) < ivfHeader {
		return nil, errCut
	}

	codec, ok := ivfCodecs[string(data[8:12])]
	if !ok {
		return nil, fmt.Errorf("IVF with codec %q: encode it as VP80, VP90, AV01, H264 or H265", data[8:12])
	}
	header := int(binary.LittleEndian.Uint16(data[6:]))
	rate, scale := binary.LittleEndian.Uint32(data[16:]), binary.LittleEndian.Uint32(data[20:])
	if header < ivfHeader || header > len(data) || rate == 0 || scale == 0 {
		return nil, errors.New("the IVF header is damaged: encode the file again")
	}

	c := &Clip{codec: codec}
	times, err := c.addIVF(data[header:])
	if err != nil {
		return nil, err
	}

	return c, c.setDurations(times, float64(scale)/float64(rate))
}

// addIVF adds all pictures and returns their timestamps.
func (c *Clip) addIVF(data []byte) (times []uint64, err error) {
	var sets parameterSets

	for len(data) > 0 {
		if len(data) < ivfFrameHeader {
			return nil, errCut
		}
		n, at := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint64(data[4:])
		data = data[ivfFrameHeader:]
		if uint64(n) > uint64(len(data)) {
			return nil, errCut
		}

		f, err := c.picture(&sets, data[:n])
		if err == nil {
			err = c.add(f)
		}
		if err != nil {
			return nil, fmt.Errorf("picture %d: %w", len(times)+1, err)
		}
		times = append(times, at)
		data = data[n:]
	}

	return times, nil
}

// picture reads one picture of an IVF file.
func (c *Clip) picture(sets *parameterSets, data []byte) (frame, error) {
	switch c.codec {
	case payload.VP8:
		return readVP8(data)
	case payload.VP9:
		return readVP9(data)
	case payload.AV1:
		return readAV1(data)
	}

	units, err := splitAnnexB(data)
	if err != nil {
		return frame{}, err
	}

	return sets.picture(c.codec, units)
}

// setDurations gives each picture the time to the next, and the last one that of
// the one before it. A tick is in seconds.
func (c *Clip) setDurations(times []uint64, tick float64) error {
	for i := range times {
		switch {
		case i+1 < len(times):
			seconds := float64(times[i+1]-times[i]) * tick
			// Compare before converting: a difference below zero is a huge number.
			if times[i+1] <= times[i] || seconds < minDuration.Seconds() || seconds > maxDuration.Seconds() {
				return fmt.Errorf("picture %d is not shown between %v and %v: encode at a constant rate, "+
					"without B-frames and hidden pictures (-bf 0, -auto-alt-ref 0)", i+1, minDuration, maxDuration)
			}
			c.frames[i].duration = time.Duration(seconds * float64(time.Second))
		case i > 0:
			c.frames[i].duration = c.frames[i-1].duration
		}
	}

	return nil
}
