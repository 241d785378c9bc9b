package payload

// maxSide is the longest side that a codec here has room for (VP9, AV1).
const maxSide = 1 << 16

// Size reads the size of the picture, in pixels, from a payload that begins a
// key frame, or from one that carries an SPS (H.264, H.265: alone or
// aggregated, less what its window crops). Of a VP9 picture with spatial layers
// it is that of the largest, of AV1 the largest that the sequence may have. ok
// is false if the payload does not tell the size, as most do not; both sides are
// between 1 and 65536 if it is true.
//
// It does not allocate, and reads only the headers.
func Size(codec string, p []byte) (width, height int, ok bool) {
	if !Parse(codec, p).Keyframe {
		return 0, 0, false
	}

	switch codec {
	case H264:
		width, height = sizeH264(p)
	case H265:
		width, height = sizeH265(p)
	case VP8:
		width, height = sizeVP8(p)
	case VP9:
		width, height = sizeVP9(p)
	case AV1:
		width, height = sizeAV1(p)
	}
	if width < 1 || width > maxSide || height < 1 || height > maxSide {
		return 0, 0, false
	}

	return width, height, true
}

// Size is that of the sequence parameter set that became known last, see the
// function of the same name.
func (s *ParameterSets) Size() (width, height int, ok bool) {
	if len(s.sps.sets) == 0 {
		return 0, 0, false
	}

	return Size(s.codec, s.sps.sets[len(s.sps.sets)-1].nal)
}
