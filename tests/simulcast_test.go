package tests

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// castScript publishes the fake camera in three encodings, the lowest first.
// Without a mode Chromium makes spatial layers of one encoding of VP9's.
const castScript = `(async (url, codec) => {
	const media = await navigator.mediaDevices.getUserMedia({video: {width: 1280, height: 720, frameRate: 30}});
	const pc = new RTCPeerConnection();
	const tr = pc.addTransceiver(media.getVideoTracks()[0], {direction: 'sendonly', streams: [media], sendEncodings: [
		{rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 150_000},
		{rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 500_000},
		{rid: 'f', maxBitrate: 1_500_000},
	].map((e) => codec === 'VP9' ? {...e, scalabilityMode: 'L1T1'} : e)});
	const all = RTCRtpSender.getCapabilities('video').codecs;
	const mine = all.filter((c) => c.mimeType === 'video/' + codec);
	tr.setCodecPreferences([...mine, ...all.filter((c) => c.mimeType === 'video/rtx')]);
	window.__sender = tr.sender;
	await pc.setLocalDescription();
	await new Promise((done) => {
		if (pc.iceGatheringState === 'complete') return done();
		pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && done();
	});
	const res = await fetch(url, {method: 'POST', headers: {'Content-Type': 'application/sdp'}, body: pc.localDescription.sdp});
	const sdp = await res.text();
	if (res.status !== 201) throw new Error('status ' + res.status + ': ' + sdp);
	window.__location = res.headers.get('Location');
	await pc.setRemoteDescription({type: 'answer', sdp});
	return pc.localDescription.sdp.includes('a=simulcast:send') && sdp.includes('a=simulcast:recv q;h;f');
})(%q, %q)`

const chooseScript = `(async (choice) => {
	const layer = window.__links.match(/<([^>]+)>; rel="urn:ietf:params:whep:ext:core:layer"/)[1];
	const res = await fetch(layer, {method: 'POST', headers: {'Content-Type': 'application/json'}, body: choice});
	return res.status;
})(%q)`

const activeScript = `(async (rid, active) => {
	const p = window.__sender.getParameters();
	p.encodings.find((e) => e.rid === rid).active = active;
	await window.__sender.setParameters(p);
})(%q, %v)`

// Chromium publishes in three layers, and a viewer's picture changes its size as
// the player chooses, in one stream that hardly stops.
func TestBrowserSimulcast(t *testing.T) {
	g := harness.Start(t, harness.Config{})
	b := harness.NewBrowser(t)
	for _, codec := range []string{"VP8", "H264", "VP9"} {
		t.Run(codec, func(t *testing.T) {
			stream := "cast" + codec
			a := b.Open(t, g.URL(""))
			var offered bool
			a.Eval(fmt.Sprintf(castScript, g.WHIP(stream), codec), &offered)
			if !offered {
				if codec == "VP9" && os.Getenv("CI") != "true" {
					t.Skip("SKIPPED, NOT TESTED: this Chromium offers no simulcast of VP9")
				}
				t.Fatal("no simulcast was agreed")
			}
			v := b.PlayWHEP(t, g.WHEP(stream))
			var ssrc uint32
			see := func(what string, width int) {
				t.Helper()
				begin := time.Now()
				harness.Eventually(t, 30*time.Second, fmt.Sprintf("%s: a picture %d wide", what, width), func() bool {
					in := v.InboundOf("video")
					if ssrc == 0 {
						ssrc = in.SSRC
					}
					if in.SSRC != ssrc && in.SSRC != 0 {
						t.Fatalf("SSRC %d after %d", in.SSRC, ssrc)
					}
					return in.FrameWidth == width
				})
				took := time.Since(begin)
				v.AwaitFrames(20, 10*time.Second)
				if gap := v.ShownGap(begin, time.Since(begin)); gap.Length() > time.Second {
					t.Errorf("%s: the picture stood for %v", what, gap.Length())
				} else {
					t.Logf("%s: after %v, the longest gap is %v", what, took.Round(time.Millisecond), gap.Length().Round(time.Millisecond))
				}
			}
			choose := func(choice string, width int) {
				t.Helper()
				var status int
				if v.Eval(fmt.Sprintf(chooseScript, choice), &status); status != http.StatusOK {
					t.Fatalf("%s: status %d", choice, status)
				}
				see(choice, width)
			}
			see("automatic", 1280)
			choose(`{"mediaId":"0","rid":"q"}`, 320)
			choose(`{"mediaId":"0","rid":"h"}`, 640)
			choose(`{"mediaId":"0"}`, 1280)
			choose(`{"maxWidth":700}`, 640)
			choose(`{"spatialLayerId":0}`, 320)
			choose(`{}`, 1280)
			a.Eval(fmt.Sprintf(activeScript, "f", false), nil)
			see("the highest layer stops", 640)
			a.Eval(fmt.Sprintf(activeScript, "f", true), nil)
			see("and comes back", 1280)
			var status int
			if v.Eval(fmt.Sprintf(chooseScript, `{"rid":"x"}`), &status); status != http.StatusNotFound {
				t.Errorf("an unknown layer: status %d", status)
			}
			r := v.Reception()
			if r.PacketsLost > 0 || r.Peers != 1 {
				t.Errorf("%+v", r)
			}
			if a.Eval(`fetch(window.__location, {method: 'DELETE'}).then((r) => r.status)`, &status); status != http.StatusOK {
				t.Errorf("DELETE: status %d", status)
			}
		})
	}
}

// OBS offers layers by number and gives up where not all are taken
// [Q-OBS-8, Q-OBS-10].
func TestOBSSimulcastIsAnswered(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	offer := `v=0
o=rtc 3767197921 0 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=group:LS 0 1
a=msid-semantic:WMS *
a=ice-options:ice2,trickle
a=fingerprint:sha-256 0B:30:55:7A:9F:C4:E9:0E:33:58:7D:A2:C7:EC:11:36:5B:80:A5:CA:EF:14:39:5E:83:A8:CD:F2:17:3C:61:86
a=setup:actpass
a=ice-ufrag:1T4d
a=ice-pwd:rV6DV8oMnyhKcmYmUcsJiP
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=mid:0
a=sendonly
a=msid:OBSStream OBSStream-audio
a=rtcp-mux
a=rtpmap:111 OPUS/48000/2
m=video 9 UDP/TLS/RTP/SAVPF 96
c=IN IP4 0.0.0.0
a=mid:1
a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid
a=extmap:2 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id
a=sendonly
a=msid:OBSStream OBSStream-video
a=rtcp-mux
a=rtpmap:96 H264/90000
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1
a=rid:0 send
a=rid:1 send
a=rid:2 send
a=rid:3 send
a=simulcast:send 0;1;2;3
`
	r := harness.PostOffer(t, harness.NewHTTPClient(t, harness.HTTP1), g.WHIP("obs"), strings.ReplaceAll(offer, "\n", "\r\n"))
	if r.Status != http.StatusCreated {
		t.Fatalf("status %d: %s", r.Status, r.Body)
	}
	for _, want := range []string{
		"a=rid:0 recv\r\n", "a=rid:1 recv\r\n", "a=rid:2 recv\r\n", "a=rid:3 recv\r\n", "a=simulcast:recv 0;1;2;3\r\n",
		"a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n", "a=extmap:2 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n",
	} {
		if !strings.Contains(r.Body, want) {
			t.Errorf("no %q in\n%s", want, r.Body)
		}
	}
}
