package caddymodule

import (
	"net/netip"
	"slices"
	"time"

	"github.com/talwtn/caddy-wtn/relay"
)

// The shapes of the admin API. They are written out here so that a change in
// the relay does not silently change an interface people script against.

type sessionJSON struct {
	ID        string     `json:"id"`
	Stream    string     `json:"stream"`
	Role      string     `json:"role"`
	Client    string     `json:"client,omitempty"`
	Started   time.Time  `json:"started"`
	Connected *time.Time `json:"connected"` // null until then
	Network   string     `json:"network,omitempty"`
	Local     string     `json:"local,omitempty"`
	Remote    string     `json:"remote,omitempty"`
	Upstream  string     `json:"upstream,omitempty"` // at the other end of a pull or push
	Packets   uint64     `json:"packets"`
	Bytes     uint64     `json:"bytes"`
}

type streamJSON struct {
	Name      string       `json:"name"`
	Since     time.Time    `json:"since"`
	Live      bool         `json:"live"`
	Publisher *sessionJSON `json:"publisher"` // null while nobody publishes
	Viewers   int          `json:"viewers"`
	Tracks    []trackJSON  `json:"tracks"`
	Sources   []sourceJSON `json:"sources"` // all it could come from, the present one first
	Pulls     []dockJSON   `json:"pulls,omitempty"`
	Pushes    []dockJSON   `json:"pushes,omitempty"`
}

type trackJSON struct {
	Kind          string  `json:"kind"`
	Codec         string  `json:"codec"`
	RID           string  `json:"rid,omitempty"` // of a simulcast layer
	Bitrate       float64 `json:"bitrate"`       // bits/s
	Width         int     `json:"width,omitempty"`
	Height        int     `json:"height,omitempty"`
	PacketsLost   uint64  `json:"packets_lost"`
	Jitter        float64 `json:"jitter_seconds"`
	KeyframeEvery float64 `json:"keyframe_seconds,omitempty"`
	Takeovers     uint64  `json:"takeovers"`
}

// drainJSON is whether new sessions are refused, and what is left of the others.
type drainJSON struct {
	Draining    bool `json:"draining"`
	Publishers  int  `json:"publishers"`
	Subscribers int  `json:"subscribers"`
}

type statsJSON struct {
	Media         []string          `json:"media"`
	Publishers    int               `json:"publishers"`
	Subscribers   int               `json:"subscribers"`
	Streams       int               `json:"streams"`
	Pulls         int               `json:"pulls"` // sessions of ours at upstreams
	Pushes        int               `json:"pushes"`
	Draining      bool              `json:"draining"` // no new sessions, by POST /wtn/drain
	PacketsIn     uint64            `json:"packets_in"`
	BytesIn       uint64            `json:"bytes_in"`
	PacketsOut    uint64            `json:"packets_out"`
	BytesOut      uint64            `json:"bytes_out"`
	NACKsIn       uint64            `json:"nacks_in"`
	Retransmitted uint64            `json:"retransmitted"`
	PLIsIn        uint64            `json:"plis_in"`
	PLIsOut       uint64            `json:"plis_out"`
	PacketsShed   uint64            `json:"packets_shed"`
	JoinsRefused  uint64            `json:"joins_refused"`
	Busy          float64           `json:"busy"`
	Lag           float64           `json:"lag_seconds"`
	SessionsEnded map[string]uint64 `json:"sessions_ended"`
	EventsDropped uint64            `json:"events_dropped"`
}

func sessionOf(i relay.SessionInfo) sessionJSON {
	s := sessionJSON{
		ID: i.ID, Stream: i.Stream, Role: string(i.Role), Started: i.Started,
		Network: i.Network, Local: addrPort(i.Local), Remote: addrPort(i.Remote), Upstream: i.Upstream,
		Packets: i.Packets, Bytes: i.Bytes,
	}
	if i.Client.IsValid() {
		s.Client = i.Client.String()
	}
	if !i.Connected.IsZero() {
		s.Connected = &i.Connected
	}
	return s
}

func addrPort(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func sessionsOf(list []relay.SessionInfo) []sessionJSON {
	out := make([]sessionJSON, 0, len(list))
	for _, i := range list {
		out = append(out, sessionOf(i))
	}
	return out
}

func streamsOf(list []relay.StreamStats) []streamJSON {
	out := make([]streamJSON, 0, len(list))
	for _, s := range list {
		j := streamJSON{
			Name: s.Name, Since: s.Since, Live: s.Live, Viewers: s.Subscribers, Tracks: make([]trackJSON, 0, len(s.Tracks)),
			Sources: sourcesOf(s.Sources), Pulls: docksOf(s.Pulls), Pushes: docksOf(s.Pushes),
		}
		if s.Publisher != nil {
			p := sessionOf(*s.Publisher)
			j.Publisher = &p
		}
		for _, t := range s.Tracks {
			j.Tracks = append(j.Tracks, trackJSON{
				Kind: t.Kind, Codec: t.Codec, RID: t.RID, Bitrate: t.Bitrate, Width: t.Width, Height: t.Height,
				PacketsLost: t.PacketsLost, Jitter: t.Jitter,
				KeyframeEvery: t.KeyframeEvery.Seconds(), Takeovers: t.Takeovers,
			})
		}
		out = append(out, j)
	}
	return out
}

func statsOf(s relay.Stats, media []string, dropped uint64) statsJSON {
	return statsJSON{
		Media: media, Publishers: s.Publishers, Subscribers: s.Subscribers, Streams: s.Streams,
		Pulls: s.Pulls, Pushes: s.Pushes,
		PacketsIn: s.PacketsIn, BytesIn: s.BytesIn, PacketsOut: s.PacketsOut, BytesOut: s.BytesOut,
		NACKsIn: s.NACKsIn, Retransmitted: s.Retransmitted, PLIsIn: s.PLIsIn, PLIsOut: s.PLIsOut,
		PacketsShed: s.PacketsShed, JoinsRefused: s.JoinsRefused, Busy: s.Busy, Lag: s.Lag.Seconds(),
		SessionsEnded: s.SessionsEnded, EventsDropped: dropped,
	}
}

type turnJSON struct {
	Enabled        bool              `json:"enabled"`
	Listeners      []string          `json:"listeners"`
	Shared         []string          `json:"shared"` // ports of HTTP servers
	Hosts          []string          `json:"hosts"`
	Media          []netip.AddrPort  `json:"media"` // what clients can reach
	Allocations    []allocationJSON  `json:"allocations"`
	AllocationsAll uint64            `json:"allocations_total"`
	Connections    int               `json:"connections"`
	PacketsIn      uint64            `json:"packets_in"`
	BytesIn        uint64            `json:"bytes_in"`
	PacketsOut     uint64            `json:"packets_out"`
	BytesOut       uint64            `json:"bytes_out"`
	Rejected       map[string]uint64 `json:"rejected"`
	Dropped        map[string]uint64 `json:"dropped"`
}

type allocationJSON struct {
	Session    string    `json:"session"` // or the user id of a credential made by hand
	Client     string    `json:"client"`
	Transport  string    `json:"transport"`
	Relayed    string    `json:"relayed"`
	Since      time.Time `json:"since"`
	PacketsIn  uint64    `json:"packets_in"`
	BytesIn    uint64    `json:"bytes_in"`
	PacketsOut uint64    `json:"packets_out"`
	BytesOut   uint64    `json:"bytes_out"`
}

type credentialRequest struct {
	User string  `json:"user"`
	TTL  float64 `json:"ttl"` // seconds
	Host string  `json:"host"`
}

type credentialJSON struct {
	Username   string   `json:"username"`
	Credential string   `json:"credential"`
	TTL        float64  `json:"ttl"` // seconds
	URLs       []string `json:"urls"`
}

// turnView is what the TURN server does now.
func (s *state) turnView() turnJSON {
	live := s.turn.live.Load()
	j := turnJSON{Enabled: live.on, Shared: s.turn.frontAddresses(), Hosts: append([]string{}, live.hosts...), Allocations: []allocationJSON{}}
	s.mu.Lock()
	j.Listeners = s.turn.listeners()
	s.mu.Unlock()
	server := s.turn.server.Load()
	if server == nil {
		return j
	}
	s.turn.mu.Lock()
	j.Media = s.turn.told
	s.turn.mu.Unlock()
	for _, a := range server.Allocations() {
		j.Allocations = append(j.Allocations, allocationJSON{
			Session: a.UserID, Client: netip.AddrPortFrom(a.Client.Addr().Unmap(), a.Client.Port()).String(), Transport: a.Transport.String(), Relayed: a.Relayed.String(), Since: a.Since,
			PacketsIn: a.Traffic.PacketsIn, BytesIn: a.Traffic.BytesIn, PacketsOut: a.Traffic.PacketsOut, BytesOut: a.Traffic.BytesOut,
		})
	}
	slices.SortFunc(j.Allocations, func(a, b allocationJSON) int { return a.Since.Compare(b.Since) })
	st := server.Stats()
	j.AllocationsAll, j.Connections, j.Rejected, j.Dropped = st.AllocationsTotal, st.Connections, st.Rejected, st.Dropped
	j.PacketsIn, j.BytesIn, j.PacketsOut, j.BytesOut = st.Traffic.PacketsIn, st.Traffic.BytesIn, st.Traffic.PacketsOut, st.Traffic.BytesOut
	return j
}
