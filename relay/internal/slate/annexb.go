package slate

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/talwtn/caddy-wtn/relay/internal/payload"
)

var startCode = []byte{0, 0, 0, 1}

// parseAnnexB reads a byte stream (H.264 and H.265, annex B).
func parseAnnexB(codec string, data []byte) (*Clip, error) {
	units, err := splitAnnexB(data)
	if err != nil {
		return nil, err
	}

	c := &Clip{codec: codec}
	var sets parameterSets
	for len(units) > 0 {
		n := accessUnit(codec, units)
		f, err := sets.picture(codec, units[:n])
		units = units[n:]

		switch {
		case errors.Is(err, errNoSlice):
			continue // parameter sets alone, or the end of the sequence
		case err == nil:
			f.duration = sets.duration
			err = c.add(f)
		}
		if err != nil {
			return nil, fmt.Errorf("picture %d: %w", len(c.frames)+1, err)
		}
	}

	return c, nil
}

// splitAnnexB returns the NAL units between start codes, without the zeros that
// may follow them.
func splitAnnexB(data []byte) (units [][]byte, err error) {
	code := startCode[1:]
	first, rest, ok := bytes.Cut(data, code)
	if !ok || len(bytes.Trim(first, "\x00")) > 0 {
		return nil, errors.New("it does not begin with a start code: write an Annex B byte stream (ffmpeg -f h264 or -f hevc)")
	}

	for ok {
		var unit []byte
		unit, rest, ok = bytes.Cut(rest, code)
		if unit = bytes.TrimRight(unit, "\x00"); len(unit) > 0 {
			units = append(units, unit)
		}
	}

	return units, nil
}

// accessUnit counts the units of the first picture (H.264 7.4.1.2.3, H.265
// 7.4.2.4.4): it ends before the first slice of the next one, and before
// anything that only stands in front of slices.
func accessUnit(codec string, units [][]byte) int {
	slices := false
	for i, nal := range units {
		u := readUnit(codec, nal)
		if slices && (u.first || u.leads) {
			return i
		}
		slices = slices || u.slice
	}

	return len(units)
}

// unit is what the header of a NAL unit says.
type unit struct {
	slice bool // a slice, or a part of one
	first bool // the first slice of a picture
	key   bool // a slice of a picture where decoding can begin
	idr   bool // such a picture that forgets all before it
	set   bool // a parameter set
	kind  int  // which of them
	leads bool // stands before the first slice of a picture only
	drop  bool // is not sent: delimiters, filler, what RTP uses otherwise
}

func readUnit(codec string, nal []byte) unit {
	if codec == payload.H265 {
		return readH265(nal)
	}

	return readH264(nal)
}

// readH264 reads the header of 1 byte (H.264 table 7-1).
func readH264(nal []byte) unit {
	if nal[0]&0x80 != 0 {
		return unit{drop: true}
	}

	first := len(nal) > 1 && nal[1]&0x80 != 0 // first_mb_in_slice is 0
	switch typ := nal[0] & 0x1f; typ {
	case 1, 2:
		return unit{slice: true, first: first}
	case 3, 4:
		return unit{slice: true}
	case 5:
		return unit{slice: true, first: first, key: true, idr: true}
	case 6:
		return unit{leads: true}
	case 7, 8:
		return unit{leads: true, set: true, kind: int(typ) - 7 + kindSPS}
	case 9, 14, 15, 16, 17, 18: // 14 and 15 are of extensions
		return unit{leads: true, drop: true}
	default:
		return unit{drop: true}
	}
}

// readH265 reads the header of 2 bytes (H.265 table 7-1).
func readH265(nal []byte) unit {
	if len(nal) < 3 || nal[0]&0x81 != 0 || nal[1]>>3 != 0 { // or of a layer other than 0
		return unit{drop: true}
	}

	first := nal[2]&0x80 != 0 // first_slice_segment_in_pic_flag
	switch typ := nal[0] >> 1; {
	case typ <= 9, typ >= 16 && typ <= 21:
		return unit{slice: true, first: first, key: typ >= 16, idr: typ == 19 || typ == 20}
	case typ >= 32 && typ <= 34:
		return unit{leads: true, set: true, kind: int(typ) - 32 + kindVPS}
	case typ == 35:
		return unit{leads: true, drop: true}
	case typ == 39:
		return unit{leads: true}
	case typ == 40:
		return unit{}
	default:
		return unit{drop: true}
	}
}
