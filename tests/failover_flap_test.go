package tests

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
	"github.com/talwtn/caddy-wtn/tests/internal/vendorcmd/behaviour"
)

// A vendor that comes and goes is gone back to once in the fail-back delay at
// most, and viewers play on all the time.
func TestFlappingVendor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		half     time.Duration // away, and then as long there
		delay    time.Duration
		failback bool // it is there for long enough
		away     func(*harness.Vendor)
		back     func(*harness.Vendor)
	}{
		{"killed", 2500 * time.Millisecond, 30 * time.Second, false, (*harness.Vendor).Kill, (*harness.Vendor).Restart},
		{"stopped", 2500 * time.Millisecond, 4 * time.Second, false, (*harness.Vendor).Stop, (*harness.Vendor).Cont},
		{"stopped, soon trusted", 2500 * time.Millisecond, 2 * time.Second, true, (*harness.Vendor).Stop, (*harness.Vendor).Cont},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDisaster(t, plan{
				failover:  fmt.Sprintf("failback_delay %s", c.delay),
				publisher: harness.PublisherConfig{Bitrate: 1_000_000, KeyframeEvery: time.Second},
			})
			v, m := d.watch()
			d.awaitProgram(2, 20*time.Second)
			a := d.vendors["a"]
			stays := func() {
				harness.Stays(t, c.half, "the viewer plays", func() bool { return !v.HasEnded() })
			}
			for k := range runs(12, 4) {
				at := time.Now()
				c.away(a)
				stays()
				requireRecovery(t, fmt.Sprintf("flap %d", k), m.Interruption(at))
				c.back(a)
				stays()
			}
			list := d.edge.Takeovers(d.stream) // it may be trusted again from here on
			d.awaitProgram(2, 60*time.Second)
			v.Record(t, time.Second)
			requireSameTracks(t, v)
			requireCalm(t, list, c.delay, c.failback)
			m.Window = 300 * time.Millisecond // no longer, the next flap may follow
			for _, x := range list {
				if x.Cause == "failback" {
					requireUnseen(t, m.Interruption(x.At.Add(-m.Window/2)))
				}
			}
		})
	}
}

// requireUnseen: going back to a vendor that is well is no interruption.
func requireUnseen(t *testing.T, i harness.Interruption) {
	t.Helper()
	t.Logf("going back: %s", i)
	if i.VideoExcess() > 150*time.Millisecond || i.AudioExcess() > 150*time.Millisecond {
		t.Errorf("going back was seen: %s", i)
	}
}

// requireCalm: it never went back twice within the delay, and at least once or
// not at all.
func requireCalm(t *testing.T, list []harness.Takeover, delay time.Duration, wanted bool) {
	t.Helper()
	var last time.Time
	n := 0
	for _, x := range list {
		t.Logf("%s: %s to %s because of %s, gap %s", x.At.Format("05.000"), x.From, x.To, x.Cause, x.Gap)
		if x.Cause != "failback" {
			continue
		}
		if !last.IsZero() && x.At.Sub(last) < delay {
			t.Errorf("went back %s after it did before, with a delay of %s", x.At.Sub(last), delay)
		}
		last = x.At
		n++
	}
	if n > 0 != wanted {
		t.Errorf("went back %d times, with a delay of %s", n, delay)
	}
}

// A vendor that is there and does not do what it is for: the stream comes from
// the other one, as soon as that is known.
func TestBrownOut(t *testing.T) {
	t.Parallel()
	session := func(s harness.SessionFault) harness.Behaviour { return harness.Behaviour{Session: s} }
	refuse := func(h harness.HTTPFault) harness.Behaviour {
		h.Role = behaviour.Play
		return harness.Behaviour{HTTP: h}
	}
	for _, c := range []struct {
		name    string
		fault   harness.Behaviour // of a
		standby string
		within  time.Duration // to the first picture
	}{
		{"hot, sends nothing", session(harness.SessionFault{Silent: true}), "hot", 3 * time.Second},
		{"cold, sends nothing", session(harness.SessionFault{Silent: true}), "cold", 5 * time.Second},
		{"cold, never connects", session(harness.SessionFault{NeverConnect: true}), "cold", 6 * time.Second},
		{"cold, hangs", refuse(harness.HTTPFault{Hang: true}), "cold", 6 * time.Second},
		{"cold, refuses", refuse(harness.HTTPFault{Status: http.StatusServiceUnavailable}), "cold", 3 * time.Second},
		{"cold, garbage", refuse(harness.HTTPFault{GarbageAnswer: true}), "cold", 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDisaster(t, plan{standby: c.standby, publisher: harness.PublisherConfig{Bitrate: 1_000_000}, absent: true})
			d.vendors["a"].Set(c.fault)
			d.publisher = d.origin.Publish(t, d.stream, harness.PublisherConfig{Bitrate: 1_000_000})
			d.vendors["b"].AwaitStream(d.stream)
			v := d.edge.View(t, d.stream, harness.ViewerConfig{})
			v.AwaitVideo(t, 1, 20*time.Second)
			if first := v.Video()[0].Arrival.Sub(v.Started); first > c.within {
				t.Errorf("the first picture came after %s, want at most %s", first, c.within)
			} else {
				t.Logf("the first picture came after %s", first)
			}
			v.Record(t, 3*time.Second)
			if now := d.awaitProgram(1, 10*time.Second); now != "b" {
				t.Errorf("the program is that of %q", now)
			}
			requireSameTracks(t, v)
		})
	}
}

// Vendors pack media anew and number it without gaps, each in its own way: going
// from one to the other is as good as if they did not.
func TestFailoverAcrossPackings(t *testing.T) {
	t.Parallel()
	d := newDisaster(t, plan{failover: "failback manual", publisher: harness.PublisherConfig{KeyframeEvery: time.Second}})
	d.vendors["a"].Set(harness.Behaviour{Media: harness.MediaFault{Repacketise: 500}})
	d.vendors["b"].Set(harness.Behaviour{Media: harness.MediaFault{Repacketise: 1150, CloseGaps: true, Delay: 60}})
	v, m := d.watch()
	var f figures
	for k := range 2 {
		d.awaitProgram(2, 30*time.Second)
		atAnyMoment(t, v)
		dead := d.awaitProgram(2, 30*time.Second)
		at := time.Now()
		d.vendors[dead].Stop()
		m.Await(t, at, 10*time.Second)
		i := m.Interruption(at)
		f.add(m, i)
		requireRecovery(t, fmt.Sprintf("run %d, %s", k, dead), i)
		d.vendors[dead].Cont()
	}
	requireSameTracks(t, v)
	f.require(t, "hot, vendor stopped, packed anew", 500*time.Millisecond)
}

// A vendor with many streams dies. The other one gets no more requests than it
// is to be given, and all streams come back.
func TestHerd(t *testing.T) {
	for _, c := range []struct{ rate, streams int }{
		{20, runs(200, 60)},
		{100, runs(200, 60)},
	} {
		t.Run(fmt.Sprintf("%d streams, %d sessions a second", c.streams, c.rate), func(t *testing.T) { herd(t, c.streams, c.rate) })
	}
}

func herd(t *testing.T, streams, rate int) {
	a, b := harness.StartVendor(t, harness.VendorOptions{}), harness.StartVendor(t, harness.VendorOptions{})
	for _, v := range []*harness.Vendor{a, b} {
		v.Set(harness.Behaviour{Synthetic: true})
	}
	edge := harness.Start(t, harness.Config{
		App: fmt.Sprintf("upstream a {\nvendor whip\nwhep %s\nrate 1000\nburst 1000\n}\nupstream b {\nvendor whip\nwhep %s\nrate %d\nburst %d\n}",
			a.WHEP("{stream}"), b.WHEP("{stream}"), rate, rate),
		Handler: "pull cold a b {\nlinger 1s\n}",
	})
	t.Cleanup(func() {
		a.Kill()
		b.Kill()
	})
	viewers := make([]*harness.Viewer, streams)
	var wg sync.WaitGroup
	turn := make(chan struct{}, 4)
	for k := range viewers {
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			var err error
			if viewers[k], err = edge.TryView(t, fmt.Sprintf("s%d", k), harness.ViewerConfig{NoAudio: true}); err != nil {
				t.Errorf("stream %d: %v", k, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for k, v := range viewers {
		harness.Eventually(t, 30*time.Second, fmt.Sprintf("stream %d plays", k), func() bool { return len(v.Video()) >= 10 })
	}
	if n := len(b.State().Posts(behaviour.Play)); n != 0 {
		t.Errorf("%d requests at the standby before", n)
	}
	at := time.Now()
	a.Kill()
	var resumed harness.Durations
	for k, v := range viewers {
		var got time.Duration
		if !harness.Poll(60*time.Second, func() bool { got = firstAfter(v, at); return got > 0 }) {
			t.Errorf("stream %d has not come back", k)
		}
		resumed = append(resumed, got)
	}
	posts := b.State().Posts(behaviour.Play)
	most := mostWithin(posts, time.Second)
	t.Logf("%d streams lost their vendor; at the other one %d requests, at most %d in a second; back after p50 %s, p99 %s, worst %s",
		streams, len(posts), most, resumed.Quantile(0.5), resumed.Quantile(0.99), resumed.Quantile(1))
	// A full bucket, and what flows in. They are counted where they arrive: some
	// may have been held up on the way and come closer to those behind.
	if limit := 2*rate + rate/10; most > limit {
		t.Errorf("%d requests within a second, want at most %d", most, limit)
	}
	if len(posts) != streams {
		t.Errorf("%d requests for %d streams", len(posts), streams)
	}
	// The patience with the vendor that died, and what the bucket makes them wait.
	if limit := 3*time.Second + time.Second*time.Duration(max(0, streams-rate))/time.Duration(rate); resumed.Quantile(0.99) > limit {
		t.Errorf("p99 %s, want at most %s", resumed.Quantile(0.99), limit)
	}
	wg = sync.WaitGroup{}
	for _, v := range viewers {
		wg.Go(v.Close)
	}
	wg.Wait()
}

// firstAfter is when, after a failure, the first packet came that is no last
// word of what failed; 0: none has.
func firstAfter(v *harness.Viewer, failure time.Time) time.Duration {
	pkts := v.Video()
	for i := len(pkts) - 1; i >= 0; i-- {
		if pkts[i].Arrival.Before(failure.Add(100 * time.Millisecond)) {
			if i+1 < len(pkts) {
				return pkts[i+1].Arrival.Sub(failure)
			}
			return 0
		}
	}
	return 0
}

// mostWithin is the largest number of requests within any such time.
func mostWithin(list []harness.VendorRequest, d time.Duration) (most int) {
	from := 0
	for to := range list {
		for list[to].At.Sub(list[from].At) >= d {
			from++
		}
		most = max(most, to-from+1)
	}
	return most
}
