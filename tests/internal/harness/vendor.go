package harness

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/vendorcmd/behaviour"
)

// What a vendor can be told and what it tells.
type (
	Behaviour     = behaviour.Behaviour
	HTTPFault     = behaviour.HTTP
	SessionFault  = behaviour.Session
	MediaFault    = behaviour.Media
	VendorState   = behaviour.State
	VendorRequest = behaviour.Request
)

// VendorOptions say where a vendor lives. The zero value is loopback.
type VendorOptions struct {
	// Host is the IPv4 address it listens on and puts into its answers.
	Host string
	// Namespace is the network namespace, by its name for ip-netns(8), it
	// lives in. Host must be reachable from where the test runs.
	Namespace string
	// TLS makes it serve WHIP and WHEP over HTTPS, with the certificate of CA.
	TLS bool
}

// Vendor is a WHIP and WHEP server of somebody else: a child process that
// behaves badly on demand.
type Vendor struct {
	CA string // file of its certificate, with TLS

	t      testing.TB
	o      VendorOptions
	addrs  behaviour.Addresses // fixed with the first start
	key    string
	log    *logBuffer
	client *http.Client

	mu     sync.Mutex
	cmd    *exec.Cmd     // the process at present
	exited chan struct{} // closed when it has ended
	ended  bool          // on purpose
}

var (
	vendorOnce sync.Once
	vendorFile *os.File
	vendorErr  error
)

// vendorBinary is the path of the vendor command: WTN_VENDOR, or one that is
// built once for this test run. The file of that is deleted at once and lives
// on by its descriptor, so that nobody need tidy up.
func vendorBinary(t testing.TB) string {
	t.Helper()
	if p := os.Getenv("WTN_VENDOR"); p != "" {
		return p
	}
	vendorOnce.Do(func() {
		dir, err := os.MkdirTemp("", "wtn-vendor-")
		if err != nil {
			vendorErr = err
			return
		}
		defer os.RemoveAll(dir)
		bin := filepath.Join(dir, "vendorcmd")
		cmd := exec.Command("go", "build", "-o", bin, "github.com/talwtn/caddy-wtn/tests/internal/vendorcmd")
		if out, err := cmd.CombinedOutput(); err != nil {
			vendorErr = fmt.Errorf("build the vendor: %w\n%s", err, out)
			return
		}
		vendorFile, vendorErr = os.Open(bin)
	})
	if vendorErr != nil {
		t.Fatal(vendorErr)
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), vendorFile.Fd())
}

// StartVendor runs a vendor for the length of the test.
func StartVendor(t testing.TB, o VendorOptions) *Vendor {
	t.Helper()
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	at := func() string { return fmt.Sprintf("%s:%d", o.Host, FreePort(t)) }
	v := &Vendor{
		t: t, o: o, log: &logBuffer{}, client: NewHTTPClient(t, HTTP1),
		addrs: behaviour.Addresses{HTTP: at(), Control: at(), Media: at()},
	}
	v.client.Timeout = 5 * time.Second // it may be stopped
	if o.TLS {
		v.CA, v.key = selfSigned(t, o.Host)
	}
	t.Cleanup(v.finish)
	v.start()
	return v
}

func (v *Vendor) start() {
	v.t.Helper()
	args := []string{vendorBinary(v.t), "-listen", v.addrs.HTTP, "-control", v.addrs.Control, "-media", v.addrs.Media}
	if v.o.TLS {
		args = append(args, "-cert", v.CA, "-key", v.key)
	}
	if v.o.Namespace != "" {
		// ip(8) becomes the command, under the same process id.
		args = append([]string{"ip", "netns", "exec", v.o.Namespace}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // also when the test process crashes
	ready, stdout, err := os.Pipe()
	if err != nil {
		v.t.Fatal(err)
	}
	defer ready.Close()
	cmd.Stdout, cmd.Stderr = stdout, v.log
	err = cmd.Start()
	_ = stdout.Close()
	if err != nil {
		v.t.Fatalf("start the vendor: %v", err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	v.mu.Lock()
	v.cmd, v.exited, v.ended = cmd, exited, false
	v.mu.Unlock()
	_ = ready.SetReadDeadline(time.Now().Add(20 * time.Second))
	line, err := bufio.NewReader(ready).ReadBytes('\n')
	var got behaviour.Addresses
	if err == nil {
		err = json.Unmarshal(line, &got)
	}
	if err != nil || got != v.addrs {
		v.t.Fatalf("the vendor is not ready: %v, %q, wanted %+v; its log:\n%s", err, line, v.addrs, v.log)
	}
}

// PID is the process id.
func (v *Vendor) PID() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.cmd.Process.Pid
}

// Kill ends the process with SIGKILL: nobody is told.
func (v *Vendor) Kill() { v.end(syscall.SIGKILL) }

// Close ends the process with SIGTERM: it closes its connections.
func (v *Vendor) Close() { v.end(syscall.SIGTERM) }

// end signals the process and waits for its end; one that was stopped goes on
// for it.
func (v *Vendor) end(sig syscall.Signal) {
	v.mu.Lock()
	cmd, exited := v.cmd, v.exited
	v.ended = true
	v.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(sig)
	_ = cmd.Process.Signal(syscall.SIGCONT)
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	select {
	case <-exited:
		if sig == syscall.SIGTERM && !cmd.ProcessState.Success() {
			v.t.Errorf("the vendor ended with %s", cmd.ProcessState)
		}
	case <-deadline.C:
		_ = cmd.Process.Signal(syscall.SIGQUIT) // writes the stacks to the log
		<-exited
		v.t.Error("the vendor did not end within 10s of SIGTERM")
	}
}

// Stop freezes the process with SIGSTOP: its sockets stay open and nothing
// comes out of them. It returns when the kernel says so.
func (v *Vendor) Stop() {
	v.t.Helper()
	v.signal(syscall.SIGSTOP, func(state byte) bool { return state == 'T' })
}

// Cont lets a frozen process go on.
func (v *Vendor) Cont() {
	v.t.Helper()
	v.signal(syscall.SIGCONT, func(state byte) bool { return state != 'T' })
}

func (v *Vendor) signal(sig syscall.Signal, done func(state byte) bool) {
	v.t.Helper()
	v.mu.Lock()
	p := v.cmd.Process
	v.mu.Unlock()
	if err := p.Signal(sig); err != nil {
		v.t.Fatalf("%s to the vendor: %v", sig, err)
	}
	Eventually(v.t, 5*time.Second, sig.String()+" takes effect at the vendor", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid))
		_, after, _ := bytes.Cut(stat, []byte(") "))
		return err == nil && len(after) > 0 && done(after[0])
	})
}

// Restart starts the process again on the ports it had, well-behaved; it must
// have ended, or is ended with SIGKILL.
func (v *Vendor) Restart() {
	v.t.Helper()
	v.Kill()
	v.start()
}

func (v *Vendor) finish() {
	v.mu.Lock()
	started, ended, exited := v.cmd != nil, v.ended, v.exited
	v.mu.Unlock()
	if started && !ended {
		select {
		case <-exited:
			v.t.Error("the vendor ended by itself")
		default:
			v.Close()
		}
	}
	log := v.log.String()
	for _, bad := range []string{"panic:", "WARNING: DATA RACE", "fatal error:"} {
		if strings.Contains(log, bad) {
			v.t.Errorf("the vendor's log has %q", bad)
		}
	}
	if v.t.Failed() && log != "" {
		v.t.Logf("log of the vendor %s:\n%s", net.JoinHostPort(v.o.Host, "*"), tail(log, 64<<10))
	}
}
