package caddymodule

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talwtn/caddy-wtn/relay"
)

var (
	upstreamUpDesc       = desc("upstream_up", "Whether an upstream is well.", "upstream")
	upstreamStateDesc    = desc("upstream_state", "1 for the state an upstream is in: up, down (checks fail), open (left alone for a while), invalid (refuses the configuration).", "upstream", "state")
	upstreamSessionsDesc = desc("upstream_sessions", "Sessions of ours at an upstream.", "upstream")
	upstreamStreamsDesc  = desc("upstream_streams", "Streams that use an upstream.", "upstream")
	upstreamRequestsDesc = desc("upstream_requests_total", "Requests for sessions at an upstream, by what became of them: ok, failing, absent, busy, broken.", "upstream", "outcome")
	takeoversDesc        = desc("takeovers_total", "Streams that went on from another source, by the cause.", "cause")
	takeoverGapDesc      = desc("takeover_gap_seconds", "Time without media when a stream went on from another source.")

	upstreamStates = []relay.UpstreamState{relay.UpstreamUp, relay.UpstreamDown, relay.UpstreamOpen, relay.UpstreamInvalid}
)

func describeUpstreams(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		upstreamUpDesc, upstreamStateDesc, upstreamSessionsDesc, upstreamStreamsDesc, upstreamRequestsDesc, takeoversDesc, takeoverGapDesc,
	} {
		ch <- d
	}
}

func collectUpstreams(ch chan<- prometheus.Metric, list []relay.UpstreamStats) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, u := range list {
		gauge(upstreamUpDesc, oneIf(u.State == relay.UpstreamUp), u.Name)
		for _, s := range upstreamStates {
			gauge(upstreamStateDesc, oneIf(u.State == s), u.Name, string(s))
		}
		gauge(upstreamSessionsDesc, float64(u.Sessions), u.Name)
		gauge(upstreamStreamsDesc, float64(u.Streams), u.Name)
		for outcome, n := range u.Requests {
			ch <- prometheus.MustNewConstMetric(upstreamRequestsDesc, prometheus.CounterValue, float64(n), u.Name, outcome)
		}
	}
}

func collectTakeovers(ch chan<- prometheus.Metric, s *relay.TakeoverStats) {
	for cause, n := range s.Causes {
		ch <- prometheus.MustNewConstMetric(takeoversDesc, prometheus.CounterValue, float64(n), string(cause))
	}
	buckets := make(map[float64]uint64, len(relay.TakeoverGaps))
	for i, bound := range relay.TakeoverGaps {
		buckets[float64(bound)/float64(time.Second)] = s.Gaps[i]
	}
	ch <- prometheus.MustNewConstHistogram(takeoverGapDesc, s.Count, s.GapSum.Seconds(), buckets)
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
