package tests

import (
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// Firefox publishes a moving picture with a tone and plays it back, each by the
// page's own library; a Chromium viewer sees the same stream.
func TestFirefox(t *testing.T) {
	if !harness.InNamespace(t) { // Firefox never pairs a loopback address
		return
	}
	// Firefox is killed without a word at the end: its sessions time out soon.
	g := harness.Start(t, harness.Config{Host: harness.NamespaceHost, App: "timeouts {\n\tgrace 6s\n\tconsent 6s\n}"})
	reports := harness.Firefox(t, g.URL("wtn.js"), g.WHIP("fox"), g.WHEP("fox"))
	deadline := time.After(60 * time.Second)
	first := -1
	var last harness.FirefoxReport
	for done := false; !done; {
		select {
		case last = <-reports:
		case <-deadline:
			t.Fatalf("Firefox does not play its own stream, it says %+v", last)
		}
		if last.Error != "" {
			t.Fatalf("the page failed: %s", last.Error)
		}
		if first < 0 && last.Play == "live" && last.Frames > 0 {
			first = last.Frames
		}
		done = first >= 0 && last.Frames >= first+50 && last.Publish == "live"
	}
	if last.Width != 320 {
		t.Errorf("the picture is %d wide", last.Width)
	}
	b := harness.NewBrowser(t)
	v := b.Open(t, g.URL(""))
	watch(t, v, "fox")
	requirePlays(t, v, watchVideo)
	requireNoErrors(t, "player", v)
}
