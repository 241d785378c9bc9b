package relay

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/payload"
	"github.com/talwtn/caddy-wtn/relay/internal/ring"
	"github.com/talwtn/caddy-wtn/relay/internal/rtpx"
	"github.com/talwtn/caddy-wtn/relay/internal/seqmap"
)

const (
	videoSlots = 2048 // a 2 s group of pictures up to about 9 Mbit/s
	audioSlots = 256  // 5 s of 20 ms packets

	// seqBase leaves room below the first number, so that arithmetic on older
	// ones never wraps.
	seqBase = 1 << 20
)

// outTrack is one track of the program: it rewrites the packets of whichever
// source has it into one timeline (sequence numbers, timestamps, picture ids)
// and stores them once for all sinks. Guarded by the program's lock but for the
// fields marked otherwise.
type outTrack struct {
	kind   codec.Kind
	ring   *ring.Ring // its own lock
	source *sourceTrack

	started bool
	seq     seqmap.Map
	ids     *payload.PictureIDs
	idsOf   string // codec that ids is for
	scratch []byte

	lastSeq    uint64 // newest sent
	lastTS     uint32
	lastAt     int64 // its arrival
	tsOffset   uint32
	frameTicks uint32 // distance of the last two frames
	rush       *rush  // catching up; nil: time is what it is

	keyTS    uint32
	hasKey   bool
	paramsTS uint32 // timestamp of the frame that carried parameter sets
	hasSets  bool

	meter trackMeter

	flowsAt int64 // since when it flows without a pause

	refMu sync.Mutex
	ref   reference // for sender reports
	rate  uint32
}

func newOutTrack(kind codec.Kind, slots int) *outTrack {
	return &outTrack{kind: kind, ring: ring.New(slots), scratch: make([]byte, 0, ring.MaxPayload+8)}
}

// begin goes on with source track t from its packet (ext, ts): the next
// sequence number, the timestamp that the elapsed time asks for, the next
// picture id. Audio and video use the same clock, so that they stay together.
func (o *outTrack) begin(t *sourceTrack, ext uint64, ts uint32, arrival int64) {
	rate := t.codec.ClockRate
	switch {
	case !o.started:
		o.started = true
		o.lastSeq = seqBase + uint64(rand.Uint32N(1<<16))
		o.tsOffset = rand.Uint32() - ts
		o.frameTicks = rate / 30
		if o.kind == codec.Audio {
			o.frameTicks = rate / 50
		}
	default:
		if o.rate != rate || o.frameTicks > rate {
			o.frameTicks = rate / 30
		}
		elapsed := uint32(max(0, arrival-o.lastAt) * int64(rate) / int64(time.Second))
		o.tsOffset = o.lastTS + max(elapsed, o.step(rate)) - ts
		o.meter.takeovers++
	}
	if o.idsOf != t.codec.Name {
		o.ids, o.idsOf = payload.NewPictureIDs(t.codec.Name), t.codec.Name
	}
	o.ids.Switch()
	o.seq.Reset(ext, o.lastSeq+1)
	o.source, o.hasKey, o.hasSets = t, false, false
	o.meter.width, o.meter.height, _ = t.params.Size()
	o.ring.Forget()
	o.refMu.Lock()
	o.rate = rate
	o.refMu.Unlock()
}

// step is the least distance of what comes next to what was sent last: a frame,
// but not one of a source that hardly moves, for the time that passed counts.
func (o *outTrack) step(rate uint32) uint32 { return min(o.frameTicks, rate/25) }

// write rewrites and stores one packet of the source that has the track.
func (o *outTrack) write(p *rtpx.Packet, info payload.Info, ext uint64, arrival int64) {
	if len(p.Payload) == 0 && o.seq.Drop(ext) {
		return // padding only: left out, and the gap closed
	}
	ts := o.timestamp(p.TS)
	if info.ParameterSets {
		o.paramsTS, o.hasSets = ts, true
	}
	if info.IDR && !(o.hasSets && o.paramsTS == ts) {
		o.insertParameterSets(ts, ext, arrival)
	}
	seq, ok := o.seq.Map(ext)
	if !ok {
		return
	}
	m := ring.Meta{Seq: seq, TS: ts, Arrival: arrival, Codec: o.source.index}
	if p.Marker {
		m.Flags |= ring.Marker
	}
	if info.Keyframe && o.kind == codec.Video {
		o.keyframe(&m)
		o.meter.picture(payload.Size(o.source.codec.Name, p.Payload))
	}
	out, ok := o.ids.Rewrite(o.scratch[:0], p.Payload)
	if !ok {
		out = p.Payload
	}
	o.append(m, out)
	if o.rush == nil {
		o.relate(p.TS, ts, arrival)
	}
}

// append stores a packet and notes what the next ones continue from.
func (o *outTrack) append(m ring.Meta, pay []byte) {
	if !o.ring.Append(m, pay) {
		o.meter.oversize++
		return
	}
	o.meter.add(m.Arrival, len(pay))
	if m.Seq > o.lastSeq {
		if pause := m.Arrival - o.lastAt; pause > layerSilence && pause > o.patience() {
			o.flowsAt = m.Arrival
		}
		if d := m.TS - o.lastTS; d != 0 && d < o.source.codec.ClockRate {
			o.frameTicks = d
		}
		o.lastSeq, o.lastTS, o.lastAt = m.Seq, m.TS, m.Arrival
	}
}

// keyframe marks the first packet of a key frame.
func (o *outTrack) keyframe(m *ring.Meta) {
	if o.hasKey && o.keyTS == m.TS {
		return
	}
	if o.hasKey && int32(m.TS-o.keyTS) < 0 {
		return // a resent packet of an older one
	}
	o.hasKey, o.keyTS = true, m.TS
	m.Flags |= ring.Keyframe
	if o.rush == nil { // else it was told when the frame came
		o.source.wish.keyframe(m.Arrival)
	}
	o.meter.keyframe(m.Arrival)
}

// insertParameterSets sends the source's parameter sets ahead of an IDR picture
// that comes without them: who joins, or saw another source before, could not
// decode it.
func (o *outTrack) insertParameterSets(ts uint32, ext uint64, arrival int64) {
	if o.hasKey && o.keyTS == ts {
		return // a further slice of a key frame that is under way
	}
	sets := o.source.params.Payload(o.scratch[:0])
	if sets == nil {
		return
	}
	seq, ok := o.seq.InsertBefore(ext, 1)
	if !ok {
		return
	}
	m := ring.Meta{Seq: seq, TS: ts, Arrival: arrival, Codec: o.source.index}
	o.keyframe(&m)
	o.append(m, sets)
	o.paramsTS, o.hasSets = ts, true
}

// relate updates what sender reports say: which relay time the media belongs to.
func (o *outTrack) relate(inTS, outTS uint32, arrival int64) {
	t, s := o.source, o.source.src
	at := t.clock.byArrival(inTS, arrival)
	if t.reported() {
		capture := t.clock.capture(inTS)
		at = capture + s.clock.observe(arrival-capture)
	}
	o.refMu.Lock()
	o.ref = reference{ts: outTS, at: at}
	o.refMu.Unlock()
}

// patience is for how long a track may be silent and still be said to flow.
func (o *outTrack) patience() int64 {
	if o.rate == 0 {
		return layerSilence
	}
	return max(layerSilence, 3*int64(min(o.frameTicks, o.rate))*int64(time.Second)/int64(o.rate))
}

// reported tells that the source sent sender reports for this track and for what
// goes with it: the sound, or a picture. Not all layers of a picture may be sent.
func (t *sourceTrack) reported() bool {
	if !t.clock.hasSR {
		return false
	}
	tracks := &t.src.tracks
	if t.codec.Kind == codec.Video {
		return tracks[codec.Audio] == nil || tracks[codec.Audio].clock.hasSR
	}
	for _, v := range tracks[codec.Video:] {
		if v != nil && v.clock.hasSR {
			return true
		}
	}
	return tracks[codec.Video] == nil
}

// timestampAt is the timestamp that belongs to relay time now. Safe from any
// goroutine.
func (o *outTrack) timestampAt(now int64) uint32 {
	o.refMu.Lock()
	defer o.refMu.Unlock()
	return o.ref.extrapolate(now, o.rate)
}
