package tests

import (
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// A gateway that listens on every address, as it does by default, is reached at
// that of an interface; with it the TURN server starts, too.
func TestEveryInterface(t *testing.T) {
	if !harness.InNamespace(t) {
		return
	}
	g := harness.Start(t, harness.Config{Host: "0.0.0.0"})
	p := g.Publish(t, "show", harness.PublisherConfig{})
	v := g.View(t, "show", harness.ViewerConfig{})
	v.Record(t, 2*time.Second)
	stopAndDrain(t, p, v)
	requireDecodableStart(t, "viewer", p.VideoCodec(), v)
	requireIntact(t, "viewer", p, v)
}
