package ring

import (
	"bytes"
	"encoding/binary"
	"sync"
	"testing"
)

// fill appends packets with the sequence numbers from first on; each payload
// tells its number.
func fill(t testing.TB, r *Ring, first uint64, n int) {
	t.Helper()
	for i := range uint64(n) {
		if !r.Append(Meta{Seq: first + i, Arrival: int64(i)}, binary.BigEndian.AppendUint64(nil, first+i)) {
			t.Fatalf("packet %d was not taken", first+i)
		}
	}
}

func seqs(b *Batch) (list []uint64) {
	for i := range b.Packets() {
		list = append(list, b.Packets()[i].Seq)
	}
	return list
}

func TestSizeIsRoundedUp(t *testing.T) {
	for _, c := range []struct{ ask, want int }{{0, 32}, {1, 32}, {32, 32}, {33, 64}, {256, 256}, {257, 512}} {
		if got := int(New(c.ask).size); got != c.want {
			t.Errorf("New(%d) has %d slots, want %d", c.ask, got, c.want)
		}
	}
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name        string
		written     int
		from, limit uint64
		first       uint64 // arrival index of the first packet read
		n           int
		missed      bool
	}{
		{"nothing written", 0, 0, 100, 0, 0, false},
		{"one", 1, 0, 100, 0, 1, false},
		{"from the middle", 10, 4, 100, 4, 6, false},
		{"up to the limit", 10, 4, 7, 4, 3, false},
		{"limit behind the cursor", 10, 7, 4, 7, 0, false},
		{"at the head", 10, 10, 100, 10, 0, false},
		{"a batch at a time", 30, 3, 100, 3, BatchSize, false},
		{"the whole ring", 32, 0, 100, 0, BatchSize, false},
		{"the oldest is just gone", 33, 0, 100, 1, BatchSize, true},
		{"wrapped, still there", 40, 8, 100, 8, BatchSize, false},
		{"wrapped over the end", 40, 30, 100, 30, 10, false},
		{"far behind", 500, 3, 1000, 468, BatchSize, true},
		{"far behind and limited below what is left", 500, 3, 100, 468, 0, true},
	} {
		r, b := New(32), NewBatch()
		fill(t, r, 1000, c.written)
		next, missed := r.Read(c.from, c.limit, b)
		if missed != c.missed || len(b.Packets()) != c.n || next != c.first+uint64(c.n) {
			t.Errorf("%s: next %d, %d packets, missed %v", c.name, next, len(b.Packets()), missed)
		}
		if b.Full() != (c.n == BatchSize) {
			t.Errorf("%s: full is %v", c.name, b.Full())
		}
		for i, seq := range seqs(b) {
			want := 1000 + c.first + uint64(i)
			if got := binary.BigEndian.Uint64(b.Packets()[i].Payload()); seq != want || got != want {
				t.Errorf("%s: packet %d has number %d and payload %d, want %d", c.name, i, seq, got, want)
			}
		}
	}
}

func TestGet(t *testing.T) {
	r, b := New(32), NewBatch()
	if r.Get(0, b) {
		t.Error("an empty ring gave packet 0")
	}
	fill(t, r, 100, 10)
	fill(t, r, 120, 10) // 110 to 119 were lost ...
	fill(t, r, 115, 1)  // ... but one came late
	for seq, want := range map[uint64]bool{99: false, 100: true, 109: true, 110: false, 115: true, 120: true, 129: true, 130: false, 100 + 32: false} {
		if got := r.Get(seq, b); got != want {
			t.Errorf("Get(%d) is %v", seq, got)
		}
		if want && (b.Packets()[0].Seq != seq || binary.BigEndian.Uint64(b.Packets()[0].Payload()) != seq) {
			t.Errorf("Get(%d) gave packet %d", seq, b.Packets()[0].Seq)
		}
	}
	fill(t, r, 1000, 32)
	for seq := uint64(100); seq < 130; seq++ {
		if r.Get(seq, b) {
			t.Errorf("packet %d is there after it was overwritten", seq)
		}
	}
	fill(t, r, 1032, 16) // 1000 to 1015 give way
	if r.Get(1015, b) || !r.Get(1016, b) {
		t.Error("the border between overwritten and held is wrong")
	}
}

func TestKeyframe(t *testing.T) {
	r := New(32)
	if _, ok := r.Keyframe(); ok {
		t.Error("an empty ring has a key frame")
	}
	fill(t, r, 0, 5)
	r.Append(Meta{Seq: 5, Flags: Keyframe}, []byte{1})
	if at, ok := r.Keyframe(); !ok || at != 5 {
		t.Errorf("key frame at %d, %v", at, ok)
	}
	fill(t, r, 6, 31)
	if _, ok := r.Keyframe(); !ok {
		t.Error("the key frame is gone while all behind it is held")
	}
	fill(t, r, 37, 1)
	if _, ok := r.Keyframe(); ok {
		t.Error("the key frame is there after it was overwritten")
	}
	r.Append(Meta{Seq: 38, Flags: Keyframe}, []byte{1})
	r.Forget()
	if _, ok := r.Keyframe(); ok {
		t.Error("the key frame is there after Forget")
	}
	if r.Next() != 39 {
		t.Errorf("Forget moved the head to %d", r.Next())
	}
}

func TestOversizeIsRefused(t *testing.T) {
	r, b := New(32), NewBatch()
	if r.Append(Meta{}, make([]byte, MaxPayload+1)) || r.Next() != 0 {
		t.Error("a payload beyond the slot was taken")
	}
	full := bytes.Repeat([]byte{7}, MaxPayload)
	if !r.Append(Meta{Seq: 9}, full) || !r.Append(Meta{Seq: 10}, nil) {
		t.Fatal("the largest or the empty payload was refused")
	}
	r.Read(0, 2, b)
	if !bytes.Equal(b.Packets()[0].Payload(), full) || len(b.Packets()[1].Payload()) != 0 {
		t.Error("payloads changed")
	}
}

func TestBatchIsACopy(t *testing.T) {
	r, b := New(32), NewBatch()
	fill(t, r, 0, 1)
	r.Read(0, 1, b)
	fill(t, r, 500, 64)
	if got := binary.BigEndian.Uint64(b.Packets()[0].Payload()); got != 0 {
		t.Errorf("the batch changed with the ring: %d", got)
	}
}

func TestRetransmission(t *testing.T) {
	r, b := New(32), NewBatch()
	r.Append(Meta{Seq: 1}, []byte("payload"))
	r.Get(1, b)
	if got := b.Packets()[0].Retransmission(0xABCD); string(got) != "\xAB\xCDpayload" {
		t.Errorf("%q", got)
	}
	if got := b.Packets()[0].Payload(); string(got) != "payload" {
		t.Errorf("the payload became %q", got)
	}
}

// Runs of packets get one length each; only the last of a run may be shorter.
func TestLevel(t *testing.T) {
	for _, c := range []struct {
		name       string
		sizes, pad []int
	}{
		{"nothing", nil, nil},
		{"one", []int{100}, []int{0}},
		{"equal", []int{100, 100, 100}, []int{0, 0, 0}},
		{"a frame and its rest", []int{1200, 1200, 40}, []int{0, 0, 0}},
		{"off by one", []int{1199, 1200, 1199, 1200}, []int{1, 0, 1, 0}},
		{"the last may be shorter", []int{1200, 1199}, []int{0, 0}},
		{"at the bound", []int{96, 100, 100}, []int{4, 0, 0}},
		{"beyond the bound", []int{95, 100, 100}, []int{0, 0, 0}},
		{"two frames", []int{1199, 1200, 300, 900, 901, 20}, []int{1, 0, 0, 1, 0, 0}},
		{"growing", []int{10, 100, 1000}, []int{0, 0, 0}},
		{"drifting", []int{100, 103, 106, 109}, []int{3, 0, 3, 0}},
		{"empty ones", []int{0, 0, 3}, []int{3, 3, 0}},
	} {
		r, b := New(32), NewBatch()
		for i, n := range c.sizes {
			r.Append(Meta{Seq: uint64(i)}, bytes.Repeat([]byte{0xAA}, n))
		}
		r.Read(0, 100, b)
		b.Level()
		for i := range b.Packets() {
			p := &b.Packets()[i]
			if p.Pad() != c.pad[i] {
				t.Errorf("%s: packet %d padded by %d, want %d", c.name, i, p.Pad(), c.pad[i])
			}
			if len(p.Payload()) != c.sizes[i] || len(p.Padded()) != c.sizes[i]+p.Pad() {
				t.Errorf("%s: packet %d has lengths %d and %d", c.name, i, len(p.Payload()), len(p.Padded()))
			}
			if n := len(p.Padded()); p.Pad() > 0 && int(p.Padded()[n-1]) != p.Pad() {
				t.Errorf("%s: packet %d ends with %d, not with its padding length", c.name, i, p.Padded()[n-1])
			}
		}
	}
}

// What a reader is given is never a mixture of two packets, however fast the
// writer laps it.
func TestConcurrentReaders(t *testing.T) {
	r := New(64)
	const last = 20000
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			b, at, seen := NewBatch(), uint64(0), uint64(0)
			for seen < last-1 {
				at, _ = r.Read(at, r.Next(), b)
				for i := range b.Packets() {
					p := &b.Packets()[i]
					if got := binary.BigEndian.Uint64(p.Payload()); got != p.Seq || p.Seq < seen {
						t.Errorf("packet %d with payload %d behind %d", p.Seq, got, seen)
						return
					}
					seen = p.Seq
				}
				if r.Get(seen, b) && b.Packets()[0].Seq != seen {
					t.Errorf("Get(%d) gave %d", seen, b.Packets()[0].Seq)
					return
				}
			}
		})
	}
	fill(t, r, 0, last)
	wg.Wait()
}

func TestNoAllocation(t *testing.T) {
	r, b, pay, seq := New(256), NewBatch(), make([]byte, 1200), uint64(0)
	fill(t, r, 0, 256) // memory comes with first use
	at := r.Next()
	if n := testing.AllocsPerRun(1000, func() {
		r.Append(Meta{Seq: seq}, pay)
		at, _ = r.Read(at, r.Next(), b)
		b.Level()
		r.Get(seq, b)
		seq++
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

func BenchmarkAppendAndRead(b *testing.B) {
	r, batch, pay := New(2048), NewBatch(), make([]byte, 1200)
	fill(b, r, 0, 2048)
	at, seq := r.Next(), uint64(2048)
	b.SetBytes(1200)
	b.ReportAllocs()
	for b.Loop() {
		r.Append(Meta{Seq: seq}, pay)
		if seq++; seq%BatchSize == 0 {
			at, _ = r.Read(at, r.Next(), batch)
			batch.Level()
		}
	}
}
