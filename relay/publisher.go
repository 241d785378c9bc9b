package relay

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/rtcp"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
	"github.com/talwtn/caddy-wtn/relay/internal/receiver"
	"github.com/talwtn/caddy-wtn/relay/internal/rtcpx"
	"github.com/talwtn/caddy-wtn/relay/internal/rtpx"
)

const (
	publisherTick = 50 * time.Millisecond
	// twccInterval is the distance of transport-wide feedback.
	twccInterval = int64(100 * time.Millisecond)
	// assumedRTT spaces repeated NACKs; a publisher's round trip is not measured.
	assumedRTT = int64(50 * time.Millisecond)
	// vanishedAfter: a publisher that is silent for so long has vanished, and
	// its grace time runs.
	vanishedAfter = 5 * time.Second
)

// publisher is a session that receives: it feeds a source of its stream and
// gives the sender the feedback it needs (NACK, PLI, receiver reports,
// transport-wide arrival times).
type publisher struct {
	*Session
	prog *program
	src  *source
	ssrc uint32 // ours, in what we send

	// What it is among the publishers of its stream; fixed, but for held.
	number     uint64 // grows with each publisher of the hub
	priority   int
	successor  bool  // replaces those before it
	pull       *pull // nil: it is a session here
	maxSubs    int   // bound of the stream's subscribers, 0: none
	maxBitrate uint64
	held       atomic.Bool  // taken out by the operator
	deadAt     atomic.Int64 // since when it has to look dead, 0: it has not

	quality quality

	mu        sync.Mutex // guards what follows: reader against tick
	byPT      [128]inPT
	tracks    [lanes]*inTrack
	simulcast []*inTrack // of simulcast video; none: it comes as one
	rid       uint8      // ids of their header extensions
	rrid      uint8
	recorder  *twcc.Recorder
	twccID    uint8
	twccAt    int64
	reportAt  int64
	pkt       rtpx.Packet
	pairs     []rtcp.NackPair

	quiet          atomic.Bool // vanished, and said so
	packets, bytes atomic.Uint64
	quit           chan struct{}
	loop           sync.WaitGroup
}

// inPT says what a payload type of the publisher carries.
type inPT struct {
	track *inTrack
	rtx   bool
}

// inTrack is one received track.
type inTrack struct {
	source *sourceTrack
	codec  codec.Codec
	rx     *receiver.Receiver
	ssrc   uint32
	lastAt int64
	rid    string // of a simulcast layer
	// rtxSSRC is that of the retransmissions of a layer. Elsewhere they are told
	// by payload type.
	rtxSSRC uint32
	fir     uint8 // sequence number of the newest full intra request
	muted   bool
}

// ssrcHandover: a track that was silent for so long may go on under another SSRC.
const ssrcHandover = int64(200 * time.Millisecond)

func newPublisher(s *Session, prog *program, in inbound) *publisher {
	p := &publisher{
		Session: s, prog: prog, ssrc: rand.Uint32(), twccID: in.twcc,
		rid: in.rid, rrid: in.rrid,
		quit: make(chan struct{}), pairs: make([]rtcp.NackPair, 0, 32),
	}
	p.recorder = twcc.NewRecorder(p.ssrc)
	p.src = newSource(s.id, func() bool { return p.sendPLI(codec.Video) })
	for _, c := range in.codecs {
		t := &inTrack{source: p.src.addTrack(c), codec: c, rx: receiver.New(c.ClockRate)}
		p.tracks[c.Kind] = t
		if c.Kind == codec.Video && len(in.rids) > 0 {
			p.addLayers(t, in.rids)
		}
		p.byPT[c.PT] = inPT{track: t}
		if c.RTXPT != 0 {
			p.byPT[c.RTXPT] = inPT{track: t, rtx: true}
		}
	}
	s.owner = p
	return p
}

// addLayers makes the layers of simulcast video; first is the track of one.
func (p *publisher) addLayers(first *inTrack, rids []string) {
	for i, l := range p.prog.assign(rids) {
		t := first
		if l != codec.Video {
			c := first.codec
			t = &inTrack{source: p.src.addLayer(l, c, func() bool { return p.sendPLI(l) }), codec: c, rx: receiver.New(c.ClockRate)}
			p.tracks[l] = t
		}
		t.rid, t.source.rid = rids[i], rids[i]
		p.simulcast = append(p.simulcast, t)
	}
}

// HandleReady implements leg.Handler.
func (p *publisher) HandleReady() {
	p.ready()
	p.hub.publisherReady(p)
	p.unlessEnded(func() { p.loop.Go(p.run) })
}

// HandleRTP takes one packet: parsed once, counted, and handed to the program.
func (p *publisher) HandleRTP(b []byte, arrival int64) {
	if p.deadAt.Load() != 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	h := &p.pkt
	if !h.Parse(b) {
		return
	}
	p.packets.Add(1)
	p.bytes.Add(uint64(len(b)))
	if p.twccID != 0 {
		if e := h.Extension(p.twccID); len(e) == 2 {
			p.recorder.Record(h.SSRC, binary.BigEndian.Uint16(e), arrival/1000)
		}
	}
	in := p.byPT[h.PT]
	t := in.track
	if t != nil && len(p.simulcast) > 0 && t.codec.Kind == codec.Video {
		t = p.layerOf(h, in.rtx)
	}
	if t == nil || !p.accepts(t, h, in.rtx, arrival) {
		return
	}
	ext, status := t.rx.Packet(h.Seq, h.TS, len(h.Payload), arrival, in.rtx)
	switch status {
	case receiver.Duplicate, receiver.TooOld:
		return
	case receiver.Restart: // a new run of numbers is taken like another source's
		t.source = p.prog.renew(t.source)
	}
	t.lastAt = arrival
	if !t.muted {
		p.prog.write(t.source, h, ext, arrival)
	}
}

// accepts latches the track's SSRC and turns a retransmission into what it
// repeats (RFC 4588 4).
func (p *publisher) accepts(t *inTrack, h *rtpx.Packet, rtx bool, arrival int64) bool {
	if rtx {
		if t.ssrc == 0 || len(h.Payload) < 2 {
			return false // padding, or nothing to repeat yet
		}
		h.Seq, h.SSRC, h.Payload = binary.BigEndian.Uint16(h.Payload), t.ssrc, h.Payload[2:]
		return true
	}
	if t.ssrc == h.SSRC {
		return true
	}
	if t.ssrc != 0 && arrival-t.lastAt < ssrcHandover {
		return false
	}
	t.ssrc, t.rx = h.SSRC, receiver.New(t.codec.ClockRate)
	if t.lastAt != 0 { // the sender started anew: a new source, as far as the program is concerned
		t.source = p.prog.renew(t.source)
	}
	return true
}

// HandleFlush wakes the sinks and asks for what the last packets showed missing.
func (p *publisher) HandleFlush() {
	p.prog.flush()
	p.mu.Lock()
	nacks := p.missing(leg.Now())
	p.mu.Unlock()
	p.send(nacks)
}

// HandleRTCP takes the sender's reports.
func (p *publisher) HandleRTCP(b []byte, arrival int64) {
	for {
		pkt, rest, ok := rtcpx.Next(b)
		if !ok {
			return
		}
		b = rest
		ssrc, ntp, ts, ok := pkt.SenderInfo()
		if !ok {
			continue
		}
		p.mu.Lock()
		for _, t := range p.tracks {
			if t != nil && t.ssrc == ssrc {
				t.rx.SenderReport(ntp, ts, arrival)
				p.prog.report(t.source, ntp, ts)
			}
		}
		p.mu.Unlock()
	}
}

// HandleEnd implements leg.Handler. A publisher that closed its connection has
// vanished like one whose network died: its grace time runs, for it may come
// back.
func (p *publisher) HandleEnd(error) {
	if !p.connected() {
		p.hub.endLater(p.Session, ReasonHandshake)
		return
	}
	p.closedAt.CompareAndSwap(0, leg.Now())
}

// run sends what is due until the session ends.
func (p *publisher) run() {
	tick := time.NewTicker(publisherTick)
	defer tick.Stop()
	for {
		select {
		case <-p.quit:
			return
		case <-tick.C:
		}
		now := leg.Now()
		p.feedback(now)
		for l, w := range p.src.wishes {
			if w == nil {
				continue
			}
			if p.prog.awaits(p.src, lane(l)) && !p.mutes(codec.Video) {
				w.requestKeyframe(now)
			}
			w.pursueKeyframe(now)
		}
	}
}

// feedback sends the receiver's side of RTCP.
func (p *publisher) feedback(now int64) {
	excess := false
	p.mu.Lock()
	pkts := p.missing(now)
	if p.twccID != 0 && now-p.twccAt >= twccInterval {
		p.twccAt = now
		pkts = append(pkts, p.recorder.BuildFeedbackPacket()...)
	}
	if now-p.reportAt >= reportInterval {
		p.reportAt = now
		pkts = append(pkts, p.reports(now)...)
		excess = p.judge(now)
	}
	p.mu.Unlock()
	p.send(pkts)
	if excess {
		p.hub.endLater(p.Session, ReasonBitrate)
	}
}

// upstream names where a pull comes from.
func (p *publisher) upstream() string { return p.src.upstream }

// flowing tells whether live media arrives.
func (p *publisher) flowing(now int64) bool {
	p.prog.mu.Lock()
	defer p.prog.mu.Unlock()
	if p.src.tracks[codec.Video] == nil {
		_, audio := p.src.pulse.Silence(now)
		return p.src.pulse.HasAudio() && audio < 2*time.Second
	}
	return p.src.lively(now).Flows(now)
}

// heardAt is when the last packet came, 0: none did.
func (p *publisher) heardAt() int64 {
	p.prog.mu.Lock()
	defer p.prog.mu.Unlock()
	at := p.src.pulse.LastAudio()
	for _, t := range p.src.tracks[codec.Video:] {
		if t != nil {
			at = max(at, t.pulse.LastVideo())
		}
	}
	return at
}

// local tells that the publisher is a session here, and not a pull.
func (p *publisher) local() bool { return p.pull == nil }

// missing makes the NACKs that are due. Needs p.mu.
func (p *publisher) missing(now int64) (pkts []rtcp.Packet) {
	for _, t := range p.tracks {
		if t == nil || t.ssrc == 0 || !t.codec.NACK {
			continue
		}
		if p.pairs = t.rx.Nacks(now, assumedRTT, p.pairs[:0]); len(p.pairs) > 0 {
			pairs := append([]rtcp.NackPair(nil), p.pairs...)
			pkts = append(pkts, &rtcp.TransportLayerNack{SenderSSRC: p.ssrc, MediaSSRC: t.ssrc, Nacks: pairs})
		}
	}
	return pkts
}

// reports makes a receiver report. Needs p.mu.
func (p *publisher) reports(now int64) []rtcp.Packet {
	rr := &rtcp.ReceiverReport{SSRC: p.ssrc}
	for _, t := range p.tracks {
		if t != nil && t.ssrc != 0 {
			r := t.rx.Report(now)
			r.SSRC = t.ssrc
			rr.Reports = append(rr.Reports, r)
		}
	}
	return []rtcp.Packet{rr}
}

// send puts feedback behind a report: a compound packet begins with one
// (RFC 3550 6.1), and not every publisher negotiated the reduced size.
func (p *publisher) send(pkts []rtcp.Packet) {
	if len(pkts) == 0 {
		return
	}
	if _, ok := pkts[len(pkts)-1].(*rtcp.ReceiverReport); ok {
		pkts[0], pkts[len(pkts)-1] = pkts[len(pkts)-1], pkts[0]
	} else {
		pkts = append([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: p.ssrc}}, pkts...)
	}
	b, err := rtcp.Marshal(pkts)
	if err == nil {
		_ = p.leg.Load().WriteRTCP(b) // lost feedback is repeated
	}
}

// sendPLI asks for a key frame in a lane, by FIR where PLI was not negotiated.
// It returns false while there is no picture to ask about.
func (p *publisher) sendPLI(l lane) bool {
	p.mu.Lock()
	t := p.tracks[l]
	var pkt rtcp.Packet
	if t != nil && t.ssrc != 0 {
		switch {
		case t.codec.PLI:
			pkt = &rtcp.PictureLossIndication{SenderSSRC: p.ssrc, MediaSSRC: t.ssrc}
		case t.codec.FIR:
			t.fir++
			pkt = &rtcp.FullIntraRequest{SenderSSRC: p.ssrc, FIR: []rtcp.FIREntry{{SSRC: t.ssrc, SequenceNumber: t.fir}}}
		}
	}
	p.mu.Unlock()
	if pkt == nil {
		return false
	}
	p.hub.stats.plisOut.Add(1)
	p.send([]rtcp.Packet{pkt})
	return true
}

func (p *publisher) counters() (packets, bytes uint64) { return p.packets.Load(), p.bytes.Load() }

// overdue implements owner.
func (p *publisher) overdue(now int64, c *Config) (Reason, bool) {
	if !p.connected() {
		return ReasonNoConnect, now-p.created > int64(c.PublisherConnectTimeout)
	}
	silence := p.silence(now)
	if at := p.closedAt.Load(); at != 0 {
		silence = max(silence, time.Duration(now-at)+vanishedAfter)
	}
	if vanished := silence > vanishedAfter; p.quiet.Swap(vanished) != vanished {
		p.hub.publisherQuiet(p, vanished)
	}
	if at := p.closedAt.Load(); at != 0 {
		return ReasonPeerClosed, now-at > int64(c.Grace)
	}
	return ReasonConsentLost, silence > c.Grace
}

// release implements owner.
func (p *publisher) release(r Reason) { p.hub.unpublish(p, r) }

// closed implements owner.
func (p *publisher) closed() {
	close(p.quit)
	p.loop.Wait()
}
