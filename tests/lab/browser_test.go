package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

const chromiumPath = "/usr/bin/chromium"

// A browser that may use nothing but the relay, by each transport, and by TLS
// where there is nothing but port 443.
func TestBrowserRelay(t *testing.T) {
	requireLab(t)
	if _, err := os.Stat(chromiumPath); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI needs a browser: %v", err)
		}
		t.Skipf("!!! SKIPPED: no browser: %v", err)
	}
	for _, c := range []struct{ name, rules, transport string }{
		{"udp", "", "udp"},
		{"tcp", "", "tcp"},
		{"tls", "", "tls"},
		{"tls where only TCP 443 is open", only443, "tls"},
		{"all that is offered, where only TCP 443 is open", only443, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newLab(t, layout{rules: c.rules})
			ca := b.start(gateway4, false)
			r := b.send(order{URL: "https://" + gateway4, Browser: t.TempDir(), RelayOnly: true, Transport: c.transport, Packets: 200}, ca)
			if r.Error != "" {
				t.Fatalf("%s\n%+v", r.Error, r)
			}
			t.Logf("publish connected in %4d ms by %s", r.Publish.Connected.Milliseconds(), r.Publish.Pair)
			t.Logf("play    connected in %4d ms by %s; %d packets, %d lost", r.Play.Connected.Milliseconds(), r.Play.Pair, r.Received, r.Lost)
			want := "relay/" + c.transport
			if c.transport == "" {
				want = "relay/tls"
			}
			if r.Publish.Pair != want || r.Play.Pair != want {
				t.Errorf("pairs are %s and %s, want %s", r.Publish.Pair, r.Play.Pair, want)
			}
		})
	}
}

// browserScript publishes the fake camera and plays it.
const browserScript = `(async (order) => {
	const call = async (path, prepare) => {
		const pc = new RTCPeerConnection({iceTransportPolicy: 'relay'});
		await prepare(pc);
		const offer = await pc.createOffer();
		const begin = performance.now();
		const resp = await fetch(path, {method: 'POST', headers: {'Content-Type': 'application/sdp'}, body: offer.sdp});
		const answer = await resp.text();
		if (resp.status !== 201) throw new Error(resp.status + ' ' + answer);
		const servers = [...resp.headers.get('Link').matchAll(/<(turns?:[^>]+transport=(\w+))>; rel="ice-server"; username="([^"]+)"; credential="([^"]+)"/g)]
			.map(([, urls, transport, username, credential]) => ({urls, username, credential, kind: urls.startsWith('turns:') ? 'tls' : transport}))
			.filter((s) => !order.Transport || s.kind === order.Transport)
			.map(({urls, username, credential}) => ({urls, username, credential}));
		pc.setConfiguration({iceTransportPolicy: 'relay', iceServers: servers});
		const connected = new Promise((ok, no) => {
			pc.onconnectionstatechange = () => {
				if (pc.connectionState === 'connected') ok();
				if (pc.connectionState === 'failed') no(new Error('the connection failed with ' + JSON.stringify(servers)));
			};
		});
		await pc.setLocalDescription(offer);
		await pc.setRemoteDescription({type: 'answer', sdp: answer});
		await connected;
		const took = performance.now() - begin;
		const stats = await pc.getStats();
		const transport = [...stats.values()].find((s) => s.type === 'transport');
		const local = stats.get(stats.get(transport.selectedCandidatePairId).localCandidateId);
		return {pc, side: {Connected: Math.round(took * 1e6), Pair: local.candidateType + '/' + local.relayProtocol}};
	};
	const media = await navigator.mediaDevices.getUserMedia({audio: true, video: {width: 640, height: 360}});
	const pub = await call('/whip/lab', (pc) => media.getTracks().forEach((t) => pc.addTransceiver(t, {direction: 'sendonly', streams: [media]})));
	const play = await call('/whep/lab', (pc) => {
		const video = document.body.appendChild(document.createElement('video'));
		video.muted = video.autoplay = true;
		video.srcObject = new MediaStream();
		pc.ontrack = (e) => video.srcObject.addTrack(e.track);
		pc.addTransceiver('audio', {direction: 'recvonly'});
		pc.addTransceiver('video', {direction: 'recvonly'});
	});
	for (;;) {
		let received = 0, lost = 0, frames = 0;
		for (const s of (await play.pc.getStats()).values()) {
			if (s.type !== 'inbound-rtp') continue;
			received += s.packetsReceived;
			lost += s.packetsLost;
			frames += s.framesDecoded || 0;
		}
		if (received >= order.Packets && frames >= 15) return JSON.stringify({Publish: pub.side, Play: play.side, Received: received, Lost: lost});
		await new Promise((ok) => setTimeout(ok, 100));
	}
})`

// browse has a browser do it, in the same namespace as this process.
func (o order) browse(r *report) error {
	var process *exec.Cmd
	alloc, cancelAlloc := chromedp.NewExecAllocator(context.Background(),
		chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) {
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
			process = cmd
		}),
		chromedp.ExecPath(chromiumPath),
		chromedp.UserDataDir(filepath.Join(o.Browser, "profile")),
		chromedp.Env("HOME="+o.Browser, "XDG_CONFIG_HOME="+o.Browser, "XDG_CACHE_HOME="+o.Browser),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("headless", "new"),
		chromedp.Flag("ignore-certificate-errors", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("use-fake-device-for-media-stream", true),
		chromedp.Flag("use-fake-ui-for-media-stream", true),
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
		chromedp.WSURLReadTimeout(clientTimeout),
	)
	ctx, cancel := chromedp.NewContext(alloc)
	defer func() {
		cancel()
		cancelAlloc()
		if process == nil || process.Process == nil {
			return
		}
		for range 100 { // its helpers, which have the number of its group
			if syscall.Kill(-process.Process.Pid, syscall.SIGKILL) != nil {
				return
			}
			<-time.After(50 * time.Millisecond)
		}
	}()
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if err := chromedp.Run(ctx, chromedp.Navigate(o.URL+"/")); err != nil {
		return fmt.Errorf("the browser: %w", err)
	}
	limited, stop := context.WithTimeout(ctx, clientTimeout)
	defer stop()
	var out string
	err = chromedp.Run(limited, chromedp.Evaluate(browserScript+"("+string(text)+")", &out,
		func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	if err != nil {
		return fmt.Errorf("the page: %w", err)
	}
	return json.Unmarshal([]byte(out), r)
}
