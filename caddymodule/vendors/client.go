package vendors

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay"
)

const (
	// defaultTimeout bounds requests whose context has no deadline.
	defaultTimeout = 10 * time.Second
	// abandonTimeout bounds the deletion of a session that nobody wants.
	abandonTimeout = 3 * time.Second
	// detour is how long the URL that worked last is preferred to the first.
	detour = time.Minute
)

// Client is the upstream behind a Vendor. All methods may be called at once.
type Client struct {
	vendor Vendor
	name   string
	quirks Quirks
	hosts  []hostPattern
	log    *zap.Logger
	now    func() time.Time

	transport *http.Transport
	http      *http.Client

	favourite atomic.Pointer[favourite]
	told      atomic.Bool // that sessions have no URL
	closed    atomic.Bool
	orphans   sync.WaitGroup
}

// favourite is the URL that worked when those before it did not.
type favourite struct {
	index int
	until time.Time
}

// New makes the upstream called name. Close it when it is not used any more.
func New(v Vendor, name string, log *zap.Logger) *Client {
	if log == nil {
		log = zap.NewNop()
	}
	q := v.Quirks()
	c := &Client{
		vendor: v,
		name:   name,
		quirks: q,
		hosts:  parsePatterns(q.Hosts),
		log:    log.With(zap.String("upstream", name), zap.String("vendor", Name(v))),
		now:    time.Now,
	}
	c.transport = c.newTransport()
	c.http = &http.Client{
		Transport:     c.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// String names it without anything of its configuration.
func (c *Client) String() string { return "upstream " + c.name }

// Close lets go of connections. Sessions that are still there can be ended
// afterwards; no connection is kept for it. It waits for the few seconds that
// unwanted sessions may take to be deleted.
func (c *Client) Close() error {
	c.closed.Store(true)
	c.orphans.Wait()
	c.CloseIdleConnections()
	return nil
}

// CloseIdleConnections closes connections that are not in use.
func (c *Client) CloseIdleConnections() { c.transport.CloseIdleConnections() }

// Create posts an offer. When the vendor has several URLs they share the time
// there is, so that one that hangs leaves time for the next.
func (c *Client) Create(ctx context.Context, r relay.UpstreamRequest) (relay.UpstreamResource, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	call := Call{Role: r.Role, Stream: r.Stream, Session: r.Session, Offer: r.Offer}
	for signed := 1; ; signed++ {
		call.Now = c.now()
		req, err := c.vendor.Request(call)
		if err != nil {
			return nil, unasked(err)
		}
		res, no := c.offer(ctx, call, req)
		if no == nil {
			return res, nil
		}
		if !no.resign || signed > 1 {
			return nil, &no.UpstreamError
		}
	}
}

// offer goes through the URLs until one answers for the service.
func (c *Client) offer(ctx context.Context, call Call, req Request) (res *resource, no *refusal) {
	n := len(req.URLs)
	if n == 0 {
		return nil, broken("the vendor names no URL for this")
	}
	t := newTrust(req.URLs, c.hosts)
	first := c.first(n)
	for i := range n {
		k := (first + i) % n
		share, cancel := shared(ctx, n-i)
		res, no = c.offerTo(share, call, req, t, req.URLs[k])
		cancel()
		if no == nil {
			c.prefer(k)
			return res, nil
		}
		if no.Action != relay.UpstreamNext || ctx.Err() != nil {
			break
		}
	}
	return nil, no
}

// offerTo posts to one URL and makes a session of the answer.
func (c *Client) offerTo(ctx context.Context, call Call, req Request, t *trust, u *url.URL) (*resource, *refusal) {
	p, no := c.post(ctx, u, req.Header, t, call.Offer)
	if no != nil {
		return nil, no
	}
	switch {
	case p.status == http.StatusOK || p.status == http.StatusCreated:
		return c.accept(call, req, t, p)
	case p.status == http.StatusNotAcceptable && isSDP(p.header):
		// A counter-offer (WHEP) is a session too, and we cannot answer it.
		if res, _ := c.newResource(call, req, t, p); res != nil {
			c.abandon(res)
		}
		return nil, &refusal{UpstreamError: relay.UpstreamError{Action: relay.UpstreamBroken, Status: p.status,
			Detail: "the service takes no offers but makes its own, which is not supported"}}
	case p.status < 400:
		return nil, &refusal{UpstreamError: relay.UpstreamError{Action: relay.UpstreamBroken, Status: p.status,
			Detail: "the service answers an offer with something else: check the address"}}
	}
	return nil, c.refused(call.Role, p)
}

// accept takes the answer. What is refused here is there all the same, so it
// is deleted if its URL can be trusted.
func (c *Client) accept(call Call, req Request, t *trust, p *reply) (*resource, *refusal) {
	res, no := c.newResource(call, req, t, p)
	if no != nil {
		return nil, no
	}
	if no := c.checkAnswer(p); no != nil {
		c.abandon(res)
		return nil, no
	}
	res.answer = p.body
	return res, nil
}

// abandon deletes a session that came to nothing, without keeping anybody
// waiting.
func (c *Client) abandon(r *resource) {
	if r.location == nil {
		return
	}
	c.orphans.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), abandonTimeout)
		defer cancel()
		if err := r.Delete(ctx); err != nil {
			c.log.Debug("an unwanted session was left behind", zap.Error(err))
		}
	})
}

// Check asks whether the service answers: anything below 500 will do, for
// hardly one has a request that makes nothing. No credentials are sent.
func (c *Client) Check(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var no *refusal
	for i, u := range c.quirks.Probes {
		share, cancel := shared(ctx, len(c.quirks.Probes)-i)
		p, err := c.do(share, exchange{method: http.MethodOptions, url: u})
		cancel()
		switch {
		case err != nil:
			no = err
		case p.status < 500:
			return nil
		default:
			no = c.refused(relay.RolePull, p)
		}
	}
	if no == nil {
		return nil // nothing to ask
	}
	return &no.UpstreamError
}

// first is the URL to begin with.
func (c *Client) first(n int) int {
	if f := c.favourite.Load(); f != nil && c.now().Before(f.until) {
		return f.index % n
	}
	return 0
}

// prefer notes which URL worked. The first one gets another chance after a
// while, whatever worked in between.
func (c *Client) prefer(k int) {
	f := c.favourite.Load()
	switch {
	case k == 0 && f != nil:
		c.favourite.CompareAndSwap(f, nil)
	case k != 0 && (f == nil || f.index != k || !c.now().Before(f.until)):
		c.favourite.CompareAndSwap(f, &favourite{index: k, until: c.now().Add(detour)})
	}
}

// bounded makes sure that there is a deadline.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, defaultTimeout)
}

// shared is the share of the time left of one attempt among n.
func shared(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok || n < 2 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, time.Until(deadline)/time.Duration(n))
}

var _ relay.Upstream = (*Client)(nil)
