package relay

import (
	"cmp"
	"maps"
	"slices"

	"github.com/talwtn/caddy-wtn/relay/internal/leg"
)

// Stats is a snapshot of the hub's counters.
func (h *Hub) Stats() Stats {
	now := leg.Now()
	s := Stats{
		PLIsIn: h.stats.plisIn.Load(), PLIsOut: h.stats.plisOut.Load(),
		JoinsRefused: h.stats.joinsRefused.Load(), Takeovers: h.stats.takeovers.stats(),
	}
	for _, w := range h.workers {
		s.PacketsOut += w.stats.packets.Load()
		s.BytesOut += w.stats.bytes.Load()
		s.NACKsIn += w.stats.nacks.Load()
		s.Retransmitted += w.stats.retransmitted.Load()
		s.PacketsShed += w.stats.shed.Load()
		s.Busy = max(s.Busy, w.load.busy(now))
		s.Lag = max(s.Lag, w.load.worstLag(now))
	}
	h.stats.mu.Lock()
	s.SessionsEnded = maps.Clone(h.stats.ended)
	h.stats.mu.Unlock()

	h.mu.Lock()
	defer h.mu.Unlock()
	s.Streams = len(h.streams)
	s.PacketsIn, s.BytesIn = h.stats.packetsIn.Load(), h.stats.bytesIn.Load()
	for _, x := range h.sessions {
		switch x.role {
		case RoleSubscribe:
			s.Subscribers++
			continue
		case RolePush:
			s.Pushes++
			continue
		case RolePull:
			s.Pulls++
		default:
			s.Publishers++
		}
		packets, bytes := x.owner.counters()
		s.PacketsIn += packets
		s.BytesIn += bytes
	}
	return s
}

// Streams is a snapshot of all streams, by name.
func (h *Hub) Streams() []StreamStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]StreamStats, 0, len(h.streams))
	for _, st := range h.streams {
		list = append(list, st.stats())
	}
	slices.SortFunc(list, func(a, b StreamStats) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Sessions is a snapshot of all sessions, oldest first.
func (h *Hub) Sessions() []SessionInfo {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]SessionInfo, 0, len(h.sessions))
	for _, s := range h.sessions {
		list = append(list, s.Info())
	}
	slices.SortFunc(list, func(a, b SessionInfo) int { return a.Started.Compare(b.Started) })
	return list
}
