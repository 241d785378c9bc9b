package relay

import (
	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/rtpx"
	"github.com/talwtn/caddy-wtn/relay/internal/sdpneg"
)

// inbound is what was agreed about the media of a publisher.
type inbound struct {
	codecs []codec.Codec // one of each kind
	rids   []string      // simulcast layers of the video; none: it comes as one
	// Ids of header extensions, 0: none.
	twcc uint8 // transport-wide sequence number
	rid  uint8 // layer of a packet
	rrid uint8 // layer of a retransmission
}

// inboundOf takes it from the sections that the peer sends in.
func inboundOf(choices []sdpneg.Choice) (in inbound) {
	for _, c := range choices {
		if !c.Flows() {
			continue
		}
		in.twcc = max(in.twcc, uint8(c.Extensions[sdpneg.TransportCCURI]))
		if c.Role == sdpneg.Send {
			continue
		}
		in.codecs = append(in.codecs, c.Codecs[0])
		if len(c.RIDs) > 0 {
			in.rids = c.RIDs
			in.rid, in.rrid = uint8(c.Extensions[sdpneg.RIDURI]), uint8(c.Extensions[sdpneg.RepairedRIDURI])
		}
	}
	return in
}

// layerOf finds the simulcast layer of a packet, nil if it cannot be told.
// Senders name the layer only in the first packets of an SSRC (RFC 8852 3), so
// that the SSRC is remembered. Retransmissions without a name belong to the one
// layer that lacks the packet they bring.
func (p *publisher) layerOf(h *rtpx.Packet, rtx bool) *inTrack {
	for _, t := range p.simulcast {
		if rtx && t.rtxSSRC == h.SSRC || !rtx && t.ssrc == h.SSRC {
			return t
		}
	}
	id := p.rid
	if rtx {
		id = p.rrid
	}
	if e := h.Extension(id); id != 0 && len(e) > 0 {
		for _, t := range p.simulcast {
			if t.rid == string(e) {
				t.repairs(h, rtx)
				return t
			}
		}
		return nil
	}
	if !rtx || len(h.Payload) < 2 {
		return nil
	}
	var only *inTrack
	seq := uint16(h.Payload[0])<<8 | uint16(h.Payload[1])
	for _, t := range p.simulcast {
		if t.ssrc == 0 || t.rtxSSRC != 0 || !t.rx.Misses(seq) {
			continue
		}
		if only != nil {
			return nil
		}
		only = t
	}
	if only != nil {
		only.repairs(h, rtx)
	}
	return only
}

// repairs remembers the SSRC of a layer's retransmissions.
func (t *inTrack) repairs(h *rtpx.Packet, rtx bool) {
	if rtx {
		t.rtxSSRC = h.SSRC
	}
}
