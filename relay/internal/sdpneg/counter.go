package sdpneg

import (
	"strconv"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

// counterSendTime is the id of abs-send-time in offers of ours.
const counterSendTime = 1

// CounterOffer writes an offer of what a stream sends: one sendonly section for
// each codec of source, with one configuration, since nothing else is ever sent
// without a new session. Of p, everything counts but Setup, Role and Choices;
// Tracks are by index of source. Upstreams are offered the same. The answer is read with [ParseOffer]
// and decided about with [Play], for which it says the same as an offer would.
func CounterOffer(source []codec.Codec, p AnswerParams) ([]byte, error) {
	o := &Offer{Setup: ActPass}
	p.Setup, p.Role, p.offering = ActPass, Send, true
	for i, c := range source {
		c = offered(c, uint8(96+2*i))
		mid := strconv.Itoa(i)
		o.BundleMIDs = append(o.BundleMIDs, mid)
		o.Media = append(o.Media, Media{
			Kind: c.Kind, Name: c.Kind.String(), MID: mid, Protocol: "UDP/TLS/RTP/SAVPF", RTCPRsize: true,
		})
		ch := Choice{Media: i, Codecs: []codec.Codec{c}}
		if c.REMB {
			ch.Extensions = map[string]int{AbsSendTimeURI: counterSendTime}
		}
		p.Choices = append(p.Choices, ch)
	}
	return Answer(o, p)
}

// offered is a codec as we offer it: with our payload types, or the static ones
// (RFC 3551), and the feedback we act on.
func offered(c codec.Codec, pt uint8) codec.Codec {
	out := codec.Codec{Kind: c.Kind, Name: c.Name, ClockRate: c.ClockRate, Channels: c.Channels, FMTP: c.FMTP, PT: pt}
	switch c.Name {
	case "PCMU":
		out.PT = 0
	case "PCMA":
		out.PT = 8
	case "G722":
		out.PT = 9
	}
	if c.Kind == codec.Video {
		out.RTXPT, out.NACK, out.PLI, out.REMB = pt+1, true, true, true
	}
	return out
}
