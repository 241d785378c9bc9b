package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/talwtn/caddy-wtn/relay"
)

const (
	priorityParameter = "priority"
	priorityHeader    = "X-WTN-Priority"
	maxPriority       = 1000 // of what clients say of themselves
)

var errPriority = fmt.Errorf("the priority of a publisher is a whole number from -%d to %d", maxPriority, maxPriority)

// routing is what the streams of this handler do beside the sessions of a
// request. It is made once, when the handler is provisioned, and is the same
// for all its requests; the relay keeps that of the newest request of a stream.
// What a new option asks of streams is added here.
func (h *Handler) routing() *relay.Routing {
	r := &relay.Routing{Key: "handler " + h.quota.key, Publishers: relay.PublishPolicy(h.Publishers)}
	h.Routes.into(r)
	return r
}

// validateRouting reports the first option of routing that is out of range.
func (h *Handler) validateRouting() error {
	switch relay.PublishPolicy(h.Publishers) {
	case "", relay.PublishReplace, relay.PublishRefuse, relay.PublishBackup:
		return nil
	}
	return fmt.Errorf("publishers is %q: use replace, refuse or backup", h.Publishers)
}

// replaces reports whether a second publisher of a stream, if it is let in at
// all, takes the place of the first.
func (h *Handler) replaces() bool {
	return relay.PublishPolicy(h.Publishers) != relay.PublishBackup
}

// priority ranks a publisher: what its grant says, or else what it says of
// itself, by query or header, where that has a meaning.
func (h *Handler) priority(r *http.Request, g Grant) (int, error) {
	if g.HasPriority {
		return g.Priority, nil
	}
	if relay.PublishPolicy(h.Publishers) != relay.PublishBackup {
		return 0, nil
	}
	v := r.URL.Query().Get(priorityParameter)
	if v == "" {
		v = r.Header.Get(priorityHeader)
	}
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < -maxPriority || n > maxPriority {
		return 0, errors.Join(errPriority, err)
	}
	return n, nil
}
