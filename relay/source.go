package relay

import (
	"encoding/base64"
	"strings"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/liveness"
	"github.com/talwtn/caddy-wtn/relay/internal/payload"
)

// source is one place the program can come from: a publisher here, and in the
// same way anything else that delivers RTP.
type source struct {
	id       string
	upstream string              // it is pulled from, empty: none
	tracks   [lanes]*sourceTrack // nil: the source has none
	wish                         // for key frames of its video, of the first layer if there are several
	wishes   [lanes]*wish        // of all lanes that are video; fixed once the program knows the source

	// Guarded by the program's lock.
	clock   sourceClock
	firstAt int64 // arrival of its first packet
	pulse   liveness.Meter
	kept    *kept // what it sent since its last key frame; nil: not kept
}

// sourceTrack is one track of a source as the program sees it. Its fields are
// guarded by the program's lock.
type sourceTrack struct {
	src    *source
	lane   lane
	rid    string // of a simulcast layer, empty: it is none
	codec  codec.Codec
	index  uint8 // of the codec in the program
	params payload.ParameterSets
	clock  trackClock
	newest uint64 // number of its newest packet
	wish   *wish
	pulse  *liveness.Meter
}

// beat notes that a packet came. The program's lock is held.
func (t *sourceTrack) beat(ts uint32, ext uint64, arrival int64) {
	if t.codec.Kind == codec.Video {
		t.pulse.Video(arrival, ts, ext > t.newest)
		t.newest = max(t.newest, ext)
	} else {
		t.pulse.Audio(arrival)
	}
}

// newSource makes a source. ask sends one key frame request for its video, see
// wish.
func newSource(id string, ask func() bool) *source { return &source{id: id, wish: wish{ask: ask}} }

// addTrack adds a track that is the only one of its kind.
func (s *source) addTrack(c codec.Codec) *sourceTrack {
	t := &sourceTrack{src: s, lane: c.Kind, codec: c, wish: &s.wish, pulse: &s.pulse}
	if c.Kind == codec.Video {
		s.wishes[c.Kind] = &s.wish
	}
	return s.put(t)
}

// addLayer adds a simulcast layer in a lane behind that of the first one. ask
// sends one key frame request for it.
func (s *source) addLayer(l lane, c codec.Codec, ask func() bool) *sourceTrack {
	w := &wish{ask: ask}
	s.wishes[l] = w
	return s.put(&sourceTrack{src: s, lane: l, codec: c, wish: w, pulse: new(liveness.Meter)})
}

func (s *source) put(t *sourceTrack) *sourceTrack {
	t.clock = trackClock{rate: int64(t.codec.ClockRate)}
	for _, nal := range announcedSets(t.codec) {
		t.params.Update(t.codec.Name, nal)
	}
	s.tracks[t.lane] = t
	return t
}

// again is the track as it is when its sender starts anew.
func (t *sourceTrack) again() *sourceTrack {
	t.pulse.Reset()
	return t.src.put(&sourceTrack{
		src: t.src, lane: t.lane, rid: t.rid, codec: t.codec, index: t.index, params: t.params, wish: t.wish, pulse: t.pulse,
	})
}

// lively is the pulse of the source: that of its first layer, or of another one
// while only that is sent. The program's lock is held.
func (s *source) lively(now int64) *liveness.Meter {
	if s.pulse.HasVideo() && s.pulse.FlowsVideo(now) {
		return &s.pulse
	}
	for _, t := range s.tracks[kinds:] {
		if t != nil && t.pulse.FlowsVideo(now) {
			return t.pulse
		}
	}
	return &s.pulse
}

// announcedSets are the parameter sets that a sender wrote into its offer
// (RFC 6184 8.1, RFC 7798 7.1).
func announcedSets(c codec.Codec) (nals [][]byte) {
	if c.Name != "H264" && c.Name != "H265" {
		return nil
	}
	for param := range strings.SplitSeq(c.FMTP, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		switch strings.ToLower(key) {
		case "sprop-parameter-sets", "sprop-vps", "sprop-sps", "sprop-pps":
		default:
			continue
		}
		for set := range strings.SplitSeq(value, ",") {
			if nal, err := base64.StdEncoding.DecodeString(set); err == nil && len(nal) > 1 {
				nals = append(nals, nal)
			}
		}
	}
	return nals
}
