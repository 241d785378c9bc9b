package relay

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/leg"
	"github.com/talwtn/caddy-wtn/relay/internal/seal"
)

// reportInterval is the distance of sender reports.
const reportInterval = int64(time.Second)

// link is what a sending loop needs of a leg.
type link interface {
	Path() *leg.Path
	Sealer() *seal.Sealer
	WriteRTCP(compound []byte) error
}

// sink is a subscriber as its sending loop sees it: the down tracks of one leg.
// It belongs to the loop's goroutine once the loop has it.
type sink struct {
	leg      link
	prog     *program
	worker   *worker
	downs    []*downTrack
	cname    string
	reportAt int64
}

// firstReport is how long a newcomer's first sender report waits for all its
// tracks to flow.
const firstReport = int64(200 * time.Millisecond)

// greet sends newcomers their first sender report as soon as all their tracks
// flow: until then a player cannot tell which sound belongs to which picture.
// Then they queue up behind the others.
func (w *worker) greet(now int64) {
	for i := 0; i < len(w.fresh); {
		k := w.fresh[i]
		idle := func(d *downTrack) bool { return d.packets == 0 }
		if slices.ContainsFunc(k.downs, idle) && now-k.reportAt < firstReport {
			i++
			continue
		}
		w.fresh = slices.Delete(w.fresh, i, i+1)
		k.reportAt = now + reportInterval
		w.sinks = slices.Insert(w.sinks, w.nextSink, k)
		w.nextSink++
		k.report(w, now)
	}
}

// report sends the sender reports that are due. All have the same interval, so
// the list stays in their order and only its front is looked at.
func (w *worker) report(now int64) {
	w.greet(now)
	for range w.sinks {
		k := w.sinks[w.nextSink%len(w.sinks)]
		if k.reportAt > now {
			return
		}
		k.reportAt = now + reportInterval
		w.nextSink = w.nextSink%len(w.sinks) + 1
		k.report(w, now)
	}
}

// report sends one compound packet: a sender report for each track and the
// CNAME that ties them together (RFC 3550 6.1, 6.4.1).
func (k *sink) report(w *worker, now int64) {
	b := w.seal[:0]
	first := uint32(0)
	for _, d := range k.downs {
		if d.packets == 0 {
			continue
		}
		if first == 0 {
			first = d.ssrc
		}
		b = d.appendReport(b, now)
	}
	if first == 0 {
		return
	}
	_ = k.leg.WriteRTCP(appendCNAME(b, first, k.cname)) // the next one comes in a second
}

// appendReport appends a sender report on the relay's clock: the media whose
// time is now, in the program's timeline, and this leg's own counts.
func (d *downTrack) appendReport(b []byte, now int64) []byte {
	b = append(b, 0x80, 200, 0, 6)
	b = binary.BigEndian.AppendUint32(b, d.ssrc)
	b = binary.BigEndian.AppendUint64(b, ntpTime(now))
	b = binary.BigEndian.AppendUint32(b, d.prog.tracks[d.lane].timestampAt(now)+d.shift)
	b = binary.BigEndian.AppendUint32(b, d.packets)
	return binary.BigEndian.AppendUint32(b, d.octets)
}

// appendCNAME appends an SDES packet with one chunk.
func appendCNAME(b []byte, ssrc uint32, cname string) []byte {
	words := (4 + 2 + len(cname) + 1 + 3) / 4
	b = append(b, 0x81, 202, byte(words>>8), byte(words))
	end := len(b) + 4*words
	b = binary.BigEndian.AppendUint32(b, ssrc)
	b = append(b, 1, byte(len(cname)))
	b = append(b, cname...)
	for len(b) < end {
		b = append(b, 0)
	}
	return b
}

// ntpEpoch is 1900-01-01 as Unix time, seconds.
const ntpEpoch = -2208988800

// wallBase is the wall clock at the relay's monotonic zero, ns. Taken once: a
// step of the wall clock must not tear the sender reports.
var wallBase = time.Now().UnixNano() - leg.Now()

// ntpTime converts relay time to NTP 32.32 fixed point seconds.
func ntpTime(now int64) uint64 {
	ns := wallBase + now
	sec := uint64(ns/int64(time.Second) - ntpEpoch)
	frac := uint64(ns%int64(time.Second)) << 32 / uint64(time.Second)
	return sec<<32 | frac
}
