package probe

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/pion/rtp/codecs"
)

const (
	mtu        = 1100 // bytes of a payload
	keyBytes   = 6000
	frameBytes = 2600 // three packets, so that one can be left out between others
	audioBytes = 80

	frameTime = time.Second / 30
	audioTime = 20 * time.Millisecond
	keyEvery  = 2 * time.Second

	videoClock = 90000
	audioClock = 48000
)

// codec makes and reads frames of one codec.
type codec struct {
	name  string
	audio bool
	clock uint32
	// head is what a decoder would look at, before the stamp.
	head func(key bool) []byte
	// units takes packets of one frame apart into what the service may not
	// change: nothing if one is missing in a way that shows.
	units func(payloads [][]byte) [][]byte
	// bare is a payload without what forwarders may write anew.
	bare func(payload []byte) []byte
	// payloads splits a frame; the payloader keeps count of pictures.
	payloader func() func(frame []byte, key bool) [][]byte
}

var (
	vp8 = &codec{
		name: "VP8", clock: videoClock, head: vp8Head, units: vp8Units, bare: vp8Bare,
		payloader: func() func([]byte, bool) [][]byte {
			p := &codecs.VP8Payloader{EnablePictureID: true}
			return func(frame []byte, _ bool) [][]byte { return p.Payload(mtu, frame) }
		},
	}
	h264 = &codec{
		name: "H264", clock: videoClock, head: h264Head, units: h264Units, bare: func(p []byte) []byte { return p },
		payloader: func() func([]byte, bool) [][]byte {
			p := new(codecs.H264Payloader)
			return func(frame []byte, key bool) [][]byte {
				var b []byte
				if key {
					b = bytes.Join([][]byte{nil, h264SPS, h264PPS}, startCode)
				}
				return p.Payload(mtu, append(append(b, startCode...), frame...))
			}
		},
	}
	opus = &codec{
		name: "opus", audio: true, clock: audioClock,
		head:  func(bool) []byte { return []byte{31<<3 | 1<<2} }, // one CELT frame of 20 ms, stereo (RFC 6716 section 3.1)
		units: func(payloads [][]byte) [][]byte { return payloads },
		bare:  func(p []byte) []byte { return p },
		payloader: func() func([]byte, bool) [][]byte {
			return func(frame []byte, _ bool) [][]byte { return [][]byte{frame} }
		},
	}

	startCode = []byte{0, 0, 0, 1}
	h264SPS   = []byte{0x67, 0x42, 0xe0, 0x1f, 0xda, 0x05, 0x07, 0xe4} // constrained baseline 3.1, 320x240
	h264PPS   = []byte{0x68, 0xce, 0x3c, 0x80}
)

// stampSize is the length of a stamp: the run, then the number in hex.
const (
	runSize   = 16
	stampSize = runSize + 8
)

// newRun marks the frames of one run: printable, so that H.264 has nothing to
// escape in it.
func newRun() string { return fmt.Sprintf("wtnprobe%08x", rand.Uint32()) }

// makeFrame is frame number n: the head, the stamp, and bytes that no other
// frame has, none of them zero.
func makeFrame(c *codec, run string, n uint32, key bool, size int) []byte {
	b := c.head(key)
	b = fmt.Appendf(b, "%s%08x", run, n)
	random := rand.New(rand.NewPCG(uint64(n), uint64(len(c.name))))
	for len(b) < size {
		b = append(b, byte(1+random.IntN(255)))
	}
	return b
}

// stampOf finds the number of the frame that a unit is, or is the beginning of.
func stampOf(run string, unit []byte) (uint32, bool) {
	i := bytes.Index(unit, []byte(run))
	if i < 0 || len(unit) < i+stampSize {
		return 0, false
	}
	n, err := strconv.ParseUint(string(unit[i+runSize:i+stampSize]), 16, 32)
	return uint32(n), err == nil
}

// vp8Head is the frame tag, and the start code and size of a key frame (RFC 6386
// section 9.1).
func vp8Head(key bool) []byte {
	tag := uint32(1<<4 | 1000<<5) // shown; the size of the first partition
	if !key {
		tag |= 1
	}
	b := []byte{byte(tag), byte(tag >> 8), byte(tag >> 16)}
	if key {
		b = append(b, 0x9d, 0x01, 0x2a)
		b = binary.LittleEndian.AppendUint16(b, 320)
		b = binary.LittleEndian.AppendUint16(b, 240)
	}
	return b
}

// vp8Bare is a payload without its descriptor (RFC 7741 section 4.2).
func vp8Bare(payload []byte) []byte {
	b, err := new(codecs.VP8Packet).Unmarshal(payload)
	if err != nil {
		return nil
	}
	return b
}

func vp8Units(payloads [][]byte) [][]byte {
	var frame []byte
	for _, p := range payloads {
		frame = append(frame, vp8Bare(p)...)
	}
	return [][]byte{frame}
}

// h264Head is a slice header as far as anybody reads it on the way.
func h264Head(key bool) []byte {
	if key {
		return []byte{0x65, 0x88, 0x84}
	}
	return []byte{0x41, 0x9a, 0x24}
}

// h264Units are the NAL units of a frame (RFC 6184).
func h264Units(payloads [][]byte) (units [][]byte) {
	var fu []byte
	for _, b := range payloads {
		if len(b) < 2 {
			continue
		}
		switch b[0] & 31 {
		case 24: // STAP-A
			for b = b[1:]; len(b) > 2; {
				n := int(binary.BigEndian.Uint16(b))
				if n == 0 || n > len(b)-2 {
					break
				}
				units = append(units, b[2:2+n])
				b = b[2+n:]
			}
		case 28: // FU-A
			if b[1]&0x80 != 0 {
				fu = []byte{b[0]&0x60 | b[1]&31}
			}
			fu = append(fu, b[2:]...)
			if b[1]&0x40 != 0 {
				units, fu = append(units, fu), nil
			}
		default:
			units = append(units, b)
		}
	}
	return units
}
