package seqmap

import "testing"

func TestUnwrapper(t *testing.T) {
	const base = 1 << 16
	tests := []struct {
		name string
		in   []uint16
		want []uint64
	}{
		{"first", []uint16{7}, []uint64{base + 7}},
		{"older than the first", []uint16{0, 65535, 32769}, []uint64{base, base - 1, base - 32767}},
		{"oldest possible", []uint16{0, 32768}, []uint64{base, base - 32768}},
		{"wrap", []uint16{65534, 65535, 0, 1}, []uint64{base + 65534, base + 65535, 2 * base, 2*base + 1}},
		{"reorder over the wrap", []uint16{65534, 1, 65535, 0, 2},
			[]uint64{base + 65534, 2*base + 1, base + 65535, 2 * base, 2*base + 2}},
		{"largest jump", []uint16{10, 10 + 32767}, []uint64{base + 10, base + 10 + 32767}},
		{"repeated", []uint16{5, 5, 5}, []uint64{base + 5, base + 5, base + 5}},
		{"two wraps", []uint16{30000, 60000, 20000, 50000, 10000},
			[]uint64{base + 30000, base + 60000, 2*base + 20000, 2*base + 50000, 3*base + 10000}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var u Unwrapper
			for i, v := range tt.in {
				if p := u.Peek(v); p != tt.want[i] {
					t.Errorf("Peek(%d) = %d, want %d", v, p, tt.want[i])
				}
				if got := u.Unwrap(v); got != tt.want[i] {
					t.Errorf("Unwrap(%d) = %d, want %d", v, got, tt.want[i])
				}
			}
		})
	}
}

func TestUnwrapperPeekRemembersNothing(t *testing.T) {
	var u Unwrapper
	u.Peek(9)
	if u != (Unwrapper{}) {
		t.Error("Peek started it")
	}
	u.Unwrap(65535)
	before := u
	if u.Peek(3); u != before {
		t.Error("Peek moved it")
	}
}

func TestTimestampUnwrapper(t *testing.T) {
	const base = 1 << 32
	var u TimestampUnwrapper
	for _, tt := range []struct {
		in   uint32
		want uint64
	}{
		{0xffffff00, base + 0xffffff00},
		{0xfffff000, base + 0xfffff000},
		{0x00000100, 2*base + 0x100},
		{0xffffffff, base + 0xffffffff},
		{0x80000000, 2*base + 0x80000000},
		{0x00000000, 2 * base}, // exactly 2^31 apart counts as the past
		{0x00000001, 2*base + 1},
		{0xffffffff, 2*base + 0xffffffff},
		{0x00000000, 3 * base},
	} {
		if p, got := u.Peek(tt.in), u.Unwrap(tt.in); got != tt.want || p != got {
			t.Errorf("%#x: %#x, peeked %#x, want %#x", tt.in, got, p, tt.want)
		}
	}

	var young TimestampUnwrapper
	young.Unwrap(0)
	if got := young.Unwrap(1 << 31); got != base-1<<31 {
		t.Errorf("older than the first: %#x", got)
	}
}

func FuzzUnwrapper(f *testing.F) {
	f.Add(uint16(65535), int16(1), int16(-2))
	f.Add(uint16(0), int16(-32768), int16(32767))
	f.Fuzz(func(t *testing.T, first uint16, a, b int16) {
		var u Unwrapper
		newest := u.Unwrap(first)
		for _, d := range []int16{a, b} {
			got := u.Unwrap(uint16(newest) + uint16(d))
			if got != newest+uint64(int64(d)) || got > 1<<20 {
				t.Fatalf("%d%+d became %d", newest, d, got)
			}
			newest = max(newest, got)
		}
	})
}
