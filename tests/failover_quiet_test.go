package tests

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// Quiet is not dead: what makes a stream still, thin or late makes nobody go
// over to another vendor. In the simulations of the choice each of these takes
// ten minutes; here it is real and short, but that with WTN_LONG=1 what waits
// for chance (a rare frame, a lost one) takes as long.
func TestNoFalseFailover(t *testing.T) {
	t.Parallel()
	thin := harness.PublisherConfig{Bitrate: 1_000_000}
	for _, c := range []struct {
		name string
		plan plan
		long bool // by chance
		// pause is the least time that the publisher sends nothing at a stretch,
		// of video if it has any.
		pause time.Duration
		do    func(*testing.T, *harness.Thinned)
	}{
		{"screen share", plan{publisher: harness.PublisherConfig{FPS: 1, Bitrate: 60_000, NoAudio: true}}, true, 950 * time.Millisecond, nil},
		{"loss", plan{publisher: thin, behave: harness.Behaviour{Media: harness.MediaFault{Drop: 5}}}, true, 0, nil},
		{"microphone", plan{publisher: harness.PublisherConfig{NoVideo: true}}, false, 2900 * time.Millisecond, muteMicrophone},
		{"camera", plan{publisher: thin}, false, 3900 * time.Millisecond, switchCamera},
		{"freeze", plan{publisher: thin}, false, 1900 * time.Millisecond, freeze},
		{"busy host", plan{publisher: thin}, false, 0, func(t *testing.T, _ *harness.Thinned) { starve(t, 5*time.Second) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name != "busy host" { // the others' host, too
				t.Parallel()
			}
			c.plan.absent, c.plan.failover = true, "failback manual"
			d := newDisaster(t, c.plan)
			p := d.origin.PublishThinned(t, d.stream, c.plan.publisher)
			d.awaitVendors()
			v := d.edge.View(t, d.stream, harness.ViewerConfig{})
			d.awaitProgram(2, 60*time.Second)
			v.Record(t, 3*time.Second)
			program := d.awaitProgram(2, 60*time.Second)
			before := len(d.edge.Takeovers(d.stream))
			if c.do != nil {
				c.do(t, p)
			} else {
				v.Record(t, during(c.long))
			}
			p.Thin(1, 1)
			v.Record(t, 2*time.Second)
			if got := longestPause(p.Sent()); got < c.pause {
				t.Errorf("the publisher never paused for more than %s, it was to for %s", got, c.pause)
			}
			if drop := c.plan.behave.Media.Drop; drop > 0 && d.vendors[program].State().Dropped == 0 {
				t.Errorf("the vendor was to lose %g %% and lost nothing", drop)
			}
			if list := d.edge.Takeovers(d.stream)[before:]; len(list) != 0 {
				t.Errorf("%d takeovers: %+v", len(list), list)
			}
			if now := d.awaitProgram(2, 10*time.Second); now != program {
				t.Errorf("the program was that of %s and is that of %s", program, now)
			}
		})
	}
}

func longestPause(sent []harness.SentPacket) (most time.Duration) {
	for i := 1; i < len(sent); i++ {
		most = max(most, sent[i].At.Sub(sent[i-1].At))
	}
	return most
}

func during(long bool) time.Duration {
	if long && os.Getenv("WTN_LONG") == "1" {
		return 10 * time.Minute
	}
	return 10 * time.Second
}

// lasts is a state of a publisher that lasts for a while.
func lasts(t *testing.T, p *harness.Thinned, d time.Duration, video, audio int) {
	t.Helper()
	p.Thin(video, audio)
	harness.Stays(t, d, "the publisher is there", func() bool { return !p.HasEnded() })
}

// Silence as Opus sends it with DTX is a packet each 400 ms, muted there is none.
func muteMicrophone(t *testing.T, p *harness.Thinned) {
	const talk, dtx, mute = 1, 20, 0
	lasts(t, p, 3*time.Second, 1, dtx)
	lasts(t, p, time.Second, 1, talk)
	lasts(t, p, 3*time.Second, 1, mute)
	lasts(t, p, time.Second, 1, talk)
	lasts(t, p, 2*time.Second, 1, dtx)
	lasts(t, p, 2*time.Second, 1, mute)
}

// Somebody switches the camera off and on while talking, and while not.
func switchCamera(t *testing.T, p *harness.Thinned) {
	lasts(t, p, 4*time.Second, 0, 1)
	lasts(t, p, 2*time.Second, 1, 20)
	lasts(t, p, 3*time.Second, 0, 20)
	lasts(t, p, 2*time.Second, 30, 0) // one frame each second
}

// Nothing comes of the publisher for 2 s, again and again.
func freeze(t *testing.T, p *harness.Thinned) {
	for range 3 {
		lasts(t, p, 2*time.Second, 0, 0)
		lasts(t, p, time.Second, 1, 1)
	}
}

// starve takes the processors away from everybody with twice as many processes
// that do nothing else.
func starve(t *testing.T, d time.Duration) {
	t.Helper()
	var list []*exec.Cmd
	for range 2 * runtime.NumCPU() {
		cmd := exec.Command("sh", "-c", "while :; do :; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Error(err)
			break
		}
		list = append(list, cmd)
	}
	harness.Stays(t, d, "the host is busy", func() bool { return len(list) > 0 })
	for _, cmd := range list {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}
