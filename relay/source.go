package relay

import (
	"encoding/base64"
	"strings"
	"sync/atomic"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/liveness"
	"github.com/talwtn/caddy-wtn/relay/internal/payload"
)

const (
	// keyframeInterval is the shortest distance of two key frame requests to
	// one source, whatever the number of viewers that ask.
	keyframeInterval = 500 * time.Millisecond
	// hurriedInterval is the same while the program waits for the source and
	// nothing flows.
	hurriedInterval = 150 * time.Millisecond
	// promptKeyframe is how soon a source answers a request if it obeys at all.
	promptKeyframe = 250 * time.Millisecond
	// obedient is how many prompt answers make a source one that obeys.
	obedient = 2
)

// source is one place the program can come from: a publisher here, and in the
// same way anything else that delivers RTP.
type source struct {
	id       string
	upstream string              // it is pulled from, empty: none
	tracks   [kinds]*sourceTrack // nil: the source has none
	// ask sends one key frame request (PLI) to the source; false if it cannot yet.
	ask func() bool

	// Guarded by the program's lock.
	clock   sourceClock
	firstAt int64 // arrival of its first packet
	keyAt   int64 // arrival of its newest key frame
	rhythm  int64 // the longest of the last distances of key frames, ns
	pulse   liveness.Meter
	kept    *kept // what it sent since its last key frame; nil: not kept

	hurry       atomic.Bool  // viewers wait for a key frame of it
	wantedSince atomic.Int64 // when the open wish for a key frame arose, 0: there is none
	askedAt     atomic.Int64 // when the newest request was sent
	askedFirst  atomic.Int64 // when the first one for the open wish was sent, 0: none was
	obedience   atomic.Int32 // requests answered at once, less those that were not
}

// sourceTrack is one track of a source as the program sees it. Its fields are
// guarded by the program's lock.
type sourceTrack struct {
	src    *source
	codec  codec.Codec
	index  uint8 // of the codec in the program
	params payload.ParameterSets
	clock  trackClock
	newest uint64 // number of its newest packet
}

// beat notes that a packet came. The program's lock is held.
func (t *sourceTrack) beat(ts uint32, ext uint64, arrival int64) {
	if t.codec.Kind == codec.Video {
		t.src.pulse.Video(arrival, ts, ext > t.newest)
		t.newest = max(t.newest, ext)
	} else {
		t.src.pulse.Audio(arrival)
	}
}

func newSource(id string, ask func() bool) *source { return &source{id: id, ask: ask} }

func (s *source) addTrack(c codec.Codec) *sourceTrack {
	t := &sourceTrack{src: s, codec: c, clock: trackClock{rate: int64(c.ClockRate)}}
	for _, nal := range announcedSets(c) {
		t.params.Update(c.Name, nal)
	}
	s.tracks[c.Kind] = t
	return t
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

// requestKeyframe asks for a key frame now or as soon as the interval allows.
// Safe from any goroutine.
func (s *source) requestKeyframe(now int64) {
	s.wantedSince.CompareAndSwap(0, now)
	s.pursueKeyframe(now)
}

// pursueKeyframe sends the request that is due. The source's own loop calls it
// from time to time, so that a request is repeated until a key frame comes.
func (s *source) pursueKeyframe(now int64) {
	if s.wantedSince.Load() == 0 {
		return
	}
	last, interval := s.askedAt.Load(), keyframeInterval
	if s.hurry.Load() {
		interval = hurriedInterval
	}
	if last != 0 && now-last < int64(interval) || !s.askedAt.CompareAndSwap(last, now) {
		return
	}
	s.askedFirst.CompareAndSwap(0, now)
	if !s.ask() {
		s.askedFirst.CompareAndSwap(now, 0)
		s.askedAt.CompareAndSwap(now, last)
	}
}

// keyframe notes that a key frame began, and whether it came because it was
// asked for: soon after the request, and ahead of the source's own rhythm.
// Packets of one source come one at a time.
func (s *source) keyframe(now int64) {
	s.wantedSince.Store(0)
	asked, interval := s.askedFirst.Swap(0), now-s.keyAt
	early := s.keyAt != 0 && interval < s.rhythm*4/5
	if s.keyAt != 0 {
		s.rhythm = max(interval, s.rhythm*9/10)
	}
	s.keyAt = now
	switch {
	case asked == 0:
	case now-asked > int64(promptKeyframe):
		s.obedience.Store(max(-obedient, s.obedience.Load()-1))
	case early:
		s.obedience.Store(min(obedient, s.obedience.Load()+1))
	}
}

// obeys tells that the source answers requests at once. One answer may be chance.
func (s *source) obeys() bool { return s.obedience.Load() >= obedient }
