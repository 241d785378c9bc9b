package sdpneg

import (
	"slices"
	"strings"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

// Choice is the decision about one m-section.
type Choice struct {
	Media int // index in Offer.Media

	// Codecs are the accepted entries with the peer's payload types, the
	// chosen one first, their feedback reduced to what was offered and is
	// honoured. Empty only if Reject is set.
	Codecs []codec.Codec

	Role Role          // what the section is for, where the session's Role is Both
	Play []codec.Codec // the entries to play with, where that is not all of Codecs

	Inactive bool // accepted on the transport, but no media flows
	Reject   bool // answered with port 0

	Extensions map[string]int // kept header extensions, ids as offered

	RIDs []string // simulcast layers the peer sends, as it ordered them
}

// Flows tells whether media is carried for the section.
func (c Choice) Flows() bool { return !c.Inactive && !c.Reject }

// Publish decides about the offer of a publisher: at most one audio and one
// video section of one media stream, each with the first supported codec in
// the offered order that allow permits (nil permits all). Sections that are no
// media are rejected one by one, anything else that cannot be taken fails the
// whole offer (RFC 9725 sections 4.4.2 and 4.4.3). The result has one Choice
// for each section, in order.
func Publish(o *Offer, allow func(codec.Codec) bool) ([]Choice, error) {
	choices := make([]Choice, len(o.Media))
	streamID := ""
	var count [codec.Video + 1]int
	for i := range o.Media {
		m := &o.Media[i]
		choices[i] = Choice{Media: i, Reject: !m.av()}
		if !m.av() {
			continue
		}
		if count[m.Kind]++; count[m.Kind] > 1 {
			return nil, unacceptable("there are several %v sections: publish at most one audio and one video track", m.Kind)
		}
		if !m.Direction.sends() {
			return nil, unacceptable("the %v section is %v: a publisher must offer sendonly", m.Kind, m.Direction)
		}
		if m.StreamID != "" && streamID != "" && m.StreamID != streamID {
			return nil, unacceptable("the sections belong to several media streams: use one stream id in all a=msid lines")
		}
		if streamID == "" {
			streamID = m.StreamID
		}
		c, err := firstAllowed(m, allow)
		if err != nil {
			return nil, err
		}
		choices[i].Codecs = []codec.Codec{c}
		choices[i].keep(Recv, m)
	}
	return choices, o.checkTransport(choices)
}

func firstAllowed(m *Media, allow func(codec.Codec) bool) (codec.Codec, error) {
	for _, c := range m.Codecs {
		if allow == nil || allow(c) {
			return c, nil
		}
	}
	if len(m.Codecs) == 0 {
		return codec.Codec{}, unacceptable("the %v section has no codec the gateway carries: offer one of %s",
			m.Kind, strings.Join(codec.Names(m.Kind), ", "))
	}
	return codec.Codec{}, unacceptable("no offered %v codec is allowed for this stream (%s): offer another one",
		m.Kind, describe(m.Codecs))
}

// describe lists codecs for a message, each meaning once.
func describe(list []codec.Codec) string {
	var names []string
	for _, c := range list {
		if s := c.String(); !slices.Contains(names, s) {
			names = append(names, s)
		}
	}
	return strings.Join(names, ", ")
}

// use is what a payload type stands for. Sections of one bundle may share it
// for the same (RFC 9143 section 9.1).
type use struct {
	media int
	pt    uint8
	rtx   bool
	codec codec.Codec
}

func (u use) same(o use) bool {
	return u.media == o.media || u.rtx == o.rtx && codec.Same(u.codec, o.codec)
}

// checkTransport refuses what one bundled transport cannot carry.
func (o *Offer) checkTransport(choices []Choice) error {
	accepted, outside := 0, 0
	owner := map[uint8]use{}
	for _, ch := range choices {
		if ch.Reject {
			continue
		}
		m := &o.Media[ch.Media]
		if !strings.Contains(m.Protocol, "SAVP") {
			return unacceptable("the %v section uses %s: offer UDP/TLS/RTP/SAVPF", m.Kind, clip(m.Protocol))
		}
		accepted++
		if !o.bundled(ch.Media) {
			outside++
		}
		for _, c := range ch.Codecs {
			uses := []use{{ch.Media, c.PT, false, c}}
			if c.RTXPT != 0 {
				uses = append(uses, use{ch.Media, c.RTXPT, true, c})
			}
			for _, u := range uses {
				if other, taken := owner[u.pt]; taken && !u.same(other) {
					return unacceptable("payload type %d means two codecs in one bundle: give each codec its own", u.pt)
				}
				owner[u.pt] = u
			}
		}
	}
	if accepted > 1 && outside > 0 {
		return unacceptable("the sections are not in one a=group:BUNDLE: offer with the max-bundle policy")
	}
	return nil
}
