package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

const (
	hookTimeout    = 3 * time.Second
	maxHookTimeout = 10 * time.Second
	maxHookAnswer  = 64 << 10
)

// AuthHook asks a URL of the operator. It gets a POST with
//
//	{"action": "publish", "stream": "live/room1", "token": "...",
//	 "client": "203.0.113.7", "user": "bob"}
//
// where token is empty if none was sent and user is who Caddy's own
// authentication found. It decides by its status: 2xx allows, 401 means that
// the token is missing or wrong, 403 and 404 that it gives no right to this.
// Anything else, or no answer in time, is 503 for the client. A 2xx may have a
// JSON body, all of it optional:
//
//	{"allow": true, "stream": "live/0f3a", "principal": "alice",
//	 "lifetime": 3600, "priority": 10, "max_viewers": 500,
//	 "max_bitrate": 8000000, "protect_play": true}
//
// stream takes the place of the name the client used. lifetime is in seconds;
// after it the session is ended. priority ranks publishers, whatever they say of
// themselves. max_bitrate is what a publisher may send, in bits per second.
// `"allow": false` is the same as 403.
type AuthHook struct {
	// The URL. It gets the tokens, so use https unless the way there is trusted.
	// Redirects are not followed. Placeholders are replaced.
	URL string `json:"url,omitempty"`

	// How long to wait for the answer, at most 10 seconds. Default: `3s`.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// Headers to send, such as an Authorization of our own. Placeholders are
	// replaced.
	Headers map[string]string `json:"headers,omitempty"`

	url    string
	header http.Header
	client *http.Client
}

// CaddyModule returns the Caddy module information.
func (AuthHook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: authNamespace + ".hook", New: func() caddy.Module { return new(AuthHook) }}
}

// Provision checks the URL. It is not called yet.
func (a *AuthHook) Provision(caddy.Context) (err error) {
	if a.url, err = secretOf("url of auth hook", a.URL); err != nil {
		return err
	}
	if u, err := url.Parse(a.url); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("the url of auth hook is not an http or https URL")
	}
	timeout := time.Duration(a.Timeout)
	if timeout == 0 {
		timeout = hookTimeout
	}
	if timeout < 0 || timeout > maxHookTimeout {
		return fmt.Errorf("timeout of auth hook is %v: use up to %v", timeout, maxHookTimeout)
	}
	a.header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}
	for name, v := range a.Headers {
		if v, err = secretOf("header "+name+" of auth hook", v); err != nil {
			return err
		}
		a.header.Set(name, v)
	}
	a.client = &http.Client{
		Timeout:       timeout,
		Transport:     authTransport(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

// Cleanup lets idle connections go.
func (a *AuthHook) Cleanup() error {
	if a.client != nil {
		a.client.CloseIdleConnections()
	}
	return nil
}

// hookQuestion is the body of the POST.
type hookQuestion struct {
	Action string `json:"action"`
	Stream string `json:"stream"`
	Token  string `json:"token"`
	Client string `json:"client"`
	User   string `json:"user"`
}

// hookAnswer is the body of the reply. Fields it has beside are ignored.
type hookAnswer struct {
	Allow       *bool   `json:"allow"`
	Stream      string  `json:"stream"`
	Principal   string  `json:"principal"`
	Lifetime    float64 `json:"lifetime"`
	Priority    *int    `json:"priority"`
	MaxViewers  int     `json:"max_viewers"`
	MaxBitrate  float64 `json:"max_bitrate"`
	ProtectPlay bool    `json:"protect_play"`
}

// Authorize asks the URL.
func (a *AuthHook) Authorize(r *http.Request, req AuthRequest) (Grant, error) {
	status, body, err := a.post(r.Context(), hookQuestion{
		Action: req.Action, Stream: req.Stream, Token: req.Token, Client: req.Client.String(), User: authUser(r),
	})
	switch {
	case err != nil:
		return Grant{}, fmt.Errorf("%w: asking the hook: %w", ErrAuthUnavailable, err)
	case status == http.StatusUnauthorized && req.Token == "":
		return Grant{}, ErrNoCredentials
	case status == http.StatusUnauthorized:
		return Grant{}, ErrTokenSignature
	case status == http.StatusForbidden || status == http.StatusNotFound:
		return Grant{}, ErrForbidden
	case status < 200 || status > 299:
		return Grant{}, fmt.Errorf("%w: the hook answered %d", ErrAuthUnavailable, status)
	}
	return readHookAnswer(body, time.Now())
}

// post sends q and reads the whole reply. Errors do not name the URL.
func (a *AuthHook) post(ctx context.Context, q hookQuestion) (int, []byte, error) {
	raw, err := json.Marshal(q)
	if err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, bytes.NewReader(raw))
	if err != nil {
		return 0, nil, withoutURL(err)
	}
	req.Header = a.header.Clone()
	resp, err := a.client.Do(req)
	if err != nil {
		return 0, nil, withoutURL(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHookAnswer+1))
	if err == nil && len(body) > maxHookAnswer {
		err = fmt.Errorf("the answer is larger than %d KiB", maxHookAnswer>>10)
	}
	return resp.StatusCode, body, err
}

// readHookAnswer turns the body of a 2xx into a grant. A body that cannot be
// read allows nothing: it may have said no.
func readHookAnswer(body []byte, now time.Time) (Grant, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return Grant{}, nil
	}
	var a hookAnswer
	if err := json.Unmarshal(body, &a); err != nil {
		return Grant{}, fmt.Errorf("%w: the answer of the hook is not the expected JSON: %w", ErrAuthUnavailable, err)
	}
	if a.Allow != nil && !*a.Allow {
		return Grant{}, ErrForbidden
	}
	if a.Lifetime < 0 || a.Lifetime > math.MaxInt32 || a.MaxViewers < 0 || a.MaxBitrate < 0 || a.MaxBitrate > maxBitrateClaim || len(a.Principal) > maxPrincipal {
		return Grant{}, fmt.Errorf("%w: the answer of the hook is out of range", ErrAuthUnavailable)
	}
	g := Grant{Stream: a.Stream, Principal: a.Principal, MaxViewers: a.MaxViewers, MaxBitrate: uint64(a.MaxBitrate), ProtectPlay: a.ProtectPlay}
	if a.Priority != nil {
		g.Priority, g.HasPriority = *a.Priority, true
	}
	if a.Lifetime > 0 {
		g.Expires = now.Add(time.Duration(a.Lifetime * float64(time.Second)))
	}
	return g, nil
}

// UnmarshalCaddyfile reads
//
//	hook <url> {
//		timeout <duration>
//		header  <name> <value>
//	}
func (a *AuthHook) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	d.Next()
	if a.URL, err = value(d); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "timeout":
			err = a.unmarshalTimeout(d)
		case "header":
			err = header(d, &a.Headers)
		default:
			err = unknownOption(d, "auth hook", "timeout, header")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *AuthHook) unmarshalTimeout(d *caddyfile.Dispenser) error {
	if a.Timeout != 0 {
		return d.Err("timeout is given twice")
	}
	v, err := value(d)
	if err != nil {
		return err
	}
	t, err := caddy.ParseDuration(v)
	if err != nil {
		return d.WrapErr(err)
	}
	a.Timeout = caddy.Duration(t)
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*AuthHook)(nil)
	_ caddy.CleanerUpper    = (*AuthHook)(nil)
	_ caddyfile.Unmarshaler = (*AuthHook)(nil)
	_ Authorizer            = (*AuthHook)(nil)
)
