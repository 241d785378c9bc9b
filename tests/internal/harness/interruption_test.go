package harness

import (
	"slices"
	"testing"
	"time"
)

func TestGapMeterMeasuresAPause(t *testing.T) {
	for _, loses := range []bool{false, true} {
		v := StartVendor(t, VendorOptions{})
		p := v.Publish(t, "a", PublisherConfig{KeyframeEvery: time.Second})
		v.AwaitStream("a")
		w := v.View(t, "a", ViewerConfig{})
		m := Measure(w, p)
		m.Window = 2500 * time.Millisecond
		w.AwaitVideo(t, 300, 10*time.Second) // key frames come with each second
		s := v.Set(Behaviour{Media: MediaFault{Pause: 300, PauseLoses: loses}})
		if d := s.PausedUntil.Sub(s.PausedAt); d != 300*time.Millisecond {
			t.Fatalf("the pause is %s", d)
		}
		m.Await(t, s.PausedAt, 15*time.Second)
		got := m.Interruption(s.PausedAt)
		t.Logf("loses %t: %s", loses, got)
		requirePause(t, loses, got)
	}
}

func requirePause(t *testing.T, loses bool, got Interruption) {
	t.Helper()
	// One interval before the pause, and what a busy host adds.
	const slack = 200 * time.Millisecond
	frame := time.Second / 30
	if n := got.Audio.Length(); n < 300*time.Millisecond || n > 300*time.Millisecond+audioFrame+slack {
		t.Errorf("audio gap %s", got.Audio)
	}
	if n := got.Video.Length(); n < 300*time.Millisecond || !loses && n > 300*time.Millisecond+frame+slack {
		t.Errorf("video gap %s", got.Video)
	}
	if n := got.VideoExcess(); n < 300*time.Millisecond-frame-slack {
		t.Errorf("the vendor added %s; the publisher's own gaps: %+v", n, got.Publishers)
	}
	if got.Requests != 0 || got.SSRCChanges != 0 || got.Switches != 0 || got.Video.Open || got.Audio.Open {
		t.Errorf("%s", got)
	}
	if !loses {
		if got.FramesLost != 0 || got.AudioLost != 0 || len(got.Violations) != 0 {
			t.Errorf("nothing was lost: %s: %v", got, got.Violations)
		}
		return
	}
	// 9 or 10 frames fall into the pause; the rest up to the next key frame,
	// which comes within a second, cannot be decoded.
	if got.FramesLost < 8 || got.FramesLost > 45 || got.AudioLost < 13 || got.AudioLost > 17 {
		t.Errorf("lost %d frames and %d packets of audio", got.FramesLost, got.AudioLost)
	}
	if !slices.ContainsFunc(got.Violations, func(v Violation) bool { return v.Fault == FaultGap }) {
		t.Errorf("the lost packets left no gap: %v", got.Violations)
	}
}

// Requests of the viewer in the window are counted.
func TestGapMeterCountsRequests(t *testing.T) {
	v := StartVendor(t, VendorOptions{})
	v.Publish(t, "a", PublisherConfig{})
	v.AwaitStream("a")
	w := v.View(t, "a", ViewerConfig{})
	m := Measure(w)
	event := time.Now()
	w.Delete(t)
	if got := m.Interruption(event).Requests; got != 1 {
		t.Errorf("%d requests", got)
	}
	if got := m.Interruption(time.Now()).Requests; got != 0 {
		t.Errorf("%d requests after the last one", got)
	}
}

func TestPlainPageMeasuresAPause(t *testing.T) {
	v := StartVendor(t, VendorOptions{})
	b := NewBrowser(t)
	b.PublishWHIP(t, v.WHIP("a"), "VP8")
	v.AwaitStream("a")
	p := b.PlayWHEP(t, v.WHEP("a"))
	p.AwaitFrames(60, 20*time.Second)
	before := p.Reception()
	s := v.Set(Behaviour{Media: MediaFault{Pause: 1000}})
	Eventually(t, 10*time.Second, "the pause is over", func() bool { return time.Now().After(s.PausedUntil) })
	p.AwaitFrames(60, 20*time.Second)
	got := p.Reception().Since(before)
	gap := p.ShownGap(s.PausedAt, 3*time.Second)
	t.Logf("gap on the screen %s; %+v", gap, got)
	if gap.Length() < 900*time.Millisecond || gap.Length() > 1500*time.Millisecond || gap.Open {
		t.Errorf("the gap on the screen is %s", gap)
	}
	if got.FreezeCount < 1 || got.Freezes < 900*time.Millisecond || got.Freezes > 2*time.Second {
		t.Errorf("%d freezes of %s", got.FreezeCount, got.Freezes)
	}
	if got.ConcealedSamples < 48000/2 {
		t.Errorf("%d samples were concealed", got.ConcealedSamples)
	}
	if got.Requests != 0 || got.Peers != 0 || got.VideoSSRC != before.VideoSSRC || got.VideoSSRC == 0 || got.FramesDecoded < 60 {
		t.Errorf("%+v", got)
	}
}
