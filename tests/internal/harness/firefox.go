package harness

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const firefoxPath = "/usr/bin/firefox-esr"

// firefoxPrefs let a headless Firefox talk to a gateway on loopback and play
// without a gesture; Firefox has no driver here, so its page does the work by
// itself and reports.
const firefoxPrefs = `
user_pref("media.peerconnection.ice.obfuscate_host_addresses", false);
user_pref("media.autoplay.default", 0);
user_pref("media.autoplay.blocking_policy", 0);
user_pref("media.gmp-manager.updateEnabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("toolkit.telemetry.reportingpolicy.firstRun", false);
user_pref("app.update.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("browser.safebrowsing.downloads.remote.enabled", false);
user_pref("dom.min_background_timeout_value", 4);
`

// firefoxPage publishes a moving canvas with a tone, plays streams, and posts
// what it sees twice a second.
const firefoxPage = `<!doctype html><meta charset=utf-8><title>firefox</title>
<canvas id=c width=320 height=240></canvas><video id=v muted autoplay playsinline></video>
<script type=module>
const q = new URLSearchParams(location.search);
const report = (o) => fetch('/report', {method: 'POST', body: JSON.stringify(o)});
window.addEventListener('error', (e) => report({error: String(e.message)}));
window.addEventListener('unhandledrejection', (e) => report({error: String(e.reason)}));
const { Publisher, Player } = await import(q.get('lib'));
const state = {};
if (q.get('whip')) {
	const c = document.getElementById('c'), g = c.getContext('2d');
	let n = 0;
	setInterval(() => { n++; g.fillStyle = 'hsl(' + n % 360 + ' 80% 50%)'; g.fillRect(0, 0, 320, 240); g.fillStyle = '#fff'; g.fillRect(n * 5 % 320, 40, 60, 60); }, 40);
	const audio = new AudioContext(), tone = audio.createOscillator(), out = audio.createMediaStreamDestination();
	tone.connect(out); tone.start();
	const media = new MediaStream([...c.captureStream(25).getTracks(), ...out.stream.getTracks()]);
	const p = new Publisher({ url: q.get('whip') });
	p.addEventListener('state', (e) => { state.publish = e.detail.state; });
	p.publish(media).catch((e) => report({error: String(e)}));
}
let player;
if (q.get('whep')) {
	player = new Player({ url: q.get('whep') });
	player.addEventListener('state', (e) => { state.play = e.detail.state; });
	player.play(document.getElementById('v')).catch((e) => report({error: String(e)}));
}
setInterval(async () => {
	const v = document.getElementById('v');
	const stats = player ? await player.getStats().catch(() => null) : null;
	await report({...state, width: v.videoWidth, frames: stats?.framesDecoded ?? 0, time: v.currentTime});
}, 500);
</script>`

// FirefoxReport is what the page last said.
type FirefoxReport struct {
	Publish string  `json:"publish"` // state of the publisher
	Play    string  `json:"play"`    // state of the player
	Width   int     `json:"width"`
	Frames  int     `json:"frames"` // decoded
	Time    float64 `json:"time"`   // seconds played
	Error   string  `json:"error"`
}

// Firefox opens a headless Firefox that publishes to whip and plays whep, each
// unless empty, with the player library at lib. The channel has its reports.
// Without a Firefox the test is skipped, or fails when CI=true.
func Firefox(t testing.TB, lib, whip, whep string) <-chan FirefoxReport {
	t.Helper()
	if _, err := os.Stat(firefoxPath); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI needs a Firefox: %v", err)
		}
		t.Skipf("SKIPPED, NOTHING TESTED: no Firefox: %v", err)
	}
	reports := make(chan FirefoxReport, 64)
	page := serveFirefoxPage(t, reports)
	dir, err := os.MkdirTemp("", "wtn-firefox-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "user.js"), []byte(firefoxPrefs), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(firefoxPath, "--headless", "--no-remote", "--profile", dir,
		fmt.Sprintf("%s?lib=%s&whip=%s&whep=%s", page, lib, whip, whep))
	cmd.Env = append(os.Environ(), "HOME="+dir, "MOZ_DISABLE_CONTENT_SANDBOX=1", "MOZ_CRASHREPORTER_DISABLE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		group := -cmd.Process.Pid
		_ = syscall.Kill(group, syscall.SIGKILL)
		_ = cmd.Wait()
		Poll(5*time.Second, func() bool { return syscall.Kill(group, syscall.SIGKILL) == syscall.ESRCH })
		_ = os.RemoveAll(dir)
	})
	return reports
}

// serveFirefoxPage serves the page and takes its reports.
func serveFirefoxPage(t testing.TB, reports chan<- FirefoxReport) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(firefoxPage))
	})
	mux.HandleFunc("POST /report", func(_ http.ResponseWriter, r *http.Request) {
		var report FirefoxReport
		if json.NewDecoder(r.Body).Decode(&report) != nil {
			return
		}
		select {
		case reports <- report:
		default: // nobody waits any more
		}
	})
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: mux}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return "http://localhost:" + fmt.Sprint(l.Addr().(*net.TCPAddr).Port) + "/"
}
