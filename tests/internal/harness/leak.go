package harness

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
)

// Counts are the resources of the gateway process that sessions must give back.
type Counts struct {
	Goroutines, Sockets int
}

func (c Counts) String() string {
	return fmt.Sprintf("%d goroutines, %d sockets", c.Goroutines, c.Sockets)
}

// Goroutines counts the goroutines of the gateway. The request that asks is
// part of the count, each time alike.
func (g *Gateway) Goroutines() int {
	g.t.Helper()
	return g.counts().Goroutines
}

// Sockets counts the open sockets of the gateway.
func (g *Gateway) Sockets() int {
	g.t.Helper()
	fds := fmt.Sprintf("/proc/%d/fd", g.PID())
	entries, err := os.ReadDir(fds)
	if err != nil {
		g.t.Fatalf("count sockets: %v", err)
	}
	n := 0
	for _, e := range entries {
		// A descriptor may be closed between the listing and this look.
		if to, err := os.Readlink(fds + "/" + e.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// MemoryKiB is the resident memory of the gateway.
func (g *Gateway) MemoryKiB() int {
	g.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.PID()))
	if err != nil {
		g.t.Fatalf("read memory: %v", err)
	}
	for line := range strings.Lines(string(b)) {
		var n int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &n); err == nil {
			return n
		}
	}
	g.t.Fatal("no VmRSS")
	return 0
}

func (g *Gateway) counts() Counts {
	g.t.Helper()
	b, err := g.adminGet("/debug/pprof/goroutine?debug=1")
	if err != nil {
		g.t.Fatalf("count goroutines: %v", err)
	}
	var n int
	if _, err := fmt.Sscanf(string(b), "goroutine profile: total %d", &n); err != nil {
		g.t.Fatalf("count goroutines: %v in %.80q", err, b)
	}
	return Counts{Goroutines: n, Sockets: g.Sockets()}
}

// SettledCounts waits until the counts stop to change: what a fresh process
// starts in the background is part of the starting point.
func (g *Gateway) SettledCounts() Counts {
	g.t.Helper()
	last, same := g.counts(), 0
	Poll(5*time.Second, func() bool {
		now := g.counts()
		if now == last {
			same++
		} else {
			last, same = now, 0
		}
		return same >= 5
	})
	return last
}

// CheckLeaks waits until the counts are back at the starting point and fails
// the test with the stacks of the gateway when they do not come back.
func (g *Gateway) CheckLeaks() {
	g.t.Helper()
	g.client.CloseIdleConnections()
	var now Counts
	back := Poll(15*time.Second, func() bool {
		now = g.counts()
		return now.Goroutines <= g.start.Goroutines && now.Sockets <= g.start.Sockets
	})
	if back {
		return
	}
	g.t.Errorf("the gateway leaks: %s at the start, %s now", g.start, now)
	if b, err := g.adminGet("/debug/pprof/goroutine?debug=1"); err == nil {
		g.t.Logf("goroutines of the gateway:\n%s", bytes.TrimSpace(b))
	}
}
