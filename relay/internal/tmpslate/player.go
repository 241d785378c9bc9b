package slate

import (
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
)

// mtu bounds payloads, in bytes.
const mtu = 1188

// Player plays a clip over and over. It is used by one goroutine.
type Player struct {
	clip    *Clip
	next    int
	payload rtp.Payloader
}

// NewPlayer starts at the first picture.
func NewPlayer(c *Clip) *Player {
	p := &Player{clip: c}
	switch c.codec {
	case "H264":
		p.payload = &codecs.H264Payloader{}
	case "H265":
		p.payload = &codecs.H265Payloader{}
	case "VP8":
		p.payload = &codecs.VP8Payloader{EnablePictureID: true}
	case "VP9":
		p.payload = &codecs.VP9Payloader{}
	default:
		p.payload = &codecs.AV1Payloader{}
	}
	return p
}

// Next is the next picture, as RTP payloads of up to 1188 bytes, and how long it
// is shown. The last payload has the marker.
func (p *Player) Next() (payloads [][]byte, shown time.Duration) {
	f := &p.clip.frames[p.next]
	p.next = (p.next + 1) % len(p.clip.frames)
	return p.payload.Payload(mtu, f.data), f.time
}

// Rewind goes back to the first picture, a key frame.
func (p *Player) Rewind() { p.next = 0 }
