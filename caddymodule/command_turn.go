package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// turnCredentialsCommand is `caddy wtn turn-credentials`.
func turnCredentialsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "turn-credentials [--host <name>] [--user <id>] [--ttl <duration>] [--json] [--address <interface>] [--config <path> [--adapter <name>]]",
		Short: "Makes a credential for the TURN server of a running gateway",
		Long: "Asks the admin API of a running Caddy for a credential of its TURN server, to try it with another client, such as turnutils_uclient or a page that tests ICE.\n" +
			"With it that client can reach the media ports of the gateway and nothing else.",
		Args: cobra.NoArgs,
		RunE: caddycmd.WrapCommandFuncForCobra(runTURNCredentials),
	}
	c.Flags().String("host", "", "The host in the URLs, if the turn option names none")
	c.Flags().String("user", "", "A user id for admin views and metrics (default random)")
	c.Flags().Duration("ttl", visitorTTL, "How long the credential is valid")
	c.Flags().Bool("json", false, "Print an entry of iceServers as JSON")
	addAdminFlags(c)
	return c
}

func runTURNCredentials(fl caddycmd.Flags) (int, error) {
	addr, err := caddycmd.DetermineAdminAPIAddress(fl.String("address"), nil, fl.String("config"), fl.String("adapter"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	c, err := askCredential(addr, credentialRequest{User: fl.String("user"), TTL: fl.Duration("ttl").Seconds(), Host: fl.String("host")})
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	if err := printCredential(os.Stdout, c, fl.Bool("json")); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	return caddy.ExitCodeSuccess, nil
}

func askCredential(addr string, want credentialRequest) (c credentialJSON, err error) {
	return c, tellAdmin(addr, "/wtn/turn", want, &c)
}

func printCredential(out io.Writer, c credentialJSON, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(map[string]any{"urls": c.URLs, "username": c.Username, "credential": c.Credential})
	}
	fmt.Fprintf(out, "username    %s\ncredential  %s\nvalid       %.0f s\n", c.Username, c.Credential, c.TTL)
	for _, u := range c.URLs {
		fmt.Fprintf(out, "url         %s\n", u)
	}
	if len(c.URLs) == 0 {
		fmt.Fprintln(out, "url         unknown: say by --host at which name clients reach the server")
	}
	return nil
}
