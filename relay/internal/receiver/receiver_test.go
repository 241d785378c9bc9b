package receiver

import "testing"

const ms = millisecond

func TestPacket(t *testing.T) {
	const base = 1 << 16
	type pkt struct {
		seq       uint16
		recovered bool
		ext       uint64
		status    Status
	}
	p := func(seq uint16, ext uint64, s Status) pkt { return pkt{seq: seq, ext: ext, status: s} }
	const any = 0 // the number means nothing
	tests := []struct {
		name string
		pkts []pkt
	}{
		{"in order", []pkt{p(7, base+7, Fresh), p(8, base+8, Fresh)}},
		{"wrap", []pkt{p(65535, base+65535, Fresh), p(0, 2*base, Fresh), p(1, 2*base+1, Fresh)}},
		{"late over the wrap", []pkt{
			p(65534, base+65534, Fresh), p(1, 2*base+1, Fresh), p(65535, base+65535, Late), p(0, 2*base, Late),
			p(0, 2*base, Duplicate), p(65535, base+65535, Duplicate), p(2, 2*base+2, Fresh),
		}},
		{"duplicate of the newest", []pkt{p(7, base+7, Fresh), p(7, base+7, Duplicate)}},
		{"before the first", []pkt{p(0, base, Fresh), p(65535, base-1, Late), p(65535, base-1, Duplicate)}},
		{"far end of the window", []pkt{
			p(2000, base+2000, Fresh), p(3023, base+3023, Fresh), p(2000, base+2000, Duplicate),
			p(3024, base+3024, Fresh), p(2000, any, TooOld), p(2001, base+2001, Late), p(2001, base+2001, Duplicate),
		}},
		{"the window is clean behind a jump", []pkt{
			p(0, base, Fresh), p(1, base+1, Fresh), p(2024, base+2024, Fresh), p(1000, any, TooOld),
			p(1001, base+1001, Late), p(1025, base+1025, Late), p(2023, base+2023, Late),
		}},
		{"largest jump", []pkt{p(0, base, Fresh), p(3000, base+3000, Fresh)}},
		{"jump up", []pkt{p(0, base, Fresh), p(3001, base+3001, Restart), p(3002, base+3002, Fresh)}},
		{"jump down", []pkt{
			p(30000, base+30000, Fresh), p(100, 2*base+100, Restart), p(101, 2*base+101, Fresh), p(100, 2*base+100, Duplicate),
		}},
		{"stragglers of the old run", []pkt{
			p(30000, base+30000, Fresh), p(100, 2*base+100, Restart), p(30001, any, TooOld), p(29990, any, TooOld),
			p(101, 2*base+101, Fresh), p(20000, 2*base+20000, Restart),
		}},
		{"a recovered packet never restarts", []pkt{
			p(30000, base+30000, Fresh), {100, true, any, TooOld}, p(30001, base+30001, Fresh),
		}},
		{"before the first after a restart", []pkt{
			p(30000, base+30000, Fresh), p(100, 2*base+100, Restart), p(98, 2*base+98, Late),
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := New(90000)
			for i, p := range tt.pkts {
				ext, status := r.Packet(p.seq, 0, 100, int64(i)*ms, p.recovered)
				if status != p.status || p.ext != any && ext != p.ext {
					t.Fatalf("packet %d (%d): %d %v, want %d %v", i, p.seq, ext, status, p.ext, p.status)
				}
				if status != TooOld && uint16(ext) != p.seq {
					t.Fatalf("packet %d: extended to %#x", p.seq, ext)
				}
			}
		})
	}
}

// A source that starts over a little behind its old numbers must not be taken
// for old packets for ever.
func TestPacketRestartNearby(t *testing.T) {
	for _, behind := range []uint16{5, 500, 2000} {
		r := New(90000)
		var highest uint64
		for seq := uint16(1000); seq < 4000; seq++ {
			highest, _ = r.Packet(seq, 0, 1, 0, false)
		}
		restarted := -1
		for i := range 3000 {
			ext, status := r.Packet(3999-behind+uint16(i), 0, 1, 0, false)
			if status == Restart && (restarted >= 0 || ext <= highest) {
				t.Fatalf("behind %d: restart %d to %d, was %d", behind, i, ext, highest)
			}
			if status == Restart {
				restarted = i
			}
			if restarted >= 0 && i > restarted && status != Fresh {
				t.Fatalf("behind %d: packet %d is %v", behind, i, status)
			}
		}
		want := staleRun - 1
		if behind < staleRun {
			want = -1 // it caught up before it was noticed
		}
		if restarted != want {
			t.Errorf("behind %d: restart at packet %d, want %d", behind, restarted, want)
		}
	}
}

// The guard against stragglers ends, so that a source may go back for good.
func TestPacketRestartBack(t *testing.T) {
	r := New(90000)
	feed(r, 0, 30000, 100)
	if _, s := r.Packet(30001, 0, 1, guardTime-1, false); s != TooOld {
		t.Errorf("within the guard time: %v", s)
	}
	if ext, s := r.Packet(30002, 0, 1, guardTime, false); s != Restart || ext != 2<<16+30002 {
		t.Errorf("after the guard time: %d %v", ext, s)
	}
}

// The numbers of the old run say nothing about those of the new one.
func TestPacketRestartCleansTheWindow(t *testing.T) {
	r := New(90000)
	for s := range uint16(window) {
		feed(r, 0, s)
	}
	feed(r, 0, 5000)
	for _, seq := range []uint16{4999, 4998, 5000 - window + 1} {
		if _, s := r.Packet(seq, 0, 1, 0, false); s != Late {
			t.Errorf("%d is %v", seq, s)
		}
	}
}

// Retransmissions sent twice, between new packets, are no restart.
func TestPacketDuplicatesAreNoRestart(t *testing.T) {
	r := New(90000)
	for i := range uint16(3000) {
		if _, s := r.Packet(i, 0, 1, 0, false); s != Fresh {
			t.Fatalf("%d is %v", i, s)
		}
		if i >= 100 {
			if _, s := r.Packet(i-100, 0, 1, 0, false); s != Duplicate {
				t.Fatalf("repeated %d is %v", i-100, s)
			}
		}
	}
}

// FuzzPacket compares with a plain set of what was received.
func FuzzPacket(f *testing.F) {
	f.Add(uint16(65530), []byte{1, 1, 3, 254, 1, 255})
	f.Add(uint16(0), []byte{255, 1, 1, 100, 128, 127, 127, 200})
	f.Fuzz(func(t *testing.T, first uint16, steps []byte) {
		r := New(48000)
		seen := map[uint64]bool{}
		highest, _ := r.Packet(first, 0, 1, 0, false)
		seen[highest] = true
		for i, s := range steps[:min(len(steps), 4000)] {
			d := int64(int8(s)) * int64(1+i%40) // far steps, too
			ext, status := r.Packet(uint16(int64(highest)+d), uint32(i), 1, int64(i)*ms, i%7 == 0)
			switch status {
			case Fresh, Restart:
				if ext <= highest || seen[ext] {
					t.Fatalf("step %d: %v %d, highest was %d", i, status, ext, highest)
				}
				highest, seen[ext] = ext, true
			case Late:
				if ext >= highest || seen[ext] {
					t.Fatalf("step %d: late %d, highest %d", i, ext, highest)
				}
				seen[ext] = true
			case Duplicate:
				if !seen[ext] {
					t.Fatalf("step %d: %d was never received", i, ext)
				}
			}
			for _, p := range r.Nacks(int64(i)*ms, 0, nil) {
				for _, seq := range p.PacketList() {
					if ext := highest - uint64(uint16(highest)-seq); seen[ext] || highest-ext > nackRange {
						t.Fatalf("step %d: asks for %d, highest %d, seen %v", i, ext, highest, seen[ext])
					}
				}
			}
		}
		st := r.Stats(0)
		if st.Packets != uint64(len(seen)) {
			t.Fatalf("%d packets, %d accepted", st.Packets, len(seen))
		}
		if rr := r.Report(0); rr.LastSequenceNumber != uint32(highest-1<<16) || rr.TotalLost >= 1<<24 {
			t.Fatalf("report %+v", rr)
		}
	})
}

func TestStatusString(t *testing.T) {
	for s, want := range map[Status]string{Fresh: "fresh", Restart: "restart", 99: "unknown"} {
		if s.String() != want {
			t.Errorf("%d is %q", s, s.String())
		}
	}
}

func TestPacketDoesNotAllocate(t *testing.T) {
	r := New(90000)
	seq := uint16(0)
	n := testing.AllocsPerRun(2000, func() {
		seq += 3
		r.Packet(seq, uint32(seq)*1000, 1200, int64(seq)*ms, false)
		r.Packet(seq-1, uint32(seq)*1000, 1200, int64(seq)*ms, true)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPacket(b *testing.B) {
	b.Run("in order", func(b *testing.B) {
		r := New(90000)
		i := int64(0)
		b.ReportAllocs()
		for b.Loop() {
			r.Packet(uint16(i), uint32(i/10*3000), 1200, i*ms, false)
			i++
		}
	})
	b.Run("every tenth late", func(b *testing.B) {
		r := New(90000)
		i := int64(0)
		b.ReportAllocs()
		for b.Loop() {
			seq := i
			switch i % 10 {
			case 0:
				seq = i + 5
			case 5:
				seq = i - 5
			}
			r.Packet(uint16(seq), uint32(i/10*3000), 1200, i*ms, false)
			i++
		}
	})
}
