package discipline

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const (
	ms     = time.Millisecond
	second = time.Second
)

func at(d time.Duration) int64 { return int64(time.Hour + d) }

func TestBackoffBounds(t *testing.T) {
	const most = 0.999999
	var b Backoff
	now := at(0)
	for i, want := range []time.Duration{250 * ms, 500 * ms, second, 2 * second, 4 * second, 8 * second, 15 * second, 15 * second, 15 * second} {
		got := b.Next(now, 0, most)
		if got > want || got < want-ms {
			t.Errorf("failure %d: up to %v, want %v", i, got, want)
		}
		now += int64(got) + int64(29*second)
	}
	for range 100 {
		b.Next(now, 0, 0)
	}
	if got := b.Next(now, 0, most); got > BackoffCap {
		t.Errorf("%v", got)
	}
	if got := b.Next(now, 0, 0); got != 0 {
		t.Errorf("the shortest wait is %v", got)
	}
}

func TestBackoffResetAndRetryAfter(t *testing.T) {
	var b Backoff
	for range 10 {
		b.Next(at(0), 0, 0.5)
	}
	if got := b.Next(at(20*second), 0, 0.5); got != 7500*ms {
		t.Errorf("soon after: %v", got)
	}
	// the wait ended at 27.5 s
	if got := b.Next(at(57501*ms), 0, 0.5); got != 125*ms {
		t.Errorf("after 30 s that were good: %v", got)
	}
	b.Next(at(60*second), 0, 0.5)
	b.Reset()
	if got := b.Next(at(61*second), 0, 0.5); got != 125*ms {
		t.Errorf("after Reset: %v", got)
	}
	for _, tt := range []struct{ asked, want time.Duration }{
		{-second, 125 * ms}, {ms, 125 * ms}, {2 * second, 2 * second}, {time.Hour, 10 * time.Minute},
	} {
		var b Backoff
		if got := b.Next(at(0), tt.asked, 0.5); got != tt.want {
			t.Errorf("asked for %v: %v, want %v", tt.asked, got, tt.want)
		}
	}
}

// DR G10: 200 streams that lose a vendor at once come to the next one at its
// rate.
func TestHerd(t *testing.T) {
	for _, tt := range []struct {
		rate  float64
		burst int
	}{{20, 20}, {20, 1}, {100, 50}, {0.5, 2}} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			var b Bucket
			b.Configure(tt.rate, tt.burst)
			rnd := rand.New(rand.NewPCG(3, 4))
			var times []int64
			now := at(0)
			for range 200 {
				now += rnd.Int64N(int64(ms)) // all within 200 ms
				times = append(times, now+int64(b.Take(now)))
			}
			if !slices.IsSorted(times) {
				t.Error("somebody is overtaken")
			}
			step := int64(float64(second) / tt.rate)
			for i, from := range times {
				if n, _ := slices.BinarySearch(times[i:], from+int64(second)); n > tt.burst+int(tt.rate)+1 {
					t.Fatalf("%d within a second", n)
				}
				// behind the burst they come one by one
				if d := int64(0); i > tt.burst+20 {
					if d = from - times[i-1]; d < step-int64(ms) || d > step+int64(ms) {
						t.Fatalf("place %d is %v after the one before", i, time.Duration(d))
					}
				}
			}
			want := time.Duration(float64(200-tt.burst) / tt.rate * float64(second))
			if last := time.Duration(times[199] - at(0)); last > want+second || last < want-second {
				t.Errorf("the last waits for %v, want %v", last, want)
			}
		})
	}
}

func TestBucketRefills(t *testing.T) {
	var b Bucket
	if b.Take(at(0)) != 0 {
		t.Error("no rate, no limit")
	}
	b.Configure(10, 3)
	take := func(d time.Duration) time.Duration { return b.Take(at(d)) }
	for i, want := range []time.Duration{0, 0, 0, 100 * ms, 200 * ms} {
		if got := take(0); got != want {
			t.Errorf("place %d: wait %v, want %v", i, got, want)
		}
	}
	if got := take(350 * ms); got != 0 {
		t.Errorf("one place is free again: %v", got)
	}
	for i, want := range []time.Duration{0, 0, 0, 100 * ms} {
		if got := take(time.Minute); got != want {
			t.Errorf("after a minute, place %d: wait %v, want %v", i, got, want)
		}
	}
	b.Configure(10, 0)
	if take(2*time.Minute) != 0 || take(2*time.Minute) != 100*ms {
		t.Error("a burst of one")
	}
}

func middle() float64 { return 0.5 }

// failures reports failures of the named streams, one each step, and tells after
// how many of them it opened, 0: never.
func failures(b *Breaker, start, step time.Duration, streams ...string) int {
	for i, s := range streams {
		if b.Failure(at(start+time.Duration(i)*step), s) {
			return i + 1
		}
	}
	return 0
}

func TestBreakerOpens(t *testing.T) {
	same := slices.Repeat([]string{"a"}, 1000)
	tests := []struct {
		name    string
		step    time.Duration
		streams []string
		want    int
	}{
		{"three streams", second, []string{"a", "b", "c"}, 3},
		{"three streams, too far apart", 6 * second, []string{"a", "b", "c", "d"}, 0},
		{"one stream for ever", ms, same, 0},
		{"two streams, five in a row", second, []string{"a", "a", "a", "a", "b"}, 5},
		{"two streams in turn", 20 * second, []string{"a", "b", "a", "b", "a"}, 5},
		{"one stream, then another", ms, append(slices.Clone(same), "b"), 1001},
		{"repeated failures are one", second, []string{"a", "a", "b", "b"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b Breaker
			if got := failures(&b, 0, tt.step, tt.streams...); got != tt.want {
				t.Errorf("opened after %d, want %d", got, tt.want)
			}
		})
	}
	t.Run("success between", func(t *testing.T) {
		var b Breaker
		for i := range 100 {
			if failures(&b, time.Duration(i)*second, 0, "a", "b") != 0 {
				t.Fatal("opened")
			}
			b.Success(at(time.Duration(i) * second))
		}
	})
	t.Run("at least two streams", func(t *testing.T) {
		var b Breaker
		b.Configure(1, 0)
		if got := failures(&b, 0, second, "a", "a", "b"); got != 3 {
			t.Errorf("opened after %d", got)
		}
	})
	t.Run("bounded memory", func(t *testing.T) {
		var b Breaker
		b.Configure(1<<30, 0)
		for i := range 10 * maxStreams {
			b.row = 0 // that rule aside
			if opened := b.Failure(at(0), fmt.Sprint(i)); opened != (i%maxStreams == maxStreams-1) {
				t.Fatalf("stream %d: opened %v", i, opened)
			}
			if b.State(at(0)) == Open {
				b.Success(at(0))
			}
		}
	})
}

func open(t *testing.T, b *Breaker, d time.Duration) {
	t.Helper()
	if failures(b, d, 0, "a", "b", "c") != 3 || b.State(at(d)) != Open {
		t.Fatal("is not open")
	}
}

func TestBreakerHalfOpen(t *testing.T) {
	b := Breaker{Random: middle}
	open(t, &b, 0)
	if b.Allow(at(29*second), false) || b.Ready(at(29*second)) {
		t.Error("lets somebody through")
	}
	if !b.Allow(at(29*second), true) {
		t.Error("refuses whom nobody else has")
	}
	if b.Failure(at(29*second), "z") {
		t.Error("is opened twice")
	}
	if s := b.State(at(30 * second)); s != HalfOpen {
		t.Errorf("is %v after 30 s", s)
	}
	if !b.Ready(at(30*second)) || !b.Allow(at(30*second), false) || b.Allow(at(31*second), false) {
		t.Error("half-open is for one")
	}
	if !b.Allow(at(31*second), true) {
		t.Error("refuses whom nobody else has")
	}
	if b.Allow(at(39*second), false) || !b.Allow(at(41*second), false) {
		t.Error("the one that went missing is waited for 10 s")
	}
	b.Success(at(42 * second))
	if b.State(at(42*second)) != Closed || !b.Allow(at(42*second), false) || !b.Allow(at(42*second), false) {
		t.Error("is not closed")
	}
	if failures(&b, 43*second, 0, "a", "b") != 0 {
		t.Error("remembers failures before")
	}
}

func TestBreakerTimes(t *testing.T) {
	b := Breaker{Random: middle}
	now := time.Duration(0)
	open(t, &b, 0)
	for _, want := range []time.Duration{30, 60, 120, 240, 480, 600, 600} {
		want *= second
		if b.State(at(now+want-1)) != Open || !b.Allow(at(now+want), false) {
			t.Fatalf("is not left alone for %v", want)
		}
		now += want
		if !b.Failure(at(now), "a") {
			t.Fatal("a failed try does not open it again")
		}
	}
	// It flaps: closed for a minute, and failing again.
	now += 600 * second
	b.Success(at(now))
	now += 60 * second
	open(t, &b, now)
	if b.State(at(now+599*second)) != Open {
		t.Error("a minute of peace forgives all")
	}
	// Five minutes of peace are more than that.
	now += 600 * second
	b.Success(at(now))
	now += 301 * second
	open(t, &b, now)
	if b.State(at(now+30*second)) != HalfOpen {
		t.Error("peace forgives nothing")
	}
}

func TestBreakerJitter(t *testing.T) {
	lo, hi := time.Hour, time.Duration(0)
	for range 200 {
		var b Breaker
		open(t, &b, 0)
		d := time.Duration(b.until - at(0))
		lo, hi = min(lo, d), max(hi, d)
	}
	if lo < 24*second || hi > 36*second || hi-lo < 8*second {
		t.Errorf("from %v to %v, want 30s +- 20%%", lo, hi)
	}
}

// A vendor that dies each 5 s under 50 streams is asked seldom.
func TestBreakerFlappingVendor(t *testing.T) {
	b := Breaker{Random: middle}
	failed := 0
	for d := time.Duration(0); d < 10*time.Minute; d += 100 * ms {
		works := d%(10*second) < 5*second
		for s := range 50 {
			if !b.Allow(at(d), false) {
				continue
			}
			if works {
				b.Success(at(d))
				break // the others have theirs from before
			}
			failed++
			b.Failure(at(d), fmt.Sprint(s))
		}
	}
	// 30 + 60 + 120 + 240 + 480 s: each time three find out, or one
	if failed < 3 || failed > 15 {
		t.Errorf("%d tries failed", failed)
	}
}

func TestHealth(t *testing.T) {
	var h Health
	for i, step := range []struct{ ok, healthy, changed bool }{
		{true, true, false}, {false, true, false}, {true, true, false}, {false, true, false},
		{false, false, true}, {false, false, false}, {true, false, false}, {true, false, false},
		{false, false, false}, {true, false, false}, {true, false, false}, {true, true, true},
	} {
		healthy, changed := h.Note(step.ok)
		if healthy != step.healthy || changed != step.changed || h.Healthy() != healthy {
			t.Errorf("check %d: healthy %v, changed %v", i, healthy, changed)
		}
	}
	h.Configure(1, 1)
	if healthy, _ := h.Note(false); healthy {
		t.Error("one failure is enough")
	}
}

func TestNoAllocs(t *testing.T) {
	var b Breaker
	var q Bucket
	q.Configure(20, 20)
	now := at(0)
	if n := testing.AllocsPerRun(1000, func() {
		now += int64(second)
		b.Allow(now, false)
		b.Failure(now, "a")
		q.Take(now)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
