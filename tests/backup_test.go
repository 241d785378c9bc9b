package tests

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// Two encoders publish the same show, each with frames of its own. The better
// one dies without a word, viewers go on from the other one; it returns, and
// they go back.
func TestPublisherBackup(t *testing.T) {
	t.Parallel()
	const streams = 8
	g := harness.Start(t, harness.Config{
		App:     "timeouts {\n grace 5s\n}", // for those that vanished to be gone at the end
		Handler: "publishers backup\nfailover {\n failback_delay 3s\n}",
	})
	rank := func(stream string, priority int) harness.PublisherConfig {
		return harness.PublisherConfig{
			PeerOptions: harness.PeerOptions{URL: fmt.Sprintf("%s?priority=%d", g.WHIP(stream), priority)},
			Bitrate:     300_000,
		}
	}
	type show struct {
		name                      string
		primary, backup, returned *harness.Publisher
		viewer                    *harness.Viewer
		meter                     *harness.GapMeter
		died, back                time.Time
	}
	var shows []*show
	for i := range streams {
		s := &show{name: fmt.Sprintf("show%d", i)}
		s.backup = g.Publish(t, s.name, rank(s.name, 5)) // comes first, and makes room
		s.viewer = g.View(t, s.name, harness.ViewerConfig{})
		s.viewer.AwaitVideo(t, 5, 10*time.Second)
		s.primary = g.Publish(t, s.name, rank(s.name, 10))
		s.meter = harness.Measure(s.viewer, s.primary, s.backup)
		s.meter.Window = 1500 * time.Millisecond
		shows = append(shows, s)
	}
	for _, s := range shows {
		s.viewer.AwaitSource(t, s.primary.Source, 10*time.Second)
	}
	shows[0].viewer.Record(t, 2*time.Second) // all sources show their rhythm
	for _, s := range shows {
		s.died = time.Now()
		s.primary.Vanish()
	}
	var video, audio harness.Durations
	for _, s := range shows {
		s.viewer.AwaitSource(t, s.backup.Source, 5*time.Second)
		s.meter.Await(t, s.died, 10*time.Second)
		i := s.meter.Interruption(s.died)
		t.Logf("%s, the primary dies: %s", s.name, i)
		video, audio = append(video, i.Video.Length()), append(audio, i.Audio.Length())
		if i.SSRCChanges != 0 || i.Requests != 0 || i.Video.Open || i.Audio.Open {
			t.Errorf("%s: %s", s.name, i)
		}
	}
	t.Logf("without video: %s; without audio: %s", video, audio)
	if video.Quantile(0.95) > time.Second || audio.Quantile(0.95) > time.Second {
		t.Errorf("p95 is %s of video and %s of audio, want up to 1s", video.Quantile(0.95), audio.Quantile(0.95))
	}
	for _, s := range shows {
		s.returned = g.Publish(t, s.name, rank(s.name, 10))
		s.back = time.Now()
	}
	for _, s := range shows {
		s.viewer.AwaitSource(t, s.returned.Source, 10*time.Second)
		after := time.Since(s.died)
		t.Logf("%s: back at the primary %s after its return, %s after its death", s.name, time.Since(s.back).Round(time.Millisecond), after.Round(time.Millisecond))
		if after < 3*time.Second {
			t.Errorf("%s: back within %s, ahead of the delay of 3s", s.name, after)
		}
	}
	shows[0].viewer.Record(t, time.Second)
	for _, s := range shows {
		if i := s.meter.Interruption(s.back); i.Video.Length() > 300*time.Millisecond {
			t.Errorf("%s: the way back interrupts the picture for %s", s.name, i.Video)
		}
		if s.backup.HasEnded() {
			t.Errorf("%s: the backup was ended", s.name)
		}
		s.viewer.Close()
		requireTimelineOfMany(t, s.name+": video", s.viewer.Video(), harness.Rules{Codec: harness.H264, TornAtSwitch: true, Pace: 400 * time.Millisecond})
		requireTimelineOfMany(t, s.name+": audio", s.viewer.Audio(), harness.Rules{Codec: harness.Opus, Pace: 400 * time.Millisecond})
	}
}

// requireTimelineOfMany checks continuity of what comes from sources that take
// turns: here one may be back after another.
func requireTimelineOfMany(t *testing.T, who string, pkts []harness.Packet, r harness.Rules) {
	t.Helper()
	for _, f := range harness.Check(pkts, r) {
		if f.Fault != harness.FaultMixed || !strings.Contains(f.Detail, "is back after") {
			t.Errorf("%s: %s", who, f)
		}
	}
}

// A second publisher who may not replace the first one is told so, and the first
// one does not notice.
func TestPublishersRefuse(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{Handler: "publishers refuse"})
	p := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 300_000})
	v := g.View(t, "show", harness.ViewerConfig{})
	v.AwaitVideo(t, 10, 10*time.Second)
	q, err := g.TryPublish(t, "show", harness.PublisherConfig{Bitrate: 300_000})
	if err == nil || q.Reply().Status != http.StatusConflict {
		t.Errorf("a second publisher: %v, want 409", err)
	} else if !strings.Contains(q.Reply().Body, "urn:wtn:error:published") {
		t.Errorf("a second publisher is told %s", q.Reply().Body)
	}
	v.Record(t, time.Second)
	stopAndDrain(t, p, v)
	requireIntact(t, "viewer", p, v)
	harness.Eventually(t, 3*time.Second, "the stream is free again", func() bool { return len(g.Streams(t).Streams) == 0 })
	g.Publish(t, "show", harness.PublisherConfig{Bitrate: 300_000}).Close()
}

// Equal publishers: the first one has the stream, and keeps it.
func TestPublisherBackupOfEqualRank(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{Handler: "publishers backup"})
	first := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 300_000})
	v := g.View(t, "show", harness.ViewerConfig{})
	v.AwaitSource(t, first.Source, 5*time.Second)
	second := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 300_000})
	v.Record(t, 2*time.Second)
	requireIntact(t, "viewer, with two publishers", first, v)
	first.Close() // a good-bye: at once to the next
	deleted := time.Now()
	v.AwaitSource(t, second.Source, 5*time.Second)
	t.Logf("the second one %s after the DELETE of the first", time.Since(deleted).Round(time.Millisecond))
	v.AwaitVideo(t, 20, 5*time.Second)
	v.AwaitAudio(t, 5, 5*time.Second)
	stopAndDrain(t, second, v)
	requireOneTimeline(t, "viewer", harness.H264, v)

	r := harness.PostOffer(t, harness.NewHTTPClient(t, harness.HTTP1), g.WHIP("show")+"?priority=high", g.PublisherOffer(t, harness.PublisherConfig{}))
	if r.Status != http.StatusBadRequest {
		t.Errorf("a priority that is no number: %d, want 400", r.Status)
	}
}
