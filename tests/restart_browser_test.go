package tests

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

//go:embed clients/restart.js
var restartScript string

// moverEnv is set in the process that is the host on the move. It has the
// address of the gateway's site.
const moverEnv = "WTN_TEST_MOVER"

// uplink is one way from the host on the move to the gateway's host.
type uplink struct{ near, far, address, router string }

var uplinks = [2]uplink{
	{"wlan", "leg1", "10.91.1.2", "10.91.1.1"},
	{"lte", "leg2", "10.91.2.2", "10.91.2.1"},
}

// The host of two browser pages loses its network and gets another one, with
// another address. The pages restart ICE, and go on publishing and playing in
// the sessions and peer connections they have.
func TestBrowserRestartsICE(t *testing.T) {
	if site := os.Getenv(moverEnv); site != "" {
		move(t, site)
		return
	}
	if _, err := os.Stat("/usr/bin/chromium"); err != nil { // a skip inside would not be seen
		skipWithout(t, "a browser: %v", err)
	}
	if !harness.InNamespace(t) {
		return
	}
	site := fmt.Sprintf("http://%s:%d", harness.NamespaceHost, harness.FreePort(t))
	g := harness.Start(t, harness.Config{
		Host:  harness.NamespaceHost,
		Sites: fmt.Sprintf("%s {\n\tbind %s\n\twtn /live/*\n}", site, harness.NamespaceHost),
	})
	mover := startMover(t, site)
	seen := map[string]string{}
	harness.Eventually(t, 100*time.Second, "the host on the move is done", func() bool {
		list, err := adminSessions(g)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			seen[s.ID] = s.Role
		}
		select {
		case <-mover:
			return true
		default:
			return false
		}
	})
	if len(seen) != 2 {
		t.Errorf("the gateway saw the sessions %v, want one publisher and one viewer", seen)
	}
	requireSessions(t, g, 0)
}

// startMover runs this very test in a network namespace of its own, on two veth
// pairs to this one. The namespace goes with the process. The channel is closed
// at its end.
func startMover(t *testing.T, site string) <-chan struct{} {
	t.Helper()
	for _, u := range uplinks {
		ipRoute(t, "link", "add", u.far, "type", "veth", "peer", "name", u.near)
		ipRoute(t, "address", "add", u.router+"/24", "dev", u.far)
		ipRoute(t, "link", "set", u.far, "up")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1", "-test.timeout=90s")
	cmd.Env = append(os.Environ(), moverEnv+"="+site)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out := new(strings.Builder)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, out, 5*time.Second
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan struct{})
	var err error
	go func() {
		err = cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if err != nil {
			t.Errorf("the host on the move: %v", err)
		}
		if t.Failed() {
			t.Logf("the host on the move:\n%s", out)
		}
	})
	for _, u := range uplinks {
		ipRoute(t, "link", "set", u.near, "netns", fmt.Sprint(cmd.Process.Pid))
	}
	return done
}

func ipRoute(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// connect makes an uplink the only one.
func (u uplink) connect(t *testing.T) {
	t.Helper()
	ipRoute(t, "link", "set", u.near, "up")
	ipRoute(t, "address", "add", u.address+"/24", "dev", u.near)
	ipRoute(t, "route", "add", "default", "via", u.router)
}

// mobile is a page with a session of the script.
type mobile struct {
	*harness.Page
	name string
}

// mobileState is what the script noted.
type mobileState struct {
	Posts, Restarts       int
	States                []string
	Location, ETag, Error string
}

func (m mobile) state() (s mobileState) {
	m.Eval("window.session.seen", &s)
	return s
}

// path is the local address media takes, empty while there is none.
func (m mobile) path() (address string) {
	m.Eval("window.session.path()", &address)
	return address
}

// requirePath waits until media takes an uplink.
func (m mobile) requirePath(t *testing.T, u uplink) {
	t.Helper()
	if !harness.Poll(30*time.Second, func() bool { return m.path() == u.address }) {
		t.Fatalf("%s goes by %q, not %s: %+v; errors %q", m.name, m.path(), u.near, m.state(), m.Errors())
	}
}

// move is the test from the host with the browser.
func move(t *testing.T, site string) {
	for _, u := range uplinks {
		harness.Eventually(t, 10*time.Second, u.near+" is there", func() bool {
			_, err := net.InterfaceByName(u.near)
			return err == nil
		})
	}
	ipRoute(t, "link", "set", "lo", "up")
	uplinks[0].connect(t)
	page := servePage(t)
	b := harness.NewBrowser(t)
	open := func(name, expression string) mobile {
		p := b.Open(t, page)
		p.Eval(fmt.Sprintf("(async () => { const lib = await import('/restart.js'); window.session = await lib.%s; })()", expression), nil)
		return mobile{p, name}
	}
	a := open("the publisher", fmt.Sprintf("publish(%q)", site+"/live/whip/move"))
	a.requirePath(t, uplinks[0])
	v := open("the player", fmt.Sprintf("play(%q, document.getElementById('video'))", site+"/live/whep/move"))
	v.requirePath(t, uplinks[0])
	requireClientPlays(t, v.Page, 640)

	before := map[string]mobileState{a.name: a.state(), v.name: v.state()}
	ssrc := v.InboundOf("video").SSRC
	ipRoute(t, "link", "set", uplinks[0].near, "down")
	uplinks[1].connect(t)
	for _, m := range []mobile{a, v} {
		m.requirePath(t, uplinks[1])
	}
	requireClientPlays(t, v.Page, 640)
	for _, m := range []mobile{a, v} {
		was, is := before[m.name], m.state()
		t.Logf("%s: %d restarts, %v", m.name, is.Restarts, is.States)
		if is.Restarts < 1 || is.Error != "" || is.ETag == was.ETag {
			t.Errorf("%s: %+v, and was %+v", m.name, is, was)
		}
		if is.Posts != 1 || is.Location != was.Location || m.PeerConnections() != 1 {
			t.Errorf("%s needed another session: %+v, and was %+v", m.name, is, was)
		}
	}
	if got := v.InboundOf("video").SSRC; got != ssrc {
		t.Errorf("the SSRC was %d and is %d", ssrc, got)
	}
	for _, m := range []mobile{v, a} {
		var status int
		m.Eval("window.session.stop()", &status)
		if status != http.StatusOK {
			t.Errorf("%s: DELETE: %d", m.name, status)
		}
	}
}

// servePage serves the script from loopback, where browsers allow the camera.
func servePage(t *testing.T) (url string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/restart.js" {
			w.Header().Set("Content-Type", "text/javascript")
			_, _ = io.WriteString(w, restartScript)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<!doctype html><title>restart</title><link rel="icon" href="data:,"><video id="video" muted autoplay playsinline></video>`)
	}))
	t.Cleanup(s.Close)
	return s.URL
}
