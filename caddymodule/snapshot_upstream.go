package caddymodule

import (
	"github.com/talwtn/caddy-wtn/relay"
)

// upstreamJSON is one upstream in the admin API.
type upstreamJSON struct {
	Name     string            `json:"name"`
	Vendor   string            `json:"vendor"`
	State    string            `json:"state"`    // up, down, open or invalid
	Streams  int               `json:"streams"`  // that use it
	Sessions int               `json:"sessions"` // of ours there
	Requests map[string]uint64 `json:"requests"` // by outcome: ok, failing, absent, busy, broken
}

// sourceJSON is one place that a stream can come from.
type sourceJSON struct {
	Session   string `json:"session"`
	Role      string `json:"role"`               // publish or pull
	Upstream  string `json:"upstream,omitempty"` // of a pull
	Connected bool   `json:"connected"`
	Flows     bool   `json:"flows"`   // live media arrives
	Program   bool   `json:"program"` // viewers get it
	Held      bool   `json:"held"`    // taken out by the operator
	Priority  int    `json:"priority"`
	Lossy     bool   `json:"lossy"`
}

// dockJSON is a stream's place at an upstream.
type dockJSON struct {
	Upstream string  `json:"upstream"`
	State    string  `json:"state"` // off, connecting, connected or waiting
	Session  string  `json:"session,omitempty"`
	Again    float64 `json:"again_seconds,omitempty"` // waiting: until the next attempt
	Error    string  `json:"error,omitempty"`
}

// drillJSON is what came of a drill.
type drillJSON struct {
	Stream     string  `json:"stream"`
	Source     string  `json:"source"`
	Viewers    int     `json:"viewers"`
	Lost       int     `json:"lost"` // of those, whose sessions ended
	Switched   bool    `json:"switched"`
	To         string  `json:"to,omitempty"` // session
	ToUpstream string  `json:"to_upstream,omitempty"`
	Cause      string  `json:"cause,omitempty"` // what noticed
	Detected   float64 `json:"detected_ms"`     // until the stream went over
	Gap        float64 `json:"gap_ms"`          // without media, as viewers saw it
}

func upstreamsOf(list []relay.UpstreamStats) []upstreamJSON {
	out := make([]upstreamJSON, 0, len(list))
	for _, u := range list {
		out = append(out, upstreamJSON{
			Name: u.Name, Vendor: u.Vendor, State: string(u.State),
			Streams: u.Streams, Sessions: u.Sessions, Requests: u.Requests,
		})
	}
	return out
}

func sourcesOf(list []relay.SourceStats) []sourceJSON {
	out := make([]sourceJSON, 0, len(list))
	for _, s := range list {
		out = append(out, sourceJSON{
			Session: s.Session.ID, Role: string(s.Session.Role), Upstream: s.Session.Upstream, Connected: s.Connected,
			Flows: s.Flows, Program: s.Program, Held: s.Held, Priority: s.Priority, Lossy: s.Lossy,
		})
	}
	return out
}

func docksOf(list []relay.DockStats) []dockJSON {
	out := make([]dockJSON, 0, len(list))
	for _, d := range list {
		out = append(out, dockJSON{Upstream: d.Upstream, State: d.State, Session: d.Session, Again: d.Again.Seconds(), Error: d.Error})
	}
	return out
}

func drillOf(d *relay.Drill) drillJSON {
	return drillJSON{
		Stream: d.Stream, Source: d.Source, Viewers: d.Viewers, Lost: d.Lost, Switched: d.Switched,
		To: d.To, ToUpstream: d.ToUpstream, Cause: string(d.Cause),
		Detected: float64(d.Detected.Microseconds()) / 1000, Gap: float64(d.Gap.Microseconds()) / 1000,
	}
}
