package vendors

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
)

// Seen is one request and how it was answered. It holds no URL and no secret.
type Seen struct {
	Method   string
	Status   int // 0: there was no reply
	Took     time.Duration
	Type     string // media type of the body
	Located  bool   // the reply names a place
	ETag     string
	Patches  string // media types that can be patched (RFC 5789 section 3.1)
	ServedBy string // what the server calls itself
}

type watchKey struct{}

// Watch makes f hear of every request that is made with the context, redirects
// included. f is called from the goroutine that asked.
func Watch(ctx context.Context, f func(Seen)) context.Context {
	return context.WithValue(ctx, watchKey{}, f)
}

// tell has the watcher hear of a request, if there is one.
func tell(ctx context.Context, method string, since time.Time, p *reply) {
	f, ok := ctx.Value(watchKey{}).(func(Seen))
	if !ok {
		return
	}
	s := Seen{Method: method, Took: time.Since(since)}
	if p != nil {
		s.Status, s.Located, s.ETag = p.status, p.header.Get("Location") != "", p.header.Get("ETag")
		s.Type, _, _ = strings.Cut(p.header.Get("Content-Type"), ";")
		s.Patches, s.ServedBy = p.header.Get("Accept-Patch"), p.header.Get("Server")
	}
	f(s)
}

// Asker is a session that can be asked more than a relay does, for tools that
// find out what a service can do. Those of a Client are.
type Asker interface {
	// Ask sends one request to the session's URL, with the credentials that
	// belong to it. ifMatch and ctype may be empty. Errors: ErrNoURL, and
	// *relay.UpstreamError when there is no reply.
	Ask(ctx context.Context, method, ctype, ifMatch string, body []byte) (Seen, error)
}

// ErrNoURL: the service did not say where the session is.
var ErrNoURL = errors.New("the session has no URL: its reply had no Location")

// Ask implements Asker.
func (r *resource) Ask(ctx context.Context, method, ctype, ifMatch string, body []byte) (Seen, error) {
	if r.location == nil {
		return Seen{}, ErrNoURL
	}
	var last Seen
	ctx = Watch(ctx, func(s Seen) { last = s })
	if _, no := r.send(ctx, exchange{method: method, ctype: ctype, match: ifMatch, body: body}); no != nil {
		return last, &no.UpstreamError
	}
	if method == http.MethodDelete && last.Status < 300 {
		r.gone.Store(true)
	}
	return last, nil
}

var _ Asker = (*resource)(nil)
