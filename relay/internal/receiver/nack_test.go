package receiver

import (
	"fmt"
	"slices"
	"testing"

	"github.com/pion/rtcp"
)

func asked(pairs []rtcp.NackPair) (list []uint16) {
	for _, p := range pairs {
		list = append(list, p.PacketList()...)
	}
	return list
}

func feed(r *Receiver, at int64, seqs ...uint16) {
	for _, s := range seqs {
		r.Packet(s, 0, 1, at, false)
	}
}

func expectNacks(t *testing.T, r *Receiver, now, rtt int64, want ...uint16) {
	t.Helper()
	if got := asked(r.Nacks(now, rtt, nil)); !slices.Equal(got, want) {
		t.Fatalf("at %d ms: asks for %v, want %v", now/ms, got, want)
	}
}

func TestNackFirstRequest(t *testing.T) {
	r := New(90000)
	expectNacks(t, r, 0, 0)
	feed(r, 0, 65534, 1) // 65535 and 0 are missing
	expectNacks(t, r, 9*ms, 0)
	expectNacks(t, r, 10*ms, 0, 65535, 0)

	r = New(90000)
	feed(r, 0, 10, 12)
	expectNacks(t, r, 0, 0)
	feed(r, 0, 13)
	expectNacks(t, r, 0, 0)
	feed(r, 0, 14)
	expectNacks(t, r, 0, 0, 11)

	r = New(90000)
	feed(r, 0, 10, 12, 13, 11, 14) // reordered only
	expectNacks(t, r, 500*ms, 0)
}

func TestNackRepeats(t *testing.T) {
	for _, tt := range []struct{ rtt, wait int64 }{{0, 40 * ms}, {20 * ms, 40 * ms}, {60 * ms, 90 * ms}} {
		t.Run(fmt.Sprintf("rtt %d ms", tt.rtt/ms), func(t *testing.T) {
			r := New(90000)
			feed(r, 0, 10, 12)
			now := 10 * ms
			for range nackTries {
				expectNacks(t, r, now, tt.rtt, 11)
				expectNacks(t, r, now+tt.wait-1, tt.rtt)
				now += tt.wait
			}
			expectNacks(t, r, now, tt.rtt)
			if st := r.Stats(now); st.Nacked != nackTries || st.Lost != 1 || st.Recovered != 0 {
				t.Errorf("%+v", st)
			}
			feed(r, now, 11)
			if st := r.Stats(now); st.Lost != 0 || (st.Recovered == 1) != (now < nackAge) {
				t.Errorf("after it came: %+v", st)
			}
		})
	}
}

func TestNackGivesUp(t *testing.T) {
	r := New(90000)
	feed(r, 0, 10, 12)
	expectNacks(t, r, nackAge-1, 0, 11)
	expectNacks(t, r, nackAge, 0)
	if r.holes.n != 0 {
		t.Error("an aged hole is kept")
	}

	r = New(90000)
	feed(r, 0, 10, 12)
	for s := uint16(13); s <= 11+nackRange; s++ {
		feed(r, 0, s)
	}
	expectNacks(t, r, 10*ms, 0, 11)
	feed(r, 0, 12+nackRange)
	expectNacks(t, r, 200*ms, 0)
}

func TestNackStopsWhenFilled(t *testing.T) {
	r := New(90000)
	feed(r, 0, 10, 14)
	expectNacks(t, r, 10*ms, 0, 11, 12, 13)
	r.Packet(12, 0, 1, 20*ms, true)
	feed(r, 20*ms, 13)
	expectNacks(t, r, 50*ms, 0, 11)
	if st := r.Stats(50 * ms); st.Recovered != 2 || st.Lost != 1 {
		t.Errorf("%+v", st)
	}
}

func TestNackBounds(t *testing.T) {
	r := New(90000)
	feed(r, 0, 0, 3000) // 2999 missing, the newest 500 are asked for
	pairs := r.Nacks(10*ms, 0, nil)
	got := asked(pairs)
	if len(pairs) != 30 || len(got) != nackRange || got[0] != 2500 || got[len(got)-1] != 2999 {
		t.Fatalf("%d pairs, %d numbers, %d to %d", len(pairs), len(got), got[0], got[len(got)-1])
	}

	// Every second packet is lost for long: the list stays within its range.
	for s := uint16(3002); s < 9000; s += 2 {
		feed(r, 20*ms, s)
		if r.holes.n > nackRange {
			t.Fatalf("%d holes", r.holes.n)
		}
	}
	if pairs = r.Nacks(40*ms, 0, nil); len(pairs) > 30 || len(asked(pairs)) != nackRange/2 {
		t.Fatalf("%d pairs, %d numbers", len(pairs), len(asked(pairs)))
	}

	feed(r, 40*ms, 30000) // restart
	expectNacks(t, r, 60*ms, 0)
}

func TestNackAppendsAndPairs(t *testing.T) {
	r := New(90000)
	feed(r, 0, 65500, 65502, 65530)
	dst := []rtcp.NackPair{{PacketID: 65501}} // of another stream
	got := r.Nacks(10*ms, 0, dst)
	want := []rtcp.NackPair{{PacketID: 65501}, {PacketID: 65501}, {PacketID: 65518, LostPackets: 0x7ff}}
	want[1].LostPackets = 0xfffe // 65503 to 65517; 65502 came
	if !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestNacksDoNotAllocate(t *testing.T) {
	r := New(90000)
	feed(r, 0, 0, 1000)
	dst := make([]rtcp.NackPair, 0, 32)
	now := int64(0)
	n := testing.AllocsPerRun(100, func() {
		now += 5 * ms
		r.Nacks(now, 0, dst)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkNacks(b *testing.B) {
	for _, lost := range []uint16{0, 10, 500} {
		b.Run(fmt.Sprintf("%d missing", lost), func(b *testing.B) {
			r := New(90000)
			feed(r, 0, 0, 1+lost)
			dst := make([]rtcp.NackPair, 0, 32)
			b.ReportAllocs()
			for b.Loop() {
				r.Nacks(20*ms, 0, dst)
			}
		})
	}
}
