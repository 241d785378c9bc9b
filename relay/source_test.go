package relay

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

const first = 10_000 * ms // any time but zero

func TestKeyframeRequestsAreMerged(t *testing.T) {
	var asked []int64
	now := first
	s := newSource("s", func() bool { asked = append(asked, now); return true })
	for ; now < first+1200*ms; now += ms { // a storm
		s.requestKeyframe(now)
	}
	if want := []int64{first, first + 500*ms, first + 1000*ms}; !equal(asked, want) {
		t.Errorf("asked at %v, want %v", asked, want)
	}
}

func TestKeyframeRequestIsRepeatedUntilAnswered(t *testing.T) {
	n, now := 0, first
	s := newSource("s", func() bool { n++; return true })
	tick := func(d int64) {
		for end := now + d; now < end; now += 50 * ms {
			s.pursueKeyframe(now)
		}
	}
	tick(2000 * ms)
	if n != 0 {
		t.Fatalf("%d requests without a wish", n)
	}
	s.requestKeyframe(now)
	tick(2000 * ms)
	if n != 4 {
		t.Errorf("%d requests in 2 s, want 4", n)
	}
	s.keyframe(now)
	tick(2000 * ms)
	if n != 4 {
		t.Errorf("%d requests after the answer", n-4)
	}
	s.requestKeyframe(now) // a wish within the interval is kept, not lost
	s.keyframe(now + ms)
	s.requestKeyframe(now + 2*ms)
	tick(600 * ms)
	if n != 6 {
		t.Errorf("%d requests for two wishes, want 2", n-4)
	}
}

// A request that could not be sent (no picture yet) is tried again at once.
func TestKeyframeRequestWaitsForTheSource(t *testing.T) {
	ready, n := false, 0
	s := newSource("s", func() bool {
		if ready {
			n++
		}
		return ready
	})
	s.requestKeyframe(first)
	s.pursueKeyframe(first + 50*ms)
	ready = true
	s.pursueKeyframe(first + 100*ms)
	s.pursueKeyframe(first + 150*ms)
	if n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

// However many ask at the same instant, one request leaves.
func TestKeyframeRequestsFromEverywhere(t *testing.T) {
	var n atomic.Int32
	s := newSource("s", func() bool { n.Add(1); return true })
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 1000 {
				s.requestKeyframe(first)
			}
		})
	}
	wg.Wait()
	if n.Load() != 1 {
		t.Errorf("%d requests", n.Load())
	}
}

// A source obeys when its key frames come soon after the request and ahead of
// its own rhythm.
func TestObedience(t *testing.T) {
	for _, c := range []struct {
		name  string
		delay int64 // from request to key frame; 0: it comes with the rhythm of 2 s
		want  bool
	}{
		{"at once", 60 * ms, true},
		{"within reason", 249 * ms, true},
		{"late", 400 * ms, false},
		{"never", 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSource("s", func() bool { return true })
			now := first
			s.keyframe(now)
			now += 2000 * ms
			s.keyframe(now)
			for range 3 {
				s.requestKeyframe(now + 700*ms)
				if c.delay != 0 {
					s.keyframe(now + 700*ms + c.delay)
				}
				now += 2000 * ms
				s.keyframe(now)
			}
			if s.obeys() != c.want {
				t.Errorf("obeys: %v", s.obeys())
			}
		})
	}
}

// The answer is measured from the request: a wish that has to wait for its turn
// does not make the source disobedient.
func TestObedienceCountsFromTheRequest(t *testing.T) {
	s := newSource("s", func() bool { return true })
	now := first
	s.keyframe(now)
	now += 4000 * ms
	s.keyframe(now)
	for range 3 {
		s.requestKeyframe(now + ms)
		s.keyframe(now + 40*ms)
		s.requestKeyframe(now + 50*ms) // its request leaves at 501 ms
		s.pursueKeyframe(now + 502*ms)
		s.keyframe(now + 540*ms)
		now += 1000 * ms
	}
	if !s.obeys() {
		t.Errorf("obedience is %d", s.obedience.Load())
	}
}

func TestObedienceIsLost(t *testing.T) {
	s := newSource("s", func() bool { return true })
	s.obedience.Store(obedient)
	s.keyframe(first)
	s.requestKeyframe(first + 500*ms)
	s.keyframe(first + 2000*ms)
	if s.obeys() {
		t.Error("a source that ignores a request still obeys")
	}
}

func TestAnnouncedSets(t *testing.T) {
	for fmtp, want := range map[string]int{
		"": 0,
		"packetization-mode=1;sprop-parameter-sets=Z0Lg,aM48gA==": 2,
		"sprop-parameter-sets = Z0Lg":                             0, // no such key
		" sprop-parameter-sets=Z0Lg":                              1,
		"SPROP-Parameter-Sets=Z0Lg":                               1,
		"sprop-parameter-sets=%%%,Z0Lg,":                          1,
		"sprop-vps=QAE=;sprop-sps=QgE=;sprop-pps=RAE=":            3,
	} {
		if got := len(announcedSets(codec.Codec{Name: "H264", FMTP: fmtp})); got != want {
			t.Errorf("%q: %d sets, want %d", fmtp, got, want)
		}
	}
	if announcedSets(codec.Codec{Name: "VP8", FMTP: "sprop-parameter-sets=Z0Lg"}) != nil {
		t.Error("VP8 has parameter sets")
	}
}
