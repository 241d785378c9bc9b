package sdpneg

import (
	"slices"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

// PlayAny decides about the offer of a viewer before anybody sends: the first
// section of each kind that can receive keeps all entries the gateway carries,
// in offered order. Sections that get nothing are answered as [Play] does.
func PlayAny(o *Offer) ([]Choice, error) {
	choices := make([]Choice, len(o.Media))
	var served [codec.Video + 1]bool
	for i := range o.Media {
		m := &o.Media[i]
		ch := Choice{Codecs: slices.Clone(m.Codecs)}
		if !m.av() || served[m.Kind] || !m.Direction.receives() || len(m.Codecs) == 0 {
			ch, _ = playSection(m, nil) // cannot fail without a source
		} else {
			ch.keep(Send, m)
		}
		ch.Media = i
		choices[i] = ch
		served[m.Kind] = served[m.Kind] || ch.Flows()
	}
	if !served[codec.Audio] && !served[codec.Video] {
		return nil, unacceptable("no section can receive a codec the gateway carries: a viewer must offer recvonly")
	}
	return choices, o.checkTransport(choices)
}
