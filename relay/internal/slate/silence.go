package slate

import (
	"bytes"

	"github.com/talwtn/caddy-wtn/relay/internal/payload"
)

// G.711 and G.722 alike have 8 bytes per millisecond (RFC 3551 4.5.2, 4.5.14).
const bytesOf20ms = 160

var (
	// opusSilence is what the reference encoder makes of digital silence: CELT,
	// full band, 20 ms, one frame (RFC 6716 3.1). It says mono, which a decoder for
	// two channels plays on both (RFC 7587 3.4).
	opusSilence = []byte{0xf8, 0xff, 0xfe}

	// The codes of a sample of 0. That of G.722 is the pair of codes whose predictors
	// come to rest nearest to 0, whatever was played before: it was searched for
	// with a decoder, over all of them.
	pcmuSilence = bytes.Repeat([]byte{0xff}, bytesOf20ms)
	pcmaSilence = bytes.Repeat([]byte{0xd5}, bytesOf20ms)
	g722Silence = bytes.Repeat([]byte{0xfc}, bytesOf20ms)
)

// Silence returns an Opus frame of 20 ms without sound, for streams of one and of
// two channels. It is shared: do not write to it.
func Silence() []byte { return opusSilence[:len(opusSilence):len(opusSilence)] }

// SilenceOf returns 20 ms without sound for the named codec: "opus", "PCMU",
// "PCMA" or "G722" (one channel). In RTP timestamps that is 960 for Opus and 160
// for the others. It is shared: do not write to it.
func SilenceOf(codec string) (frame []byte, ok bool) {
	switch codec {
	case payload.Opus:
		return Silence(), true
	case payload.PCMU:
		frame = pcmuSilence
	case payload.PCMA:
		frame = pcmaSilence
	case payload.G722:
		frame = g722Silence
	default:
		return nil, false
	}

	return frame[:bytesOf20ms:bytesOf20ms], true
}
