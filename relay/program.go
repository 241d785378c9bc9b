package relay

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
	"github.com/talwtn/caddy-wtn/relay/internal/payload"
	"github.com/talwtn/caddy-wtn/relay/internal/rtpx"
)

const (
	// quietAfter: a track that sent nothing for so long is not worth waiting
	// for when another source can go on.
	quietAfter = 400 * time.Millisecond
	// takeoverPatience: a wanted source that delivers, but no key frame, gets
	// the audio (and ends its predecessor's hold on it) after this time.
	takeoverPatience = 3 * time.Second
	// maxCodecs bounds the codec configurations one program goes through.
	maxCodecs = 8
)

// kinds sizes arrays that are indexed by codec.Kind, whose zero value is no kind.
const kinds = int(codec.Video) + 1

// program is the one continuous output of a stream: at most one audio and one
// video track in one timeline, whatever sources come and go. Sinks never notice
// a change of source but by the picture. Where the video comes in several
// simulcast layers each of them is a track in a lane of its own, of which a sink
// gets one (layers.go).
//
// Which source is wanted is decided outside (choose.go). The program goes over
// to it at its next key frame, or at the last one where the source keeps what it
// sent since (standby.go). Merging two live sources packet by packet would sit
// in the same place, between write and outTrack.write.
type program struct {
	mu     sync.Mutex // source packets, switches and what they touch
	wanted *source
	cause  Cause // why
	held   bool  // the wanted source has the program
	tracks [lanes]*outTrack
	codecs [kinds][]codec.Codec // every configuration that sources had, by kind
	rids   []string             // of the newest publisher's layers, by lane

	extra   atomic.Int32           // lanes of video beyond the first that were ever used
	live    atomic.Pointer[source] // source of the video, or of the audio if there is none
	fans    atomic.Pointer[[]*fan] // the sending loops' parts
	cache   atomic.Value           // CacheMode
	changed func(change)
}

// change is that of a program's source.
type change struct {
	from, to *source // from is nil when nothing flowed before
	cause    Cause
	gap      time.Duration // see TakeoverInfo
}

// newProgram makes a program; changed is called, under the program's lock, when
// the wanted source has taken the program over: it must not block.
func newProgram(changed func(change)) *program {
	g := &program{changed: changed}
	for l := codec.Audio; int(l) < lanes; l++ {
		g.tracks[l] = newOutTrack(kindOf(l), slots(l))
	}
	g.fans.Store(&[]*fan{})
	return g
}

// want makes s the source to go on with as soon as it can be decoded; nothing
// changes if it has the program already. The program does not wait for the next
// key frame if its present source is dead and s kept its last one.
func (g *program) want(s *source, cause Cause) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wanted == s {
		return
	}
	g.wanted, g.cause, g.held = s, cause, g.live.Load() == s
	if !g.held && cause.dead() {
		for _, w := range s.wishes {
			if w != nil {
				w.hurry.Store(true)
			}
		}
		g.recall(s, leg.Now())
	}
}

// awaits tells that the program waits for a key frame of s in a lane of video.
func (g *program) awaits(s *source, l lane) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	video, has := s.tracks[l], g.tracks[l].source
	return video != nil && has != video && (g.wanted == s || has != nil && has.src == s)
}

// register gives the source's codecs their index in the program. It returns
// false when the program has seen too many.
func (g *program) register(s *source) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range s.tracks {
		if t == nil {
			continue
		}
		kind := t.codec.Kind
		g.extra.Store(max(g.extra.Load(), int32(t.lane)-int32(codec.Video)))
		i := indexOf(g.codecs[kind], t.codec)
		if i < 0 {
			if i = len(g.codecs[kind]); i == maxCodecs {
				return false
			}
			g.codecs[kind] = append(g.codecs[kind], t.codec)
		}
		t.index = uint8(i)
	}
	return true
}

func indexOf(known []codec.Codec, c codec.Codec) int {
	for i, k := range known {
		if codec.Same(k, c) {
			return i
		}
	}
	return -1
}

// renew replaces a track whose sender started anew under another SSRC, with
// other numbers and timestamps: it is taken like another source's.
func (g *program) renew(old *sourceTrack) *sourceTrack {
	g.mu.Lock()
	defer g.mu.Unlock()
	if old.lane <= codec.Video {
		old.src.forget()
	}
	return old.again()
}

// drop takes a source out of the program for good.
func (g *program) drop(s *source) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wanted == s {
		g.wanted, g.held = nil, false
	}
	s.kept = nil
	for _, o := range g.tracks {
		if o != nil && o.source != nil && o.source.src == s {
			o.source = nil
		}
	}
	g.live.CompareAndSwap(s, nil)
}

// write takes one packet of a source. t.src's reader calls it; packets of one
// source come one at a time.
func (g *program) write(t *sourceTrack, p *rtpx.Packet, ext uint64, arrival int64) {
	info := payload.Parse(t.codec.Name, p.Payload)
	g.mu.Lock()
	defer g.mu.Unlock()
	t.beat(p.TS, ext, arrival)
	if info.ParameterSets {
		t.params.Update(t.codec.Name, p.Payload)
	}
	o := g.tracks[t.lane]
	if o.source != t {
		if !g.admit(o, t, info, arrival) {
			t.keep(p, info, ext, arrival)
			return
		}
		g.take(o, t, ext, p.TS, arrival)
	}
	o.write(p, info, ext, arrival)
}

// report takes a sender report of a source.
func (g *program) report(t *sourceTrack, ntp uint64, ts uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t.clock.report(ntp, ts)
}

// admit decides whether track o goes on with t from this packet on. Video
// starts at a key frame. Audio goes with the video, but waits for it only as
// long as the old source still speaks.
func (g *program) admit(o *outTrack, t *sourceTrack, info payload.Info, arrival int64) bool {
	s := t.src
	if s != g.wanted {
		// It may go on where it is, after it has started anew, until the wanted one comes.
		return o.source != nil && o.source.src == s && info.Keyframe
	}
	if s.firstAt == 0 {
		s.firstAt = arrival
	}
	if t.codec.Kind == codec.Video {
		return info.Keyframe
	}
	return s.tracks[codec.Video] == nil || g.shows(s) ||
		o.source == nil || arrival-o.lastAt > int64(quietAfter) ||
		arrival-s.firstAt > int64(takeoverPatience)
}

// shows tells that a picture of s is in the program.
func (g *program) shows(s *source) bool {
	for _, o := range g.tracks[codec.Video:] {
		if o.source != nil && o.source.src == s {
			return true
		}
	}
	return false
}

// take moves track o to t and, with the source's leading track, the program.
func (g *program) take(o *outTrack, t *sourceTrack, ext uint64, ts uint32, arrival int64) {
	s, gap := t.src, time.Duration(0)
	if o.started {
		gap = time.Duration(arrival - o.lastAt)
	}
	o.begin(t, ext, ts, arrival)
	patient := arrival-s.firstAt <= int64(takeoverPatience)
	leads := t.codec.Kind == codec.Video || s.tracks[codec.Video] == nil || !patient
	if t.lane == codec.Video {
		s.forget()
	}
	if s != g.wanted || !leads {
		return
	}
	t.wish.hurry.Store(false)
	if g.held {
		return
	}
	g.held = true
	for l, other := range g.tracks { // what the new source lacks ends
		if other != nil && other.source != nil && other.source.src != s && s.tracks[l] == nil {
			other.source = nil
		}
	}
	from := g.live.Swap(s)
	g.changed(change{from: from, to: s, cause: g.cause, gap: gap})
}

// flush wakes the sending loops: what was written can leave. A source's reader
// calls it once after all packets of one read.
func (g *program) flush() {
	for _, f := range *g.fans.Load() {
		f.wake()
	}
}

// requestKeyframe asks the live source for a key frame in a lane, at most once
// per interval however many ask. Safe from any goroutine.
func (g *program) requestKeyframe(l lane, now int64) {
	if s := g.live.Load(); s != nil && s.wishes[l] != nil {
		s.wishes[l].requestKeyframe(now)
	}
}

// freshKey is how many packets old a key frame may be and still be a better
// start than a new one: at 20 Mbit/s they take about 120 ms, and a source that
// answers at once takes as long.
const freshKey = 256

// cached tells where a newcomer may start: the arrival index of the newest key
// frame. False when the newcomer is better served by
// asking for a key frame, or nothing is held.
func (g *program) cached(l lane) (key uint64, ok bool) {
	mode, _ := g.cache.Load().(CacheMode)
	if mode == CacheOff {
		return 0, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.tracks[l]
	if key, ok = o.ring.Keyframe(); !ok {
		return 0, false
	}
	if s := g.live.Load(); mode != CacheOn && s != nil && s.wishes[l] != nil && s.wishes[l].obeys() && o.ring.Next()-key > freshKey {
		return 0, false
	}
	return key, true
}
