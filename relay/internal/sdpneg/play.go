package sdpneg

import (
	"strings"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

// Play decides about the offer of a viewer, given what the stream sends now:
// at most one audio and one video codec. For each kind the first section that
// can receive gets the entry closest to the source; one entry of every other
// video codec is kept behind it, so that the source may change codec later
// without a new session. Sections that get nothing are answered inactive. An
// offer that can decode none, or not all, of what it asks for and the stream
// sends is Unacceptable. The result has one Choice for each section, in order.
func Play(o *Offer, source []codec.Codec) ([]Choice, error) {
	if len(source) == 0 {
		return nil, unacceptable("the stream sends no media yet: try again when it is live")
	}
	choices := make([]Choice, len(o.Media))
	var served [codec.Video + 1]bool
	willing := false
	for i := range o.Media {
		m := &o.Media[i]
		willing = willing || m.av() && m.Direction.receives()
		ch, err := playSection(m, sourceOf(source, m, served[m.Kind]))
		if err != nil {
			return nil, err
		}
		ch.Media = i
		choices[i] = ch
		served[m.Kind] = served[m.Kind] || ch.Flows()
	}
	if !willing {
		return nil, unacceptable("no section can receive: a viewer must offer recvonly")
	}
	if !served[codec.Audio] && !served[codec.Video] {
		return nil, unacceptable("the stream sends only %s: offer a recvonly section for it", describe(source))
	}
	return choices, o.checkTransport(choices)
}

// sourceOf returns what the stream has for a section, or nil if the section
// must stay inactive.
func sourceOf(source []codec.Codec, m *Media, served bool) *codec.Codec {
	if !m.av() || served || !m.Direction.receives() {
		return nil
	}
	for i := range source {
		if source[i].Kind == m.Kind {
			return &source[i]
		}
	}
	return nil
}

func playSection(m *Media, source *codec.Codec) (Choice, error) {
	switch {
	case !m.av():
		return Choice{Reject: true}, nil
	case source == nil && len(m.Codecs) == 0:
		return Choice{Reject: true}, nil // nothing we could even name in an answer
	case source == nil:
		ch := Choice{Inactive: true, Codecs: []codec.Codec{m.Codecs[0]}}
		ch.keep(Send, m)
		return ch, nil
	}
	best, err := codec.Rank(*source, m.Codecs)
	if err != nil {
		return Choice{}, notPlayable(err)
	}
	ch := Choice{Codecs: withAlternates(best, m)}
	ch.keep(Send, m)
	return ch, nil
}

func notPlayable(err error) error {
	why := strings.TrimPrefix(err.Error(), codec.ErrNotPlayable.Error()+": ")
	return &Error{Kind: Unacceptable, Detail: why + ": offer a codec that can decode it", Err: err}
}

// withAlternates returns the chosen entry and, for video, the first entry of
// each other codec.
func withAlternates(best codec.Codec, m *Media) []codec.Codec {
	list := []codec.Codec{best}
	if m.Kind != codec.Video {
		return list
	}
	taken := map[string]bool{best.Name: true}
	for _, c := range m.Codecs {
		if !taken[c.Name] {
			taken[c.Name] = true
			list = append(list, c)
		}
	}
	return list
}
