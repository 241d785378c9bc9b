package codec

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNotPlayable is what every error of [CanPlay] and [Rank] wraps.
var ErrNotPlayable = errors.New("codec cannot be played")

// CanPlay tells whether a receiver that offered viewer can decode what source
// sends. It returns nil, or an error that says in one sentence why not and
// wraps [ErrNotPlayable].
//
// H.264 goes by profile class, packetization mode and level (a viewer that
// writes level-asymmetry-allowed=1 takes any level), H.265 by profile and
// tier, VP9 and AV1 by profile, the others by name. The level of H.265 is not
// compared: browsers write the lowest and decode far more.
func CanPlay(source, viewer Codec) error {
	_, err := distance(source, viewer)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotPlayable, err)
	}
	return nil
}

// Same tells whether two entries are one configuration by meaning: a stream of
// one can continue as the other under the same payload type. Levels, payload
// types and feedback do not count.
func Same(a, b Codec) bool {
	if a.Name != b.Name || a.ClockRate != b.ClockRate || a.Channels != b.Channels {
		return false
	}
	switch a.Name {
	case "H264":
		x, y := parseH264(a.FMTP), parseH264(b.FMTP)
		return x.sameProfile(y) && x.mode == y.mode
	case "H265":
		x, y := parseH265(a.FMTP), parseH265(b.FMTP)
		return x.profile == y.profile && x.tier == y.tier && x.txMode == y.txMode
	case "VP9":
		return intParam(a.FMTP, "profile-id", 0) == intParam(b.FMTP, "profile-id", 0)
	case "AV1":
		return intParam(a.FMTP, "profile", 0) == intParam(b.FMTP, "profile", 0)
	}
	return true
}

// Rank picks the entry of a viewer's offer that is closest to the source: the
// exact profile before a higher one, then the same packetization mode, then a
// sufficient level, then the viewer's own order. If none can play it, the
// error names what the stream sends and what was offered.
func Rank(source Codec, offered []Codec) (best Codec, err error) {
	least, why := -1, error(nil)
	for _, v := range offered {
		d, err := distance(source, v)
		if err != nil {
			if v.Name == source.Name {
				why = err
			}
			continue
		}
		if least < 0 || d < least {
			best, least = v, d
		}
	}
	if least >= 0 {
		return best, nil
	}
	return Codec{}, rankError(source, offered, why)
}

func rankError(source Codec, offered []Codec, why error) error {
	names := make([]string, 0, len(offered))
	seen := map[string]bool{}
	for _, v := range offered {
		if s := v.String(); !seen[s] && v.Kind == source.Kind {
			seen[s] = true
			names = append(names, s)
		}
	}
	list := "nothing that is supported"
	if len(names) > 0 {
		list = strings.Join(names, ", ")
	}
	if why != nil {
		return fmt.Errorf("%w: the stream sends %v, the offer has %s: %w", ErrNotPlayable, source, list, why)
	}
	return fmt.Errorf("%w: the stream sends %v, the offer has %s", ErrNotPlayable, source, list)
}

// distance is 0 for the same configuration and grows as the viewer's entry
// moves away from it.
func distance(source, viewer Codec) (int, error) {
	if source.Name != viewer.Name {
		return 0, fmt.Errorf("the source is %s and the viewer decodes %s", source.Name, viewer.Name)
	}
	if source.ClockRate != viewer.ClockRate || source.Channels != viewer.Channels {
		return 0, fmt.Errorf("the source is %s and the viewer decodes %s", source.Encoding(), viewer.Encoding())
	}
	switch source.Name {
	case "H264":
		return parseH264(source.FMTP).distance(parseH264(viewer.FMTP))
	case "H265":
		return parseH265(source.FMTP).distance(parseH265(viewer.FMTP))
	case "VP9":
		// Each profile is a bit depth and chroma of its own.
		s, v := intParam(source.FMTP, "profile-id", 0), intParam(viewer.FMTP, "profile-id", 0)
		if s != v {
			return 0, fmt.Errorf("the source is VP9 profile %d and the viewer decodes profile %d", s, v)
		}
	case "AV1":
		// Main < high < professional, each decodes the lower ones.
		s, v := intParam(source.FMTP, "profile", 0), intParam(viewer.FMTP, "profile", 0)
		if s > v {
			return 0, fmt.Errorf("the source is AV1 profile %d and the viewer decodes profile %d", s, v)
		}
		return v - s, nil
	}
	return 0, nil
}
