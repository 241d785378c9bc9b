package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/pion/webrtc/v4"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "wtn-caddymodule")
	if err != nil {
		panic(err)
	}
	for _, v := range []string{"XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		os.Setenv(v, filepath.Join(dir, v))
	}
	makeTestCA(dir)
	caddy.RegisterModule(refusingApp{})
	caddy.RegisterModule(eventTap{})
	httpcaddyfile.RegisterGlobalOption("wtn_test_refuse", func(d *caddyfile.Dispenser, _ any) (any, error) {
		d.Next()
		d.NextArg()
		return httpcaddyfile.App{Name: "wtn_test_refuse", Value: caddyconfig.JSON(refusingApp{At: d.Val()}, nil)}, nil
	})
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// refusingApp is an app of somebody else that does not like its configuration.
type refusingApp struct {
	At string `json:"at,omitempty"` // provision, start
}

var errRefused = errors.New("refused by the test")

func (refusingApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "wtn_test_refuse", New: func() caddy.Module { return new(refusingApp) }}
}

func (a *refusingApp) Provision(ctx caddy.Context) error {
	if a.At != "provision" {
		return nil
	}
	if _, err := ctx.App("wtn"); err != nil { // ours is provisioned before this fails
		return err
	}
	return errRefused
}

func (a *refusingApp) Start() error {
	if a.At == "start" {
		return errRefused
	}
	return nil
}

func (*refusingApp) Stop() error { return nil }

// eventTap records the events it is subscribed to.
type eventTap struct{}

var tapped = make(chan caddy.Event, 100)

func (eventTap) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.wtn_test_tap", New: func() caddy.Module { return new(eventTap) }}
}

func (eventTap) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return nil }

func (eventTap) Handle(_ context.Context, e caddy.Event) error {
	tapped <- e
	return nil
}

// site is a running Caddy in this process.
type site struct {
	t    *testing.T
	port int
	dir  string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, port: freePort(t, "tcp"), dir: t.TempDir()}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
		if s := livingState(); s != nil {
			t.Error("the gateway outlived the last configuration")
		}
	})
	return s
}

// config is the JSON of a site with these global options and these directives.
func (s *site) config(global, directives string) []byte {
	s.t.Helper()
	text := fmt.Sprintf("{\n\tadmin off\n\tpersist_config off\n\tstorage file_system %s\n\tgrace_period 1s\n%s\n}\nhttp://localhost:%d {\n%s\n}\n", s.dir, global, s.port, directives)
	out, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		s.t.Fatalf("%v in\n%s", err, text)
	}
	return out
}

func (s *site) load(global, directives string) error {
	s.t.Helper()
	return caddy.Load(s.config(global, directives), true)
}

func (s *site) mustLoad(global, directives string) {
	s.t.Helper()
	if err := s.load(global, directives); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) url(path string) string { return fmt.Sprintf("http://localhost:%d%s", s.port, path) }

// do sends a request and returns status, headers and body. A connection that
// is lost before an answer is made again: right after a reload the kernel may
// have queued it at the listener that is just being closed.
func do(t *testing.T, method, url string, body []byte) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/sdp")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	resp, err := client.Do(req)
	for try := 0; err != nil && try < 10; try++ {
		req.Body = io.NopCloser(bytes.NewReader(body))
		resp, err = client.Do(req)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(out)
}

// publish creates a session that never connects and returns its URL.
func (s *site) publish(path string) string {
	s.t.Helper()
	status, header, body := do(s.t, http.MethodPost, s.url(path), publisherOffer(s.t))
	if status != http.StatusCreated {
		s.t.Fatalf("%s: %d %s", path, status, body)
	}
	return header.Get("Location")
}

// publisherOffer is a real browser-like offer, without candidates.
func publisherOffer(t *testing.T) []byte {
	t.Helper()
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		mime := webrtc.MimeTypeOpus
		if kind == webrtc.RTPCodecTypeVideo {
			mime = webrtc.MimeTypeH264
		}
		track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: mime}, kind.String(), "test")
		if err != nil {
			t.Fatal(err)
		}
		init := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}
		if _, err := pc.AddTransceiverFromTrack(track, init); err != nil {
			t.Fatal(err)
		}
	}
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(offer.SDP)
}

// freePort is a port of the loopback address that nobody holds now.
func freePort(t *testing.T, network string) int {
	t.Helper()
	if network == "udp" {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		return pc.LocalAddr().(*net.UDPAddr).Port
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// eventually polls a condition that other goroutines bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// udpHeld reports whether some socket holds a UDP port of the loopback address.
func udpHeld(port int) bool {
	pc, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return true
	}
	pc.Close()
	return false
}

func decode[T any](t *testing.T, body []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return v
}
