package relay

import (
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
	"github.com/talwtn/caddy-wtn/relay/internal/rtcpx"
)

// subscriber is a session that sends: a sink of its stream's program.
type subscriber struct {
	*Session
	sink  *sink
	codes [kinds][]codec.Codec // the entries of the answer, by kind
	media [kinds]int           // index of the m-section, by kind

	absentAt int64 // when the patrol first missed a publisher; 0: not

	// What the receiver reports; read by anybody.
	lost  atomic.Uint32 // fraction of 256, worst of its tracks
	rtt   atomic.Int64  // ns
	remb  atomic.Uint64 // bits/s, 0: never estimated
	added atomic.Bool   // the sending loop has the sink
}

// newSubscriber prepares the down tracks; program codecs get their payload
// types by meaning.
func newSubscriber(s *Session, w *worker, g *program) *subscriber {
	sub := &subscriber{Session: s, sink: &sink{prog: g, worker: w, cname: s.id}}
	s.owner = sub
	return sub
}

// addTrack adds a down track for the codecs the answer confirmed.
func (s *subscriber) addTrack(kind codec.Kind, accepted []codec.Codec, sendTimeID uint8) *downTrack {
	d := &downTrack{
		kind: kind, prog: s.sink.prog, viewer: s,
		// Tracks of one leg share their keys: kind and RTX have bits of their own,
		// so that no two ever share an SSRC (and with it nonces).
		ssrc: (rand.Uint32N(1<<30-1)+1)<<2 | uint32(kind-1)<<1,
		// The first number is low, so that the rollover counter of SRTP starts
		// at zero on both sides even if the first packets are reordered.
		lastOut: uint64(rand.Uint32N(1 << 15)),
		resend:  budget{quarters: resendReserve},
	}
	d.follow(kind)
	if accepted[0].RTXPT != 0 {
		d.rtxSSRC, d.sendTimeID = d.ssrc+1, sendTimeID
	}
	s.codes[kind] = accepted
	s.sink.downs = append(s.sink.downs, d)
	return d
}

// attach gives the sink its leg.
func (s *subscriber) attach(l *leg.Leg) {
	s.sink.leg = l
	for _, d := range s.sink.downs {
		d.leg = l
	}
}

// plays tells whether the subscriber confirmed a codec that can carry c.
func (s *subscriber) plays(c codec.Codec) bool {
	_, err := codec.Rank(c, s.codes[c.Kind])
	return err == nil
}

// payloadTypes fills in the down tracks' payload types for the codecs of the
// program. On the sending loop once the loop has the sink.
func (s *subscriber) payloadTypes(known [kinds][]codec.Codec) {
	for _, d := range s.sink.downs {
		for i, c := range known[d.kind] {
			if v, err := codec.Rank(c, s.codes[d.kind]); err == nil {
				d.formats[i] = format{ok: true, pt: v.PT, rtxPT: v.RTXPT, name: c.Name}
			}
		}
	}
}

// learn tells the down tracks of new codecs of the program.
func (s *subscriber) learn(known [kinds][]codec.Codec) {
	s.sink.worker.post(func(int64) { s.payloadTypes(known) })
}

// HandleReady implements leg.Handler: the sending loop takes over.
func (s *subscriber) HandleReady() {
	s.ready()
	s.unlessEnded(func() {
		s.added.Store(true)
		s.sink.worker.post(func(now int64) { s.sink.worker.add(s.sink, now) })
	})
}

// HandleRTP implements leg.Handler; a subscriber has nothing to send.
func (s *subscriber) HandleRTP([]byte, int64) {}

// HandleFlush implements leg.Handler.
func (s *subscriber) HandleFlush() {}

// HandleRTCP takes the receiver's feedback, parsed here and nowhere else.
func (s *subscriber) HandleRTCP(b []byte, arrival int64) {
	for {
		p, rest, ok := rtcpx.Next(b)
		if !ok {
			return
		}
		b = rest
		switch p.Type {
		case rtcpx.TypeSR, rtcpx.TypeRR:
			s.reception(&p, arrival)
		case rtcpx.TypeRTPFB:
			if p.Count == rtcpx.FormatNACK {
				s.nack(&p)
			}
		case rtcpx.TypePSFB:
			s.payloadFeedback(&p, arrival)
		}
	}
}

func (s *subscriber) payloadFeedback(p *rtcpx.Packet, arrival int64) {
	switch p.Count {
	case rtcpx.FormatPLI, rtcpx.FormatFIR:
		s.hub.stats.plisIn.Add(1)
		for _, d := range s.sink.downs {
			if d.kind == codec.Video {
				s.sink.prog.requestKeyframe(lane(d.at.Load()), arrival)
			}
		}
	case rtcpx.FormatAFB:
		if bitrate, ok := p.REMB(); ok {
			s.remb.Store(bitrate)
		}
	}
}

// reception takes loss and round trip from the receiver's reports.
func (s *subscriber) reception(p *rtcpx.Packet, arrival int64) {
	lost, mine := uint8(0), false
	now := uint32(ntpTime(arrival) >> 16)
	p.Blocks(func(b rtcpx.Block) {
		if s.down(b.SSRC) == nil {
			return
		}
		mine, lost = true, max(lost, b.FractionLost)
		if d := now - b.LSR - b.DLSR; b.LSR != 0 && d < 1<<19 { // below 8 s
			s.rtt.Store(int64(d) * 1e9 >> 16)
		}
	})
	if mine {
		s.lost.Store(uint32(lost))
	}
}

// nack hands a NACK to the sending loop; when the loop has too many already,
// the receiver asks again.
func (s *subscriber) nack(p *rtcpx.Packet) {
	d := s.down(p.MediaSSRC())
	if d == nil || !s.added.Load() {
		return
	}
	r := nackRequest{d: d}
	for f := p.FCI(); len(f) >= 4 && r.n < maxPairs; f = f[4:] {
		r.pairs[r.n] = nackPair{pid: binary.BigEndian.Uint16(f), blp: binary.BigEndian.Uint16(f[2:])}
		r.n++
	}
	if d.asked.Add(1) <= maxAsked {
		select {
		case s.sink.worker.nacks <- r:
			s.sink.worker.wake()
			return
		default:
		}
	}
	d.asked.Add(-1)
}

func (s *subscriber) down(ssrc uint32) *downTrack {
	for _, d := range s.sink.downs {
		if d.ssrc == ssrc {
			return d
		}
	}
	return nil
}

// HandleEnd implements leg.Handler.
func (s *subscriber) HandleEnd(error) {
	s.closedAt.CompareAndSwap(0, leg.Now())
	r := ReasonPeerClosed
	if !s.connected() {
		r = ReasonHandshake
	}
	s.hub.endLater(s.Session, r)
}

func (s *subscriber) counters() (packets, bytes uint64) {
	for _, d := range s.sink.downs {
		packets += d.sentPackets.Load()
		bytes += d.sentBytes.Load()
	}
	return packets, bytes
}

// overdue implements owner.
func (s *subscriber) overdue(now int64, c *Config) (Reason, bool) {
	if s.twin != nil && s.abandoned(now, c) {
		return ReasonPublisherGone, true
	}
	if !s.connected() {
		limit := c.SubscriberConnectTimeout
		if s.twin != nil {
			limit = c.PublisherConnectTimeout
		}
		return ReasonNoConnect, now-s.created > int64(limit)
	}
	return ReasonConsentLost, s.silence(now) > c.ConsentTimeout
}

// release implements owner.
func (s *subscriber) release(Reason) { s.hub.unsubscribe(s) }

// closed implements owner: the sending loop lets go before the session is done.
func (s *subscriber) closed() {
	if !s.added.Load() {
		return
	}
	gone := make(chan struct{})
	if s.sink.worker.post(func(int64) { s.sink.worker.remove(s.sink); close(gone) }) {
		select {
		case <-gone:
		case <-s.sink.worker.done:
		}
	}
}

var (
	_ leg.Handler = (*publisher)(nil)
	_ leg.Handler = (*subscriber)(nil)
)
