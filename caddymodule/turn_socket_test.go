package caddymodule

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/pion/webrtc/v4"
)

// outerAddress is an address of this machine that is not loopback: what goes
// there is spread over the sockets of a TURN address.
func outerAddress(t *testing.T) string {
	t.Helper()
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	t.Skip("SKIPPED, NOTHING TESTED: this machine has no IPv4 address but loopback")
	return ""
}

// udpSockets are the sockets of the one UDP address for TURN that takes clients.
func udpSockets(t *testing.T) []net.PacketConn {
	t.Helper()
	var found []net.PacketConn
	for _, sock := range livingState().turn.sockets {
		if sock.refs > 0 && sock.pcs != nil {
			found = append(found, sock.pcs...)
		}
	}
	return found
}

// A reload that keeps the address keeps its sockets, every one. One that moves
// it leaves them open for the clients they have, takes them back when they are
// wanted again, and closes them with the last client.
func TestTURNSocketsOverReloads(t *testing.T) {
	outer := outerAddress(t)
	s := newSite(t)
	here, there := freePort(t, "udp"), freePort(t, "udp")
	load := func(port, quota int) {
		t.Helper()
		s.mustLoad(fmt.Sprintf("\twtn {\n\t\tmedia udp/127.0.0.1:0\n\t\tturn {\n\t\t\tlisten udp/:%d\n\t\t\thost %s\n\t\t\tquota %d\n\t\t}\n\t}", port, outer, quota), "\twtn")
	}
	load(here, 5)
	broadcast(t, s.url("/whip/x"), webrtc.ICETransportPolicyAll, noServers)
	var viewers []*radio
	for range 6 {
		viewers = append(viewers, listen(t, s.url("/whep/x"), webrtc.ICETransportPolicyRelay, only("udp")))
	}
	first := udpSockets(t)
	want := 1
	if n := runtime.GOMAXPROCS(0); runtime.GOOS == "linux" && n > 1 {
		want = min(n, 4) + 1
	}
	if len(first) != want {
		t.Errorf("%d sockets, want %d", len(first), want)
	}
	check := func(what string, port int, same bool) {
		t.Helper()
		for _, v := range viewers {
			unbroken(t, v.await(40))
		}
		now := udpSockets(t)
		if len(now) != want || (now[0] == first[0]) != same || portOf(now[0].LocalAddr()) != port {
			t.Errorf("%s: %d sockets at %v, those of before %v", what, len(now), now[0].LocalAddr(), now[0] == first[0])
		}
	}
	load(here, 6)
	check("a reload", here, true)
	load(there, 6)
	check("moved", there, false)
	if !udpHeld(here) {
		t.Error("the clients of before lost their address")
	}
	load(here, 6)
	check("moved back", here, true)
	load(there, 6)
	for _, v := range viewers {
		if status, _, _ := do(t, "DELETE", v.location, nil); status != 200 {
			t.Errorf("DELETE: %d", status)
		}
	}
	eventually(t, "the address is free after its last client", func() bool { return !udpHeld(here) })
}

const takenPort = "WTN_TEST_TURN_PORT"

// A second process does not get a part of the clients without a word: it is told
// who is in the way.
func TestTURNPortOfAnotherProcess(t *testing.T) {
	if port := os.Getenv(takenPort); port != "" { // the second
		n, _ := strconv.Atoi(port)
		sock, err := openTURN(turnAddress{network: "udp", port: uint(n)})
		fmt.Printf("opened: %v, error: %v\n", sock != nil, err)
		return
	}
	sock, err := openTURN(turnAddress{network: "udp"})
	if err != nil {
		t.Fatal(err)
	}
	defer sock.retire()
	cmd := exec.Command(os.Args[0], "-test.run=^TestTURNPortOfAnotherProcess$")
	cmd.Env = append(os.Environ(), takenPort+"="+strconv.Itoa(sock.port()))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"opened: false", "address already in use", "stop the process that holds the port"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the second process says %s, want %q in it", out, want)
		}
	}
}
