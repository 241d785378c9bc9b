package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/caddymodule/probe"
)

// probeCommand is `caddy wtn probe`.
func probeCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "probe [--config <path> [--adapter <name>]] [--stream <name>] [--duration <time>] [--json] <upstream>\n" +
			"  caddy wtn probe --vendor <name> --option <line>... [--stream <name>] [--duration <time>] [--json]",
		Short: "Tests an upstream end to end and prints what it does to media",
		Long: `Publishes a known sequence of video and sound at an upstream, plays it back, and
prints a profile: how fast the service is, which codecs it takes, what it does to
payloads, timestamps and sequence numbers, whether it passes requests for key
frames on, what it loses, and which requests it answers.

The upstream is one of the configuration (by default the Caddyfile at hand), or
is described by --vendor and --option, one line of its block each:

  caddy wtn probe --vendor whip --option "whip https://a.example/whip/{stream}" \
    --option "whep https://a.example/whep/{stream}" --option "token {env.TOKEN}"

The command line of a process is visible to others: use placeholders for secrets.

It runs here, not in a running gateway, and makes real sessions, which a vendor
may bill. The stream has a new name each time; if the service knows only certain
names, say one that nobody uses by --stream. The exit code is 1 if the upstream
cannot be used.`,
		Args: cobra.MaximumNArgs(1),
		RunE: caddycmd.WrapCommandFuncForCobra(runProbe),
	}
	f := c.Flags()
	f.StringP("config", "c", "", "The configuration file that describes the upstream")
	f.String("adapter", "", "The adapter of that configuration file")
	f.String("vendor", "", "The vendor of an upstream that is not configured")
	f.StringArray("option", nil, "An option of that upstream, as in its Caddyfile block")
	f.String("stream", "", "The stream to publish and play (default a new name)")
	f.Duration("duration", 10*time.Second, "How long media flows, 2s to 60s")
	f.Bool("push-only", false, "Only publish")
	f.Bool("pull-only", false, "Only play --stream, which somebody publishes")
	f.Bool("json", false, "Print the profile as JSON")
	return c
}

func runProbe(fl caddycmd.Flags) (int, error) {
	u, name, err := probedUpstream(fl)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	c := probe.Config{
		Name: name, Stream: fl.String("stream"), Duration: fl.Duration("duration"),
		NoPush: fl.Bool("pull-only"), NoPull: fl.Bool("push-only"),
	}
	switch {
	case c.NoPush && (c.NoPull || c.Stream == ""):
		return caddy.ExitCodeFailedStartup, errors.New("--pull-only plays what somebody publishes: say the stream by --stream, and leave --push-only out")
	case c.Duration < probe.MinDuration || c.Duration > probe.MaxDuration:
		return caddy.ExitCodeFailedStartup, fmt.Errorf("--duration is %s: use %s to %s", c.Duration, probe.MinDuration, probe.MaxDuration)
	case c.Stream == "":
		c.Stream = fmt.Sprintf("wtn-probe-%08x", rand.Uint32())
	}
	asJSON := fl.Bool("json")
	if !asJSON {
		c.Say = func(s string) { fmt.Fprintln(os.Stderr, s, "...") }
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p, err := probeUpstream(ctx, u, c)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	if err := printProfile(os.Stdout, p, asJSON); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	if !p.OK() {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("upstream %s is failing", name)
	}
	return caddy.ExitCodeSuccess, nil
}

// probeUpstream provisions the vendor in this process and probes it.
func probeUpstream(ctx context.Context, u *Upstream, c probe.Config) (*probe.Profile, error) {
	cctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	if err := u.validate(c.Name); err != nil {
		return nil, err
	}
	config, err := u.provision(cctx, c.Name, zap.NewNop())
	if err != nil {
		return nil, err
	}
	defer func() { _ = u.client.Close() }()
	c.Upstream, c.Vendor = config.Upstream, config.Vendor
	return probe.Run(ctx, c)
}

func printProfile(out io.Writer, p *probe.Profile, asJSON bool) error {
	if !asJSON {
		p.Print(out)
		return nil
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(p)
}

// probedUpstream is the one that the flags describe or name.
func probedUpstream(fl caddycmd.Flags) (*Upstream, string, error) {
	name := fl.Arg(0)
	vendor := fl.String("vendor")
	options, err := fl.GetStringArray("option")
	switch {
	case err != nil:
		return nil, "", err
	case vendor != "":
		if name == "" {
			name = vendor
		}
		u, err := describedUpstream(vendor, options)
		return u, name, err
	case len(options) > 0:
		return nil, "", errors.New("--option describes an upstream of a --vendor: name that, too")
	case name == "":
		return nil, "", errors.New("say which upstream: one of the configuration, or a --vendor with its options")
	}
	config, file, _, err := caddycmd.LoadConfig(fl.String("config"), fl.String("adapter"))
	if err != nil {
		return nil, "", err
	}
	if file == "" {
		return nil, "", errors.New("there is no configuration here: say where it is by --config, or describe the upstream by --vendor and --option")
	}
	u, err := configuredUpstream(config, name)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", file, err)
	}
	return u, name, nil
}

// describedUpstream reads options as a block of a Caddyfile has them.
func describedUpstream(vendor string, options []string) (*Upstream, error) {
	lines := append([]string{"vendor " + vendor}, options...)
	if i := slices.IndexFunc(lines, func(l string) bool { return strings.ContainsAny(l, "\r\n") }); i >= 0 {
		return nil, errors.New("an --option is one line")
	}
	text := "upstream {\n" + strings.Join(lines, "\n") + "\n}"
	tokens, err := caddyfile.Tokenize([]byte(text), "the command line")
	if err != nil {
		return nil, err
	}
	u := new(Upstream)
	d := caddyfile.NewDispenser(tokens)
	d.Next()
	return u, u.unmarshal(d)
}

// configuredUpstream finds it in the JSON of a configuration.
func configuredUpstream(config []byte, name string) (*Upstream, error) {
	var c struct {
		Apps struct {
			WTN App `json:"wtn"`
		} `json:"apps"`
	}
	if err := json.NewDecoder(bytes.NewReader(config)).Decode(&c); err != nil {
		return nil, err
	}
	if err := c.Apps.WTN.knownUpstreams([]string{name}); err != nil {
		return nil, err
	}
	return c.Apps.WTN.Upstreams[name], nil
}
