package caddymodule

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// loopbackMedia is an app block with sockets on free ports of the loopback address.
const loopbackMedia = "\twtn {\n\t\tmedia udp/127.0.0.1:0 tcp/127.0.0.1:0\n\t}"

func mediaAt(port int) string { return fmt.Sprintf("\twtn {\n\t\tmedia udp/127.0.0.1:%d\n\t}", port) }

func references() int {
	n, _ := pool.References(stateKey)
	return n
}

// assertSession checks that a session URL is alive, at whatever configuration
// runs now.
func assertSession(t *testing.T, url string) {
	t.Helper()
	if status, _, body := do(t, http.MethodGet, url, nil); status != 200 || body != "" {
		t.Fatalf("the session is not there any more: %d %s", status, body)
	}
}

// WHIP-13, 20, 31, 35 and the three ways to say the prefix.
func TestPublishAndDelete(t *testing.T) {
	s := newSite(t)
	s.mustLoad(loopbackMedia, "\thandle_path /a/* {\n\t\twtn\n\t}\n\twtn /b/*\n\t@c path /c/*\n\twtn @c {\n\t\tconsole off\n\t}")
	for prefix, face := range map[string]string{"/a": "/whip/x", "/b": "/pub/app/y", "/c": "/whip/z"} {
		status, header, body := do(t, http.MethodPost, s.url(prefix+face), publisherOffer(t))
		if status != 201 || header.Get("Content-Type") != "application/sdp" || header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(body, "v=0") {
			t.Fatalf("%s: %d %v %s", prefix, status, header, body)
		}
		if header.Get("Access-Control-Expose-Headers") != corsExpose {
			t.Errorf("Location cannot be read by a page of another site: %v", header)
		}
		location := header.Get("Location")
		if !strings.HasPrefix(location, s.url(prefix+"/session/")) || strings.Contains(location, "?") {
			t.Fatalf("Location is %s", location)
		}
		assertSession(t, location)
		if status, _, _ := do(t, http.MethodDelete, location, nil); status != 200 {
			t.Errorf("DELETE: %d", status)
		}
		if status, _, _ := do(t, http.MethodDelete, location, nil); status != 404 {
			t.Errorf("second DELETE: %d", status)
		}
	}
	if status, header, body := do(t, http.MethodPost, s.url("/b/whep/nobody"), publisherOffer(t)); status < 400 || status >= 500 {
		t.Errorf("WHEP without publisher: %d %v %s", status, header, body)
	}
}

// A default `wtn` needs no app block; a second gateway beside it is refused
// with advice.
func TestBusyMediaPort(t *testing.T) {
	s := newSite(t)
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	err = s.load(mediaAt(pc.LocalAddr().(*net.UDPAddr).Port), "\twtn")
	if err == nil || !strings.Contains(err.Error(), "choose another address with the media option") {
		t.Fatalf("error is %v", err)
	}
	if references() != 0 {
		t.Errorf("%d references after a refused start", references())
	}
}

func TestSessionsSurviveReloads(t *testing.T) {
	s := newSite(t)
	s.mustLoad(loopbackMedia, "\twtn")
	session := s.publish("/whip/room")
	media := livingState().media()
	s.mustLoad("\twtn {\n\t\tmedia udp/127.0.0.1:0 tcp/127.0.0.1:0\n\t\tgop_cache off\n\t\tlimits {\n\t\t\tsubscribers 7\n\t\t}\n\t}", "\twtn\n\trespond /new ok")
	assertSession(t, session)
	if got := livingState().media(); !slices.Equal(got, media) {
		t.Errorf("sockets were %v and are %v", media, got)
	}
	if _, _, body := do(t, http.MethodGet, s.url("/new"), nil); body != "ok" {
		t.Errorf("the new configuration does not run: %q", body)
	}
	if references() != 1 {
		t.Errorf("%d references", references())
	}
}

// A configuration somebody refuses changes nothing, whether it failed in
// Provision or in Start, and whether our app was started before that or not:
// Caddy starts apps in random order, so it is tried often.
func TestRefusedReloads(t *testing.T) {
	s := newSite(t)
	s.mustLoad(loopbackMedia, "\twtn")
	session := s.publish("/whip/room")
	before := livingState()
	media, ruling := before.media(), before.queue[0]
	busy, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	other := freePort(t, "udp")
	for i := range 12 {
		for _, global := range []string{
			"\twtn_test_refuse start\n" + mediaAt(other),
			"\twtn_test_refuse provision\n" + mediaAt(other),
			fmt.Sprintf("\twtn {\n\t\tmedia udp/127.0.0.1:%d udp/127.0.0.1:%d\n\t}", other, busy.LocalAddr().(*net.UDPAddr).Port),
			"\twtn {\n\t\tpublic_address not-an-address\n\t}",
			"\twtn {\n\t\tpublic_address 0.0.0.0\n\t}",
		} {
			if err := s.load(global, "\twtn"); err == nil {
				t.Fatal("the configuration was not refused:", global)
			}
			assertSession(t, session)
			if references() != 1 || livingState() != before {
				t.Fatalf("round %d: %d references after\n%s", i, references(), global)
			}
			if got := before.media(); !slices.Equal(got, media) {
				t.Fatalf("round %d: sockets were %v and are %v after\n%s", i, media, got, global)
			}
			if len(before.queue) != 1 || before.queue[0] != ruling || before.events.target.Load() != ruling.target {
				t.Fatalf("round %d: the former settings do not rule after\n%s", i, global)
			}
		}
	}
	eventually(t, "the sockets of refused configurations are closed", func() bool { return !udpHeld(other) })
	s.publish("/whip/another")
}

// A changed address concerns new sessions; the old socket lives as long as the
// sessions on it, and comes back if it is wanted before that.
func TestChangedMediaAddress(t *testing.T) {
	s := newSite(t)
	first, second := freePort(t, "udp"), freePort(t, "udp")
	s.mustLoad(mediaAt(first), "\twtn")
	session := s.publish("/whip/room")
	s.mustLoad(mediaAt(second), "\twtn")
	assertSession(t, session)
	moved := []string{fmt.Sprintf("udp/127.0.0.1:%d", second)}
	if got := livingState().media(); !slices.Equal(got, moved) {
		t.Fatalf("new sessions go to %v", got)
	}
	if !udpHeld(first) {
		t.Fatal("the socket of a living session was closed")
	}
	another := s.publish("/whip/another")
	s.mustLoad(mediaAt(first), "\twtn")
	back := []string{fmt.Sprintf("udp/127.0.0.1:%d", first)}
	if got := livingState().media(); !slices.Equal(got, back) {
		t.Fatalf("new sessions go to %v", got)
	}
	assertSession(t, session)
	assertSession(t, another)
	s.mustLoad(mediaAt(second), "\twtn")
	assertSession(t, another)
	for _, url := range []string{session, another} { // both could use the first
		if status, _, _ := do(t, http.MethodDelete, url, nil); status != 200 {
			t.Fatalf("DELETE: %d", status)
		}
	}
	eventually(t, "the first socket is closed with its last session", func() bool { return !udpHeld(first) })
	s.mustLoad(mediaAt(first), "\twtn")
	s.publish("/whip/third")
}

// `caddy validate` must work beside a running server: it opens nothing.
func TestValidateBesideRunning(t *testing.T) {
	s := newSite(t)
	port := freePort(t, "udp")
	s.mustLoad(mediaAt(port), "\twtn")
	busy, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for _, p := range []int{port, busy.LocalAddr().(*net.UDPAddr).Port} {
		var cfg caddy.Config
		if err := caddy.StrictUnmarshalJSON(s.config(mediaAt(p), "\twtn"), &cfg); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(&cfg); err != nil {
			t.Errorf("validating: %v", err)
		}
	}
	if references() != 1 || len(livingState().media()) != 1 {
		t.Errorf("%d references, sockets %v", references(), livingState().media())
	}
}

func TestFiftyReloads(t *testing.T) {
	s := newSite(t)
	global := func(i int) string {
		return fmt.Sprintf("\twtn {\n\t\tmedia udp/127.0.0.1:0 tcp/127.0.0.1:0\n\t\tlimits {\n\t\t\tsubscribers %d\n\t\t}\n\t}", i+1)
	}
	for i := range 5 {
		s.mustLoad(global(i), "\twtn")
	}
	session := s.publish("/whip/room")
	media := livingState().media()
	goroutines, sockets := runtime.NumGoroutine(), openSockets(t)
	for i := range 50 {
		s.mustLoad(global(i), "\twtn")
	}
	assertSession(t, session)
	if got := livingState().media(); !slices.Equal(got, media) {
		t.Errorf("sockets were %v and are %v", media, got)
	}
	eventually(t, "as many goroutines as before", func() bool { return runtime.NumGoroutine() <= goroutines+3 })
	eventually(t, "as many sockets as before", func() bool { return openSockets(t) <= sockets+1 })
}

func openSockets(t *testing.T) int {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(links) == 0 {
		t.Skip("SKIPPED: this system does not list open files in /proc/self/fd")
	}
	n := 0
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// The gateway ends with the last configuration that has it, and everything with it.
func TestLastReference(t *testing.T) {
	s := newSite(t)
	port := freePort(t, "udp")
	s.mustLoad(mediaAt(port), "\twtn")
	s.publish("/whip/room")
	s.mustLoad("", "\trespond ok")
	if livingState() != nil {
		t.Error("the gateway lives on")
	}
	eventually(t, "the media socket is closed", func() bool { return !udpHeld(port) })
	s.mustLoad(mediaAt(port), "\twtn")
	s.publish("/whip/room")
}

// A deactivation may come twice, or for what never ran.
func TestCleanupWithoutProvision(t *testing.T) {
	if err := new(App).Cleanup(); err != nil {
		t.Error(err)
	}
	s := newSite(t)
	s.mustLoad(loopbackMedia, "\twtn")
	st := livingState()
	st.deactivate(new(generation))
	if len(st.queue) != 1 || len(st.media()) != 2 {
		t.Errorf("a generation that never ran took something away: %v", st.media())
	}
}

// The secret of a session URL must not reach our logs, even at debug level.
func TestSecretIsNotLogged(t *testing.T) {
	s := newSite(t)
	logFile := filepath.Join(s.dir, "log")
	s.mustLoad(fmt.Sprintf("\tlog {\n\t\toutput file %s\n\t\tlevel DEBUG\n\t}\n%s", logFile, loopbackMedia), "\twtn")
	session := s.publish("/whip/room")
	assertSession(t, session)
	do(t, http.MethodDelete, session, nil)
	do(t, http.MethodDelete, session, nil)
	s.mustLoad(loopbackMedia, "\twtn") // closes the log
	text, err := os.ReadFile(logFile)
	if errors.Is(err, os.ErrNotExist) || len(text) == 0 {
		t.Fatal("nothing was logged, so the test says nothing")
	}
	if secret := session[strings.LastIndexByte(session, '/')+1:]; len(secret) < 5 || strings.Contains(string(text), secret) {
		t.Errorf("the secret %q is in the log:\n%s", secret, text)
	}
}
