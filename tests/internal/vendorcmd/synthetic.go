package main

import (
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// syntheticInterval is the distance of synthetic pictures.
const syntheticInterval = 100 * time.Millisecond

var syntheticCodecs = codecs{webrtc.RTPCodecTypeVideo: {
	MimeType: webrtc.MimeTypeH264, ClockRate: 90000,
	SDPFmtpLine:  "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
	RTCPFeedback: []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}},
}}

// syntheticPicture is a STAP-A (RFC 6184 section 5.7.1) of parameter sets and an
// IDR slice: something to start with in each packet.
var syntheticPicture = []byte{
	0x78,
	0, 10, 0x67, 0x42, 0xe0, 0x1f, 0x8c, 0x8d, 0x40, 0x50, 0x1e, 0xd0, // SPS
	0, 4, 0x68, 0xce, 0x3c, 0x80, // PPS
	0, 8, 0x65, 0xb8, 0x40, 0x0f, 0x55, 0x55, 0x55, 0x80, // IDR
}

// synthesise feeds all that play streams nobody publishes, until the process
// ends. One picture is for all of them: each outlet has numbers of its own.
func (h *hub) synthesise() {
	tick := time.NewTicker(syntheticInterval)
	defer tick.Stop()
	start := time.Now()
	for seq := uint16(0); ; seq++ {
		now := <-tick.C
		ts := uint32(now.Sub(start) * 90000 / time.Second)
		p := &rtp.Packet{Header: rtp.Header{Version: 2, Marker: true, SequenceNumber: seq, Timestamp: ts, SSRC: 1}, Payload: syntheticPicture}
		h.mu.RLock()
		for _, v := range h.sessions {
			if v.synthetic && v.connected.Load() && !v.silent {
				v.outlets[webrtc.RTPCodecTypeVideo].offer(arrival{p, now})
			}
		}
		h.mu.RUnlock()
	}
}
