package load

import (
	"encoding/binary"
	"math/rand/v2"
)

// The shape of the video: 2.5 Mbit/s at 30 frames/s, every 2 s a key frame six
// times as large as the frames between.
const (
	bitrate   = 2_500_000 // bits/s
	frameRate = 30        // frames/s
	gopFrames = 60
	keyWeight = 6

	// sizes in bytes
	deltaSize  = bitrate / 8 / frameRate * gopFrames / (gopFrames - 1 + keyWeight)
	keySize    = deltaSize * keyWeight
	maxPayload = 1150
)

// H.264 NAL unit types (RFC 6184 section 5.2).
const (
	nalSlice = 1
	nalIDR   = 5
	nalSPS   = 7
	nalSTAPA = 24
	nalFUA   = 28
)

// Parameter sets of constrained baseline, level 3.1, 1280x720.
var (
	sps = []byte{0x67, 0x42, 0xe0, 0x1f, 0xda, 0x01, 0x40, 0x16, 0xe4}
	pps = []byte{0x68, 0xce, 0x3c, 0x80}
)

// noise stands for entropy-coded slice data. It has no zero byte.
var noise = func() []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 1<<16)
	for i := range b {
		b[i] = byte(rng.Uint32()) | 1
	}
	return b
}()

// encodeFrame makes the payloads of one frame: parameter sets in a STAP-A
// ahead of a key frame, the slice in FU-A fragments of nearly equal size, each
// with room for a stamp.
func encodeFrame(key bool) [][]byte {
	size, nal, sliceType := deltaSize, byte(0x40|nalSlice), byte(0x9a)
	var out [][]byte
	if key {
		size, nal, sliceType = keySize, 0x60|nalIDR, 0x88
		out = append(out, parameterSets())
	}
	parts := (size + maxPayload - 1) / maxPayload
	for i := range parts {
		n := size*(i+1)/parts - size*i/parts
		at := rand.IntN(len(noise) - n)
		p := append(make([]byte, 0, n+2), nal&0x60|nalFUA, nal&0x1f)
		p = append(p, noise[at:at+n]...)
		if i == 0 {
			p[1] |= 0x80
			p[2] = sliceType // first_mb_in_slice 0 and the type: I or P
		}
		if i == parts-1 {
			p[1] |= 0x40
		}
		out = append(out, p)
	}
	return out
}

func parameterSets() []byte {
	p := []byte{0x60 | nalSTAPA}
	for _, n := range [][]byte{sps, pps} {
		p = binary.BigEndian.AppendUint16(p, uint16(len(n)))
		p = append(p, n...)
	}
	return p
}

// inspect says whether a payload begins the parameter sets of a key frame and
// whether an IDR picture begins in it.
func inspect(p []byte) (hasSPS, hasIDR bool) {
	if len(p) < 2 {
		return false, false
	}
	switch p[0] & 0x1f {
	case nalSPS:
		return true, false
	case nalIDR:
		return false, true
	case nalFUA:
		return false, p[1]&0x9f == 0x80|nalIDR
	case nalSTAPA:
		for p = p[1:]; len(p) > 2; {
			n := int(binary.BigEndian.Uint16(p))
			hasSPS = hasSPS || p[2]&0x1f == nalSPS
			hasIDR = hasIDR || p[2]&0x1f == nalIDR
			if n+2 >= len(p) {
				break
			}
			p = p[n+2:]
		}
	}
	return hasSPS, hasIDR
}
