package tests

import (
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// A browser plays, knows nothing of vendors, and hardly notices that the one
// its media comes from is killed. The page has no player that would reconnect.
func TestFailoverHotBrowser(t *testing.T) {
	d := newDisaster(t, plan{failover: "failback manual", absent: true})
	b := harness.NewBrowser(t) // ends first, with the connections it keeps
	camera := b.PublishWHIP(t, d.origin.WHIP(d.stream), "VP8")
	d.awaitVendors()
	page := b.PlayWHEP(t, d.edge.WHEP(d.stream))
	page.AwaitFrames(30, 20*time.Second)
	start := page.Reception()
	var shown, freezes, concealed harness.Durations
	for k := range runs(10, 3) {
		d.awaitProgram(2, 60*time.Second)
		page.AwaitFrames(75, 20*time.Second)
		dead := d.awaitProgram(2, 60*time.Second)
		before := page.Reception()
		at := time.Now()
		d.vendors[dead].Kill()
		if now := d.awaitProgram(1, 10*time.Second); now != other(dead) {
			t.Errorf("run %d: after the failure of %s the program is that of %q", k, dead, now)
		}
		page.AwaitFrames(60, 20*time.Second)
		got, gap := page.Reception().Since(before), page.ShownGap(at, 2*time.Second)
		made := time.Duration(got.ConcealedSamples) * time.Second / 48000
		t.Logf("run %d, %s: gap on the screen %s; freezeCount %d, totalFreezesDuration %s, concealedSamples %d (%s, %d events), %d frames decoded, %d dropped, %d PLIs, %d NACKs, %d requests, %d new peer connections",
			k, dead, gap, got.FreezeCount, got.Freezes, got.ConcealedSamples, made, got.ConcealmentEvents,
			got.FramesDecoded, got.FramesDropped, got.PLIs, got.NACKs, got.Requests, got.Peers)
		shown, freezes, concealed = append(shown, gap.Length()), append(freezes, got.Freezes), append(concealed, made)
		if got.Requests != 0 || got.Peers != 0 || got.VideoSSRC != start.VideoSSRC || got.AudioSSRC != start.AudioSSRC || got.VideoSSRC == 0 {
			t.Errorf("run %d: the page had to do something: %+v, at the beginning %+v", k, got, start)
		}
		// One freeze is what the failure makes; another is a host that stalls.
		if got.FreezeCount > 2 || gap.Open {
			t.Errorf("run %d: %d freezes, gap %s", k, got.FreezeCount, gap)
		}
		d.vendors[dead].Restart()
	}
	for _, p := range []*harness.PlainPage{page, camera} {
		p.Eval(`window.__pcs[0].close()`, nil)
	}
	t.Logf("hot, vendor killed, Chromium, one host, loopback:\n  gap on the screen: %s\n  totalFreezesDuration: %s\n  concealed audio: %s", shown, freezes, concealed)
	for what, v := range map[string]harness.Durations{"gap on the screen": shown, "frozen": freezes, "concealed audio": concealed} {
		if p := v.Quantile(0.5); p > 500*time.Millisecond {
			t.Errorf("%s: median %s, want at most 500ms", what, p)
		}
	}
}
