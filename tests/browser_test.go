package tests

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// publish starts the console's publisher and waits until it is live.
func publish(t *testing.T, p *harness.Page, stream, source, codec string) {
	t.Helper()
	p.Click("tab-publish")
	p.Set("publish-stream", stream)
	p.Set("publish-source", source)
	p.Set("publish-size", "640x360")
	p.Set("publish-codec", codec)
	p.Click("publish-start")
	awaitLive(t, p, "publish-state")
}

// watch starts the console's player and waits until it plays.
func watch(t *testing.T, p *harness.Page, stream string) {
	t.Helper()
	p.Click("tab-watch")
	p.Set("watch-stream", stream)
	p.Click("watch-start")
	awaitLive(t, p, "watch-state")
}

func awaitLive(t *testing.T, p *harness.Page, hook string) {
	t.Helper()
	p.AwaitText(hook, 30*time.Second, func(s string) bool { return s == "live" })
}

const watchVideo = `[data-testid="watch-video"]`

// requirePlays checks that pictures are decoded and change, and that audio
// arrives.
func requirePlays(t *testing.T, p *harness.Page, video string) {
	t.Helper()
	start := p.InboundOf("video")
	harness.Eventually(t, 20*time.Second, "30 more frames are decoded", func() bool {
		return p.InboundOf("video").FramesDecoded >= start.FramesDecoded+30
	})
	was, _ := p.Picture(video)
	harness.Eventually(t, 20*time.Second, "the picture changes and is not one flat colour", func() bool {
		now, colours := p.Picture(video)
		return now != was && colours > 3
	})
	audio := p.InboundOf("audio")
	harness.Eventually(t, 20*time.Second, "audio packets arrive", func() bool {
		return p.InboundOf("audio").PacketsReceived >= audio.PacketsReceived+30
	})
}

func requireNoErrors(t *testing.T, who string, p *harness.Page) {
	t.Helper()
	for _, e := range p.Errors() {
		t.Errorf("%s: on the page's console: %s", who, e)
	}
}

// A page publishes camera and microphone, another one plays it, for each
// codec that browsers have.
func TestBrowserToBrowser(t *testing.T) {
	g := harness.Start(t, harness.Config{})
	b := harness.NewBrowser(t)
	for _, codec := range []string{"H264", "VP8", "VP9", "AV1"} {
		t.Run(codec, func(t *testing.T) {
			a := b.Open(t, g.URL(""))
			if !slices.Contains(a.Options("publish-codec"), codec) {
				if os.Getenv("CI") == "true" {
					t.Fatalf("CI needs a Chromium that encodes %s", codec)
				}
				t.Skipf("SKIPPED, NOT TESTED: this Chromium cannot encode %s: it offers %q", codec, a.Options("publish-codec"))
			}
			publish(t, a, "browser", "camera", codec)
			v := b.Open(t, g.URL(""))
			watch(t, v, "browser")
			requirePlays(t, v, watchVideo)
			if got := v.InboundOf("video").Mime; got != "video/"+codec {
				t.Errorf("plays %s", got)
			}
			if n := v.PeerConnections(); n != 1 {
				t.Errorf("the player needed %d peer connections", n)
			}
			v.Click("watch-stop")
			a.Click("publish-stop")
			harness.Eventually(t, 10*time.Second, "the stream is gone", func() bool { return len(g.Streams(t).Streams) == 0 })
			requireNoErrors(t, "publisher", a)
			requireNoErrors(t, "player", v)
		})
	}
}

// Where UDP does not get through, browsers use ICE-TCP.
func TestBrowserOverTCP(t *testing.T) {
	g := harness.Start(t, harness.Config{TCPOnly: true})
	b := harness.NewBrowser(t)
	a := b.Open(t, g.URL(""))
	publish(t, a, "tcp", "camera", "")
	v := b.Open(t, g.URL(""))
	watch(t, v, "tcp")
	requirePlays(t, v, watchVideo)
	v.AwaitText("stat-pair", 10*time.Second, func(s string) bool { return strings.Contains(s, "tcp") })
	v.Click("watch-stop")
	a.Click("publish-stop")
	a.AwaitText("publish-state", 10*time.Second, func(s string) bool { return s == "idle" || s == "ended" })
	requireNoErrors(t, "player", v)
}

// The page's test picture, published by the library, comes to a page that is
// not the console but imports the library as a module.
func TestBrowserLibrary(t *testing.T) {
	g := harness.Start(t, harness.Config{Handler: "console on"})
	b := harness.NewBrowser(t)
	a := b.Open(t, g.URL(""))
	publish(t, a, "lib/rary", "test", "")
	// Another origin: the module and the requests must pass CORS.
	v := b.Open(t, fmt.Sprintf("http://localhost:%d/ready", g.HTTP))
	v.Eval(fmt.Sprintf(`(async () => {
		document.body.innerHTML = '<video id="v" muted autoplay playsinline></video>';
		const { Player } = await import(%q);
		window.player = new Player({ url: %q });
		window.states = [];
		window.player.addEventListener('state', (e) => window.states.push(e.detail.state));
		window.player.play(document.getElementById('v')).catch((e) => console.error(String(e)));
	})()`, g.URL("wtn.js"), g.WHEP("lib/rary")), nil)
	harness.Eventually(t, 30*time.Second, "the player is live", func() bool {
		var states []string
		v.Eval(`window.states`, &states)
		return slices.Contains(states, "live")
	})
	requirePlays(t, v, "#v")
	v.Eval(`window.player.close()`, nil)
	harness.Eventually(t, 10*time.Second, "the viewer is gone", func() bool { return g.Streams(t).Viewers == 0 })
	requireNoErrors(t, "player", v)
	a.Click("publish-stop")
}

// Another page takes the stream over: the player goes on with the peer
// connection and the SSRCs it has, and hardly freezes.
func TestBrowserTakeover(t *testing.T) {
	g := harness.Start(t, harness.Config{})
	b := harness.NewBrowser(t)
	for _, codec := range []string{"VP8", "H264"} {
		t.Run(codec, func(t *testing.T) {
			a := b.Open(t, g.URL(""))
			if !slices.Contains(a.Options("publish-codec"), codec) {
				if os.Getenv("CI") == "true" {
					t.Fatalf("CI needs a Chromium that encodes %s", codec)
				}
				t.Skipf("SKIPPED, NOT TESTED: this Chromium cannot encode %s", codec)
			}
			publish(t, a, "handover", "camera", codec)
			v := b.Open(t, g.URL(""))
			watch(t, v, "handover")
			requirePlays(t, v, watchVideo)
			video, audio := v.InboundOf("video"), v.InboundOf("audio")

			second := b.Open(t, g.URL(""))
			publish(t, second, "handover", "test", codec)
			a.AwaitText("publish-state", 10*time.Second, func(s string) bool { return s == "ended" })
			requirePlays(t, v, watchVideo)
			after := v.InboundOf("video")
			if after.SSRC != video.SSRC || v.InboundOf("audio").SSRC != audio.SSRC {
				t.Errorf("new SSRCs after the takeover: video %d to %d, audio %d to %d", video.SSRC, after.SSRC, audio.SSRC, v.InboundOf("audio").SSRC)
			}
			if n := v.PeerConnections(); n != 1 {
				t.Errorf("the player made %d peer connections", n)
			}
			if n := after.FreezeCount - video.FreezeCount; n > 2 || after.FreezeSeconds-video.FreezeSeconds > 2 {
				t.Errorf("%d freezes of %.1fs in all at the takeover", n, after.FreezeSeconds-video.FreezeSeconds)
			}
			if s := v.Text("watch-state"); s != "live" {
				t.Errorf("the player is %q", s)
			}
			second.Click("publish-stop")
			requireNoErrors(t, "player", v)
			requireNoErrors(t, "second publisher", second)
		})
	}
}

// What a native publisher sends plays in a browser, and what a browser sends
// arrives whole at a native viewer.
func TestBrowserMeetsNative(t *testing.T) {
	g := harness.Start(t, harness.Config{})
	b := harness.NewBrowser(t)
	a := b.Open(t, g.URL(""))
	publish(t, a, "mixed", "camera", "VP8")
	udp := g.View(t, "mixed", harness.ViewerConfig{})
	tcp := g.View(t, "mixed", harness.ViewerConfig{PeerOptions: harness.PeerOptions{TCP: true}})
	udp.Record(t, 3*time.Second)
	udp.Close()
	tcp.Close()
	a.Click("publish-stop")
	for who, v := range map[string]*harness.Viewer{"udp": udp, "tcp": tcp} {
		requireDecodableStart(t, who, harness.VP8, v)
		harness.RequireContinuous(t, who, v.Video(), harness.Rules{Codec: harness.VP8, Pace: time.Second})
		harness.RequireContinuous(t, who, v.Audio(), harness.Rules{Codec: harness.Opus, Pace: time.Second})
	}
	requireNoErrors(t, "publisher", a)
}
