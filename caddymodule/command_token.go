package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spf13/cobra"
)

// tokenCommand is `caddy wtn token`.
func tokenCommand() *cobra.Command {
	group := &cobra.Command{
		Use:   "token",
		Short: "Makes and reads tokens for publishing and playing",
	}
	group.AddCommand(mintCommand(), inspectCommand())
	return group
}

const keyHelp = `The key is taken from a file or an environment variable, because the command
line of a process is visible to others.`

func mintCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "mint --type wtn|jwt (--key-file <path> | --key-env <name>) --stream <name> --action publish|play",
		Short: "Makes a token",
		Long: `Makes a token signed with HS256 and prints it.

With --type wtn it is for the wtn method: --stream is <AppID>/<StreamID>, the
key is the AppKey. With --type jwt it is for the jwt method: --stream is a
pattern, the key is the secret. --stream and --action may be given several times
for a jwt.

` + keyHelp,
		Args: cobra.NoArgs,
		RunE: caddycmd.WrapCommandFuncForCobra(runMint),
	}
	f := c.Flags()
	f.String("type", "wtn", "wtn or jwt")
	addKeyFlags(c)
	f.StringArray("stream", nil, "The stream, app/stream for wtn, a pattern such as live/* for jwt")
	f.StringArray("action", nil, "publish or play")
	f.Duration("lifetime", time.Hour, "How long the token is good for")
	f.Bool("enable-sub-auth", false, "Ask viewers of the published stream for tokens (wtn)")
	f.String("subject", "", "Who the token is for (jwt)")
	f.String("issuer", "", "Who the token is from (jwt)")
	f.StringArray("audience", nil, "Which gateway the token is for (jwt)")
	return c
}

func inspectCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "inspect [--key-file <path> | --key-env <name>] [<token>]",
		Short: "Shows what a token says",
		Long: `Shows the header and the claims of a token, and whether it has expired. With a
key it also checks the signature of an HS256 token and fails if it is wrong.
Without an argument the token is read from standard input.

` + keyHelp,
		Args: cobra.MaximumNArgs(1),
		RunE: caddycmd.WrapCommandFuncForCobra(runInspect),
	}
	addKeyFlags(c)
	return c
}

func addKeyFlags(c *cobra.Command) {
	c.Flags().String("key-file", "", "The file that holds the key")
	c.Flags().String("key-env", "", "The environment variable that holds the key")
}

// keyOf reads the key the flags name; nil if they name none.
func keyOf(fl caddycmd.Flags) ([]byte, error) {
	file, env := fl.String("key-file"), fl.String("key-env")
	switch {
	case file != "" && env != "":
		return nil, errors.New("give the key in a file or in a variable, not both")
	case file != "":
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading the key: %w", err)
		}
		return nonEmptyKey(strings.TrimRight(string(raw), "\r\n"), file)
	case env != "":
		return nonEmptyKey(os.Getenv(env), env)
	}
	return nil, nil
}

func nonEmptyKey(key, from string) ([]byte, error) {
	if key == "" {
		return nil, fmt.Errorf("the key in %s is empty", from)
	}
	return []byte(key), nil
}

func runMint(fl caddycmd.Flags) (int, error) {
	key, err := keyOf(fl)
	if err == nil && key == nil {
		err = errors.New("a key is needed: use --key-file or --key-env")
	}
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	o := mintOptions{kind: fl.String("type"), subject: fl.String("subject"), issuer: fl.String("issuer"),
		protect: fl.Bool("enable-sub-auth"), lifetime: fl.Duration("lifetime")}
	for name, list := range map[string]*[]string{"stream": &o.streams, "action": &o.actions, "audience": &o.audiences} {
		if *list, err = fl.GetStringArray(name); err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
	}
	token, err := o.mint(key, time.Now())
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	fmt.Println(token)
	return caddy.ExitCodeSuccess, nil
}

// mintOptions say what a new token is to allow.
type mintOptions struct {
	kind                        string // wtn, jwt
	streams, actions, audiences []string
	subject, issuer             string
	protect                     bool
	lifetime                    time.Duration
}

func (o mintOptions) mint(key []byte, now time.Time) (string, error) {
	if len(o.streams) == 0 || len(o.actions) == 0 {
		return "", errors.New("a token needs --stream and --action")
	}
	for _, a := range o.actions {
		if a != actionPublish && a != actionPlay {
			return "", fmt.Errorf("action is %q: use publish or play", a)
		}
	}
	if o.lifetime < time.Second {
		return "", fmt.Errorf("lifetime is %v: use at least a second", o.lifetime)
	}
	exp := now.Add(o.lifetime).Unix()
	switch o.kind {
	case "wtn":
		return o.mintWTN(key, exp)
	case "jwt":
		return o.mintJWT(key, exp)
	}
	return "", fmt.Errorf("type is %q: use wtn or jwt", o.kind)
}

func (o mintOptions) mintWTN(key []byte, exp int64) (string, error) {
	app, stream, ok := strings.Cut(o.streams[0], "/")
	if len(o.streams) > 1 || len(o.actions) > 1 || !ok || app == "" || stream == "" || strings.Contains(stream, "/") {
		return "", errors.New("a WTN token is for one action on one stream, written as <AppID>/<StreamID>")
	}
	if o.subject != "" || o.issuer != "" || len(o.audiences) > 0 {
		return "", errors.New("a WTN token has no subject, issuer or audience: use --type jwt")
	}
	c := wtnClaims{Version: "1.0", AppID: app, StreamID: stream, Exp: exp, Action: "pub", EnableSubAuth: o.protect}
	if o.actions[0] == actionPlay {
		if o.protect {
			return "", errors.New("--enable-sub-auth belongs to tokens for publish")
		}
		c.Action = "sub"
	}
	return signToken(wtnKey(string(key)), c)
}

func (o mintOptions) mintJWT(key []byte, exp int64) (string, error) {
	if len(key) < 32 {
		return "", errors.New("the secret is shorter than the 32 bytes that HS256 needs")
	}
	if o.protect {
		return "", errors.New("--enable-sub-auth belongs to --type wtn")
	}
	return signToken(key, struct {
		Subject  string   `json:"sub,omitempty"`
		Issuer   string   `json:"iss,omitempty"`
		Audience []string `json:"aud,omitempty"`
		Exp      int64    `json:"exp"`
		WTN      any      `json:"wtn"`
	}{o.subject, o.issuer, o.audiences, exp, map[string][]string{"action": o.actions, "stream": o.streams}})
}

func signToken(key []byte, claims any) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: key}, new(jose.SignerOptions).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("signing the token: %w", err)
	}
	return jwt.Signed(signer).Claims(claims).Serialize()
}

func runInspect(fl caddycmd.Flags) (int, error) {
	key, err := keyOf(fl)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	token := fl.Arg(0)
	if token == "" {
		raw, err := io.ReadAll(io.LimitReader(os.Stdin, maxTokenSize+2))
		if err != nil {
			return caddy.ExitCodeFailedStartup, fmt.Errorf("reading the token: %w", err)
		}
		token = string(raw)
	}
	if err := inspect(os.Stdout, strings.TrimSpace(token), key, time.Now()); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	return caddy.ExitCodeSuccess, nil
}

// inspect prints what a token says, also if it is not to be trusted.
func inspect(out io.Writer, token string, key []byte, now time.Time) error {
	if !validToken(token) {
		return errors.New("that is no token: give it as the argument or on standard input")
	}
	known := []jose.SignatureAlgorithm{jose.HS256, jose.RS256, jose.ES256, jose.EdDSA}
	tok, err := jwt.ParseSigned(token, known)
	if err != nil {
		return fmt.Errorf("the token is no JSON Web Token of HS256, RS256, ES256 or EdDSA: %w", err)
	}
	var claims jwtClaims
	if err := tok.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return fmt.Errorf("the claims cannot be read: %w", err)
	}
	head := tok.Headers[0]
	fmt.Fprintf(out, "algorithm  %s\n", head.Algorithm)
	if head.KeyID != "" {
		fmt.Fprintf(out, "key id     %q\n", head.KeyID)
	}
	for _, name := range sortedKeys(claims) {
		v, err := json.Marshal(claims[name])
		if err != nil {
			return err
		}
		if f, ok := claims[name].(float64); ok && f == float64(int64(f)) {
			v = fmt.Appendf(nil, "%d", int64(f))
		}
		fmt.Fprintf(out, "%-10s %s\n", name, v)
	}
	printExpiry(out, claims, now)
	if key == nil {
		fmt.Fprintln(out, "signature  not checked: give the key with --key-file or --key-env")
		return nil
	}
	if head.Algorithm != string(jose.HS256) {
		return fmt.Errorf("the signature was made with %s: only HS256 can be checked with a key from here", head.Algorithm)
	}
	if err := tok.Claims(wtnKey(string(key)), &jwtClaims{}); err != nil {
		return errors.New("the signature is wrong: another key made it")
	}
	fmt.Fprintln(out, "signature  good")
	return nil
}

func printExpiry(out io.Writer, c jwtClaims, now time.Time) {
	exp, ok := c.date("exp")
	switch {
	case !ok:
		fmt.Fprintln(out, "expires    never said: the gateway refuses it")
	case now.Before(exp):
		fmt.Fprintf(out, "expires    %s, in %s\n", exp.UTC().Format(time.RFC3339), exp.Sub(now).Round(time.Second))
	default:
		fmt.Fprintf(out, "expires    %s, %s ago\n", exp.UTC().Format(time.RFC3339), now.Sub(exp).Round(time.Second))
	}
}

func sortedKeys(c jwtClaims) []string {
	names := make([]string, 0, len(c))
	for name := range c {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
