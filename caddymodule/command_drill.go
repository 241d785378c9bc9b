package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/talwtn/caddy-wtn/relay"
)

// drillCommand is `caddy wtn drill`.
func drillCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "drill [--seconds <n>] [--address <interface>] [--config <path> [--adapter <name>]] <stream> <source>",
		Short: "Makes a source of a stream look dead, and tells what came of it",
		Long: `Makes one source of a live stream look dead, as if the host that it comes from
had lost power, and waits until the stream goes on from another one. The source
is the name of an upstream or the session id of a publisher, as shown by
"caddy wtn upstreams" and GET /wtn/streams. It lives again afterwards.

Viewers of the stream see what they would see if it were true. The exit code is
1 if the stream did not go on, or a viewer was lost.`,
		Args: cobra.ExactArgs(2),
		RunE: caddycmd.WrapCommandFuncForCobra(runDrill),
	}
	c.Flags().Float64("seconds", defaultDrill.Seconds(), fmt.Sprintf("How long to wait for another source, up to %.0f", maxDrill.Seconds()))
	addAdminFlags(c)
	return c
}

func addAdminFlags(c *cobra.Command) {
	c.Flags().StringP("address", "a", "", "The address of the admin API, if not the default")
	c.Flags().StringP("config", "c", "", "The configuration file to take the admin address from")
	c.Flags().String("adapter", "", "The adapter of that configuration file")
}

func runDrill(fl caddycmd.Flags) (int, error) {
	addr, err := caddycmd.DetermineAdminAPIAddress(fl.String("address"), nil, fl.String("config"), fl.String("adapter"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	want := drillRequest{Stream: fl.Arg(0), Source: fl.Arg(1), Seconds: fl.Float64("seconds")}
	var d drillJSON
	if err := tellAdmin(addr, "/wtn/drill", want, &d); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	printDrill(os.Stdout, d, time.Duration(want.Seconds*float64(time.Second)))
	switch {
	case !d.Switched || d.Cause == string(relay.CauseSlate):
		return caddy.ExitCodeFailedStartup, errors.New("the stream did not go on from another source")
	case d.Lost > 0:
		return caddy.ExitCodeFailedStartup, errors.New("viewers were lost")
	}
	return caddy.ExitCodeSuccess, nil
}

// causeWords say who noticed that a source is dead.
var causeWords = map[relay.Cause]string{
	relay.CausePath:     "its path did not answer",
	relay.CauseMedia:    "no video arrived",
	relay.CauseBehind:   "it stopped while another source went on",
	relay.CauseAudio:    "no sound arrived",
	relay.CauseEnded:    "its session ended",
	relay.CauseLoss:     "too much of it was lost",
	relay.CauseSlate:    "no other source was there",
	relay.CauseReturn:   "a source was back, and the slate went",
	relay.CauseOperator: "somebody asked for it at the same time",
	relay.CauseFailback: "a better source was well again",
	relay.CausePriority: "a source of a higher rank came",
	relay.CauseReplace:  "another publisher came",
}

func printDrill(out io.Writer, d drillJSON, limit time.Duration) {
	fmt.Fprintf(out, "drill: source %s of stream %s, %d watching\n", d.Source, d.Stream, d.Viewers)
	if !d.Switched {
		fmt.Fprintf(out, "not noticed:  within %s no other source took over. Was it the one on air, and is there another one?\n", limit)
	} else {
		why := causeWords[relay.Cause(d.Cause)]
		if why == "" {
			why = "for a reason of its own"
		}
		to := d.ToUpstream
		switch {
		case d.Cause == string(relay.CauseSlate):
			to = "the slate"
		case to == "":
			to = "session " + d.To
		}
		fmt.Fprintf(out, "noticed:      %s (%s)\n", why, d.Cause)
		fmt.Fprintf(out, "went over:    to %s after %.0f ms\n", to, d.Detected)
		fmt.Fprintf(out, "interruption: %.0f ms, as every viewer saw it\n", d.Gap)
	}
	fmt.Fprintf(out, "viewers lost: %d\n", d.Lost)
}
