package relay

import (
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
)

func TestExtrapolate(t *testing.T) {
	for _, c := range []struct {
		ts   uint32
		at   int64
		now  int64
		rate uint32
		want uint32
	}{
		{0, 0, 0, 90000, 0},
		{1000, first, first + 1000*ms, 90000, 91000},
		{1000, first, first - 1000*ms, 90000, ^uint32(0) - 88999},
		{^uint32(0), first, first + 1000*ms, 48000, 47999},
		{5, first, first + 20*ms, 8000, 165},
		{0, 0, int64(10 * time.Hour), 90000, uint32(36000 * 90000 % (1 << 32))},
	} {
		if got := (reference{ts: c.ts, at: c.at}).extrapolate(c.now, c.rate); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// The transit time follows the smallest seen, forgets a peak, rises slowly with
// a drifting clock, and starts over after a jump.
func TestTransit(t *testing.T) {
	var c sourceClock
	for _, s := range []struct{ in, want int64 }{
		{100 * ms, 100 * ms}, {90 * ms, 90 * ms}, {-40 * ms, -40 * ms},
	} {
		if got := c.observe(s.in); got != s.want {
			t.Errorf("observe(%d) is %d, want %d", s.in, got, s.want)
		}
	}
	if got := c.observe(1000 * ms); got > -39*ms {
		t.Errorf("one late packet moved the estimate to %d", got)
	}
	for range 20 * leak {
		c.observe(60 * ms)
	}
	if c.transit < 55*ms || c.transit > 60*ms {
		t.Errorf("the estimate does not follow: %d", c.transit)
	}
	if got := c.observe(60_000 * ms); got != 60_000*ms {
		t.Errorf("a jump of a minute: %d", got)
	}
}

func TestByArrival(t *testing.T) {
	c := trackClock{rate: 90000}
	ts, at := ^uint32(0)-9000, first // wraps soon
	base := c.byArrival(ts, at)
	for i := range int64(100) {
		ts, at = ts+3600, at+40*ms
		jitter := i % 7 * 3 * ms
		if got := c.byArrival(ts, at+jitter) - base; got < (i+1)*40*ms || got > (i+1)*40*ms+2*ms {
			t.Fatalf("frame %d is at %d", i, got)
		}
	}
	old := c.byArrival(ts-36000, at+5*ms) // resent
	if d := c.byArrival(ts, at+6*ms) - old; d < 399*ms || d > 401*ms {
		t.Errorf("a resent packet is %d before the newest", d)
	}
}

// With sender reports of the source, sound and picture that were captured at
// one time belong to one relay time, however late either arrives.
func TestReportsKeepLipSync(t *testing.T) {
	s := newStage(t)
	a := s.actor("a", codecVP8, codecOpus)
	a.ts[codec.Audio], a.ts[codec.Video] = 1<<30, 77
	s.g.want(a.src, CauseReplace)
	const ntp = 3_900_000_000 << 32
	s.g.report(a.track[codec.Audio], ntp, a.ts[codec.Audio])
	s.g.report(a.track[codec.Video], ntp, a.ts[codec.Video])
	var audio, video []uint32 // program timestamps of what was captured together
	for i := range 50 {
		a.speak()
		s.now += audioTime
		a.speak()
		s.now += 120*ms - audioTime // the picture takes longer
		a.frame(i == 0, 1)
		s.now -= 120 * ms
	}
	for _, p := range s.shows(codec.Audio) {
		audio = append(audio, p.ts)
	}
	for _, p := range s.shows(codec.Video) {
		video = append(video, p.ts)
	}
	for _, d := range []int64{0, 500 * ms, 5000 * ms} {
		at, vt := s.g.tracks[codec.Audio].timestampAt(s.now+d), s.g.tracks[codec.Video].timestampAt(s.now+d)
		sinceAudio := float64(int32(at-audio[0])) / 48000
		sinceVideo := float64(int32(vt-video[0])) / 90000
		if skew := sinceAudio - sinceVideo; skew < -0.002 || skew > 0.002 {
			t.Errorf("after %d: reports are %.4f s apart", d, skew)
		}
	}
}

func TestNTPTime(t *testing.T) {
	now := leg.Now()
	got, want := ntpTime(now), time.Now()
	sec := int64(got>>32) + ntpEpoch
	if d := time.Unix(sec, int64((got&0xffffffff)*1e9>>32)).Sub(want); d < -time.Second || d > time.Second {
		t.Errorf("off by %s", d)
	}
	if d := ntpTime(now+1500*ms) - got; d>>16 != 3<<15 && d>>16 != 3<<15-1 {
		t.Errorf("1.5 s are %#x", d)
	}
}
