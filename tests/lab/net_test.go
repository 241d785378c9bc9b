package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

// A lab is three network namespaces in a row:
//
//	client 10.77.0.2 ── router ── gateway 198.51.100.2
//
// or the same with IPv6, 2001:db8:1::2 and 2001:db8:2::2, never both: a NAT of
// one would be gone round by the other.
//
// The router is where networks do what they do to media. Nothing of it touches
// the machine's own network; all of it goes with the namespaces.
type lab struct {
	t                       *testing.T
	client, router, gateway string // namespaces
	plain                   bool
}

const (
	gateway4 = "198.51.100.2"
	gateway6 = "2001:db8:2::2"
	inner4   = "10.88.0.2" // the gateway's own address behind a 1:1 NAT
)

// layout is what differs between labs.
type layout struct {
	rules    string // of the router, as nft reads them
	only6    bool   // no IPv4 anywhere
	oneToOne bool   // the gateway has inner4, and outside it is gateway4
	plain    bool   // the gateway takes TURN without TLS on its HTTPS port too
}

var labs atomic.Int32

func newLab(t *testing.T, l layout) *lab {
	t.Helper()
	n := labs.Add(1)
	name := func(part string) string { return fmt.Sprintf("wtnlab-%d-%d-%s", os.Getpid(), n, part) }
	b := &lab{t: t, client: name("c"), router: name("r"), gateway: name("g"), plain: l.plain}
	for _, ns := range []string{b.client, b.router, b.gateway} {
		run(t, "", "ip", "netns", "add", ns)
		t.Cleanup(func() { run(t, "", "ip", "netns", "del", ns) })
		// Duplicate address detection would hold IPv6 up for its first seconds.
		run(t, "", "ip", "netns", "exec", ns, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0")
		run(t, "", "ip", "-n", ns, "link", "set", "lo", "up")
	}
	b.wire(b.client, b.router, "in")
	b.wire(b.gateway, b.router, "out")
	if !l.only6 {
		b.address(b.client, "eth0", "10.77.0.2/24", "10.77.0.1")
		b.address(b.router, "in", "10.77.0.1/24", "")
		own, via := gateway4, "198.51.100.1"
		if l.oneToOne {
			own, via = inner4, "10.88.0.1"
		}
		b.address(b.gateway, "eth0", own+"/24", via)
		b.address(b.router, "out", via+"/24", "")
	}
	if l.only6 {
		b.address(b.client, "eth0", "2001:db8:1::2/64", "2001:db8:1::1")
		b.address(b.router, "in", "2001:db8:1::1/64", "")
		b.address(b.gateway, "eth0", gateway6+"/64", "2001:db8:2::1")
		b.address(b.router, "out", "2001:db8:2::1/64", "")
	}
	for _, key := range []string{"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"} {
		run(t, "", "ip", "netns", "exec", b.router, "sysctl", "-qw", key+"=1")
	}
	if l.rules != "" {
		run(t, l.rules, "ip", "netns", "exec", b.router, "nft", "-f", "-")
	}
	return b
}

// wire connects eth0 of a namespace with a port of the router.
func (b *lab) wire(ns, router, port string) {
	run(b.t, "", "ip", "link", "add", "eth0", "netns", ns, "type", "veth", "peer", "name", port, "netns", router)
	run(b.t, "", "ip", "-n", ns, "link", "set", "eth0", "up")
	run(b.t, "", "ip", "-n", router, "link", "set", port, "up")
}

func (b *lab) address(ns, device, addr, via string) {
	args := []string{"-n", ns, "addr", "add", addr, "dev", device}
	family := "-4"
	if strings.Contains(addr, ":") {
		family = "-6"
		args = append(args, "nodad")
	}
	run(b.t, "", "ip", args...)
	if via != "" {
		run(b.t, "", "ip", family, "-n", ns, "route", "add", "default", "via", via)
	}
}

func run(t *testing.T, stdin, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
}

// requireLab skips where there can be no lab, which under CI as root is an error.
func requireLab(t *testing.T) {
	t.Helper()
	missing := ""
	for _, tool := range []string{"ip", "nft", "sysctl"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = tool
		}
	}
	if missing == "" && os.Getuid() == 0 {
		probe := fmt.Sprintf("wtnlab-%d-probe", os.Getpid())
		if out, err := exec.Command("ip", "netns", "add", probe).CombinedOutput(); err != nil {
			missing = fmt.Sprintf("the right to make network namespaces (%s)", bytes.TrimSpace(out))
		} else {
			run(t, "", "ip", "netns", "del", probe)
		}
	}
	switch {
	case os.Getuid() != 0:
		t.Skip("!!! SKIPPED: the network lab needs root, run it with sudo")
	case missing != "" && os.Getenv("CI") == "true":
		t.Fatalf("the network lab needs %s", missing)
	case missing != "":
		t.Skipf("!!! SKIPPED: the network lab needs %s (apt-get install iproute2 nftables procps)", missing)
	}
}
