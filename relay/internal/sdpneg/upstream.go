package sdpneg

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

// Ids of the header extensions in offers of ours to upstreams.
const (
	offeredMID  = 1
	offeredTWCC = 2
)

// receivable are the configurations an upstream may send, the most common first.
var receivable = []struct{ encoding, fmtp string }{
	{"opus/48000/2", "minptime=10;useinbandfec=1;stereo=1"},
	{"G722/8000", ""}, {"PCMU/8000", ""}, {"PCMA/8000", ""},
	{"H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"},
	{"H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"},
	{"H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f"},
	{"H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f"},
	{"H264/90000", "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f"},
	{"VP8/90000", ""},
	{"VP9/90000", "profile-id=0"},
	{"AV1/90000", ""},
	{"H265/90000", ""},
	{"VP9/90000", "profile-id=2"},
}

// PullOffer writes an offer to receive one audio and one video track from an
// upstream. With wanted, only the configurations that are the same as one of
// these are offered: another source of a stream must not bring another codec.
// Empty: everything the gateway carries. Of p, what [CounterOffer] uses counts
// but the tracks. The answer is read with [ParseOffer] and decided about with
// [Pulled].
func PullOffer(wanted []codec.Codec, p AnswerParams) ([]byte, error) {
	var byKind [codec.Video + 1][]codec.Codec
	pt := uint8(96)
	for _, f := range receivable {
		c, _ := codec.Parse(f.encoding)
		c.FMTP = f.fmtp
		if len(wanted) > 0 && !slices.ContainsFunc(wanted, func(w codec.Codec) bool { return codec.Same(w, c) }) {
			continue
		}
		c = offered(c, pt)
		c.REMB, c.TransportCC = false, c.Kind == codec.Video
		byKind[c.Kind] = append(byKind[c.Kind], c)
		pt += 2
	}
	for _, w := range wanted { // what is not in the list, as its sender named it
		if len(byKind[w.Kind]) == 0 {
			c := offered(w, pt)
			c.REMB, c.TransportCC = false, c.Kind == codec.Video
			byKind[w.Kind] = append(byKind[w.Kind], c)
			pt += 2
		}
	}
	o := &Offer{Setup: ActPass}
	p.Setup, p.Role, p.offering = ActPass, Recv, true
	for _, list := range byKind {
		if len(list) == 0 {
			continue
		}
		mid := strconv.Itoa(len(o.Media))
		o.BundleMIDs = append(o.BundleMIDs, mid)
		p.Choices = append(p.Choices, Choice{
			Media: len(o.Media), Codecs: list,
			Extensions: map[string]int{MIDURI: offeredMID, TransportCCURI: offeredTWCC},
		})
		o.Media = append(o.Media, Media{
			Kind: list[0].Kind, Name: list[0].Kind.String(), MID: mid, Protocol: "UDP/TLS/RTP/SAVPF", RTCPRsize: true,
		})
	}
	return Answer(o, p)
}

// Pulled decides about the answer to a PullOffer: each kind once, in the codec
// the upstream named first. What it does not send is left out. The result has
// one Choice for each section, in order.
func Pulled(o *Offer) ([]Choice, error) {
	choices := make([]Choice, len(o.Media))
	var served [codec.Video + 1]bool
	for i := range o.Media {
		m := &o.Media[i]
		choices[i] = Choice{Media: i, Reject: true}
		if !m.av() || !m.Direction.sends() || served[m.Kind] {
			continue
		}
		if len(m.Codecs) == 0 {
			return nil, unacceptable("the %v section of the answer has no codec of the offer", m.Kind)
		}
		choices[i] = Choice{Media: i, Codecs: m.Codecs[:1:1]}
		choices[i].keep(Recv, m)
		choices[i].noLayers()
		served[m.Kind] = true
	}
	if !served[codec.Audio] && !served[codec.Video] {
		return nil, unacceptable("the upstream sends nothing of what was offered")
	}
	return choices, o.checkTransport(choices)
}

// Addresses are the peer's candidates that can be sent to as they are, by
// priority: UDP, and TCP that it accepts connections at. Names (mDNS), other
// components and addresses that cannot be reached are left out.
func (o *Offer) Addresses() (udp, tcp []netip.AddrPort) {
	type ranked struct {
		addr     netip.AddrPort
		priority uint64
	}
	var byUDP, byTCP []ranked
	for _, line := range o.Candidates {
		// RFC 8839 5.1: foundation component transport priority address port typ type ...
		f := strings.Fields(strings.TrimPrefix(line, "candidate:"))
		if len(f) < 8 || f[1] != "1" {
			continue
		}
		ip, err := netip.ParseAddr(f[4])
		port, errPort := strconv.ParseUint(f[5], 10, 16)
		priority, errPriority := strconv.ParseUint(f[3], 10, 32)
		if err != nil || errPort != nil || errPriority != nil || ip.IsUnspecified() || ip.IsMulticast() || port == 0 {
			continue
		}
		r := ranked{netip.AddrPortFrom(ip.Unmap().WithZone(""), uint16(port)), priority}
		switch {
		case strings.EqualFold(f[2], "udp"):
			byUDP = append(byUDP, r)
		case strings.EqualFold(f[2], "tcp") && slices.Contains(f[8:], "passive"):
			byTCP = append(byTCP, r)
		}
	}
	sorted := func(list []ranked) (out []netip.AddrPort) {
		slices.SortStableFunc(list, func(a, b ranked) int {
			switch {
			case a.priority > b.priority:
				return -1
			case a.priority < b.priority:
				return 1
			}
			return 0
		})
		for _, r := range list {
			if !slices.Contains(out, r.addr) {
				out = append(out, r.addr)
			}
		}
		return out
	}
	return sorted(byUDP), sorted(byTCP)
}
