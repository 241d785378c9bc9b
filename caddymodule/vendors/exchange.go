package vendors

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/talwtn/caddy-wtn/relay"
)

const (
	sdpType   = "application/sdp"
	jsonType  = "application/json"
	userAgent = "caddy-wtn"

	maxAnswer      = 64 << 10 // bytes of a body
	maxHeader      = 32 << 10 // bytes of all headers
	maxRedirects   = 3
	maxLocation    = 8 << 10
	connsPerHost   = 64
	idlePerHost    = 4
	idleTimeout    = 30 * time.Second
	connectTimeout = 5 * time.Second
)

// exchange is one HTTP request.
type exchange struct {
	method string
	url    *url.URL
	header http.Header // of the vendor; nil: none
	ctype  string      // of the body
	match  string      // If-Match; empty: none
	body   []byte
	public bool // the host's name must not lead to a private address
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   []byte
	url    *url.URL // that was asked last
}

func (c *Client) newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dial,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxConnsPerHost:        connsPerHost,
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        idleTimeout,
		TLSHandshakeTimeout:    connectTimeout,
		MaxResponseHeaderBytes: maxHeader,
	}
}

// do sends one request and reads the reply. Redirects are replies.
func (c *Client) do(ctx context.Context, x exchange) (p *reply, no *refusal) {
	since := time.Now()
	defer func() { tell(ctx, x.method, since, p) }()
	if x.public {
		ctx = toPublic(ctx, x.url)
	}
	r, err := http.NewRequestWithContext(ctx, x.method, x.url.String(), bytes.NewReader(x.body))
	if err != nil {
		return nil, broken("the URL cannot be used")
	}
	if x.header != nil {
		r.Header = x.header.Clone()
	}
	r.Header.Set("User-Agent", userAgent)
	// Plain text is for errors: one service refuses to answer without it.
	r.Header.Set("Accept", sdpType+", text/plain")
	if x.ctype != "" {
		r.Header.Set("Content-Type", x.ctype)
	}
	if x.match != "" {
		r.Header.Set("If-Match", x.match)
	}
	r.Close = c.closed.Load()
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, unreachable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, unreachable(err)
	}
	if len(body) > maxAnswer {
		return nil, &refusal{UpstreamError: relay.UpstreamError{Action: relay.UpstreamNext, Status: resp.StatusCode,
			Detail: "the reply is longer than 64 KiB"}}
	}
	return &reply{status: resp.StatusCode, header: resp.Header, body: body, url: x.url}, nil
}

// post sends an offer and follows redirects that keep the method. The others
// would turn it into a GET (RFC 9725 section 4.5 forbids them to servers).
func (c *Client) post(ctx context.Context, u *url.URL, header http.Header, t *trust, offer []byte) (*reply, *refusal) {
	x := exchange{method: http.MethodPost, url: u, ctype: sdpType, body: offer}
	for hop := 0; ; hop++ {
		x.header = nil
		if t.credentials(x.url) {
			x.header = header
		}
		p, no := c.do(ctx, x)
		if no != nil {
			return nil, no
		}
		var why string
		switch p.status {
		default:
			return p, nil
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
			why = "the service redirects in a way that loses the offer (only 307 and 308 keep it): use the address it moved to"
		case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
			if hop == maxRedirects {
				return nil, &refusal{UpstreamError: relay.UpstreamError{Action: relay.UpstreamNext, Status: p.status,
					Detail: "the service redirects more than 3 times"}}
			}
			next, public, err := t.resolve(x.url, p.header.Get("Location"))
			if err == nil && next != nil {
				x.url, x.public = next, public
				continue
			}
			why = "the service redirects to nowhere"
			if err != nil {
				why = "a redirect is refused: " + err.Error()
			}
		}
		return nil, &refusal{UpstreamError: relay.UpstreamError{Action: relay.UpstreamBroken, Status: p.status, Detail: why, Err: errRedirect}}
	}
}

var errRedirect = errors.New("unusable redirect")

// checkAnswer wants an SDP answer.
func (c *Client) checkAnswer(p *reply) *refusal {
	sdp := bytes.HasPrefix(p.body, []byte("v=0"))
	no := &refusal{UpstreamError: relay.UpstreamError{Action: relay.UpstreamBroken, Status: p.status}}
	switch {
	case !isSDP(p.header) && !(c.quirks.Untyped && sdp):
		no.Detail = "the answer is not application/sdp: check the address"
	case len(bytes.TrimSpace(p.body)) == 0:
		no.Action, no.Detail = relay.UpstreamNext, "the answer is empty"
	case !sdp:
		no.Action, no.Detail = relay.UpstreamNext, "the answer is not SDP"
	default:
		return nil
	}
	return no
}

// isSDP compares the media type; its parameters do not matter.
func isSDP(h http.Header) bool {
	t, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(t), sdpType)
}
