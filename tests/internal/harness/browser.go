package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

const chromiumPath = "/usr/bin/chromium"

// Browser is a headless Chromium with a fake camera and microphone.
type Browser struct {
	ctx context.Context
}

// NewBrowser starts a Chromium for the length of the test. Without one the
// test is skipped, or fails when CI=true.
func NewBrowser(t testing.TB) *Browser {
	t.Helper()
	if _, err := os.Stat(chromiumPath); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI needs a browser: %v", err)
		}
		t.Skipf("SKIPPED, NOTHING TESTED: no browser: %v", err)
	}
	dir, err := os.MkdirTemp("", "wtn-browser-")
	if err != nil {
		t.Fatal(err)
	}
	var process *exec.Cmd
	alloc, cancelAlloc := chromedp.NewExecAllocator(context.Background(),
		chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) {
			// A group of its own, so that its helpers can be waited for; none
			// of it outlives the test process.
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
			process = cmd
		}),
		chromedp.ExecPath(chromiumPath),
		chromedp.UserDataDir(filepath.Join(dir, "profile")),
		chromedp.Env("HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_CACHE_HOME="+dir),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("headless", "new"),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-background-timer-throttling", true),
		chromedp.Flag("disable-backgrounding-occluded-windows", true),
		chromedp.Flag("disable-renderer-backgrounding", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("use-fake-device-for-media-stream", true),
		chromedp.Flag("use-fake-ui-for-media-stream", true),
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
		chromedp.WindowSize(1280, 900),
		chromedp.WSURLReadTimeout(40*time.Second),
	)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(func() {
		cancel()
		cancelAlloc() // waits for the process, not for its helpers
		if process != nil && process.Process != nil {
			group := -process.Process.Pid
			Poll(5*time.Second, func() bool { return syscall.Kill(group, syscall.SIGKILL) == syscall.ESRCH })
		}
		_ = os.RemoveAll(dir)
	})
	if err := chromedp.Run(ctx); err != nil {
		t.Fatalf("start the browser: %v", err)
	}
	return &Browser{ctx}
}

// Page is one window.
type Page struct {
	t      testing.TB
	ctx    context.Context
	mu     sync.Mutex
	errors []string
}

// recordPeers keeps every RTCPeerConnection of a page where tests find it.
const recordPeers = `(() => {
	window.__pcs = [];
	const Native = window.RTCPeerConnection;
	window.RTCPeerConnection = class extends Native {
		constructor(...args) { super(...args); window.__pcs.push(this); }
	};
	window.addEventListener('unhandledrejection', (e) => console.error('unhandled rejection: ' + (e.reason && e.reason.stack || e.reason)));
})()`

// Open opens a window of its own, so that no window is hidden behind another
// one, at an address.
func (b *Browser) Open(t testing.TB, url string) *Page {
	t.Helper()
	id, err := b.newWindow()
	if err != nil {
		t.Fatalf("open a window: %v", err)
	}
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithTargetID(id))
	t.Cleanup(cancel)
	p := &Page{t: t, ctx: ctx}
	chromedp.ListenTarget(ctx, p.onEvent)
	err = p.run(60*time.Second,
		chromedp.ActionFunc(func(ctx context.Context) error {
			_, err := page.AddScriptToEvaluateOnNewDocument(recordPeers).Do(ctx)
			return err
		}),
		chromedp.EmulateViewport(1280, 900),
		chromedp.Navigate(url))
	if err != nil {
		t.Fatalf("open %s: %v", url, err)
	}
	return p
}

// newWindow makes an empty window with a profile of its own.
func (b *Browser) newWindow() (id target.ID, err error) {
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	err = chromedp.Run(ctx, chromedp.ActionFunc(func(ctx context.Context) error {
		browser := cdp.WithExecutor(ctx, chromedp.FromContext(ctx).Browser)
		profile, err := target.CreateBrowserContext().WithDisposeOnDetach(true).Do(browser)
		if err != nil {
			return err
		}
		id, err = target.CreateTarget("about:blank").WithBrowserContextID(profile).WithNewWindow(true).Do(browser)
		return err
	}))
	return id, err
}

func (p *Page) onEvent(ev any) {
	var text string
	switch e := ev.(type) {
	case *cdpruntime.EventExceptionThrown:
		text = e.ExceptionDetails.Error()
	case *cdpruntime.EventConsoleAPICalled:
		if e.Type != cdpruntime.APITypeError {
			return
		}
		var parts []string
		for _, a := range e.Args {
			parts = append(parts, string(a.Value)+a.Description)
		}
		text = strings.Join(parts, " ")
	case *cdplog.EventEntryAdded:
		if e.Entry.Level != cdplog.LevelError {
			return
		}
		text = e.Entry.Text + " " + e.Entry.URL
	default:
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.errors = append(p.errors, text)
}

// Errors are the errors on the page's console so far.
func (p *Page) Errors() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.errors...)
}

func (p *Page) run(within time.Duration, actions ...chromedp.Action) error {
	// The first Run makes the window, which lives as long as its context does;
	// it must not be the one with the deadline.
	if chromedp.FromContext(p.ctx).Target == nil {
		if err := chromedp.Run(p.ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(p.ctx, within)
	defer cancel()
	return chromedp.Run(ctx, actions...)
}

// Eval evaluates an expression, waits for its promise and stores the value.
func (p *Page) Eval(expression string, out any) {
	p.t.Helper()
	if err := p.TryEval(expression, out); err != nil {
		p.t.Fatalf("evaluate %.120s: %v", expression, err)
	}
}

// TryEval is Eval for a page that may be loading or an expression that may fail.
func (p *Page) TryEval(expression string, out any) error {
	var raw json.RawMessage
	await := func(e *cdpruntime.EvaluateParams) *cdpruntime.EvaluateParams {
		return e.WithAwaitPromise(true).WithUserGesture(true)
	}
	wrapped := fmt.Sprintf("(async () => JSON.stringify(await (%s)) ?? 'null')()", expression)
	var text string
	if err := p.run(30*time.Second, chromedp.Evaluate(wrapped, &text, await)); err != nil {
		return err
	}
	raw = json.RawMessage(text)
	if out == nil {
		return nil
	}
	return json.Unmarshal(raw, out)
}

func hook(id string) string { return fmt.Sprintf(`document.querySelector('[data-testid=%q]')`, id) }

// Click clicks the element with a data-testid.
func (p *Page) Click(id string) {
	p.t.Helper()
	if err := p.run(30*time.Second, chromedp.Click(fmt.Sprintf(`[data-testid=%q]`, id), chromedp.ByQuery)); err != nil {
		p.t.Fatalf("click %s: %v", id, err)
	}
}

// Set gives a field a value, as typing or choosing it does.
func (p *Page) Set(id, value string) {
	p.t.Helper()
	v, _ := json.Marshal(value)
	var got string
	p.Eval(fmt.Sprintf(`(() => { const e = %s; e.value = %s;
		e.dispatchEvent(new Event('input', {bubbles: true})); e.dispatchEvent(new Event('change', {bubbles: true})); return e.value; })()`, hook(id), v), &got)
	if got != value {
		p.t.Fatalf("%s does not take the value %q: it is %q", id, value, got)
	}
}

// Options lists the values of a select.
func (p *Page) Options(id string) (values []string) {
	p.t.Helper()
	p.Eval(fmt.Sprintf(`[...%s.options].map((o) => o.value)`, hook(id)), &values)
	return values
}

// Text is the text of an element.
func (p *Page) Text(id string) (text string) {
	p.t.Helper()
	p.Eval(hook(id)+`.textContent.trim()`, &text)
	return text
}

// AwaitText waits until the text of an element satisfies want.
func (p *Page) AwaitText(id string, within time.Duration, want func(string) bool) string {
	p.t.Helper()
	var last string
	if !Poll(within, func() bool { last = p.Text(id); return want(last) }) {
		var notices []string
		_ = p.TryEval(`[...document.querySelectorAll('.notice:not([hidden])')].map((n) => n.textContent)`, &notices)
		p.t.Fatalf("%s is %q after %s; notices %q; errors %q", id, last, within, notices, p.Errors())
	}
	return last
}

// Inbound is what a page receives on one SSRC.
type Inbound struct {
	Kind            string  `json:"kind"`
	SSRC            uint32  `json:"ssrc"`
	Mime            string  `json:"mime"`
	PacketsReceived int     `json:"packetsReceived"`
	PacketsLost     int     `json:"packetsLost"`
	FramesDecoded   int     `json:"framesDecoded"`
	FreezeCount     int     `json:"freezeCount"`
	FreezeSeconds   float64 `json:"totalFreezesDuration"`
	FrameWidth      int     `json:"frameWidth"`
	AudioEnergy     float64 `json:"totalAudioEnergy"`
}

const inboundStats = `(async () => {
	const out = [];
	for (const pc of window.__pcs) {
		if (pc.connectionState === 'closed') continue;
		const report = await pc.getStats();
		for (const s of report.values()) {
			if (s.type !== 'inbound-rtp') continue;
			out.push({kind: s.kind, ssrc: s.ssrc, mime: report.get(s.codecId)?.mimeType ?? '',
				packetsReceived: s.packetsReceived ?? 0, packetsLost: s.packetsLost ?? 0, framesDecoded: s.framesDecoded ?? 0,
				freezeCount: s.freezeCount ?? 0, totalFreezesDuration: s.totalFreezesDuration ?? 0,
				frameWidth: s.frameWidth ?? 0, totalAudioEnergy: s.totalAudioEnergy ?? 0});
		}
	}
	return out;
})()`

// Inbound lists what the page's open peer connections receive.
func (p *Page) Inbound() (out []Inbound) {
	p.t.Helper()
	p.Eval(inboundStats, &out)
	return out
}

// InboundOf is the one stream of a kind; the zero value when there is none yet.
func (p *Page) InboundOf(kind string) Inbound {
	p.t.Helper()
	for _, in := range p.Inbound() {
		if in.Kind == kind && in.PacketsReceived > 0 {
			return in
		}
	}
	return Inbound{}
}

// PeerConnections counts the peer connections the page ever made.
func (p *Page) PeerConnections() (n int) {
	p.t.Helper()
	p.Eval(`window.__pcs.length`, &n)
	return n
}

// Picture draws a video element into a small canvas and returns a digest of
// the pixels and how many different colours there are.
func (p *Page) Picture(selector string) (digest string, colours int) {
	p.t.Helper()
	var out struct {
		Digest  string `json:"digest"`
		Colours int    `json:"colours"`
	}
	p.Eval(fmt.Sprintf(`(() => {
		const c = document.createElement('canvas'); c.width = 96; c.height = 54;
		const g = c.getContext('2d', {willReadFrequently: true});
		g.drawImage(document.querySelector(%q), 0, 0, 96, 54);
		const d = g.getImageData(0, 0, 96, 54).data;
		let h = 0; const colours = new Set();
		for (let i = 0; i < d.length; i += 4) {
			const v = d[i] << 16 | d[i+1] << 8 | d[i+2];
			h = (Math.imul(h, 31) + v) | 0; colours.add(v >> 4);
		}
		return {digest: String(h), colours: colours.size};
	})()`, selector), &out)
	return out.Digest, out.Colours
}

// Screenshot writes a PNG of the window.
func (p *Page) Screenshot(path string) {
	p.t.Helper()
	var png []byte
	if err := p.run(30*time.Second, chromedp.CaptureScreenshot(&png)); err != nil {
		p.t.Fatalf("screenshot: %v", err)
	}
	if err := os.WriteFile(path, png, 0o644); err != nil {
		p.t.Fatal(err)
	}
}
