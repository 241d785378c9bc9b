package harness

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"
)

// Config is what a test may choose of the gateway's Caddyfile. The zero value
// is the gateway most tests want.
type Config struct {
	App     string // lines inside the global `wtn` block, after media
	Handler string // lines inside the site's `wtn /live/*` block
	Global  string // more lines of the global options block
	Sites   string // more site blocks
	TLS     bool   // serve the site over HTTPS with an internal certificate
	Host    string // address of the media sockets, 127.0.0.1 if empty
	TCPOnly bool   // media by ICE-TCP alone
}

const caddyfile = `{
	admin 127.0.0.1:{{.Admin}}
	persist_config off
	skip_install_trust
	{{if .TLS}}auto_https disable_redirects{{else}}auto_https off{{end}}
	grace_period 2s
	log default {
		exclude admin.api
	}
	servers {
		protocols h1 h2 h2c
	}
	wtn {
		media {{if not .TCPOnly}}udp/{{or .Host "127.0.0.1"}}:{{.UDP}} {{end}}tcp/{{or .Host "127.0.0.1"}}:{{.TCP}}
{{.App}}
{{- if .OwnTURN}}
		turn {
			listen udp/127.0.0.1:{{.TURN}} tcp/127.0.0.1:{{.TURN}}
		}
{{- end}}
	}
{{.Global}}
}
{{if .TLS}}https://127.0.0.1:{{.HTTP}} {
	tls internal
{{else}}http://127.0.0.1:{{.HTTP}} {
{{end}}
	bind 127.0.0.1
	route {
		respond /ready 204
		wtn /live/* {
{{.Handler}}
		}
		respond 404
	}
}
{{.Sites}}
`

var caddyfileTemplate = template.Must(template.New("Caddyfile").Parse(caddyfile))

// Gateway is a running gateway process.
type Gateway struct {
	Admin, HTTP, UDP, TCP, TURN int // ports on 127.0.0.1

	t        testing.TB
	cfg      Config
	cmd      *exec.Cmd
	log      *logBuffer
	exited   chan struct{}
	exitErr  error
	stopOnce sync.Once
	admin    *http.Client
	client   *http.Client // of the peers
	start    Counts
}

// Start runs a gateway for the length of the test. When the test ends it is
// checked for leaks and stopped; it must exit cleanly.
func Start(t testing.TB, cfg Config) *Gateway {
	t.Helper()
	bin := Binary(t)
	g := &Gateway{
		Admin: FreePort(t), HTTP: FreePort(t), UDP: FreePort(t), TCP: FreePort(t), TURN: FreePort(t),
		t: t, cfg: cfg, log: &logBuffer{}, exited: make(chan struct{}),
		admin: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(conf, []byte(g.Caddyfile(cfg)), 0o600); err != nil {
		t.Fatal(err)
	}
	g.cmd = exec.Command(bin, "run", "--config", conf, "--adapter", "caddyfile")
	g.cmd.Dir = dir
	g.cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir+"/data", "XDG_CONFIG_HOME="+dir+"/config")
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // also when the test process crashes
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	if err := g.cmd.Start(); err != nil {
		t.Fatalf("start the gateway: %v", err)
	}
	go func() {
		g.exitErr = g.cmd.Wait()
		close(g.exited)
	}()
	t.Cleanup(func() { g.finish() })
	g.client = NewHTTPClient(t, HTTP1)
	g.waitReady()
	g.start = g.SettledCounts()
	return g
}

// Caddyfile renders a configuration on this gateway's ports.
func (g *Gateway) Caddyfile(cfg Config) string {
	var b bytes.Buffer
	// Gateways that run side by side would quarrel about the default port.
	ownTURN := !strings.Contains(cfg.App, "turn")
	err := caddyfileTemplate.Execute(&b, struct {
		Config
		Admin, HTTP, UDP, TCP, TURN int
		OwnTURN                     bool
	}{cfg, g.Admin, g.HTTP, g.UDP, g.TCP, g.TURN, ownTURN})
	if err != nil {
		g.t.Fatal(err)
	}
	return b.String()
}

// Origin is scheme, host and port of the site.
func (g *Gateway) Origin() string {
	if g.cfg.TLS {
		return fmt.Sprintf("https://127.0.0.1:%d", g.HTTP)
	}
	return fmt.Sprintf("http://127.0.0.1:%d", g.HTTP)
}

// URL is an address below the handler's prefix.
func (g *Gateway) URL(path string) string {
	return g.Origin() + "/live/" + strings.TrimPrefix(path, "/")
}

// WHIP and WHEP are the endpoints of a stream.
func (g *Gateway) WHIP(stream string) string { return g.URL("whip/" + stream) }
func (g *Gateway) WHEP(stream string) string { return g.URL("whep/" + stream) }

// PID is the process id.
func (g *Gateway) PID() int { return g.cmd.Process.Pid }

// Log is what the process wrote so far.
func (g *Gateway) Log() string { return g.log.String() }

func (g *Gateway) waitReady() {
	g.t.Helper()
	client := NewHTTPClient(g.t, HTTP1)
	ready := func() bool {
		select {
		case <-g.exited:
			return true
		default:
		}
		res, err := client.Get(g.Origin() + "/ready")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusNoContent {
			return false
		}
		_, err = g.adminGet("/config/")
		return err == nil
	}
	ok := Poll(30*time.Second, ready)
	client.CloseIdleConnections()
	select {
	case <-g.exited:
		g.t.Fatalf("the gateway exited while starting: %v", g.exitErr)
	default:
	}
	if !ok {
		g.t.Fatal("the gateway is not ready after 30s")
	}
}

// Reload loads a Caddyfile through the admin API and returns the status and
// the body of the reply.
func (g *Gateway) Reload(caddyfile string) (status int, body string) {
	g.t.Helper()
	status, b, err := g.adminDo(http.MethodPost, "/load", caddyfile)
	if err != nil {
		g.t.Fatalf("reload: %v", err)
	}
	return status, string(b)
}

// MustReload fails the test when the configuration is refused.
func (g *Gateway) MustReload(cfg Config) {
	g.t.Helper()
	if code, body := g.Reload(g.Caddyfile(cfg)); code != http.StatusOK {
		g.t.Fatalf("reload refused with %d: %s", code, body)
	}
}

func (g *Gateway) adminGet(path string) ([]byte, error) {
	status, b, err := g.adminDo(http.MethodGet, path, "")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("admin %s: status %d", path, status)
	}
	return b, err
}

// adminDo asks the admin API. A reload replaces the admin server as well, so
// that a request may meet the one that is just going: then it is sent again.
func (g *Gateway) adminDo(method, path, body string) (status int, reply []byte, err error) {
	Poll(5*time.Second, func() bool {
		status, reply, err = g.adminOnce(method, path, body)
		select {
		case <-g.exited:
			return true
		default:
			return err == nil
		}
	})
	return status, reply, err
}

func (g *Gateway) adminOnce(method, path, body string) (int, []byte, error) {
	req, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", g.Admin, path), strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "text/caddyfile")
		req.Header.Set("Cache-Control", "must-revalidate") // also when nothing changed
	}
	res, err := g.admin.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	return res.StatusCode, b, err
}

// Kill ends the process the hard way. The clean-exit check is waived.
func (g *Gateway) Kill() {
	g.stopOnce.Do(func() { _ = g.cmd.Process.Kill() })
	<-g.exited
}

// Stop asks the process to end and fails the test when it does not end
// cleanly within 15 s.
func (g *Gateway) Stop() {
	g.t.Helper()
	g.stopOnce.Do(func() {
		_ = g.cmd.Process.Signal(syscall.SIGTERM)
		deadline := time.NewTimer(15 * time.Second)
		defer deadline.Stop()
		select {
		case <-g.exited:
			if g.exitErr != nil {
				g.t.Errorf("the gateway ended with %v", g.exitErr)
			}
		case <-deadline.C:
			_ = g.cmd.Process.Signal(syscall.SIGQUIT) // writes the stacks to the log
			<-g.exited
			g.t.Error("the gateway did not end within 15s of SIGTERM")
		}
	})
}

// finish runs after the cleanups of all clients of the test.
func (g *Gateway) finish() {
	select {
	case <-g.exited:
		g.stopOnce.Do(func() { g.t.Errorf("the gateway ended by itself: %v", g.exitErr) })
	default:
		if g.start != (Counts{}) && !g.t.Failed() {
			g.CheckLeaks()
		}
		g.Stop()
	}
	log := g.log.String()
	for _, bad := range []string{"panic:", "WARNING: DATA RACE", "fatal error:"} {
		if strings.Contains(log, bad) {
			g.t.Errorf("the gateway's log has %q", bad)
		}
	}
	if g.t.Failed() {
		g.t.Logf("log of the gateway (last 64 KiB):\n%s", tail(log, 64<<10))
	}
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "...\n" + s[len(s)-n:]
}

// logBuffer keeps what the process writes.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
