package sdpneg

import "github.com/talwtn/caddy-wtn/relay/internal/codec"

// Header extensions the gateway uses itself. All others are left out of the
// answer: a peer must not send what nobody reads, and without
// video-orientation browsers turn the picture before they encode it.
const (
	// TransportCCURI numbers the packets of a publisher's transport.
	TransportCCURI = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
	// MIDURI names the m-section of a publisher's packet (RFC 9143 section 15).
	MIDURI = "urn:ietf:params:rtp-hdrext:sdes:mid"
	// RIDURI and RepairedRIDURI name the simulcast layer of a publisher's packet
	// and of its retransmission (RFC 8852).
	RIDURI         = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
	RepairedRIDURI = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
	// AbsSendTimeURI lets a viewer estimate its bandwidth for REMB.
	AbsSendTimeURI = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
)

// Role is what the gateway does with the media of a session.
type Role uint8

// Recv answers a publisher (WHIP), Send a viewer (WHEP), Both who is both.
const (
	Recv Role = iota + 1
	Send
	Both
)

// keptExtensions is the table of what is confirmed to whom. Simulcast adds
// RIDURI and RepairedRIDURI for publishers.
var keptExtensions = map[Role][]string{
	Recv: {TransportCCURI, MIDURI},
	Send: {AbsSendTimeURI},
	Both: {TransportCCURI, MIDURI, AbsSendTimeURI},
}

// honour reduces a codec's feedback to what the gateway acts on: a publisher
// gets transport-wide feedback, a viewer may send REMB; FIR is only of use
// where PLI is missing.
func honour(r Role, c codec.Codec, twcc bool) codec.Codec {
	c.FIR = c.FIR && !c.PLI
	c.TransportCC = c.TransportCC && r != Send && twcc
	c.REMB = c.REMB && r != Recv
	return c
}

// keep fills a choice with what is agreed besides the codecs. Transport-wide
// congestion control needs both the extension and the feedback message, so one
// without the other is dropped.
func (ch *Choice) keep(r Role, m *Media) {
	_, twcc := m.Extensions[TransportCCURI]
	used := false
	for i, c := range ch.Codecs {
		ch.Codecs[i] = honour(r, c, twcc)
		used = used || ch.Codecs[i].TransportCC
	}
	ch.Extensions = map[string]int{}
	for _, uri := range keptExtensions[r] {
		if id, ok := m.Extensions[uri]; ok && (uri != TransportCCURI || used) {
			ch.Extensions[uri] = id
		}
	}
	if ch.RIDs = nil; r != Send {
		ch.layers(m)
	}
}
