package slate

import (
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"

	"github.com/talwtn/caddy-wtn/relay/internal/payload"
)

// Sizes of a payload, in bytes. The largest leaves room in an IPv6 packet of
// 1280 bytes for the headers, extensions and authentication of SRTP, and for
// what TURN adds.
const (
	minPayload = 256
	maxPayload = 1188
)

// Player turns a Clip into RTP payloads, for ever. It belongs to one goroutine
// at a time.
type Player struct {
	clip  *Clip
	next  int
	mtu   uint16
	coder rtp.Payloader
	h264  *codecs.H264Payloader // coder, if it is that one
}

// NewPlayer plays c to a stream of the named codec. If c is nil or of another
// codec, the built-in picture takes its place; the result is nil if there is none
// for the codec. The payloads have at most mtu bytes, which are taken to be
// between 256 and 1188, 0 meaning 1188.
func NewPlayer(c *Clip, codecName string, mtu int) *Player {
	if c == nil || c.codec != codecName {
		var ok bool
		if c, ok = Default(codecName); !ok {
			return nil
		}
	}
	if mtu == 0 {
		mtu = maxPayload
	}

	return play(c, min(max(mtu, minPayload), maxPayload))
}

// play plays c itself, with an mtu in its limits.
func play(c *Clip, mtu int) *Player {
	p := &Player{clip: c, mtu: uint16(mtu)}
	switch c.codec {
	case payload.H264:
		p.h264 = &codecs.H264Payloader{}
		p.coder = p.h264
	case payload.H265:
		p.coder = &codecs.H265Payloader{}
	case payload.VP8:
		p.coder = &vp8Payloader{}
	case payload.VP9:
		p.coder = &codecs.VP9Payloader{InitialPictureIDFn: func() uint16 { return 0 }}
	case payload.AV1:
		p.coder = &codecs.AV1Payloader{}
	}

	return p
}

// Next returns the next picture and moves on; after the last one the clip begins
// again. There is at least one payload; the last of them gets the marker. The
// picture after it is due when duration has passed. A still is a key frame each
// time, once per second, for viewers who join or have lost it.
//
// The payloads belong to the caller.
func (p *Player) Next() (payloads [][]byte, key bool, duration time.Duration) {
	f := &p.clip.frames[p.next]
	p.next = (p.next + 1) % len(p.clip.frames)
	if p.h264 != nil {
		// The payloader keeps one set of each kind for the aggregate, and drops an
		// aggregate that is too long. Then they go one by one.
		p.h264.DisableStapA = f.stapA == 0 || f.stapA > int(p.mtu)
	}

	return p.coder.Payload(p.mtu, f.data), f.key, f.duration
}

// Restart makes the next picture the first of the clip, which is a key frame:
// the answer to a viewer who asks for one in the middle of a loop.
func (p *Player) Restart() { p.next = 0 }

// vp8Payloader splits frames and gives each a PictureID of 15 bits (RFC 7741
// 4.2). That of the library begins without one, and widens it on the way, which
// no sender may do.
type vp8Payloader struct {
	codecs.VP8Payloader
	id uint16
}

const vp8Extension = 3 // the octet of flags and the PictureID

func (v *vp8Payloader) Payload(mtu uint16, data []byte) [][]byte {
	payloads := v.VP8Payloader.Payload(mtu-vp8Extension, data)
	for i, piece := range payloads {
		out := make([]byte, 0, len(piece)+vp8Extension)
		out = append(out, piece[0]|0x80, 0x80, 0x80|byte(v.id>>8), byte(v.id)) // X, I, M
		payloads[i] = append(out, piece[1:]...)
	}
	v.id++ // its highest bit is covered by M

	return payloads
}
