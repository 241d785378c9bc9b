package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// command is `caddy wtn`, the group of the gateway's own commands.
func command() caddycmd.Command {
	return caddycmd.Command{
		Name:  "wtn",
		Usage: "<command>",
		Short: "Looks after a running WebRTC gateway",
		CobraFunc: func(group *cobra.Command) {
			status := &cobra.Command{
				Use:   "status [--address <interface>] [--config <path> [--adapter <name>]]",
				Short: "Shows the streams and viewers of a running gateway",
				Long:  "Asks the admin API of a running Caddy for its streams and prints them as a table.",
				Args:  cobra.NoArgs,
				RunE:  caddycmd.WrapCommandFuncForCobra(runStatus),
			}
			addAdminFlags(status)
			group.AddCommand(status, upstreamsCommand(), drillCommand(), probeCommand(), tokenCommand(), turnCredentialsCommand())
		},
	}
}

func runStatus(fl caddycmd.Flags) (int, error) {
	addr, err := caddycmd.DetermineAdminAPIAddress(fl.String("address"), nil, fl.String("config"), fl.String("adapter"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	var stats statsJSON
	var streams []streamJSON
	if err := askAdmin(addr, "/wtn/stats", &stats); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	if err := askAdmin(addr, "/wtn/streams", &streams); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	printStatus(os.Stdout, stats, streams, time.Now())
	return caddy.ExitCodeSuccess, nil
}

// askAdmin gets a snapshot. The client's own error names the address and what
// the API said.
func askAdmin(addr, path string, into any) error {
	return requestAdmin(addr, http.MethodGet, path, nil, into)
}

// tellAdmin posts a request and reads the answer.
func tellAdmin(addr, path string, want, into any) error {
	body, err := json.Marshal(want)
	if err != nil {
		return err
	}
	return requestAdmin(addr, http.MethodPost, path, bytes.NewReader(body), into)
}

func requestAdmin(addr, method, path string, body io.Reader, into any) error {
	header := http.Header{"Content-Type": {"application/json"}}
	resp, err := caddycmd.AdminAPIRequest(addr, method, path, header, body)
	switch {
	case err != nil && strings.HasPrefix(err.Error(), "caddy responded"):
		return fmt.Errorf("asking the admin API at %s: %w", addr, err)
	case err != nil:
		return fmt.Errorf("asking the admin API at %s (is the gateway running there? see --address): %w", addr, err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("the admin API at %s answered %s with something else than JSON: %w", addr, path, err)
	}
	return nil
}

func printStatus(out io.Writer, stats statsJSON, streams []streamJSON, now time.Time) {
	fmt.Fprintf(out, "media %s, %d publishing, %d watching, %.0f %% busy\n",
		strings.Join(stats.Media, " "), stats.Publishers, stats.Subscribers, stats.Busy*100)
	if len(streams) == 0 {
		fmt.Fprintln(out, "no streams")
		return
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "STREAM\tSTATE\tFOR\tVIEWERS\tCODECS\tPICTURE\tKBIT/S")
	for _, s := range streams {
		codecs, picture, bitrate := summary(s.Tracks)
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%.0f\n", s.Name, streamState(s),
			now.Sub(s.Since).Truncate(time.Second), s.Viewers, codecs, picture, bitrate/1000)
	}
	t.Flush()
}

func streamState(s streamJSON) string {
	switch {
	case s.Live:
		return "live"
	case s.Publisher == nil:
		return "quiet"
	default:
		return "connecting"
	}
}

func summary(tracks []trackJSON) (codecs, picture string, bitrate float64) {
	var names []string
	picture = "-"
	width := 0
	for _, t := range tracks {
		if t.RID == "" || !slices.Contains(names, t.Codec) { // layers have one codec
			names = append(names, t.Codec)
		}
		bitrate += t.Bitrate
		if t.Width > width {
			width = t.Width
			picture = fmt.Sprintf("%dx%d", t.Width, t.Height)
		}
	}
	if names == nil {
		names = []string{"-"}
	}
	return strings.Join(names, "+"), picture, bitrate
}
