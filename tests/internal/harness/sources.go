package harness

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// LiveStream is a stream as the admin API tells of it.
type LiveStream struct {
	Name    string       `json:"name"`
	Live    bool         `json:"live"`
	Viewers int          `json:"viewers"`
	Sources []LiveSource `json:"sources"`
	Pulls   []Dock       `json:"pulls"`
	Pushes  []Dock       `json:"pushes"`
}

// LiveSource is one place a stream can come from.
type LiveSource struct {
	Session   string `json:"session"`
	Role      string `json:"role"` // publish or pull
	Upstream  string `json:"upstream"`
	Connected bool   `json:"connected"`
	Flows     bool   `json:"flows"`
	Program   bool   `json:"program"` // viewers get it
}

// Dock is the place of a stream at an upstream.
type Dock struct {
	Upstream string  `json:"upstream"`
	State    string  `json:"state"`
	Session  string  `json:"session"`
	Again    float64 `json:"again_seconds"`
	Error    string  `json:"error"`
}

// LiveStreams asks the admin API for all streams.
func (g *Gateway) LiveStreams(t testing.TB) (list []LiveStream) {
	t.Helper()
	b, err := g.adminGet("/wtn/streams")
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		t.Fatalf("the gateway's streams: %v", err)
	}
	return list
}

// LiveStream is one of them, the zero value if there is none of that name.
func (g *Gateway) LiveStream(t testing.TB, name string) LiveStream {
	t.Helper()
	for _, s := range g.LiveStreams(t) {
		if s.Name == name {
			return s
		}
	}
	return LiveStream{}
}

// Program is the upstream whose media viewers get, empty if that flows from none.
func (s LiveStream) Program() string {
	for _, o := range s.Sources {
		if o.Program && o.Flows {
			return o.Upstream
		}
	}
	return ""
}

// Flowing are the upstreams that deliver.
func (s LiveStream) Flowing() (names []string) {
	for _, o := range s.Sources {
		if o.Flows && o.Upstream != "" {
			names = append(names, o.Upstream)
		}
	}
	return names
}

// AwaitStream waits until the admin API tells what is wanted of a stream.
func (g *Gateway) AwaitStream(t testing.TB, name string, within time.Duration, what string, want func(LiveStream) bool) (s LiveStream) {
	t.Helper()
	if !Poll(within, func() bool { s = g.LiveStream(t, name); return want(s) }) {
		t.Fatalf("stream %s, not within %s: %s; it is %+v", name, within, what, s)
	}
	return s
}

// Takeover is a change of a program's source, as the gateway logged it.
type Takeover struct {
	At     time.Time
	Stream string
	From   string // upstream
	To     string
	Cause  string
	Gap    time.Duration
}

// Takeovers are those so far, of one stream or (with an empty name) of all.
func (g *Gateway) Takeovers(stream string) (list []Takeover) {
	for line := range strings.Lines(g.log.String()) {
		var l struct {
			TS     float64 `json:"ts"`
			Msg    string  `json:"msg"`
			Stream string  `json:"stream"`
			From   string  `json:"from_upstream"`
			To     string  `json:"to_upstream"`
			Cause  string  `json:"cause"`
			Gap    float64 `json:"gap"` // s
		}
		if json.Unmarshal([]byte(line), &l) != nil || l.Msg != "source took over" || stream != "" && l.Stream != stream {
			continue
		}
		list = append(list, Takeover{
			At: time.UnixMicro(int64(l.TS * 1e6)), Stream: l.Stream, From: l.From, To: l.To, Cause: l.Cause,
			Gap: time.Duration(l.Gap * float64(time.Second)),
		})
	}
	return list
}
