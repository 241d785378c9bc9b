package relay

import (
	"sync/atomic"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
	"github.com/talwtn/caddy-wtn/relay/internal/payload"
	"github.com/talwtn/caddy-wtn/relay/internal/ring"
	"github.com/talwtn/caddy-wtn/relay/internal/rtpx"
	"github.com/talwtn/caddy-wtn/relay/internal/seal"
)

// downTrack is one track toward one subscriber. One SSRC, one timeline, for the
// life of the session. It belongs to the goroutine of its sending loop but for
// the fields marked otherwise.
//
// Sequence numbers: the subscriber sees the program's numbers minus an offset,
// which grows when packets are left out for this subscriber alone. Spans
// remember the offsets so that retransmission finds its way back.
type downTrack struct {
	kind   codec.Kind
	leg    link
	prog   *program
	viewer *subscriber // whose path chooses among layers; nil: no path does

	// Where it follows the program (layers.go). Fixed where that has one lane.
	lane    lane          // that it follows
	next    lane          // that it goes on in at the next key frame there; 0: none
	at      atomic.Uint32 // the same as lane; read by any goroutine
	offset  uint32        // from the lane's timestamps to the viewer's, by their clocks
	shift   uint32        // the same as it is applied, for time never goes back
	ids     payload.Shift // of the picture ids
	movedAt int64         // when it came to its lane
	choice  *LayerChoice  // nil: automatic
	path

	ssrc, rtxSSRC uint32
	formats       [maxCodecs]format // by codec index of the program
	sendTimeID    uint8             // id of abs-send-time; only where resends have an SSRC of their own

	sealer  *seal.Sealer
	muted   bool
	waitKey bool   // nothing until the next key frame
	lost    bool   // the leg had no path
	broken  bool   // the next packet opens a span
	cursor  uint64 // while behind the others
	burstAt int64

	spans   [8]span
	newest  int // index of the current span
	lastOut uint64
	rtxSeq  uint64

	packets, octets uint32 // for sender reports
	resend          budget
	resent          uint64       // packets sent again
	asked           atomic.Int32 // NACKs that wait for the loop; any goroutine

	sentPackets, sentBytes atomic.Uint64 // read by any goroutine
}

// format is what a codec of the program is called toward the subscriber.
type format struct {
	ok    bool // negotiated
	pt    uint8
	rtxPT uint8 // 0: no retransmission format
	name  string
}

// span is a stretch of the program that was sent without a break.
type span struct {
	in, out uint64 // program and subscriber numbers of its first packet
	shift   uint32 // what was added to the timestamps
	lane    lane
	ids     payload.Shift
}

// join puts the down track in its place: with the others, or behind them at the
// newest key frame that the program still holds.
func (d *downTrack) join(w *worker, f *fan, now int64) {
	d.sealer, d.broken = d.leg.Sealer(), true
	if d.kind == codec.Video && d.prog.videoLanes() > 1 {
		l := d.prog.ladder(now)
		d.follow(d.pick(&l, now))
	}
	t := &f.tracks[d.lane]
	if d.kind == codec.Audio {
		t.live = append(t.live, d)
		return
	}
	d.waitKey = true
	key, ok := d.prog.cached(d.lane)
	switch {
	case ok && key < t.cursor:
		d.cursor = key
		t.behind = append(t.behind, d)
		w.later(now)
		return
	case !ok:
		d.requestKeyframe(now)
	}
	t.live = append(t.live, d)
}

// skip starts over at the next key frame, for packets were missed or left out.
func (d *downTrack) skip(now int64) {
	d.broken = true
	if d.kind == codec.Video && !d.waitKey {
		d.waitKey = true
		d.requestKeyframe(now)
	}
}

// requestKeyframe asks for a key frame where the down track is, and where it
// wants to go.
func (d *downTrack) requestKeyframe(now int64) {
	d.prog.requestKeyframe(d.lane, now)
	if d.next != 0 {
		d.prog.requestKeyframe(d.next, now)
	}
}

// sitOut leaves out what comes until the next key frame, without asking for one.
func (d *downTrack) sitOut() {
	d.broken = true
	d.waitKey = d.kind == codec.Video
}

// send seals and sends the packets that this subscriber gets.
func (d *downTrack) send(w *worker, pkts []ring.Packet, now int64) {
	path := d.leg.Path()
	if path == nil || d.muted {
		d.lost = d.lost || path == nil
		d.sitOut()
		return
	}
	if d.lost {
		if d.lost = false; d.waitKey { // the key frames of the meantime were missed
			d.requestKeyframe(now)
		}
	}
	batch := path.Batch()
	if batch {
		w.sender.Begin(path.Socket, &path.Peer)
	}
	exact := d.rtxSSRC == 0 // a resend repeats the very bytes: no padding, which depends on the batch
	moved := d.ids != payload.Shift{}
	sent, bytes := 0, 0
	for i := range pkts {
		p := &pkts[i]
		out, ok := d.place(p)
		if !ok {
			w.stats.shed.Add(1)
			continue
		}
		pay := p.Padded()
		if exact {
			pay = p.Payload()
		}
		h := rtpx.Header{
			SSRC: d.ssrc, Seq: uint16(out), TS: p.TS + d.shift, PT: d.formats[p.Codec].pt,
			Marker: p.Flags&ring.Marker != 0, Padding: !exact && p.Pad() > 0,
			SendTimeID: d.sendTimeID, SendTime: rtpx.AbsSendTime(now),
		}
		if moved { // for this viewer alone: the next one gets what the program has
			d.ids.Apply(d.formats[p.Codec].name, p.Payload())
		}
		n, err := w.emit(path, batch, d.sealer, &h, pay, out)
		if moved {
			d.ids.Undo(d.formats[p.Codec].name, p.Payload())
		}
		if err != nil {
			d.skip(now) // the path is full: the rest of the group of pictures is left out
			break
		}
		sent, bytes = sent+1, bytes+n
		d.octets += uint32(len(p.Payload()))
	}
	d.count(w, sent, bytes)
}

// emit seals one packet, straight into the batch where the path has one.
func (w *worker) emit(path *leg.Path, batch bool, s *seal.Sealer, h *rtpx.Header, payload []byte, index uint64) (int, error) {
	buf := w.seal[:0]
	if batch {
		buf = w.sender.Buffer(rtpx.HeaderLen + 8 + len(payload) + s.Overhead())
	}
	buf, err := s.Seal(h.Append(buf), payload, h.SSRC, index)
	if err != nil {
		return 0, err
	}
	if batch {
		w.sender.Commit(buf)
		return len(buf), nil
	}
	return len(buf), path.Write(buf)
}

func (d *downTrack) count(w *worker, packets, bytes int) {
	d.packets += uint32(packets)
	d.resend.sent(packets)
	d.sentPackets.Add(uint64(packets))
	d.sentBytes.Add(uint64(bytes))
	w.stats.packets.Add(uint64(packets))
	w.stats.bytes.Add(uint64(bytes))
}

// place gives the packet its number toward the subscriber; false if the
// subscriber does not get it.
func (d *downTrack) place(p *ring.Packet) (out uint64, ok bool) {
	if !d.formats[p.Codec].ok {
		return 0, false // the stream's keeper ends the session or leaves the track silent
	}
	s := d.spans[d.newest]
	if d.waitKey && p.Flags&ring.Keyframe == 0 || d.broken && s.out != 0 && s.lane == d.lane && p.Seq <= s.in+d.lastOut-s.out {
		return 0, false // nothing to begin with: no key frame, or older than what was sent
	}
	d.waitKey = false
	if d.broken {
		s = d.open(p)
	}
	if p.Seq < s.in {
		return 0, false // a late packet of what was left out
	}
	out = s.out + p.Seq - s.in
	d.lastOut = max(d.lastOut, out)
	return out, true
}

// open starts a span at p.
func (d *downTrack) open(p *ring.Packet) span {
	d.broken = false
	d.newest = (d.newest + 1) % len(d.spans)
	d.spans[d.newest] = span{in: p.Seq, out: d.lastOut + 1, shift: d.shift, lane: d.lane, ids: d.ids}
	return d.spans[d.newest]
}

// find is the way back from a number the subscriber saw to the program's, and
// the span it belongs to.
func (d *downTrack) find(out uint64) (in uint64, of span, ok bool) {
	end := d.lastOut + 1
	for i := range d.spans {
		s := d.spans[(d.newest+len(d.spans)-i)%len(d.spans)]
		if s.out == 0 {
			break
		}
		if out >= s.out && out < end {
			return s.in + out - s.out, s, true
		}
		end = s.out
	}
	return 0, span{}, false
}
