package harness

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// NamespaceHost is the address of the one interface, besides loopback, of the
// network namespace of [InNamespace]: a documentation address, as test networks
// like to have them.
const NamespaceHost = "192.0.2.77"

const insideNamespace = "WTN_TEST_NAMESPACE"

// InNamespace gives a test a host of its own, with an address that is not
// loopback: some clients never talk to loopback. It returns true inside; outside
// it makes the namespace, runs this very test in it by a second process, and
// returns false when that is done. It needs root and ip(8): without, the test is
// skipped, or fails when CI=true.
func InNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideNamespace) != "" {
		return true
	}
	ip, err := exec.LookPath("ip")
	if err != nil || os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI needs root and ip(8) for network namespaces")
		}
		t.Skip("SKIPPED, NOTHING TESTED: network namespaces need root and ip(8)")
	}
	name := fmt.Sprintf("wtn-test-%d", os.Getpid())
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(ip, args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	run("netns", "add", name)
	t.Cleanup(func() { _ = exec.Command(ip, "netns", "delete", name).Run() })
	run("-n", name, "link", "set", "lo", "up")
	run("-n", name, "link", "add", "host0", "type", "veth", "peer", "name", "peer0")
	run("-n", name, "link", "set", "peer0", "up")
	run("-n", name, "address", "add", NamespaceHost+"/24", "dev", "host0")
	run("-n", name, "link", "set", "host0", "up")
	run("-n", name, "route", "add", "default", "dev", "host0")

	cmd := exec.Command(ip, "netns", "exec", name, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1", "-test.timeout=3m")
	cmd.Env = append(os.Environ(), insideNamespace+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in the namespace: %v\n%s", err, out)
	}
	return false
}
