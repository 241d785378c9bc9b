package harness

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// Reply is an HTTP reply, read to its end.
type Reply struct {
	Status int
	Header http.Header
	Body   string
}

// Do sends one request and reads the reply. headers are pairs of name and value.
func Do(t testing.TB, c *http.Client, method, url, body string, headers ...string) Reply {
	t.Helper()
	r, err := Try(c, method, url, body, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return r
}

// Try is Do for a goroutine that must not end the test.
func Try(c *http.Client, method, url, body string, headers ...string) (Reply, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return Reply{}, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		return Reply{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return Reply{}, err
	}
	return Reply{res.StatusCode, res.Header, string(b)}, nil
}

// PostOffer posts an SDP offer.
func PostOffer(t testing.TB, c *http.Client, url, offer string) Reply {
	t.Helper()
	return Do(t, c, http.MethodPost, url, offer, "Content-Type", "application/sdp")
}
