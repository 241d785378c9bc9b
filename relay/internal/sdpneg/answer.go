package sdpneg

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/pion/sdp/v3"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

// AnswerParams are our side of a session.
type AnswerParams struct {
	SessionID   uint64 // any random number; the highest bit is not used
	Ufrag, Pwd  string
	Fingerprint Fingerprint
	Setup       Setup // see AnswerSetup
	Candidates  []Candidate
	Trickle     bool // we take candidates later (a=ice-options:trickle)
	Lite        bool // we are an ICE-lite agent
	Role        Role
	Choices     []Choice      // from Publish or Play for the same offer
	StreamID    string        // for Send: the msid of all sections, one word
	Tracks      map[int]Track // for Send: by index of the m-section that flows

	offering bool // see CounterOffer
}

// Track is what we send in one section.
type Track struct {
	ID      string // the second word of msid; the kind if empty
	SSRC    uint32
	RTXSSRC uint32 // 0: no retransmission stream, rtx is not confirmed
	CNAME   string // one word
}

// Answer writes the answer to an offer, with CRLF line ends. Payload types,
// extension ids and format parameters are the offer's own. Sections are
// answered in the offer's order; candidates stand in the first accepted one,
// which is the tagged section of the bundle. An error means that the
// parameters do not fit the offer or cannot be written.
func Answer(o *Offer, p AnswerParams) ([]byte, error) {
	if err := p.check(o); err != nil {
		return nil, fmt.Errorf("writing an answer: %w", err)
	}
	desc := &sdp.SessionDescription{
		Origin: sdp.Origin{
			Username: "-", SessionID: p.SessionID &^ (1 << 63), SessionVersion: 1,
			NetworkType: "IN", AddressType: "IP4", UnicastAddress: "0.0.0.0",
		},
		SessionName:      "-",
		TimeDescriptions: []sdp.TimeDescription{{}},
	}
	sessionLines(desc, o, p)
	first := true
	for _, ch := range p.Choices {
		m := &o.Media[ch.Media]
		if ch.Reject {
			desc.MediaDescriptions = append(desc.MediaDescriptions, rejected(m))
			continue
		}
		w := &section{m: m, ch: ch, p: p, d: mediaLine(m, 9, formatsOf(ch, p))}
		w.transport()
		if first {
			w.candidates()
			first = false
		}
		w.media()
		w.track()
		desc.MediaDescriptions = append(desc.MediaDescriptions, w.d)
	}
	b, err := desc.Marshal()
	if err != nil {
		return nil, fmt.Errorf("writing an answer: %w", err)
	}
	return b, nil
}

// check keeps a caller's mistake from becoming a broken or injected line.
func (p *AnswerParams) check(o *Offer) error {
	if len(p.Choices) != len(o.Media) {
		return fmt.Errorf("%d choices for %d sections", len(p.Choices), len(o.Media))
	}
	if p.Role != Recv && p.Role != Send && p.Role != Both {
		return errors.New("no role")
	}
	if p.Setup != Active && p.Setup != Passive && !p.offering {
		return errors.New("the answering setup must be active or passive")
	}
	if !isToken(p.Ufrag, minUfrag, maxUfrag) || !isToken(p.Pwd, minPwd, maxPwd) {
		return errors.New("ICE credentials are too short or not printable")
	}
	if !isToken(p.Fingerprint.Hash, 1, 32) || !isToken(p.Fingerprint.Value, 1, 255) {
		return errors.New("no fingerprint")
	}
	if p.Role != Recv && !isToken(p.StreamID, 1, 255) {
		return errors.New("the stream id must be one word of visible ASCII")
	}
	for i, ch := range p.Choices {
		if ch.Media != i || !ch.Reject && len(ch.Codecs) == 0 {
			return fmt.Errorf("choice %d does not belong to section %d of the offer or has no codec", i, i)
		}
		if p.roleOf(ch) == Recv || !ch.Flows() {
			continue
		}
		t, ok := p.Tracks[i]
		if !ok || !isToken(t.CNAME, 1, 255) || t.ID != "" && !isToken(t.ID, 1, 255) {
			return fmt.Errorf("section %d needs a track with a one-word CNAME and id", i)
		}
	}
	return nil
}

func sessionLines(desc *sdp.SessionDescription, o *Offer, p AnswerParams) {
	bundle := "BUNDLE"
	for _, ch := range p.Choices {
		if !ch.Reject && o.bundled(ch.Media) {
			bundle += " " + o.Media[ch.Media].MID
		}
	}
	if bundle != "BUNDLE" {
		desc.WithValueAttribute("group", bundle)
	}
	if o.ExtmapAllowMixed {
		desc.WithPropertyAttribute("extmap-allow-mixed")
	}
	if p.Role != Recv {
		desc.WithValueAttribute("msid-semantic", " WMS "+p.StreamID)
	}
	if p.Lite {
		desc.WithPropertyAttribute("ice-lite")
	}
}

// rejected answers a section with port 0. It keeps its mid and stays out of
// the bundle (RFC 9429 section 5.3.1).
func rejected(m *Media) *sdp.MediaDescription {
	return mediaLine(m, 0, m.Formats).WithValueAttribute("mid", m.MID).WithPropertyAttribute("inactive")
}

func mediaLine(m *Media, port int, formats []string) *sdp.MediaDescription {
	return &sdp.MediaDescription{
		MediaName: sdp.MediaName{
			Media: m.Name, Port: sdp.RangedPort{Value: port},
			Protos: []string{m.Protocol}, Formats: formats,
		},
		ConnectionInformation: &sdp.ConnectionInformation{
			NetworkType: "IN", AddressType: "IP4", Address: &sdp.Address{Address: "0.0.0.0"},
		},
	}
}

// confirmsRTX tells whether the rtx entry of a codec is answered.
func confirmsRTX(c codec.Codec, ch Choice, p AnswerParams) bool {
	if c.RTXPT == 0 {
		return false
	}
	return p.roleOf(ch) != Send || ch.Inactive || p.Tracks[ch.Media].RTXSSRC != 0
}

// roleOf is what a section is for.
func (p *AnswerParams) roleOf(ch Choice) Role {
	if p.Role == Both {
		return ch.Role
	}
	return p.Role
}

func formatsOf(ch Choice, p AnswerParams) []string {
	var list []string
	for _, c := range ch.Codecs {
		list = append(list, strconv.Itoa(int(c.PT)))
		if confirmsRTX(c, ch, p) {
			list = append(list, strconv.Itoa(int(c.RTXPT)))
		}
	}
	return list
}

// sortedURIs gives a map of extensions a stable order: by id.
func sortedURIs(exts map[string]int) []string {
	uris := make([]string, 0, len(exts))
	for uri := range exts {
		uris = append(uris, uri)
	}
	slices.SortFunc(uris, func(a, b string) int { return exts[a] - exts[b] })
	return uris
}
