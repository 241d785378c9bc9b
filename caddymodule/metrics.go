package caddymodule

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talwtn/caddy-wtn/relay"
)

// collector shows the hub's counters at the moment of a scrape, so that nothing
// is counted twice on the way of a packet. It belongs to the state and is
// registered in the registry of each configuration: counters survive reloads.
// Labels are roles, the reasons a session can end with, the causes of takeovers
// and the names of upstreams, which are configured; never a stream, client or
// session.
type collector struct {
	stats     func() relay.Stats
	upstreams func() []relay.UpstreamStats
	dropped   func() uint64
}

func newCollector(stats func() relay.Stats, upstreams func() []relay.UpstreamStats, dropped func() uint64) *collector {
	return &collector{stats, upstreams, dropped}
}

// metric is one series without labels.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*relay.Stats) float64
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("wtn_"+name, help, labels, nil)
}

func counter(name, help string, value func(*relay.Stats) float64) metric {
	return metric{desc(name, help), prometheus.CounterValue, value}
}

func gauge(name, help string, value func(*relay.Stats) float64) metric {
	return metric{desc(name, help), prometheus.GaugeValue, value}
}

var (
	sessionsDesc = desc("sessions", "Sessions that exist now.", "role")
	endedDesc    = desc("sessions_ended_total", "Sessions that ended, by the reason they ended with.", "role", "reason")
	droppedDesc  = desc("events_dropped_total", "Events not delivered because the event handlers could not follow.")

	metrics = []metric{
		gauge("pulls", "Sessions at upstreams that streams are pulled by.", func(s *relay.Stats) float64 { return float64(s.Pulls) }),
		gauge("pushes", "Sessions at upstreams that streams are pushed by.", func(s *relay.Stats) float64 { return float64(s.Pushes) }),
		gauge("streams", "Streams that exist now.", func(s *relay.Stats) float64 { return float64(s.Streams) }),
		counter("received_packets_total", "RTP packets received from publishers.", func(s *relay.Stats) float64 { return float64(s.PacketsIn) }),
		counter("received_bytes_total", "Bytes of RTP received from publishers.", func(s *relay.Stats) float64 { return float64(s.BytesIn) }),
		counter("sent_packets_total", "RTP packets sent to viewers.", func(s *relay.Stats) float64 { return float64(s.PacketsOut) }),
		counter("sent_bytes_total", "Bytes of RTP sent to viewers.", func(s *relay.Stats) float64 { return float64(s.BytesOut) }),
		counter("shed_packets_total", "RTP packets left out for viewers that could not follow.", func(s *relay.Stats) float64 { return float64(s.PacketsShed) }),
		counter("nacks_received_total", "RTP packets viewers asked for again.", func(s *relay.Stats) float64 { return float64(s.NACKsIn) }),
		counter("retransmitted_packets_total", "RTP packets sent again to viewers.", func(s *relay.Stats) float64 { return float64(s.Retransmitted) }),
		counter("keyframe_requests_received_total", "Key frame requests of viewers.", func(s *relay.Stats) float64 { return float64(s.PLIsIn) }),
		counter("keyframe_requests_sent_total", "Key frame requests sent to publishers.", func(s *relay.Stats) float64 { return float64(s.PLIsOut) }),
		counter("joins_refused_total", "Sessions refused because of a limit or of overload.", func(s *relay.Stats) float64 { return float64(s.JoinsRefused) }),
		gauge("busy_ratio", "Share of the last second the busiest sending loop worked.", func(s *relay.Stats) float64 { return s.Busy }),
		gauge("lag_seconds", "Worst time from arrival to sending within the last second.", func(s *relay.Stats) float64 { return s.Lag.Seconds() }),
	}
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- sessionsDesc
	ch <- endedDesc
	ch <- droppedDesc
	describeUpstreams(ch)
	for _, m := range metrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.stats()
	for _, m := range metrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(&s))
	}
	ch <- prometheus.MustNewConstMetric(sessionsDesc, prometheus.GaugeValue, float64(s.Publishers), string(relay.RolePublish))
	ch <- prometheus.MustNewConstMetric(sessionsDesc, prometheus.GaugeValue, float64(s.Subscribers), string(relay.RoleSubscribe))
	ch <- prometheus.MustNewConstMetric(droppedDesc, prometheus.CounterValue, float64(c.dropped()))
	collectTakeovers(ch, &s.Takeovers)
	collectUpstreams(ch, c.upstreams())
	for key, n := range s.SessionsEnded {
		role, reason, _ := strings.Cut(key, "/")
		ch <- prometheus.MustNewConstMetric(endedDesc, prometheus.CounterValue, float64(n), role, reason)
	}
}

// turnCollector tells Prometheus about the TURN server, once there is one.
// Its labels are the transports and the reasons the server has.
type turnCollector struct{ pool *turnPool }

var (
	turnLiveDesc     = desc("turn_allocations", "TURN allocations that exist now.", "transport")
	turnMadeDesc     = desc("turn_allocations_total", "TURN allocations that were made.")
	turnConnsDesc    = desc("turn_connections", "TCP and TLS connections of TURN clients.")
	turnPacketsDesc  = desc("turn_packets_total", "Packets relayed for TURN clients: in is from clients.", "direction")
	turnBytesDesc    = desc("turn_bytes_total", "Bytes relayed for TURN clients: in is from clients.", "direction")
	turnRejectedDesc = desc("turn_rejected_total", "Requests and connections the TURN server refused.", "reason")
	turnDroppedDesc  = desc("turn_dropped_packets_total", "Relayed packets the TURN server dropped.", "reason")
)

// Describe implements prometheus.Collector.
func (*turnCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{turnLiveDesc, turnMadeDesc, turnConnsDesc, turnPacketsDesc, turnBytesDesc, turnRejectedDesc, turnDroppedDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *turnCollector) Collect(ch chan<- prometheus.Metric) {
	server := c.pool.server.Load()
	if server == nil {
		return
	}
	s := server.Stats()
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for transport, n := range s.Allocations {
		gauge(turnLiveDesc, n, transport)
	}
	gauge(turnConnsDesc, s.Connections)
	count(turnMadeDesc, s.AllocationsTotal)
	count(turnPacketsDesc, s.Traffic.PacketsIn, "in")
	count(turnPacketsDesc, s.Traffic.PacketsOut, "out")
	count(turnBytesDesc, s.Traffic.BytesIn, "in")
	count(turnBytesDesc, s.Traffic.BytesOut, "out")
	for reason, n := range s.Rejected {
		count(turnRejectedDesc, n, reason)
	}
	for reason, n := range s.Dropped {
		count(turnDroppedDesc, n, reason)
	}
}

// Interface guards.
var (
	_ prometheus.Collector = (*collector)(nil)
	_ prometheus.Collector = (*turnCollector)(nil)
)
