// Command bench measures what the gateway costs and what its viewers get, next
// to a plain pion relay (tests/bench/plain) under the same load:
//
//	go run ./tests/bench
//	go run ./tests/bench -viewers 10,50,200 -duration 5s -gateway ./caddy
//
// For each number of viewers it starts the gateway, loads it, measures, stops
// it, and does the same with the plain relay. The server has one core for
// itself (taskset, GOMAXPROCS=1), the load others. Everything stays on
// loopback. It needs Linux; the default run takes about a minute.
//
// # How to read it
//
// Read the ratios, the rows "plain/gateway": how many times more of it the
// plain relay needs. Absolute times are those of one machine at one moment,
// with the receiving half of the network stack in them, since on loopback it
// runs within the send. Do not compare them across machines or runs.
//
//   - us/pkt: CPU time of the server for each packet a viewer received. With few
//     viewers most of it is not forwarding but the publisher and the process.
//   - CPU%: share of one core. Near 100 the server is saturated, and its row
//     tells what it drops or delays, not what it costs.
//   - other%: share of the server's core that others used. Above a few percent
//     the machine was not quiet: latency and joins are then worth little, and
//     caches shared with others make us/pkt larger for both. Choose another
//     -core, or as root run it with nice -n -15.
//   - RSS, KiB/viewer: resident memory with all viewers, and its growth since
//     there were none, for each
//   - loss%: gaps in the sequence numbers, before any retransmission
//   - recv%: packets received of those the publisher sent times viewers; below
//     100 without loss, a queue grows in the server. A percent either way is the
//     edge of the window.
//   - lat: from the publisher's send of a packet to its arrival at the viewer,
//     milliseconds. Key frames are bursts of 50 packets to all viewers at once:
//     p99 is the end of such a burst.
//   - join: from POST to the last packet of the first complete key frame. The
//     publisher ignores requests for key frames, unless -obey is given: a server
//     that keeps none makes viewers wait for the next, up to 2 s.
//
// Notes below the table say when the generator was short of CPU or lost packets
// itself; then use fewer viewers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options of a run.
type options struct {
	viewers  []int
	duration time.Duration // of each measurement
	settle   time.Duration // between the last join and the measurement
	gateway  string        // path of the binary; empty: build one
	core     int           // of the server
	cores    int           // of the generator: how many
	obey     bool
	joinRate int
}

func main() {
	o := options{settle: time.Second}
	viewers := flag.String("viewers", "10,50,200", "numbers of viewers, one row each")
	flag.DurationVar(&o.duration, "duration", 5*time.Second, "time measured for each row and server")
	flag.StringVar(&o.gateway, "gateway", "", "`path` of a Caddy with the gateway (default: build one)")
	flag.IntVar(&o.core, "core", 0, "`number` of the core the server has for itself; choose the quietest")
	flag.IntVar(&o.cores, "cores", max(runtime.NumCPU()-1, 1), "how many of the other cores the load generator has")
	flag.BoolVar(&o.obey, "obey", false, "the publisher answers requests for key frames")
	flag.IntVar(&o.joinRate, "joins", 40, "viewers that join in a second")
	flag.Parse()
	var err error
	if o.viewers, err = parseViewers(*viewers); err == nil {
		err = o.check()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if _, err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseViewers(s string) (out []int, err error) {
	for f := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(f))
		if err != nil || n < 1 || n > 5000 {
			return nil, fmt.Errorf("-viewers: %q is not a number from 1 to 5000", f)
		}
		out = append(out, n)
	}
	return out, nil
}

func (o options) check() error {
	if o.duration < 100*time.Millisecond || o.duration > 10*time.Minute {
		return errors.New("-duration must be from 100ms to 10m")
	}
	if o.core < 0 || o.core >= runtime.NumCPU() {
		return fmt.Errorf("-core must be from 0 to %d", runtime.NumCPU()-1)
	}
	if o.cores < 1 || o.joinRate < 1 || o.joinRate > 1000 {
		return errors.New("-cores must be at least 1, -joins from 1 to 1000")
	}
	return nil
}

// run measures all rows and prints them as they come.
func run(ctx context.Context, o options, out io.Writer) ([]row, error) {
	dir, err := os.MkdirTemp("", "wtn-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	servers, err := prepare(ctx, dir, o.gateway)
	if err != nil {
		return nil, err
	}
	pinned := pinSelf(o.core, o.cores)
	printHead(out, o, pinned)
	var rows []row
	for _, n := range o.viewers {
		var pair [2]row
		for i, s := range servers {
			if pair[i], err = measure(ctx, dir, s, n, o); err != nil {
				return rows, fmt.Errorf("%s with %d viewers: %w", s.name, n, err)
			}
			pair[i].print(out)
		}
		printRatio(out, pair[0], pair[1])
		rows = append(rows, pair[:]...)
	}
	printNotes(out, rows, o)
	return rows, nil
}
