package harness

import (
	"fmt"
	"strings"

	"github.com/pion/webrtc/v4"
)

// Codec is one entry a peer offers and, for a publisher, sends.
type Codec struct {
	webrtc.RTPCodecParameters
	Kind webrtc.RTPCodecType
}

// Name is the encoding name: H264, VP8, opus.
func (c Codec) Name() string {
	_, name, _ := strings.Cut(c.MimeType, "/")
	return name
}

var videoFeedback = []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}, {Type: "ccm", Parameter: "fir"}}

// Video makes a video entry with the usual feedback.
func Video(mime string, pt uint8, fmtp string) Codec {
	return Codec{Kind: webrtc.RTPCodecTypeVideo, RTPCodecParameters: webrtc.RTPCodecParameters{
		PayloadType: webrtc.PayloadType(pt),
		RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: mime, ClockRate: 90000, SDPFmtpLine: fmtp, RTCPFeedback: videoFeedback,
		},
	}}
}

// RTX makes the retransmission entry of a video entry.
func RTX(pt, apt uint8) Codec {
	return Codec{Kind: webrtc.RTPCodecTypeVideo, RTPCodecParameters: webrtc.RTPCodecParameters{
		PayloadType: webrtc.PayloadType(pt),
		RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeRTX, ClockRate: 90000, SDPFmtpLine: fmt.Sprintf("apt=%d", apt),
		},
	}}
}

// Audio makes an audio entry.
func Audio(mime string, pt uint8, clock uint32, channels uint16, fmtp string) Codec {
	return Codec{Kind: webrtc.RTPCodecTypeAudio, RTPCodecParameters: webrtc.RTPCodecParameters{
		PayloadType: webrtc.PayloadType(pt),
		RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: mime, ClockRate: clock, Channels: channels, SDPFmtpLine: fmtp,
		},
	}}
}

// H264Profile makes an H.264 entry.
func H264Profile(pt uint8, profileLevelID string, mode int) Codec {
	return Video(webrtc.MimeTypeH264, pt,
		fmt.Sprintf("level-asymmetry-allowed=1;packetization-mode=%d;profile-level-id=%s", mode, profileLevelID))
}

// The entries tests use when they do not care. Publishers and viewers number
// them differently on purpose: the gateway must map payload types.
var (
	H264 = H264Profile(102, "42e01f", 1)
	H265 = Video(webrtc.MimeTypeH265, 104, "profile-id=1;tier-flag=0;level-id=93;tx-mode=SRST")
	VP8  = Video(webrtc.MimeTypeVP8, 96, "")
	VP9  = Video(webrtc.MimeTypeVP9, 98, "profile-id=0")
	AV1  = Video(webrtc.MimeTypeAV1, 45, "level-idx=5;profile=0;tier=0")
	Opus = Audio(webrtc.MimeTypeOpus, 111, 48000, 2, "minptime=10;useinbandfec=1")
	PCMU = Audio(webrtc.MimeTypePCMU, 0, 8000, 1, "")
	PCMA = Audio(webrtc.MimeTypePCMA, 8, 8000, 1, "")
	G722 = Audio(webrtc.MimeTypeG722, 9, 8000, 1, "")
)

// ViewerCodecs is what a browser-like viewer offers: everything, under payload
// types that differ from those of the publishers, video with RTX.
func ViewerCodecs() []Codec {
	renumber := func(c Codec, pt uint8) Codec {
		c.PayloadType = webrtc.PayloadType(pt)
		return c
	}
	video := []Codec{
		renumber(VP8, 100), renumber(VP9, 106),
		H264Profile(108, "42e01f", 1), H264Profile(110, "42e01f", 0),
		H264Profile(112, "4d001f", 1), H264Profile(114, "64001f", 1),
		renumber(AV1, 116), renumber(H265, 118),
	}
	out := []Codec{renumber(Opus, 97), PCMU, PCMA, G722}
	for _, v := range video {
		out = append(out, v, RTX(uint8(v.PayloadType)+1, uint8(v.PayloadType)))
	}
	return out
}
