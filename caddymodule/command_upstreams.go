package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// upstreamsCommand is `caddy wtn upstreams`.
func upstreamsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "upstreams [--address <interface>] [--config <path> [--adapter <name>]]",
		Short: "Shows the upstreams of a running gateway",
		Long: "Asks the admin API of a running Caddy for its upstreams and prints them as two tables:\n" +
			"whether each is well, and which streams are pulled from it or pushed to it.",
		Args: cobra.NoArgs,
		RunE: caddycmd.WrapCommandFuncForCobra(runUpstreams),
	}
	addAdminFlags(c)
	return c
}

func runUpstreams(fl caddycmd.Flags) (int, error) {
	addr, err := caddycmd.DetermineAdminAPIAddress(fl.String("address"), nil, fl.String("config"), fl.String("adapter"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	var upstreams []upstreamJSON
	var streams []streamJSON
	if err := errors.Join(askAdmin(addr, "/wtn/upstreams", &upstreams), askAdmin(addr, "/wtn/streams", &streams)); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	printUpstreams(os.Stdout, upstreams, streams)
	return caddy.ExitCodeSuccess, nil
}

func printUpstreams(out io.Writer, upstreams []upstreamJSON, streams []streamJSON) {
	if len(upstreams) == 0 {
		fmt.Fprintln(out, "no upstreams are configured")
		return
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "UPSTREAM\tVENDOR\tSTATE\tSTREAMS\tSESSIONS\tREQUESTS")
	for _, u := range upstreams {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%s\n", u.Name, u.Vendor, u.State, u.Streams, u.Sessions, outcomes(u.Requests))
	}
	t.Flush()
	t = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	head := "\nSTREAM\tWAY\tUPSTREAM\tSTATE\tERROR\n"
	for _, s := range streams {
		for _, d := range docked(s) {
			fmt.Fprint(t, head)
			head = ""
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", s.Name, d.way, d.Upstream, d.state, d.Error)
		}
	}
	t.Flush()
}

// place is a line about one stream at one upstream.
type place struct {
	dockJSON
	way, state string
}

// docked are the places of a stream, with what viewers get.
func docked(s streamJSON) (list []place) {
	for _, d := range s.Pulls {
		p := place{d, "pull", d.State}
		i := slices.IndexFunc(s.Sources, func(x sourceJSON) bool { return x.Upstream == d.Upstream })
		if i >= 0 {
			p.state += sourceState(s.Sources[i])
		}
		list = append(list, p)
	}
	for _, d := range s.Pushes {
		list = append(list, place{d, "push", d.State})
	}
	for i, p := range list {
		if p.Again > 0 {
			list[i].state = fmt.Sprintf("%s %.1f s", p.state, p.Again)
		}
	}
	return list
}

func sourceState(s sourceJSON) (words string) {
	for _, w := range []struct {
		is   bool
		word string
	}{{s.Program, "on air"}, {s.Held, "held"}, {s.Lossy, "lossy"}} {
		if w.is {
			words += ", " + w.word
		}
	}
	return words
}

// outcomes are those that happened.
func outcomes(requests map[string]uint64) string {
	var words []string
	for outcome, n := range requests {
		if n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, outcome))
		}
	}
	if words == nil {
		return "-"
	}
	slices.SortFunc(words, func(a, b string) int { // by outcome
		_, x, _ := strings.Cut(a, " ")
		_, y, _ := strings.Cut(b, " ")
		return strings.Compare(x, y)
	})
	return strings.Join(words, ", ")
}
