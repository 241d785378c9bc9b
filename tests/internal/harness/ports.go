package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Ports are drawn below the range from which the kernel takes the ports of
// clients (32768 and up on Linux): a client's socket can never sit on one of
// them between the draw and the gateway's own bind.
const portLow, portHigh = 20000, 32000

var (
	portMu    sync.Mutex
	portTaken = map[int]bool{}
)

// FreePort returns a port that nothing uses over TCP or UDP on 127.0.0.1 and
// that this process did not hand out before.
func FreePort(t testing.TB) int {
	t.Helper()
	portMu.Lock()
	defer portMu.Unlock()
	for range 1000 {
		p := portLow + rand.IntN(portHigh-portLow)
		if !portTaken[p] && bindable(p) {
			portTaken[p] = true
			return p
		}
	}
	t.Fatal("no free port on 127.0.0.1")
	return 0
}

func bindable(port int) bool {
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	l, err := net.Listen("tcp4", addr)
	if err != nil {
		return false
	}
	defer l.Close()
	c, err := net.ListenPacket("udp4", addr)
	if err != nil {
		return false
	}
	return c.Close() == nil
}
