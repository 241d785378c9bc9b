package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
)

// HandlerLimits bound what a handler takes on. What is above a limit is refused
// with 503 and Retry-After, or redirected; nobody who is connected suffers.
type HandlerLimits struct {
	// The handlers with the same name count publishers and viewers together.
	// Sessions go on counting over a reload as long as the name stays, whatever
	// else changes. Default: the prefix, so that sites with the same prefix count
	// together unless they have names.
	Name string `json:"name,omitempty"`

	// Publishers at the same time. One that takes over a stream that is published,
	// as after a lost connection, is let in all the same, unless there are backups.
	// Default: no limit.
	Publishers int `json:"publishers,omitempty"`

	// Viewers at the same time, of all streams. Default: no limit.
	Viewers int `json:"viewers,omitempty"`

	// Viewers of one stream at the same time, wherever they came in. Default: no
	// limit.
	ViewersPerStream int `json:"viewers_per_stream,omitempty"`

	// What each publisher may send, in bits per second; one that sends more for
	// several seconds is ended. A publisher's token or hook can lower it.
	// Default: no limit.
	Bitrate uint64 `json:"bitrate,omitempty"`
}

// minBitrate is the least limit that can be meant, bits/s: less is a number in
// the wrong unit.
const minBitrate = 10_000

func (l *HandlerLimits) validate() error {
	switch {
	case l == nil:
		return nil
	case l.Publishers < 0 || l.Viewers < 0 || l.ViewersPerStream < 0:
		return errors.New("limits are above 0: leave one out for no limit")
	case l.Bitrate > 0 && l.Bitrate < minBitrate:
		return fmt.Errorf("limits: a bitrate of %d bits per second is less than one voice: write it like 500k or 8M", l.Bitrate)
	}
	return nil
}

// quota bounds the sessions that are made through a handler.
type quota struct {
	key                 string // handlers with the same key count together
	publishers, viewers int    // 0: no limit
	// replace lets a publisher in beyond the limit whose stream is published
	// already: it takes the place of that publisher, or the hub refuses it.
	replace bool
}

// newQuota is what the handler lets in, by its limits.
func (h *Handler) newQuota() quota {
	q := quota{key: h.Prefix, replace: h.replaces()}
	if l := h.Limits; l != nil {
		q.key, q.publishers, q.viewers = cmp.Or(l.Name, h.Prefix), l.Publishers, l.Viewers
	}
	return q
}

// viewersPerStream is the limit, 0: none.
func (h *Handler) viewersPerStream() int {
	if h.Limits == nil {
		return 0
	}
	return h.Limits.ViewersPerStream
}

// bitrate is what a publisher may send: the lower one of the handler's limit and
// that of its grant, bits/s, 0: no limit.
func (h *Handler) bitrate(g Grant) uint64 {
	if h.Limits == nil || h.Limits.Bitrate == 0 {
		return g.MaxBitrate
	}
	if g.MaxBitrate == 0 {
		return h.Limits.Bitrate
	}
	return min(g.MaxBitrate, h.Limits.Bitrate)
}

// agree refuses quotas of one configuration that count together and yet differ:
// which one holds would depend on where a session comes in.
func (a *App) agree(q quota) error {
	if q.publishers == 0 && q.viewers == 0 {
		return nil
	}
	if other, ok := a.quotas[q.key]; ok && (other.publishers != q.publishers || other.viewers != q.viewers) {
		return fmt.Errorf("two wtn handlers count together as %q and have different limits: give each a name, as in limits studio { ... }, or the same limits", q.key)
	}
	if a.quotas == nil {
		a.quotas = make(map[string]quota)
	}
	a.quotas[q.key] = q
	return nil
}
