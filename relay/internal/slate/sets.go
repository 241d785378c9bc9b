package slate

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/payload"
)

var (
	errNoSlice  = errors.New("it has no slice: encode the file again")
	errBFrames  = errors.New("it has B-frames, which WebRTC cannot play: encode with -bf 0 (x265: bframes=0)")
	errSetsLost = errors.New("it comes without its parameter sets: encode with repeated headers")
)

// maxSets bounds the parameter sets of one kind: H.264 has 256 numbers for them.
const maxSets = 256

const (
	kindVPS = iota // H.265 only
	kindSPS
	kindPPS
	kinds
)

// parameterSets holds the newest ones of a file while it is read.
type parameterSets struct {
	kinds    [kinds][][]byte
	began    bool          // there was an IDR picture
	duration time.Duration // of a picture, by the SPS
}

// picture makes a frame of the units of one access unit.
func (s *parameterSets) picture(codec string, units [][]byte) (frame, error) {
	var own [kinds][][]byte
	var rest [][]byte
	key, idr, sliced := false, false, false

	for _, nal := range units {
		u := readUnit(codec, nal)
		switch {
		case u.drop:
			continue
		case u.set:
			own[u.kind] = append(own[u.kind], nal)
			continue
		case u.slice && !sliced:
			sliced, key, idr = true, u.key, u.idr
		case u.slice && key != u.key:
			return frame{}, errDamaged
		}
		if u.slice && codec == payload.H264 && sliceB(nal) {
			return frame{}, errBFrames
		}
		rest = append(rest, nal)
	}

	if sliced && !idr && !s.began {
		return frame{}, errors.New("the file does not begin with an IDR picture: cut it at one, or encode it again")
	}
	if err := s.learn(codec, &own, key || !sliced); err != nil {
		return frame{}, err
	}
	switch {
	case !sliced:
		return frame{}, errNoSlice
	case !key:
		return frame{data: join(nil, rest)}, nil
	case !s.complete(codec):
		return frame{}, errSetsLost
	}
	s.began = true

	return s.keyFrame(codec, rest), nil
}

// learn takes over the sets that came with a picture. A viewer may start at any
// key frame, so what later pictures need has to be there.
func (s *parameterSets) learn(codec string, own *[kinds][][]byte, allowed bool) error {
	for i, sets := range own {
		switch {
		case len(sets) == 0:
			continue
		case len(sets) > maxSets:
			return errDamaged
		case !allowed && !slices.EqualFunc(sets, s.kinds[i], bytes.Equal):
			return errors.New("its parameter sets change outside of a key frame: encode the file again")
		}
		s.kinds[i] = sets
	}
	if len(own[kindSPS]) == 0 {
		return nil
	}

	read := readH264SPS
	if codec == payload.H265 {
		read = readH265SPS
	}
	for _, nal := range own[kindSPS] {
		info, ok := read(nal)
		switch {
		case !ok:
			return errDamaged
		case info.reorders:
			return errBFrames
		case info.interlaced:
			return errors.New("it is interlaced, which WebRTC cannot play: encode it as progressive video")
		}
		s.duration = info.duration
	}

	return nil
}

func (s *parameterSets) complete(codec string) bool {
	return len(s.kinds[kindSPS]) > 0 && len(s.kinds[kindPPS]) > 0 && (codec != payload.H265 || len(s.kinds[kindVPS]) > 0)
}

// keyFrame puts the sets in front of the units of a key frame.
func (s *parameterSets) keyFrame(codec string, units [][]byte) frame {
	sps, pps := s.kinds[kindSPS], s.kinds[kindPPS]
	f := frame{key: true, data: join(s.kinds[:], units)}
	if codec == payload.H264 && len(sps) == 1 && len(pps) == 1 {
		f.stapA = 1 + 2 + len(sps[0]) + 2 + len(pps[0])
	}

	return f
}

// join writes units with their start codes.
func join(kinds [][][]byte, units [][]byte) (data []byte) {
	for _, list := range append(slices.Clone(kinds), units) {
		for _, nal := range list {
			data = append(append(data, startCode...), nal...)
		}
	}

	return data
}
