package main

import (
	"math/rand/v2"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// arrival is a packet of a publisher. It is shared by all outlets: read only.
type arrival struct {
	*rtp.Packet
	at time.Time
}

// outletQueue is how many packets an outlet holds up at most.
const outletQueue = 4096

// outlet is one track of one viewer: what comes in goes out as the rules of
// the moment have it. One goroutine runs it.
type outlet struct {
	session *session
	track   *webrtc.TrackLocalStaticRTP
	queue   chan arrival

	rules   *mediaRules // those the fields below belong to
	lottery *rand.Rand
	framer  *framer // nil: no repacketising for this codec
	numbers numbers
	closed  bool // numbered without gaps at present
}

func newOutlet(v *session, c webrtc.RTPCodecCapability, track *webrtc.TrackLocalStaticRTP) *outlet {
	return &outlet{
		session: v, track: track, queue: make(chan arrival, outletQueue),
		framer: newFramer(c.MimeType), numbers: newNumbers(c.ClockRate),
	}
}

// offer never blocks.
func (o *outlet) offer(p arrival) {
	select {
	case o.queue <- p:
	default:
		o.session.controls.overflowed.Add(1)
	}
}

func (o *outlet) run() {
	for {
		select {
		case <-o.session.done:
			return
		case p := <-o.queue:
			if o.await(p.at) {
				o.send(p)
			}
		}
	}
}

// await waits until a packet is due, and says whether it is to be sent.
func (o *outlet) await(arrived time.Time) bool {
	for {
		rules := o.session.controls.media.Load()
		now := time.Now()
		due := arrived.Add(rules.Delay.Duration())
		if !due.After(now) {
			if !rules.paused(now) {
				return true
			}
			if rules.PauseLoses {
				o.session.controls.dropped.Add(1)
				return false
			}
			due = rules.pausedUntil
		}
		timer := time.NewTimer(due.Sub(now))
		select {
		case <-timer.C:
		case <-rules.replaced:
			timer.Stop()
		case <-o.session.done:
			timer.Stop()
			return false
		}
	}
}

func (o *outlet) send(p arrival) {
	rules := o.session.controls.media.Load()
	if rules != o.rules {
		o.adopt(rules)
	}
	if rules.Drop > 0 && o.lottery.Float64()*100 < rules.Drop {
		o.session.controls.dropped.Add(1)
		return
	}
	ts := o.numbers.timestamp(p)
	if rules.Repacketise > 0 && o.framer != nil {
		for _, q := range o.framer.push(p.Packet, rules.Repacketise) {
			o.write(o.numbers.next(), ts, q.marker, q.payload)
		}
		return
	}
	switch {
	case !rules.CloseGaps:
		o.write(o.numbers.translate(p.SequenceNumber), ts, p.Marker, p.Payload)
	case len(p.Payload) > 0: // no padding
		o.write(o.numbers.next(), ts, p.Marker, p.Payload)
	}
}

// adopt makes the state that goes with new rules.
func (o *outlet) adopt(rules *mediaRules) {
	o.rules = rules
	seed := rules.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	o.lottery = rand.New(rand.NewPCG(seed, uint64(o.track.Kind())))
	if o.framer != nil {
		o.framer.reset()
	}
	if closed := rules.CloseGaps || rules.Repacketise > 0 && o.framer != nil; closed != o.closed {
		o.closed = closed
		o.numbers.renumber()
	}
}

func (o *outlet) write(seq uint16, ts uint32, marker bool, payload []byte) {
	o.session.packets.Add(1)
	// An error is that of a viewer who is just going.
	_ = o.track.WriteRTP(&rtp.Packet{
		Header:  rtp.Header{Version: 2, Marker: marker, SequenceNumber: seq, Timestamp: ts},
		Payload: payload,
	})
}

// numbers is the timeline of one outlet: it begins at random and goes on when
// the publisher changes.
type numbers struct {
	clock   uint32
	ssrc    uint32
	started bool
	linked  bool // seqOff holds
	seqOff  uint16
	tsOff   uint32
	nextSeq uint16
	lastTS  uint32
	lastAt  time.Time
}

func newNumbers(clock uint32) numbers {
	return numbers{clock: clock, nextSeq: uint16(rand.Uint32()), tsOff: rand.Uint32()}
}

// timestamp is where a packet is on the outlet's timeline.
func (n *numbers) timestamp(p arrival) uint32 {
	if n.started && p.SSRC != n.ssrc {
		elapsed := p.at.Sub(n.lastAt)
		n.tsOff = n.lastTS + uint32(elapsed*time.Duration(n.clock)/time.Second) - p.Timestamp
		n.linked = false
	}
	n.started, n.ssrc = true, p.SSRC
	ts := p.Timestamp + n.tsOff
	if n.lastAt.IsZero() || int32(ts-n.lastTS) > 0 {
		n.lastTS, n.lastAt = ts, p.at
	}
	return ts
}

// renumber makes the next number follow the last one sent.
func (n *numbers) renumber() { n.linked = false }

// translate keeps the gaps of the publisher.
func (n *numbers) translate(seq uint16) uint16 {
	if !n.linked {
		n.linked, n.seqOff = true, n.nextSeq-seq
	}
	out := seq + n.seqOff
	if int16(out-n.nextSeq) >= 0 {
		n.nextSeq = out + 1
	}
	return out
}

// next has no gaps.
func (n *numbers) next() uint16 {
	n.nextSeq++
	return n.nextSeq - 1
}
