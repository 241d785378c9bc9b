package sdpneg

import (
	"slices"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

// PubSub decides about the offer of a peer that publishes one stream and plays
// another on one connection. What it sends is decided as [Publish] does, what it
// receives as [Play], or as [PlayAny] while source is empty. A section may do
// both: its first codec is then the one to publish with, and Play holds those
// to play with. Each Choice says by its Role what its section is for.
func PubSub(o *Offer, allow func(codec.Codec) bool, source []codec.Codec) ([]Choice, error) {
	choices := make([]Choice, len(o.Media))
	var published, played [codec.Video + 1]bool
	for i := range o.Media {
		m := &o.Media[i]
		ch := &choices[i]
		if ch.Media = i; !m.av() {
			ch.Reject = true
			continue
		}
		if m.Direction.sends() {
			if published[m.Kind] {
				return nil, unacceptable("there are several %v sections that send: publish at most one audio and one video track", m.Kind)
			}
			c, err := firstAllowed(m, allow)
			if err != nil {
				return nil, err
			}
			published[m.Kind] = true
			ch.Role, ch.Codecs = Recv, []codec.Codec{c}
		}
		if m.Direction.receives() && !played[m.Kind] {
			list, err := playable(m, source)
			if err != nil {
				return nil, err
			}
			played[m.Kind] = len(list) > 0
			ch.plays(list)
		}
		ch.settle(m)
	}
	if !published[codec.Audio] && !published[codec.Video] {
		return nil, unacceptable("no section sends: offer sendonly or sendrecv for what is published")
	}
	if !played[codec.Audio] && !played[codec.Video] {
		return nil, unacceptable("no section can receive what the played stream sends: offer recvonly or sendrecv for it")
	}
	return choices, o.checkTransport(choices)
}

// playable are the entries of a section that can be used to play; none if the
// stream has nothing for it.
func playable(m *Media, source []codec.Codec) ([]codec.Codec, error) {
	if len(source) == 0 {
		return slices.Clone(m.Codecs), nil
	}
	c := sourceOf(source, m, false)
	if c == nil {
		return nil, nil
	}
	best, err := codec.Rank(*c, m.Codecs)
	if err != nil {
		return nil, notPlayable(err)
	}
	return withAlternates(best, m), nil
}

// plays adds the entries to play with.
func (ch *Choice) plays(list []codec.Codec) {
	if len(list) == 0 {
		return
	}
	ch.Play = list
	if ch.Role == 0 {
		ch.Role, ch.Codecs = Send, slices.Clone(list)
		return
	}
	ch.Role = Both
	first := ch.Codecs[0].PT
	for _, c := range list {
		if c.PT != first {
			ch.Codecs = append(ch.Codecs, c)
		}
	}
}

// settle finishes the choice: a section without a use stays inactive.
func (ch *Choice) settle(m *Media) {
	switch {
	case ch.Role != 0:
		ch.keep(ch.Role, m)
	case len(m.Codecs) == 0:
		ch.Reject = true
	default:
		ch.Inactive, ch.Codecs, ch.Role = true, []codec.Codec{m.Codecs[0]}, Send
		ch.keep(Send, m)
	}
}
