package probe

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
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
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/talwtn/caddy-wtn/caddymodule/vendors"
)

// testDir holds the service of the tests, which is built when it is first needed.
var testDir string

var vendorBinary = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(testDir, "vendor")
	out, err := exec.Command("go", "build", "-o", bin, "github.com/talwtn/caddy-wtn/tests/internal/vendorcmd").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the vendor: %w\n%s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	var err error
	if testDir, err = os.MkdirTemp("", "wtn-probe"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(testDir)
	os.Exit(code)
}

// service is a running one.
type service struct {
	t             *testing.T
	HTTP, Control string
}

func startService(t *testing.T) *service {
	t.Helper()
	bin, err := vendorBinary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the service ended with %v", err)
		}
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	s := &service{t: t}
	if err := json.Unmarshal(line, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// behave tells it what to do wrong, and what it saw.
func (s *service) behave(how string) string {
	s.t.Helper()
	resp, err := http.Post("http://"+s.Control+"/control", "application/json", strings.NewReader(how))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("%d %s %v", resp.StatusCode, b, err)
	}
	return string(b)
}

// client speaks to it with a token.
func (s *service) client(roles string) *vendors.Client {
	s.t.Helper()
	v := &vendors.WHIP{Token: "hidden-token"}
	if roles != "pull" {
		v.WHIPURL = "http://" + s.HTTP + "/whip/{stream}"
	}
	if roles != "push" {
		v.WHEPURL = "http://" + s.HTTP + "/whep/{stream}"
	}
	if err := v.Provision(caddy.Context{}); err != nil {
		s.t.Fatal(err)
	}
	c := vendors.New(v, "a", nil)
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *service) probe(roles string) *Profile {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 60*time.Second)
	defer cancel()
	p, err := Run(ctx, Config{Upstream: s.client(roles), Name: "a", Vendor: "whip", Stream: "probe", Duration: MinDuration})
	if err != nil {
		s.t.Fatal(err)
	}
	var out bytes.Buffer
	p.Print(&out)
	s.t.Log("\n" + out.String())
	j, err := json.Marshal(p)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, text := range []string{out.String(), string(j)} {
		if strings.Contains(text, "hidden-token") || strings.Contains(text, "/session/") || strings.Contains(text, s.HTTP) {
			s.t.Errorf("a secret or an address is shown:\n%s", text)
		}
	}
	return p
}

func TestProbeGoodService(t *testing.T) {
	t.Parallel()
	s := startService(t)
	s.behave(`{"token": "hidden-token"}`)
	p := s.probe("")
	if !p.OK() {
		t.Errorf("problems: %q", p.Problems)
	}
	for name, x := range map[string]*Session{"push": p.Push, "pull": p.Pull} {
		if x == nil || x.Post.Status != 201 || !x.Located || x.ICE <= 0 || x.DTLS < x.ICE || x.Delete == nil || x.Delete.Status != 200 {
			t.Fatalf("%s: %+v", name, x)
		}
	}
	if p.Push.Trickle == nil || p.Push.Trickle.Status != 405 || p.Push.Restart == nil || p.Push.Restart.Status != 405 || p.Options.Status != 404 {
		t.Errorf("trickle %s, restart %s, OPTIONS %s", p.Push.Trickle, p.Push.Restart, p.Options)
	}
	if p.Pull.StoppedIn == nil {
		t.Error("the media of the deleted session went on")
	}
	if p.Keyframes.Asked != 3 || p.Keyframes.Passed != 3 {
		t.Errorf("key frames: %+v", p.Keyframes)
	}
	for _, m := range []*Media{p.Video, p.Audio} {
		if m == nil || m.Payload != PayloadIdentical || m.Timestamps != NumbersOffset || m.Sequence != NumbersOffset || m.GapsClosed == nil || *m.GapsClosed || m.LossPercent > badLoss {
			t.Errorf("%+v", m)
		}
	}
	if p.Video.FirstFrame <= 0 || p.Video.LatencyP50 <= 0 || p.Video.LatencyP50 > 500 || p.Skew == nil {
		t.Errorf("%+v, skew %v", p.Video, p.Skew)
	}
	if s := s.behave("{}"); !strings.Contains(s, `"sessions":[]`) {
		t.Error("sessions are left behind")
	}
}

func TestProbeBadServices(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		how   string
		check func(t *testing.T, p *Profile)
	}{
		"packs anew": {`{"media": {"repacketise": 700}}`, func(t *testing.T, p *Profile) {
			if p.Video.Payload != PayloadRepacked || p.Video.Sequence != NumbersOwn || p.Video.GapsClosed == nil || !*p.Video.GapsClosed || !p.OK() {
				t.Errorf("%+v %q", p.Video, p.Problems)
			}
		}},
		"closes gaps": {`{"media": {"closeGaps": true}}`, func(t *testing.T, p *Profile) {
			if p.Video.Payload != PayloadIdentical || p.Video.GapsClosed == nil || !*p.Video.GapsClosed || !hasWords(p.Notes, "made anew") {
				t.Errorf("%+v %q", p.Video, p.Notes)
			}
		}},
		"ignores PLI": {`{"media": {"ignorePli": true}}`, func(t *testing.T, p *Profile) {
			if p.Keyframes.Passed != 0 || !hasWords(p.Problems, "key frames are not passed on") {
				t.Errorf("%+v %q", p.Keyframes, p.Problems)
			}
		}},
		"loses": {`{"media": {"dropPercent": 5, "seed": 7}}`, func(t *testing.T, p *Profile) {
			if p.Video.LossPercent <= badLoss || !hasWords(p.Problems, "are lost") {
				t.Errorf("%+v %q", p.Video, p.Problems)
			}
		}},
		"delays": {`{"media": {"delayMs": 150}}`, func(t *testing.T, p *Profile) {
			if p.Video.LatencyP50 < 150 || p.Audio.LatencyP50 < 150 {
				t.Errorf("%+v", p.Video)
			}
		}},
		"is silent": {`{"session": {"silent": true}}`, func(t *testing.T, p *Profile) {
			if p.Video == nil || p.Video.Payload != PayloadNone || !hasWords(p.Problems, "nothing comes out") {
				t.Errorf("%+v %q", p.Video, p.Problems)
			}
		}},
		"refuses": {`{"http": {"status": 503}}`, func(t *testing.T, p *Profile) {
			if p.Push.Post.Status != 503 || p.Push.Error == "" || p.OK() || p.Pull != nil {
				t.Errorf("%+v %q", p.Push, p.Problems)
			}
		}},
		"does not delete": {`{"http": {"status": 501, "method": "DELETE"}}`, func(t *testing.T, p *Profile) {
			if p.Pull.Delete.Status != 501 || p.Pull.StoppedIn != nil || !hasWords(p.Notes, "DELETE") {
				t.Errorf("%+v %q", p.Pull, p.Notes)
			}
		}},
		"names no session": {`{"http": {"location": "-", "method": "POST"}}`, func(t *testing.T, p *Profile) {
			if p.Push.Located || p.Push.Delete != nil || !hasWords(p.Notes, "has no URL") {
				t.Errorf("%+v %q", p.Push, p.Notes)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startService(t)
			s.behave(x.how)
			x.check(t, s.probe(""))
		})
	}
}

func TestProbeOneHalf(t *testing.T) {
	t.Parallel()
	s := startService(t)
	if p := s.probe("push"); !p.OK() || p.Pull != nil || p.Push == nil || !hasWords(p.Notes, "gives no streams out") || p.Keyframes == nil {
		t.Errorf("push only: %+v %q %q", p.Pull, p.Notes, p.Problems)
	}
	if p := s.probe("pull"); p.OK() || p.Push != nil || p.Pull == nil || p.Pull.Post.Status != 404 || p.Pull.Tries < 2 {
		t.Errorf("pull of nothing: %+v %q", p.Pull, p.Problems)
	}
}

// Who gives up in the middle leaves nothing behind.
func TestProbeEndedEarly(t *testing.T) {
	t.Parallel()
	s := startService(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p, err := Run(ctx, Config{
		Upstream: s.client(""), Name: "a", Vendor: "whip", Stream: "probe", Duration: MaxDuration,
		Say: func(what string) {
			if strings.HasPrefix(what, "measuring") {
				cancel()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !hasWords(p.Problems, "ended early") || p.Push.Delete == nil || p.Push.Delete.Status != 200 || p.Pull.Delete == nil || p.Pull.Delete.Status != 200 {
		t.Errorf("%q %+v %+v", p.Problems, p.Push, p.Pull)
	}
	if s := s.behave("{}"); !strings.Contains(s, `"sessions":[]`) {
		t.Error("sessions are left behind")
	}
}

func hasWords(list []string, words string) bool {
	return strings.Contains(strings.Join(list, "\n"), words)
}
