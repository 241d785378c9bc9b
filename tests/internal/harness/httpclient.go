package harness

import (
	"crypto/tls"
	"net/http"
	"testing"
	"time"
)

// HTTPVersion is the protocol a client speaks to the site.
type HTTPVersion int

const (
	HTTP1 HTTPVersion = iota
	H2C               // HTTP/2 in the clear, with prior knowledge
	H2TLS             // HTTP/2 over TLS
)

func (v HTTPVersion) String() string { return [...]string{"HTTP1", "H2C", "H2TLS"}[v] }

// NewHTTPClient returns a client that follows no redirect. Its idle
// connections are closed when the test ends, ahead of the leak check of a
// gateway that was started before.
func NewHTTPClient(t testing.TB, v HTTPVersion) *http.Client {
	t.Helper()
	p := new(http.Protocols)
	switch v {
	case HTTP1:
		p.SetHTTP1(true)
	case H2C:
		p.SetUnencryptedHTTP2(true)
	case H2TLS:
		p.SetHTTP2(true)
	}
	tr := &http.Transport{
		Protocols: p,
		// A connection that idles while the configuration is reloaded is closed
		// by the server at a moment when the next POST may be on its way.
		DisableKeepAlives: v == HTTP1,
		// The certificate is made by the gateway under test for this very run.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{
		Transport:     tr,
		Timeout:       20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
