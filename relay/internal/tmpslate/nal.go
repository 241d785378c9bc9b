package slate

import (
	"bytes"
	"errors"
)

var startCode = []byte{0, 0, 1}

// splitNALs splits an elementary stream (Annex B) into NAL units.
func splitNALs(b []byte) (list [][]byte) {
	i := bytes.Index(b, startCode)
	for i >= 0 {
		b = b[i+len(startCode):]
		end := len(b)
		if i = bytes.Index(b, startCode); i >= 0 {
			end = i
		}
		if n := bytes.TrimRight(b[:end], "\x00"); len(n) > 1 {
			list = append(list, n)
		}
	}
	return list
}

// readNALs puts NAL units together to pictures.
func readNALs(codec string, b []byte) (*Clip, error) {
	c := &Clip{codec: codec}
	var cur []byte
	coded, key := false, false
	end := func() {
		if coded {
			c.frames = append(c.frames, frame{data: cur, key: key})
		}
		cur, coded, key = nil, false, false
	}
	for _, n := range splitNALs(b) {
		slice, first := isSlice(codec, n)
		if coded && (first || !slice) {
			end()
		}
		if len(c.frames) > maxFrames {
			break
		}
		coded, key = coded || slice, key || isIDR(codec, n)
		cur = append(append(cur, 0, 0, 0, 1), n...)
	}
	end()
	if len(c.frames) == 0 {
		return nil, errors.New("there are no pictures with start codes in the file: it has to be an elementary stream, as ffmpeg -f h264 writes it")
	}
	for i := range c.frames {
		c.frames[i].time = loopTime
		if len(c.frames) <= stillFrames {
			c.frames[i].time = stillTime
		}
	}
	return c, nil
}

// isSlice tells whether a NAL unit is part of a picture, and whether it is its
// first part (H.264 7.3.3: first_mb_in_slice is 0; H.265 7.3.6.1).
func isSlice(codec string, n []byte) (slice, first bool) {
	if codec == "H264" {
		kind := n[0] & 31
		return kind >= 1 && kind <= 5, n[1]&0x80 != 0
	}
	kind := n[0] >> 1 & 63
	return kind < 32, len(n) > 2 && n[2]&0x80 != 0
}

func isIDR(codec string, n []byte) bool {
	if codec == "H264" {
		return n[0]&31 == 5
	}
	kind := n[0] >> 1 & 63
	return kind >= 16 && kind <= 21
}
