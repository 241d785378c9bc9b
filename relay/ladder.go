package relay

import (
	"slices"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/sdpneg"
)

const (
	// layerSilence is for how long a layer may send nothing, while another one
	// does, before its viewers go to that: a browser whose uplink shrinks stops
	// its upper layers without a word.
	layerSilence = int64(500 * time.Millisecond)
	// orphanSilence is the same for a layer of a source that another one has
	// taken the program from.
	orphanSilence = int64(150 * time.Millisecond)
	// layerSteady is how long a layer has to flow before viewers that have a
	// picture go up to it.
	layerSteady = int64(500 * time.Millisecond)
)

// rung is one video layer of a program as it is now.
type rung struct {
	lane          lane
	rid           string
	width, height int     // 0: unknown
	bitrate       float64 // bits/s, 0: nothing arrives
	peak          float64 // the highest so far
	flows         bool
	steady        bool // flows, and not only since a moment ago
}

// ladder is a snapshot of a program's video layers, the lowest first. What is
// low is measured: by the size of the picture, then by bitrate. While not all
// are known they stand as they were negotiated, in the direction that the known
// ones show, else the highest first: the order of a=simulcast means nothing
// (RFC 8853 5.1), and senders use either.
type ladder struct {
	rungs [sdpneg.MaxLayers]rung
	n     int
}

// ladder takes a snapshot. Safe from any goroutine.
func (g *program) ladder(now int64) (l ladder) {
	g.mu.Lock()
	defer g.mu.Unlock()
	live := g.live.Load()
	s := live
	if s == nil {
		s = g.wanted
	}
	tracks := g.tracks[codec.Video:][:g.videoLanes()]
	newest := int64(0)
	for _, o := range tracks {
		if o.source != nil {
			newest = max(newest, o.lastAt)
		}
	}
	for i, o := range tracks {
		r := rung{lane: codec.Video + lane(i), width: o.meter.width, height: o.meter.height, peak: o.meter.peak}
		switch {
		case s != nil && s.tracks[r.lane] != nil:
			r.rid = s.tracks[r.lane].rid
		case o.source != nil:
			r.rid = o.source.rid
		default:
			continue
		}
		if o.source != nil {
			patience := o.patience()
			if o.source.src != live {
				patience = orphanSilence
			}
			r.flows = newest-o.lastAt <= patience
			r.steady = r.flows && o.lastAt-o.flowsAt >= layerSteady
			r.bitrate = o.meter.rate(now)
		}
		l.rungs[l.n] = r
		l.n++
	}
	l.sort()
	return l
}

// sort orders rungs that are in the order of their lanes.
func (l *ladder) sort() {
	list := l.rungs[:l.n]
	rising, unknown := 0, false
	known := -1 // the one before
	for i := range list {
		if list[i].width == 0 {
			unknown = true
			continue
		}
		if known >= 0 {
			rising += lower(list[i], list[known])
		}
		known = i
	}
	if unknown && rising > 0 {
		return
	}
	slices.Reverse(list) // of equals the first is the highest
	if !unknown {
		slices.SortStableFunc(list, lower)
	}
}

// lower compares two rungs by what was measured.
func lower(a, b rung) int {
	if d := a.width*a.height - b.width*b.height; d != 0 {
		return d
	}
	switch {
	case a.peak < b.peak:
		return -1
	case a.peak > b.peak:
		return 1
	}
	return 0
}

// find is the index of a lane, or -1.
func (l *ladder) find(at lane) int {
	return slices.IndexFunc(l.rungs[:l.n], func(r rung) bool { return r.lane == at })
}

// named is the index of a layer by its rid, or -1.
func (l *ladder) named(rid string) int {
	return slices.IndexFunc(l.rungs[:l.n], func(r rung) bool { return r.rid == rid })
}

// flowing is the best layer that flows: want, else the next below it, else the
// next above it. False if none does.
func (l *ladder) flowing(want int) (int, bool) {
	for i := want; i >= 0; i-- {
		if l.rungs[i].flows {
			return i, true
		}
	}
	for i := want + 1; i < l.n; i++ {
		if l.rungs[i].flows {
			return i, true
		}
	}
	return want, false
}

// LayerChoice is what a viewer wants to see of a simulcast stream. The zero
// value leaves it to the gateway: the highest layer that flows and that the
// viewer's path carries. A layer that is named, or that the bounds allow, is
// sent as long as it flows, and another one meanwhile.
type LayerChoice struct {
	RID     string // of one layer; empty: any
	Spatial *int   // index of one layer, 0 is the lowest
	// Bounds of the layers to choose from; nil or 0: none.
	MaxSpatial          *int
	MaxWidth, MaxHeight int
}

// exact tells that one layer is named.
func (c *LayerChoice) exact() bool { return c != nil && (c.RID != "" || c.Spatial != nil) }

// rung is the index of the highest layer that the choice allows.
func (c *LayerChoice) rung(l *ladder) int {
	top := l.n - 1
	switch {
	case c == nil:
		return top
	case c.RID != "":
		if i := l.named(c.RID); i >= 0 {
			return i
		}
		return top // the publisher that had it is gone
	case c.Spatial != nil:
		return min(*c.Spatial, top)
	case c.MaxSpatial != nil:
		top = max(0, min(*c.MaxSpatial, top))
	}
	for ; top > 0; top-- {
		r := &l.rungs[top]
		if (c.MaxWidth <= 0 || r.width <= c.MaxWidth) && (c.MaxHeight <= 0 || r.height <= c.MaxHeight) {
			break
		}
	}
	return top
}
