package relay

import (
	"github.com/talwtn/caddy-wtn/relay/internal/payload"
	"github.com/talwtn/caddy-wtn/relay/internal/ring"
	"github.com/talwtn/caddy-wtn/relay/internal/rtpx"
)

// maxPairs is how many NACK entries of one message are served; a receiver that
// lost more needs a key frame.
const maxPairs = 16

// nackRequest carries a generic NACK (RFC 4585 6.2.1) to the sending loop.
type nackRequest struct {
	d     *downTrack
	n     int
	pairs [maxPairs]nackPair
}

// maxAsked bounds the NACKs of one down track that wait for the loop: one
// receiver's flood must not push aside what the others ask for.
const maxAsked = 8

type nackPair struct{ pid, blp uint16 }

// budget bounds resends to a quarter of what is sent, with a reserve for a
// burst of loss: a receiver cannot make the gateway send much more than its
// stream.
type budget struct{ quarters int32 }

const (
	resendReserve = 4 * 128
	resendCost    = 4
)

func (b *budget) sent(n int) { b.quarters = min(b.quarters+int32(n), resendReserve) }

func (b *budget) take() bool {
	if b.quarters < resendCost {
		return false
	}
	b.quarters -= resendCost
	return true
}

// answerNacks resends what subscribers miss, from the program's ring.
func (w *worker) answerNacks(now int64) {
	for {
		select {
		case r := <-w.nacks:
			w.stats.nacks.Add(1)
			r.d.asked.Add(-1)
			for _, p := range r.pairs[:r.n] {
				r.d.resendPair(w, p, now)
			}
		default:
			return
		}
	}
}

func (d *downTrack) resendPair(w *worker, p nackPair, now int64) {
	if d.sealer == nil {
		return
	}
	d.resendOne(w, p.pid, now)
	for i := uint16(0); i < 16; i++ {
		if p.blp&(1<<i) != 0 {
			d.resendOne(w, p.pid+1+i, now)
		}
	}
}

// resendOne sends one packet again. With RTX (RFC 4588) it travels under an
// SSRC and number of its own. Without, it must be byte for byte what was sent
// before: under AES-GCM one index never protects two different packets
// (RFC 7714 8.4 and 9.1), which is why such subscribers get neither padding nor
// a send time.
func (d *downTrack) resendOne(w *worker, seq uint16, now int64) {
	out := d.lastOut - uint64(uint16(d.lastOut)-seq)
	in, s, ok := d.find(out)
	path := d.leg.Path()
	if !ok || path == nil || !d.resend.take() || !d.prog.tracks[s.lane].ring.Get(in, w.batch) {
		return
	}
	p := &w.batch.Packets()[0]
	h := rtpx.Header{
		SSRC: d.ssrc, Seq: seq, TS: p.TS + s.shift, PT: d.formats[p.Codec].pt,
		Marker: p.Flags&ring.Marker != 0,
	}
	if s.ids != (payload.Shift{}) {
		s.ids.Apply(d.formats[p.Codec].name, p.Payload())
	}
	pay, index := p.Payload(), out
	if pt := d.formats[p.Codec].rtxPT; d.rtxSSRC != 0 && pt != 0 {
		d.rtxSeq++
		pay, index = p.Retransmission(seq), d.rtxSeq
		h.SSRC, h.PT, h.Seq = d.rtxSSRC, pt, uint16(d.rtxSeq)
		h.SendTimeID, h.SendTime = d.sendTimeID, rtpx.AbsSendTime(now)
	} else if d.rtxSSRC != 0 {
		return // this codec has no RTX here, and the packet may have been padded
	}
	batch := path.Batch()
	if batch {
		w.sender.Begin(path.Socket, &path.Peer)
	}
	if _, err := w.emit(path, batch, d.sealer, &h, pay, index); err == nil {
		w.stats.retransmitted.Add(1)
		d.resent++
	}
}
