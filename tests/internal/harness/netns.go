package harness

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Namespace is a network namespace of its own, joined to the test's by a pair
// of virtual interfaces: a host next door, whose cable can be pulled.
type Namespace struct {
	Name  string // for ip-netns(8)
	Host  string // its address, reachable from the test
	Local string // the test's address on that cable
	outer string // the test's end of the cable
	t     testing.TB
}

// NewNamespace makes one for the length of the test. It needs root and ip(8):
// without, the test is skipped, or fails when CI=true.
func NewNamespace(t testing.TB) *Namespace {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil || os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI needs root and ip(8) for network namespaces")
		}
		t.Skip("SKIPPED, NOTHING TESTED: network namespaces need root and ip(8)")
	}
	// Ports are unique among the test processes of this host at any moment,
	// which makes the name and the subnet so as well.
	k := FreePort(t) - portLow
	n := &Namespace{
		Name: fmt.Sprintf("wtn-v%d-%d", os.Getpid(), k), outer: fmt.Sprintf("wtnv%d", k), t: t,
		Host: fmt.Sprintf("198.18.%d.%d", k/63, k%63*4+2), Local: fmt.Sprintf("198.18.%d.%d", k/63, k%63*4+1),
	}
	n.ip("netns", "add", n.Name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", n.Name).Run() }) // and the cable with it
	n.ip("-n", n.Name, "link", "set", "lo", "up")
	n.ip("link", "add", n.outer, "type", "veth", "peer", "name", "eth0", "netns", n.Name)
	n.ip("address", "add", n.Local+"/30", "dev", n.outer)
	n.ip("link", "set", n.outer, "up")
	n.ip("-n", n.Name, "address", "add", n.Host+"/30", "dev", "eth0")
	n.ip("-n", n.Name, "link", "set", "eth0", "up")
	n.ip("-n", n.Name, "route", "add", "default", "via", n.Local)
	return n
}

// Cut pulls the cable: nothing gets in or out and nobody is told.
func (n *Namespace) Cut() {
	n.t.Helper()
	n.ip("-n", n.Name, "link", "set", "eth0", "down")
}

// Mend plugs it in again.
func (n *Namespace) Mend() {
	n.t.Helper()
	n.ip("-n", n.Name, "link", "set", "eth0", "up")
	n.ip("-n", n.Name, "route", "replace", "default", "via", n.Local)
}

func (n *Namespace) ip(args ...string) {
	n.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}
