package probe

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

const testRun = "wtnprobe00000001"

// sentFor makes n frames of a codec, one every step, with packets missing as a
// publisher leaves them out.
func sentFor(c *codec, n int, missing ...int) *sentLog {
	g := newGenerator(c, testRun)
	start := time.Unix(1000, 0)
	for i := range n {
		miss := false
		for _, k := range missing {
			miss = miss || k == i
		}
		g.next(start.Add(time.Duration(i)*frameTime), i%60 == 0, miss)
	}
	return g.log
}

// forward is a service: it gives what was sent to f, which makes packets of it.
func forward(s *sentLog, f func(i int, p sentPacket) []gotPacket) (got []gotPacket) {
	at := time.Unix(1000, 0)
	for i, p := range s.packets {
		if p.missing {
			continue
		}
		at = at.Add(time.Millisecond)
		for _, q := range f(i, p) {
			q.at = at
			got = append(got, q)
		}
	}
	return got
}

func TestCompareForwarders(t *testing.T) {
	yes, no := true, false
	for _, c := range []*codec{vp8, h264, opus} {
		s := sentFor(c, 120, 50, 80)
		seq := uint16(65530) // wraps on the way
		for name, x := range map[string]struct {
			f      func(int, sentPacket) []gotPacket
			ts     string
			seq    string
			closed *bool
		}{
			"plain": {func(_ int, p sentPacket) []gotPacket {
				return []gotPacket{{seq: p.seq, ts: p.ts, payload: p.payload}}
			}, NumbersSame, NumbersSame, &no},
			"offsets": {func(_ int, p sentPacket) []gotPacket {
				return []gotPacket{{seq: p.seq + 7000, ts: p.ts - 5, payload: p.payload}}
			}, NumbersOffset, NumbersOffset, &no},
			"closes gaps": {func(_ int, p sentPacket) []gotPacket {
				seq++
				return []gotPacket{{seq: seq, ts: p.ts, payload: p.payload}}
			}, NumbersSame, NumbersOwn, &yes},
			"jumps": {func(_ int, p sentPacket) []gotPacket {
				return []gotPacket{{seq: p.seq, ts: p.ts + (p.ts-s.packets[0].ts)/c.clock*96000, payload: p.payload}}
			}, NumbersChanging, NumbersSame, &no},
			"repeats and pads": {func(_ int, p sentPacket) []gotPacket {
				q := gotPacket{seq: p.seq, ts: p.ts, payload: p.payload}
				return []gotPacket{q, q}
			}, NumbersSame, NumbersSame, &no},
		} {
			t.Run(c.name+" "+name, func(t *testing.T) {
				m := compare(s, forward(s, x.f), time.Unix(999, 0))
				if m.Payload != PayloadIdentical || m.IdenticalPercent != 100 || m.LossPercent != 0 || m.FramesReceived != 118 {
					t.Errorf("payload %s (%.1f %%), lost %.1f %%, %d of %d frames", m.Payload, m.IdenticalPercent, m.LossPercent, m.FramesReceived, m.FramesSent)
				}
				if m.Timestamps != x.ts || m.Sequence != x.seq || m.GapsClosed == nil || *m.GapsClosed != *x.closed {
					t.Errorf("timestamps %s, sequence %s, closed %v", m.Timestamps, m.Sequence, m.GapsClosed)
				}
				if m.FirstFrame <= 1000 || m.LatencyP99 < m.LatencyP50 {
					t.Errorf("first frame after %v ms, latency %v, %v", m.FirstFrame, m.LatencyP50, m.LatencyP99)
				}
			})
		}
	}
}

// A service that takes frames apart, drops the broken ones and numbers anew.
func TestCompareRepacked(t *testing.T) {
	s := sentFor(vp8, 120, 50)
	var got []gotPacket
	seq := uint16(9)
	for _, f := range s.frames {
		if f.damaged {
			continue
		}
		for rest := f.unit; len(rest) > 0; {
			n := min(500, len(rest))
			head := byte(0)
			if len(rest) == len(f.unit) {
				head = 0x10
			}
			got = append(got, gotPacket{seq: seq, ts: f.ts + 77, payload: append([]byte{head}, rest[:n]...), at: f.at.Add(30 * time.Millisecond)})
			seq, rest = seq+1, rest[n:]
		}
	}
	m := compare(s, got, s.frames[0].at)
	if m.Payload != PayloadRepacked || m.Timestamps != NumbersOffset || m.Sequence != NumbersOwn || m.GapsClosed == nil || !*m.GapsClosed {
		t.Errorf("%+v", m)
	}
	if m.LossPercent != 0 || m.LatencyP50 != 30 || m.FirstFrame != 30 {
		t.Errorf("lost %v, latency %v, first frame %v", m.LossPercent, m.LatencyP50, m.FirstFrame)
	}
}

func TestCompareDescriptor(t *testing.T) {
	s := sentFor(vp8, 60)
	m := compare(s, forward(s, func(_ int, p sentPacket) []gotPacket {
		b := bytes.Clone(p.payload)
		if b[0]&0x80 != 0 {
			b[2] ^= 0x55 // the picture id
		}
		return []gotPacket{{seq: p.seq, ts: p.ts, payload: b}}
	}), time.Unix(0, 0))
	if m.Payload != PayloadDescriptor || m.IdenticalPercent > 5 || m.FramesReceived != 60 || m.Sequence != NumbersSame {
		t.Errorf("%+v", m)
	}
}

func TestCompareLossAndOthers(t *testing.T) {
	s := sentFor(h264, 100)
	m := compare(s, forward(s, func(i int, p sentPacket) []gotPacket {
		if i%50 == 49 {
			return nil
		}
		return []gotPacket{{seq: p.seq, ts: p.ts, payload: p.payload}}
	}), time.Unix(0, 0))
	if m.Payload != PayloadIdentical || m.LossPercent <= badLoss || m.FramesSent != 100 {
		t.Errorf("with loss: %+v", m)
	}
	m = compare(s, forward(s, func(_ int, p sentPacket) []gotPacket {
		return []gotPacket{{seq: p.seq, ts: p.ts, payload: []byte(fmt.Sprint("encoded anew", p.seq))}}
	}), time.Unix(0, 0))
	if m.Payload != PayloadOther || m.FramesReceived != 0 || m.Timestamps != NumbersUnknown {
		t.Errorf("encoded anew: %+v", m)
	}
	if m = compare(s, nil, time.Unix(0, 0)); m.Payload != PayloadNone || m.PacketsReceived != 0 {
		t.Errorf("nothing: %+v", m)
	}
}

// Whatever a service sends is only looked at.
func FuzzCompare(f *testing.F) {
	for _, c := range []*codec{vp8, h264, opus} {
		for _, p := range sentFor(c, 3).packets {
			f.Add(p.payload, p.seq, p.ts)
		}
	}
	f.Add([]byte{24, 0xff, 0xff}, uint16(0), uint32(0))
	f.Add([]byte{28}, uint16(0), uint32(0))
	logs := []*sentLog{sentFor(vp8, 3), sentFor(h264, 3), sentFor(opus, 3)}
	f.Fuzz(func(t *testing.T, payload []byte, seq uint16, ts uint32) {
		for _, s := range logs {
			got := []gotPacket{{seq: seq, ts: ts, payload: payload}, {seq: seq + 1, ts: ts, payload: payload}}
			if m := compare(s, got, time.Unix(0, 0)); m.FramesReceived > m.FramesSent {
				t.Errorf("%d of %d frames", m.FramesReceived, m.FramesSent)
			}
		}
	})
}
