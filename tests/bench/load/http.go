package load

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// client speaks the HTTP side of WHIP and WHEP.
type client struct{ *http.Client }

func newClient() *client {
	return &client{&http.Client{
		Timeout:   20 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 32},
	}}
}

// post sends an offer and returns the answer and the session's URL.
func (c *client) post(ctx context.Context, to, offer string) (answer, resource string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(offer))
	if err != nil {
		return "", "", err
	}
	req.Header.Set("Content-Type", "application/sdp")
	res, err := c.Do(req)
	if err != nil {
		return "", "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return "", "", err
	}
	if res.StatusCode != http.StatusCreated {
		return "", "", fmt.Errorf("POST %s: %s: %.200s", to, res.Status, body)
	}
	base, err := url.Parse(to)
	if err != nil {
		return "", "", err
	}
	loc, err := base.Parse(res.Header.Get("Location"))
	if err != nil {
		return "", "", fmt.Errorf("the session URL: %w", err)
	}
	return string(body), loc.String(), nil
}

// remove ends a session. A server that does not know the session any more, or
// has no such method, is as good.
func (c *client) remove(ctx context.Context, resource string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, resource, nil)
	if err != nil {
		return
	}
	if res, err := c.Do(req); err == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
		_ = res.Body.Close()
	}
}
