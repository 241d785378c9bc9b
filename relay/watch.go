package relay

import (
	"cmp"
	"slices"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
)

// StreamState is what a subscriber may know of the stream it plays.
type StreamState struct {
	Active  bool // media of a publisher arrives
	Viewers int
	// Layers are what the session can be sent of its video. There is one for
	// each track now.
	Layers []Layer
}

// Layer is one encoding of a track.
type Layer struct {
	Media         int     // index of the m-section in the session's SDP
	Bitrate       float64 // bits/s, 0: nothing arrives
	Width, Height int     // 0: unknown
}

// StreamState is a snapshot of the session's stream. The channel is closed when
// Active may have changed; the rest changes without a sign.
func (s *Session) StreamState() (StreamState, <-chan struct{}) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	st := h.streams[s.stream]
	if st == nil {
		return StreamState{Layers: s.owner.layers(nil)}, nil
	}
	if st.changed == nil {
		st.changed = make(chan struct{})
	}
	state := StreamState{Active: st.active(), Viewers: len(st.subs), Layers: s.owner.layers(st.publisher)}
	return state, st.changed
}

// Layers are the layers of StreamState.
func (s *Session) Layers() []Layer {
	state, _ := s.StreamState()
	return state.Layers
}

// active tells whether media arrives. The hub's lock is held.
func (st *stream) active() bool {
	p := st.publisher
	return p != nil && p.connected() && !p.quiet.Load() && p.packets.Load() > 0
}

// notify wakes those who watch the stream. The hub's lock is held.
func (st *stream) notify() {
	if st.changed != nil {
		close(st.changed)
		st.changed = nil
	}
}

// layers implements owner: a publisher is sent nothing.
func (p *publisher) layers(*publisher) []Layer { return nil }

// layers implements owner. p may be nil.
func (s *subscriber) layers(p *publisher) (list []Layer) {
	for _, d := range s.sink.downs {
		if d.kind != codec.Video {
			continue
		}
		l := Layer{Media: s.media[d.kind]}
		if p != nil && p.tracks[d.kind] != nil {
			t := p.trackStats(p.tracks[d.kind], leg.Now())
			l.Bitrate, l.Width, l.Height = t.Bitrate, t.Width, t.Height
		}
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b Layer) int { return cmp.Compare(a.Media, b.Media) })
	return list
}
