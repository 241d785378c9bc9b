package harness

import (
	"fmt"
	"slices"
	"time"
)

// Durations are raw values of a measurement, in the order they were taken.
type Durations []time.Duration

// Quantile is the least value that so many of all (0..1) do not exceed, by
// nearest rank: never one between two of them. 0 without values.
func (d Durations) Quantile(q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	k := int(q * float64(len(sorted)))
	if float64(k) < q*float64(len(sorted)) {
		k++
	}
	return sorted[min(max(k, 1), len(sorted))-1]
}

// String lists the raw values and what they come to, in ms.
func (d Durations) String() string {
	ms := func(v time.Duration) string { return fmt.Sprintf("%.1f", float64(v)/1e6) }
	raw := make([]string, len(d))
	for i, v := range d {
		raw[i] = ms(v)
	}
	return fmt.Sprintf("n=%d p50 %s p95 %s worst %s ms; raw %v", len(d), ms(d.Quantile(0.5)), ms(d.Quantile(0.95)), ms(d.Quantile(1)), raw)
}
