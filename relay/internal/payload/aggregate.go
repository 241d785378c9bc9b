package payload

import "encoding/binary"

// nextUnit cuts the first unit off the body of a STAP-A (RFC 6184 5.7.1) or AP
// (RFC 7798 4.4.2), where each unit follows its 16-bit size.
func nextUnit(body []byte) (nal, rest []byte, ok bool) {
	if len(body) < 2 {
		return nil, nil, false
	}

	n := int(binary.BigEndian.Uint16(body))
	if n == 0 || n > len(body)-2 {
		return nil, nil, false
	}

	return body[2 : 2+n], body[2+n:], true
}

// aggregate joins what the units of one packet say. The packet starts a frame
// if its first unit does. A broken size field spoils the whole packet.
func aggregate(body []byte, read func(nal []byte) Info) Info {
	var sum Info

	for first := true; len(body) > 0; first = false {
		nal, rest, ok := nextUnit(body)
		if !ok {
			return Info{}
		}

		info := read(nal)
		if first {
			sum.FrameStart = info.FrameStart
		}
		sum.Keyframe = sum.Keyframe || info.Keyframe
		sum.IDR = sum.IDR || info.IDR
		sum.ParameterSets = sum.ParameterSets || info.ParameterSets
		body = rest
	}

	return sum
}
