package relay

import (
	"slices"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/sdpneg"
)

// lane is the place of a track in a program and in its sources: one for each
// kind, and behind them one for each further layer of simulcast video
// (RFC 8853). Lanes stand in no order of quality, see ladder.
type lane = codec.Kind

// lanes sizes arrays that are indexed by lane.
const lanes = kinds + sdpneg.MaxLayers - 1

// kindOf is the kind of media in a lane.
func kindOf(l lane) codec.Kind { return min(l, codec.Video) }

// slots is the size of a lane's ring.
func slots(l lane) int {
	if l == codec.Audio {
		return audioSlots
	}
	return videoSlots
}

// assign gives each of a publisher's layers its lane. Layers that were there
// before keep theirs if all of them do, so that viewers stay where they are when
// a publisher comes back.
func (g *program) assign(rids []string) []lane {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]lane, len(rids))
	same := len(rids) == len(g.rids)
	for i, rid := range rids {
		at := slices.Index(g.rids, rid)
		same = same && at >= 0
		list[i] = codec.Video + lane(max(at, 0))
	}
	if !same {
		g.rids = rids
		for i := range list {
			list[i] = codec.Video + lane(i)
		}
	}
	return list
}

// videoLanes is how many lanes of video the program has used so far. Safe from
// any goroutine.
func (g *program) videoLanes() int { return 1 + int(g.extra.Load()) }
