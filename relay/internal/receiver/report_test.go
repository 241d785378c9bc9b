package receiver

import (
	"math"
	"testing"

	"github.com/pion/rtcp"
)

func TestReportEmpty(t *testing.T) {
	if got := New(0).Report(5); got != (rtcp.ReceptionReport{}) {
		t.Errorf("%+v", got)
	}
	if got := New(0).Stats(5); got != (Stats{}) {
		t.Errorf("%+v", got)
	}
}

func TestReportLoss(t *testing.T) {
	r := New(90000)
	check := func(name string, fraction uint8, lost, highest uint32) {
		t.Helper()
		rr := r.Report(0)
		if rr.FractionLost != fraction || rr.TotalLost != lost || rr.LastSequenceNumber != highest {
			t.Errorf("%s: %+v, want %d %d %d", name, rr, fraction, lost, highest)
		}
		if _, err := rr.Marshal(); err != nil {
			t.Error(err)
		}
	}

	feed(r, 0, 65534, 65535, 2, 3) // 0 and 1 are lost, of 6
	check("two of six", 85, 2, 1<<16+3)
	check("nothing since", 0, 2, 1<<16+3)
	feed(r, 0, 0) // late
	feed(r, 0, 4, 5, 6)
	check("one came late", 0, 1, 1<<16+6)
	r.Packet(1, 0, 1, 0, true) // by retransmission: still lost on the network
	feed(r, 0, 8)
	check("one of two", 128, 2, 1<<16+8)
	if st := r.Stats(0); st.Lost != 1 || st.Packets != 10 || st.Recovered != 1 {
		t.Errorf("%+v", st)
	}
	feed(r, 0, 8, 8, 8, 8) // more came than was sent
	check("duplicates", 0, 0, 1<<16+8)
	if st := r.Stats(0); st.Duplicates != 4 {
		t.Errorf("%+v", st)
	}
	feed(r, 0, 20000) // restart, with the numbers skipped not lost
	check("restart", 0, 0, 1<<16+20000)
	feed(r, 0, 20002, 20003, 20006, 20010, 20015)
	check("after restart", 170, 8, 1<<16+20015) // 10 of 15, and 2 were in credit
}

// A packet from before the first one shows that the source sent the numbers
// between them.
func TestReportBeforeTheFirst(t *testing.T) {
	r := New(90000)
	feed(r, 0, 1, 65535)
	if rr := r.Report(0); rr.TotalLost != 1 || rr.FractionLost != 85 {
		t.Errorf("%+v", rr)
	}
}

func TestReportLossIsBounded(t *testing.T) {
	r := New(90000)
	seq := uint16(0)
	for range 3000 {
		feed(r, 0, seq)
		seq += 3000
	}
	rr := r.Report(0)
	if rr.TotalLost != maxTotalLost || rr.FractionLost != 255 {
		t.Errorf("%+v", rr)
	}
	if _, err := rr.Marshal(); err != nil {
		t.Error(err)
	}
}

func TestReportSenderReport(t *testing.T) {
	r := New(90000)
	if _, _, _, ok := r.LastSenderReport(); ok {
		t.Error("a sender report before any")
	}
	const ntp = 0x1122334455667788
	r.SenderReport(ntp, 9000, 1000*ms)
	for _, tt := range []struct {
		now   int64
		delay uint32
	}{{1000 * ms, 0}, {1500 * ms, 1 << 15}, {3250 * ms, 2<<16 + 1<<14}, {900 * ms, 0}, {100000 * second, 65535 << 16}} {
		if rr := r.Report(tt.now); rr.LastSenderReport != 0x33445566 || rr.Delay != tt.delay {
			t.Errorf("now %d ms: %#x %d, want delay %d", tt.now/ms, rr.LastSenderReport, rr.Delay, tt.delay)
		}
	}
	if n, ts, at, ok := r.LastSenderReport(); n != ntp || ts != 9000 || at != 1000*ms || !ok {
		t.Error(n, ts, at, ok)
	}
}

func TestJitter(t *testing.T) {
	const step = 20 * ms // 960 units of 48 kHz
	play := func(rate uint32, n int, ts func(i int) uint32, at func(i int) int64) *Receiver {
		r := New(rate)
		for i := range n {
			r.Packet(uint16(i), ts(i), 1, at(i), false)
		}
		return r
	}
	even := func(i int) uint32 { return math.MaxUint32 - 4800 + uint32(i)*960 } // wraps
	beat := func(i int) int64 { return int64(i) * step }

	if j := play(48000, 100, even, beat).Stats(0).Jitter; j > 1e-9 {
		t.Errorf("even stream: %v", j)
	}

	// Each second packet is 4 ms late: |D| is 192 units, which J tends to.
	r := play(48000, 400, even, func(i int) int64 { return beat(i) + int64(i%2)*4*ms })
	if j := r.Stats(0).Jitter; math.Abs(j-0.004) > 1e-6 {
		t.Errorf("4 ms: %v", j)
	}
	if rr := r.Report(0); rr.Jitter != 191 && rr.Jitter != 192 {
		t.Errorf("reported %d", rr.Jitter)
	}

	// One deviation of 160 units counts by a sixteenth.
	if rr := play(8000, 2, func(i int) uint32 { return 0 + uint32(i)*160 }, func(i int) int64 { return int64(i) * 2 * step }).Report(0); rr.Jitter != 10 {
		t.Errorf("first deviation: %d", rr.Jitter)
	}

	frame := func(i int) uint32 { return uint32(i/10) * 3000 }
	paced := func(i int) int64 { return int64(i/10)*second/30 + int64(i%10)*2*ms }
	if j := play(90000, 300, frame, paced).Stats(0).Jitter; j > 1e-6 {
		t.Errorf("paced frames: %v", j)
	}

	again := New(48000)
	again.Packet(0, 0, 1, 0, false)
	if _, s := again.Packet(30000, 48000, 1, step, false); s != Restart || again.Report(0).Jitter != 0 {
		t.Errorf("timestamps of a restart count: %v", s)
	}

	jump := func(i int) uint32 { return uint32(i) * 960 * uint32(1+i/50*100000) }
	if j := play(48000, 51, jump, beat).Stats(0).Jitter; j > 1e-9 {
		t.Errorf("timestamp jump: %v", j)
	}
}

func TestBitrate(t *testing.T) {
	for _, start := range []int64{0, 12345 * ms, -5 * second} {
		r := New(90000)
		seq := uint16(0)
		send := func(from, to, every int64, size int) {
			for at := from; at < to; at += every {
				r.Packet(seq, 0, size, start+at, false)
				seq++
			}
		}
		near := func(name string, at int64, want float64) {
			t.Helper()
			if got := r.Stats(start + at).Bitrate; math.Abs(got-want) > want*0.05+1 {
				t.Errorf("start %d, %s: %.0f, want %.0f", start, name, got, want)
			}
		}

		send(0, 500*ms, 10*ms, 1250)
		near("after half a second", 500*ms, 1e6)
		send(500*ms, 3000*ms, 10*ms, 1250)
		near("steady", 3000*ms, 1e6)
		send(3000*ms, 5000*ms, 10*ms, 2500)
		near("doubled", 5000*ms, 2e6)
		near("half a window of silence", 5500*ms, 1e6)
		near("silence", 6100*ms, 0)
		if st := r.Stats(start); st.Bytes != 300*1250+200*2500 || st.LastArrival != start+4990*ms {
			t.Errorf("%+v", st)
		}
		near("a clock that went back", 5000*ms, 0)
	}
}
