package load

import (
	"testing"
	"time"
)

// The judges of the benchmark: what it reports as lost, late or joined.

func TestStreamCountsLoss(t *testing.T) {
	for _, c := range []struct {
		name           string
		seqs           []uint16
		expected, lost uint64
	}{
		{"all there", []uint16{1, 2, 3, 4}, 4, 0},
		{"one gap", []uint16{1, 2, 4, 5}, 5, 1},
		{"over the wrap, with a gap", []uint16{65534, 65535, 1, 2}, 5, 1},
		{"out of order", []uint16{1, 3, 2, 4}, 4, 0},
		{"the sender began anew", []uint16{1, 2, 20000, 20001}, 4, 0},
	} {
		v := &viewer{}
		var s *stream
		for _, seq := range c.seqs {
			s = v.stream(7, videoPT, seq)
			s.count(seq)
		}
		if s.expected() != c.expected || s.expected()-s.received != c.lost {
			t.Errorf("%s: %d expected, %d received; want %d expected, %d lost", c.name, s.expected(), s.received, c.expected, c.lost)
		}
		s.restart()
		if s.expected() != 0 || s.received != 0 {
			t.Errorf("%s: a new window begins with %d expected, %d received", c.name, s.expected(), s.received)
		}
	}
}

func TestKeySearch(t *testing.T) {
	delta, key := encodeFrame(false), encodeFrame(true)
	run := func(skip int, frames ...[][]byte) (at int) {
		var k keySearch
		n := 0
		for ts, f := range frames {
			for i, p := range f {
				if n != skip && k.complete(p, uint16(65530+n), uint32(ts), i == len(f)-1) {
					return ts
				}
				n++
			}
		}
		return -1
	}
	if at := run(-1, delta, key, delta); at != 1 {
		t.Errorf("the key frame is found at frame %d, want 1", at)
	}
	if at := run(-1, delta, delta); at != -1 {
		t.Errorf("frame %d is taken for a key frame", at)
	}
	if at := run(len(delta)+3, delta, key, delta, key); at != 3 {
		t.Errorf("after an incomplete key frame the next is found at frame %d, want 3", at)
	}
	if at := run(len(delta), delta, key, delta); at != -1 {
		t.Errorf("frame %d passes without parameter sets", at)
	}
	if size := keySize / deltaSize; size != keyWeight {
		t.Errorf("a key frame is %d times as large as another, want %d", size, keyWeight)
	}
}

func TestStamp(t *testing.T) {
	want := time.Now()
	for _, p := range encodeFrame(false) {
		putStamp(p, want)
		if got, ok := readStamp(p); !ok || !got.Equal(want) {
			t.Fatalf("read %v, %v; want %v", got, ok, want)
		}
	}
	if _, ok := readStamp(parameterSets()); ok {
		t.Error("parameter sets carry a stamp")
	}
}

func TestPercentile(t *testing.T) {
	v := []time.Duration{40, 10, 30, 20}
	for p, want := range map[float64]time.Duration{0: 10, .5: 20, .51: 30, .99: 40, 1: 40} {
		if got := Percentile(v, p); got != want {
			t.Errorf("percentile %.2f is %d, want %d", p, got, want)
		}
	}
	if got := Percentile(nil, .5); got != 0 {
		t.Errorf("of nothing it is %d", got)
	}
}

func TestParseAnswer(t *testing.T) {
	sdp := "a=ice-ufrag:u\r\na=ice-pwd:p\r\na=setup:passive\r\n" +
		"a=candidate:1 1 tcp 1 127.0.0.1 9 typ host tcptype passive\r\n" +
		"a=candidate:2 1 udp 1 192.0.2.1 5004 typ host\r\na=candidate:3 1 udp 1 127.0.0.1 5004 typ host\r\n"
	a, err := parseAnswer(sdp)
	if err != nil || a.ufrag != "u" || a.pwd != "p" || !a.client || a.addr.String() != "127.0.0.1:5004" {
		t.Errorf("got %+v, %v", a, err)
	}
	if _, err := parseAnswer("a=ice-ufrag:u\r\na=ice-pwd:p\r\na=setup:active\r\n"); err == nil {
		t.Error("an answer without a candidate is taken")
	}
}
