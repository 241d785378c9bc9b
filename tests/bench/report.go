package main

import (
	"fmt"
	"io"
	"time"

	"github.com/talwtn/caddy-wtn/tests/bench/load"
)

const (
	headFormat = "%7s  %-13s %7s %6s %6s %8s %11s %7s %6s %8s %8s %9s %9s\n"
	rowFormat  = "%7d  %-13s %7.2f %6.1f %6.1f %8.1f %11.0f %7.3f %6.1f %8.2f %8.2f %9.0f %9.0f\n"
)

func printHead(out io.Writer, o options, pinned bool) {
	fmt.Fprintf(out, "H.264 at 2.5 Mbit/s, 30 frames/s, a key frame every 2 s, and Opus; %s a row and server; AES-128-GCM\n", o.duration)
	if pinned {
		fmt.Fprintf(out, "server on core %d with GOMAXPROCS=1, generator on %d others\n\n", o.core, o.cores)
	} else {
		fmt.Fprintf(out, "server with GOMAXPROCS=1; NOT KEPT APART from the generator (needs taskset and a core more): read loss, not times\n\n")
	}
	fmt.Fprintf(out, headFormat, "viewers", "server", "us/pkt", "CPU%", "other%", "RSS MiB", "KiB/viewer",
		"loss%", "recv%", "lat p50", "lat p99", "join p50", "join p95")
}

func (r row) print(out io.Writer) {
	fmt.Fprintf(out, rowFormat, r.viewers, r.server, r.perPacket(), r.share(r.cpu), r.others(),
		float64(r.rss)/(1<<20), r.perViewer(), 100*r.Loss(), r.delivered(),
		r.latency(.5), r.latency(.99), r.join(.5), r.join(.95))
}

func (r row) latency(p float64) float64 { return milliseconds(load.Percentile(r.Latencies, p)) }
func (r row) join(p float64) float64    { return milliseconds(load.Percentile(r.joins.Times, p)) }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// printRatio prints how many times more the second row takes than the first.
func printRatio(out io.Writer, ours, plain row) {
	ratio := func(of func(row) float64) string {
		a, b := of(ours), of(plain)
		if a <= 0 || b <= 0 {
			return "-"
		}
		return fmt.Sprintf("%.1fx", b/a)
	}
	at := func(of func(row, float64) float64, p float64) func(row) float64 {
		return func(r row) float64 { return of(r, p) }
	}
	fmt.Fprintf(out, headFormat+"\n", "", "plain/gateway",
		ratio(row.perPacket), ratio(func(r row) float64 { return r.share(r.cpu) }), "",
		ratio(func(r row) float64 { return float64(r.rss) }), ratio(row.perViewer), "", "",
		ratio(at(row.latency, .5)), ratio(at(row.latency, .99)), ratio(at(row.join, .5)), ratio(at(row.join, .95)))
}

// printNotes says what is wrong with a measurement, if something is.
func printNotes(out io.Writer, rows []row, o options) {
	for _, r := range rows {
		note := func(format string, args ...any) {
			fmt.Fprintf(out, "note: %s with %d viewers: %s\n", r.server, r.viewers, fmt.Sprintf(format, args...))
		}
		if r.joins.OK < r.viewers {
			note("only %d joined: %v", r.joins.OK, r.joins.Err)
		}
		if r.GeneratorDrops > 0 {
			note("%d packets count as lost that the generator itself lost", r.GeneratorDrops)
		}
		if r.Undecryptable > 0 {
			note("%d packets could not be decrypted", r.Undecryptable)
		}
		if busy := r.share(r.generator) / float64(o.cores); busy > 80 {
			note("the generator was short of CPU (%.0f%% of its cores)", busy)
		}
		if others := r.others(); others > 10 {
			note("the machine was not quiet, others used %.0f%% of the server's core", others)
		}
		switch d := r.delivered(); {
		case d < 90 && r.Loss() < .01:
			note("the server fell behind: %.0f%% delivered and little lost, the rest waits in it", d)
		case r.share(r.cpu) > 95:
			note("the server was saturated")
		}
	}
}
