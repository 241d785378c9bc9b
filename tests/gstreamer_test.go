package tests

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// systemPython is the one the packages of the distribution are for.
const systemPython = "/usr/bin/python3"

// requireGStreamer ends the test where something of GStreamer is not installed.
func requireGStreamer(t *testing.T) {
	t.Helper()
	const packages = "(apt-get install gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-nice python3-gst-1.0 gir1.2-gst-plugins-bad-1.0)"
	for _, e := range []string{"webrtcbin", "nicesrc", "vp8enc", "vp8dec", "openh264enc", "openh264dec", "opusenc", "opusdec"} {
		if out, err := exec.Command("gst-inspect-1.0", e).CombinedOutput(); err != nil {
			skipWithout(t, "%s of GStreamer %s: %v %.200s", e, packages, err, out)
		}
	}
	const load = "import gi; gi.require_version('GstWebRTC', '1.0'); from gi.repository import GstWebRTC"
	if out, err := exec.Command(systemPython, "-c", load).CombinedOutput(); err != nil {
		skipWithout(t, "GStreamer for Python %s: %v %s", packages, err, out)
	}
}

// webrtcbin is a running peer of GStreamer.
type webrtcbin struct {
	cmd       *exec.Cmd
	out, errs bytes.Buffer  // once it has ended
	done      chan struct{} // is closed then
	err       error
}

// webrtcbinReport is what one says at its end.
type webrtcbinReport struct {
	Status, Ended       int // of POST and DELETE
	Video, Audio, Width int // decoded
	Error               string
}

// startWebrtcbin runs the script until it ends, or the test does.
func startWebrtcbin(t *testing.T, args ...string) *webrtcbin {
	t.Helper()
	w := &webrtcbin{done: make(chan struct{})}
	w.cmd = exec.Command(systemPython, append([]string{filepath.Join("clients", "webrtcbin.py")}, args...)...)
	w.cmd.Stdout, w.cmd.Stderr = &w.out, &w.errs
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		w.err = w.cmd.Wait()
		close(w.done)
	}()
	t.Cleanup(func() {
		_ = w.cmd.Process.Kill()
		<-w.done
		if t.Failed() {
			t.Logf("webrtcbin %v: %v\n%s%s", args, w.err, &w.out, &w.errs)
		}
	})
	return w
}

// interrupt is what Ctrl-C does.
func (w *webrtcbin) interrupt() { _ = w.cmd.Process.Signal(syscall.SIGINT) }

// report waits for the end. POST has to have been answered by 201, DELETE by 200.
func (w *webrtcbin) report(t *testing.T) (r webrtcbinReport) {
	t.Helper()
	select {
	case <-w.done:
	case <-time.After(45 * time.Second):
		t.Fatal("webrtcbin does not end")
	}
	if w.err != nil {
		t.Fatalf("webrtcbin: %v", w.err)
	}
	if err := json.Unmarshal(w.out.Bytes(), &r); err != nil {
		t.Fatalf("webrtcbin: %v", err)
	}
	if r.Error != "" || r.Status != 201 || r.Ended != 200 {
		t.Errorf("webrtcbin: %+v", r)
	}
	return r
}

// requireWebrtcbinPlays plays a stream with webrtcbin until frames are decoded.
func requireWebrtcbinPlays(t *testing.T, url, encoding string, width int) {
	t.Helper()
	const frames = 40
	r := startWebrtcbin(t, "play", url, encoding, strconv.Itoa(frames)).report(t)
	if r.Video < frames || r.Audio < frames || r.Width != width {
		t.Errorf("webrtcbin decoded %+v, want %d frames of each, %d wide", r, frames, width)
	}
}

// A stack that has nothing in common with browsers or with the gateway
// publishes: it plays what it sent, and Chromium sees it too. Then it plays what
// Chromium publishes.
func TestGStreamer(t *testing.T) {
	requireGStreamer(t)
	g := harness.Start(t, harness.Config{})
	b := harness.NewBrowser(t)
	for _, codec := range []string{"VP8", "H264"} {
		t.Run("publishes "+codec, func(t *testing.T) {
			p := startWebrtcbin(t, "publish", g.WHIP("gst"), codec)
			v := b.Open(t, g.URL(""))
			requireLive(t, g, v, "gst")
			requireWebrtcbinPlays(t, g.WHEP("gst"), codec, 320)
			requireSessions(t, g, 1)
			watch(t, v, "gst")
			requirePlays(t, v, watchVideo)
			if got := v.InboundOf("video"); got.Mime != "video/"+codec || got.FrameWidth != 320 {
				t.Errorf("the browser plays %s, %d wide", got.Mime, got.FrameWidth)
			}
			v.Click("watch-stop")
			p.interrupt()
			p.report(t)
			requireSessions(t, g, 0)
			requireNoErrors(t, "browser", v)
		})
	}
	t.Run("plays a browser", func(t *testing.T) {
		a := b.Open(t, g.URL(""))
		publish(t, a, "browser", "camera", "VP8")
		requireWebrtcbinPlays(t, g.WHEP("browser"), "VP8", 640)
		requireSessions(t, g, 1)
		a.Click("publish-stop")
		requireSessions(t, g, 0)
		requireNoErrors(t, "publisher", a)
	})
}
