package vendors

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay"
)

// resource is a session at a service.
type resource struct {
	client   *Client
	call     Call // without the offer
	trust    *trust
	location *url.URL // nil: the service did not say
	public   bool     // location must lead to a public address
	answer   []byte
	mutes    bool
	gone     atomic.Bool
}

// newResource finds out where the session is. One without a URL is as good as
// any other until it is to end: then it ends with its media.
func (c *Client) newResource(call Call, req Request, t *trust, p *reply) (*resource, *refusal) {
	call.Offer = nil
	r := &resource{client: c, call: call, trust: t, mutes: req.Mutes}
	var err error
	if r.location, r.public, err = t.resolve(p.url, p.header.Get("Location")); err != nil {
		return nil, &refusal{UpstreamError: relay.UpstreamError{Action: relay.UpstreamBroken, Status: p.status,
			Detail: "the session's URL is refused, and the session left to time out: " + err.Error(), Err: err}}
	}
	if r.location == nil && p.status < 300 && !c.told.Swap(true) {
		c.log.Warn("sessions have no URL there (no Location header): they end when their media stops")
	}
	return r, nil
}

// String names it without its URL.
func (r *resource) String() string { return "session at " + r.client.String() }

func (r *resource) Answer() []byte { return r.answer }

// Delete ends it. That it is not there any more, or that the service knows no
// DELETE, is as good.
func (r *resource) Delete(ctx context.Context) error {
	if r.location == nil || r.gone.Load() {
		return nil
	}
	p, no := r.send(ctx, exchange{method: http.MethodDelete})
	if no != nil {
		return &no.UpstreamError
	}
	switch {
	case p.status < 300, p.status == http.StatusNotFound, p.status == http.StatusGone:
	case p.status == http.StatusMethodNotAllowed, p.status == http.StatusNotImplemented:
		r.client.log.Debug("the service does not delete sessions", zap.Int("status", p.status), zap.String("session", r.call.Session))
	default:
		return &r.refused(p).UpstreamError
	}
	r.gone.Store(true)
	return nil
}

// muteJSON is what WTN takes at the URL of a session.
type muteJSON struct {
	MuteAudio bool `json:"MuteAudio"`
	MuteVideo bool `json:"MuteVideo"`
}

// Pause mutes a pull at the service, where that is possible.
func (r *resource) Pause(ctx context.Context, paused bool) error {
	if !r.mutes || r.location == nil || r.call.Role != relay.RolePull {
		return relay.ErrNoPause
	}
	body, err := json.Marshal(muteJSON{MuteAudio: paused, MuteVideo: paused})
	if err != nil {
		return err
	}
	p, no := r.send(ctx, exchange{method: http.MethodPost, ctype: jsonType, body: body})
	switch {
	case no != nil:
		return &no.UpstreamError
	case p.status < 300:
		return nil
	case p.status == http.StatusMethodNotAllowed, p.status == http.StatusUnsupportedMediaType, p.status == http.StatusNotImplemented:
		return relay.ErrNoPause
	}
	return &r.refused(p).UpstreamError
}

// send asks the session's URL. Credentials are signed anew, for those that it
// was made with may have expired, and once more if they are refused.
func (r *resource) send(ctx context.Context, x exchange) (*reply, *refusal) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	x.url, x.public = r.location, r.public
	for signed := 1; ; signed++ {
		trusted := r.trust.credentials(x.url)
		if trusted {
			call := r.call
			call.Now = r.client.now()
			req, err := r.client.vendor.Request(call)
			if err != nil {
				return nil, &refusal{UpstreamError: *unasked(err)}
			}
			x.header = req.Header
		}
		p, no := r.client.do(ctx, x)
		if no != nil {
			return nil, no
		}
		refused := p.status == http.StatusUnauthorized || p.status == http.StatusForbidden
		if !refused || !trusted || signed > 1 {
			return p, nil
		}
	}
}

// refused is an unexpected status of the session's URL.
func (r *resource) refused(p *reply) *refusal {
	if p.status < 400 {
		return &refusal{UpstreamError: relay.UpstreamError{Action: relay.UpstreamBroken, Status: p.status,
			Detail: "the session's URL redirects, which is not followed"}}
	}
	// Whatever made it: a session that is not there is absent.
	return r.client.refused(relay.RolePull, p)
}

var _ relay.UpstreamResource = (*resource)(nil)
