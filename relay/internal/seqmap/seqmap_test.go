package seqmap

import "testing"

// The operations of a table test. want is the output number, or refused.
const refused = ^uint64(0)

type op struct {
	do       byte // m Map, d Drop, i Insert, b InsertBefore, r Reset, v Inverse
	in, n    uint64
	want     uint64
	wantTrue bool
}

func fwd(in, want uint64) op         { return op{do: 'm', in: in, want: want} }
func drop(in uint64, ok bool) op     { return op{do: 'd', in: in, wantTrue: ok} }
func insert(n, want uint64) op       { return op{do: 'i', n: n, want: want} }
func before(in, n, want uint64) op   { return op{do: 'b', in: in, n: n, want: want} }
func reset(in, out uint64) op        { return op{do: 'r', in: in, n: out} }
func inverse(out, want uint64) op    { return op{do: 'v', in: out, want: want} }
func value(v uint64, ok bool) uint64 { return map[bool]uint64{true: v, false: refused}[ok] }

func TestMap(t *testing.T) {
	const wrap = 1 << 16
	tests := []struct {
		name string
		ops  []op
	}{
		{"identity", []op{fwd(wrap-1, wrap-1), fwd(wrap, wrap), fwd(5, 5), inverse(5, 5), inverse(wrap+1, refused)}},
		{"nothing went out yet", []op{inverse(0, refused), inverse(7, refused)}},
		{"drop closes the gap", []op{
			fwd(wrap-2, wrap-2), drop(wrap-1, true), fwd(wrap, wrap-1), fwd(wrap+1, wrap),
			fwd(wrap-2, wrap-2), fwd(wrap-1, refused),
			inverse(wrap-2, wrap-2), inverse(wrap-1, wrap), inverse(wrap, wrap+1), inverse(wrap+1, refused),
		}},
		{"drop the first", []op{drop(10, true), fwd(11, 10), fwd(9, 9), fwd(10, refused), inverse(10, 11)}},
		{"drop of a past number is refused", []op{
			fwd(10, 10), fwd(12, 12), drop(12, false), drop(11, false), fwd(11, 11), fwd(13, 13),
		}},
		{"drop twice is refused", []op{fwd(10, 10), drop(11, true), drop(11, false), fwd(11, refused), fwd(12, 11)}},
		{"run of drops", []op{
			fwd(10, 10), drop(11, true), drop(12, true), drop(13, true), fwd(14, 11),
			fwd(12, refused), fwd(10, 10), inverse(11, 14), inverse(10, 10),
		}},
		{"loss stays a hole", []op{
			fwd(10, 10), fwd(13, 13), drop(14, true), fwd(15, 14), fwd(11, 11), fwd(12, 12), inverse(12, 12),
		}},
		{"drop behind a loss", []op{
			fwd(10, 10), drop(13, true), fwd(14, 13), fwd(11, 11), fwd(12, 12), fwd(13, refused),
			inverse(12, 12), inverse(13, 14),
		}},
		{"insert", []op{
			fwd(10, 10), insert(2, 11), fwd(11, 13), fwd(10, 10),
			inverse(10, 10), inverse(11, refused), inverse(12, refused), inverse(13, 11),
		}},
		{"insert twice", []op{fwd(10, 10), insert(2, 11), insert(1, 13), fwd(11, 14)}},
		{"insert nothing", []op{fwd(10, 10), insert(0, 11), fwd(11, 11)}},
		{"insert before a number behind a loss", []op{
			fwd(10, 10), before(13, 2, 13), fwd(13, 15), fwd(11, 11), fwd(12, 12), inverse(13, refused),
			inverse(14, refused), inverse(15, 13), inverse(12, 12),
		}},
		{"insert before the past is refused", []op{fwd(10, 10), before(10, 1, refused), fwd(11, 11)}},
		{"insert before the first", []op{before(100, 2, 100), fwd(100, 102), fwd(99, 99)}},
		{"insert before, then below it", []op{
			fwd(10, 10), before(13, 1, 13), before(12, 1, refused), drop(12, false), fwd(12, 12), fwd(13, 14),
		}},
		{"insert then drop", []op{
			fwd(10, 10), insert(2, 11), drop(11, true), fwd(12, 13), fwd(11, refused), inverse(11, refused),
		}},
		{"drop then insert", []op{fwd(10, 10), drop(11, true), insert(1, 11), fwd(12, 12), fwd(11, refused)}},
		{"insert then loss", []op{fwd(10, 10), insert(1, 11), fwd(13, 14), fwd(11, 12), fwd(12, 13)}},
		{"reset up", []op{
			fwd(10, 10), reset(5000, 11), fwd(5000, 11), fwd(5002, 13), fwd(5001, 12),
			fwd(4999, refused), fwd(10, refused), inverse(10, refused), inverse(11, 5000),
		}},
		{"reset down", []op{
			fwd(wrap, wrap), reset(7, wrap+1), fwd(7, wrap+1), fwd(8, wrap+2), inverse(wrap, refused), inverse(wrap+2, 8),
		}},
		{"reset down, then drop", []op{fwd(1000, 1000), reset(7, 1001), drop(7, true), insert(1, 1001), fwd(8, 1002)}},
		{"reset, then insert", []op{
			reset(50, 100), insert(2, 100), fwd(50, 102), fwd(51, 103), inverse(100, refused), inverse(102, 50),
		}},
		{"reset, then drop", []op{reset(50, 100), drop(50, true), fwd(51, 100), fwd(50, refused), inverse(100, 51)}},
		{"reset forgets the steps", []op{
			fwd(10, 10), drop(11, true), fwd(12, 11), reset(13, 12), fwd(13, 12), fwd(12, refused), inverse(11, refused),
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var m Map
			for i, o := range tt.ops {
				got, ok := o.want, o.wantTrue
				switch o.do {
				case 'm':
					got = value(m.Map(o.in))
				case 'd':
					ok = m.Drop(o.in)
				case 'i':
					got = m.Insert(o.n)
				case 'b':
					got = value(m.InsertBefore(o.in, o.n))
				case 'r':
					m.Reset(o.in, o.n)
				case 'v':
					got = value(m.Inverse(o.in))
				}
				if got != o.want || ok != o.wantTrue {
					t.Fatalf("op %d (%c %d %d): got %d %v, want %d %v", i, o.do, o.in, o.n, got, ok, o.want, o.wantTrue)
				}
			}
		})
	}
}

func TestMapHistory(t *testing.T) {
	var m Map
	const changes = 200
	want := map[uint64]uint64{}
	next := uint64(1000)
	for in := next; in < 1000+3*changes; in += 3 {
		for _, keep := range []uint64{in, in + 1} {
			out, ok := m.Map(keep)
			if !ok || out != next {
				t.Fatalf("Map(%d) = %d %v, want %d", keep, out, ok, next)
			}
			want[keep] = out
			next++
		}
		if !m.Drop(in + 2) {
			t.Fatalf("Drop(%d) refused", in+2)
		}
	}

	// 64 steps are kept; the last of them is empty so far.
	oldest := uint64(1000 + 3*(changes-(history-1)))
	for in := uint64(1000); in < 1000+3*changes; in++ {
		out, ok := m.Map(in)
		if expect := in >= oldest && (in-1000)%3 != 2; ok != expect || ok && out != want[in] {
			t.Fatalf("Map(%d) = %d %v, want %d %v", in, out, ok, want[in], expect)
		}
		if back, ok := m.Inverse(want[in]); want[in] != 0 && (ok != (in >= oldest) || ok && back != in) {
			t.Fatalf("Inverse(%d) = %d %v, want %d", want[in], back, ok, in)
		}
	}
}

// FuzzMap compares a Map with a plain record of what it said before, under any
// order of operations near the newest number.
func FuzzMap(f *testing.F) {
	f.Add([]byte{0, 1, 0, 1, 1, 1, 0, 1, 0, 250})
	f.Add([]byte{0, 1, 2, 3, 0, 1, 1, 2, 0, 254, 4, 9, 0, 1})
	f.Add([]byte{3, 4, 0, 3, 0, 5, 1, 1, 1, 1, 2, 2, 0, 1, 0, 0, 0, 255})
	f.Fuzz(func(t *testing.T, ops []byte) {
		ops = ops[:min(len(ops), 600)] // the record is searched in full each time
		var m Map
		newest := uint64(1 << 20)
		outs, ins := map[uint64]uint64{}, map[uint64]uint64{}
		dropped := map[uint64]bool{}
		m.Map(newest)
		outs[newest], ins[newest] = newest, newest

		for ; len(ops) >= 2; ops = ops[2:] {
			in, n := newest+uint64(int64(int8(ops[1]))), uint64(ops[1]%8)
			switch ops[0] % 5 {
			case 0:
				checkMap(t, &m, in, outs, ins, dropped)
				newest = max(newest, in)
			case 1:
				if m.Drop(in) {
					if in <= newest {
						t.Fatalf("dropped %d, newest was %d", in, newest)
					}
					dropped[in], newest = true, in
				}
			case 2:
				m.Insert(n)
			case 3:
				m.InsertBefore(in, n)
			case 4:
				var top uint64
				for o := range ins {
					top = max(top, o)
				}
				m.Reset(in, top+300)
				newest, outs, ins, dropped = in, map[uint64]uint64{}, map[uint64]uint64{}, map[uint64]bool{}
				checkMap(t, &m, in, outs, ins, dropped)
				if outs[in] != top+300 {
					t.Fatalf("Reset gave %d", outs[in])
				}
			}
		}
		for out, in := range ins {
			if got, ok := m.Inverse(out); ok && got != in {
				t.Fatalf("Inverse(%d) = %d, want %d", out, got, in)
			}
		}
	})
}

func checkMap(t *testing.T, m *Map, in uint64, outs, ins map[uint64]uint64, dropped map[uint64]bool) {
	t.Helper()
	out, ok := m.Map(in)
	if !ok {
		return
	}
	if dropped[in] {
		t.Fatalf("%d was dropped and mapped", in)
	}
	if was, seen := outs[in]; seen && was != out {
		t.Fatalf("%d was %d and is %d", in, was, out)
	}
	if other, taken := ins[out]; taken && other != in {
		t.Fatalf("%d and %d both became %d", other, in, out)
	}
	for i, o := range outs {
		if (i < in) != (o < out) && i != in {
			t.Fatalf("order: %d->%d but %d->%d", i, o, in, out)
		}
	}
	if got, ok := m.Inverse(out); !ok || got != in {
		t.Fatalf("Inverse(%d) = %d %v, want %d", out, got, ok, in)
	}
	outs[in], ins[out] = out, in
}

func TestMapDoesNotAllocate(t *testing.T) {
	var m Map
	in := uint64(1)
	n := testing.AllocsPerRun(1000, func() {
		in += 2
		m.Map(in - 1)
		m.Drop(in)
		m.Insert(1)
		m.Map(in - 60)
		m.Inverse(in - 60)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMap(b *testing.B) {
	b.Run("newest", func(b *testing.B) {
		var m Map
		m.Reset(1, 1000)
		in := uint64(1)
		b.ReportAllocs()
		for b.Loop() {
			m.Map(in)
			in++
		}
	})
	b.Run("oldest remembered", func(b *testing.B) {
		var m Map
		for in := uint64(0); in < 2*history; in += 2 {
			m.Map(in)
			m.Drop(in + 1)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := m.Map(4); !ok {
				b.Fatal("forgotten")
			}
		}
	})
}
