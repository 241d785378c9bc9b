package caddymodule

import (
	"strings"
	"testing"
)

// What only shows when a configuration is loaded is refused with what to do.
func TestUpstreamMistakes(t *testing.T) {
	const a = "upstream a {\n vendor whip\n whip https://a.example/whip/{stream}\n}\n"
	for _, c := range []struct{ upstreams, routes, says string }{
		{a, "pull b", "pull: upstream b is not configured: there are a"},
		{"", "push b", "push: upstream b is not configured: describe it in the global wtn option"},
		{a, "push a a", "upstream a is named twice"},
		{a, "push a\n detour", "detour needs both push and pull"},
		{a, "pull a", "pull: upstream a: this vendor cannot do that: it is configured without whep"},
		{"upstream l {\n vendor livekit\n url https://x.livekit.cloud/w\n stream_key k\n}\n", "pull l", "LiveKit only takes streams in"},
		{"upstream l {\n vendor livekit\n url https://x.livekit.cloud/w\n}\n", "push l", "stream_key of vendor livekit is missing"},
		{"upstream m {\n vendor mediamtx\n url mediamtx:8889\n}\n", "push m", "url of vendor mediamtx is not usable: write it like https://"},
		{"upstream l {\n vendor livekit\n url https://x.livekit.cloud/w\n stream_key {env.WTN_NOT_THERE}\n}\n", "push l", "stream_key of vendor livekit cannot be resolved"},
		{a, "failover {\n media_timeout 100ms\n}", "media_timeout is 100ms: use 250ms to 1m0s"},
		{a, "slate /nowhere.ivf", "slate: open /nowhere.ivf"},
	} {
		s := newSite(t)
		err := s.load("wtn {\n media udp/127.0.0.1:0 tcp/127.0.0.1:0\n"+c.upstreams+"}", "wtn {\n "+c.routes+"\n}")
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.routes, err)
		}
	}
}
