package load

import (
	"time"

	"github.com/pion/rtcp"
)

const (
	reportInterval = time.Second
	tickInterval   = 50 * time.Millisecond
)

// tick does what a viewer does by the clock: consent checks, receiver reports
// and, until it has a picture, asking for one. The socket's lock is held.
func (v *viewer) tick(now time.Time) {
	if v.keys == nil {
		return
	}
	if !now.Before(v.nextCheck) {
		v.nextCheck = now.Add(consentInterval)
		v.load.sock.send(v.addr, v.remote.addr, v.check())
	}
	if !now.Before(v.nextRR) && len(v.streams) > 0 {
		v.nextRR = now.Add(reportInterval)
		v.report()
	}
}

// report sends a receiver report on all streams and, before the first key
// frame, a picture loss indication.
func (v *viewer) report() {
	own := uint32(0x10000000 + v.index)
	rr := &rtcp.ReceiverReport{SSRC: own}
	pkts := []rtcp.Packet{rr}
	for _, s := range v.streams {
		rr.Reports = append(rr.Reports, rtcp.ReceptionReport{SSRC: s.ssrc, LastSequenceNumber: s.high})
		if s.video && v.joined.IsZero() {
			pkts = append(pkts, &rtcp.PictureLossIndication{SenderSSRC: own, MediaSSRC: s.ssrc})
		}
	}
	b, err := rtcp.Marshal(pkts)
	if err != nil {
		return // more streams than fit a report: none of them is ours
	}
	if b, err = v.keys.out.EncryptRTCP(nil, b, nil); err == nil {
		v.load.sock.send(v.addr, v.remote.addr, b)
	}
}
