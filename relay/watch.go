package relay

import (
	"slices"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
)

// StreamState is what a subscriber may know of the stream it plays.
type StreamState struct {
	Active  bool // media of a publisher arrives
	Viewers int
	// Layers are what the session can be sent of its video, the lowest first:
	// one, or those of a simulcast publisher.
	Layers []Layer
}

// Layer is one encoding of a track.
type Layer struct {
	Media         int     // index of the m-section in the session's SDP
	Index         int     // from 0, the lowest
	RID           string  // empty where there is only one
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
	d := s.video()
	if d == nil {
		return nil
	}
	media, now := s.media[codec.Video], leg.Now()
	if p == nil || len(p.simulcast) == 0 {
		l := Layer{Media: media}
		if p != nil && p.tracks[codec.Video] != nil {
			t := p.trackStats(p.tracks[codec.Video], now)
			l.Bitrate, l.Width, l.Height = t.Bitrate, t.Width, t.Height
		}
		return []Layer{l}
	}
	ladder := d.prog.ladder(now)
	for i, r := range ladder.rungs[:ladder.n] {
		if !r.flows {
			r.bitrate = 0
		}
		list = append(list, Layer{Media: media, Index: i, RID: r.rid, Bitrate: r.bitrate, Width: r.width, Height: r.height})
	}
	if len(list) == 0 { // it is not connected yet
		for i, t := range p.simulcast {
			list = append(list, Layer{Media: media, Index: i, RID: t.rid})
		}
	}
	return list
}

// video is the down track of the video, nil: there is none.
func (s *subscriber) video() *downTrack {
	for _, d := range s.sink.downs {
		if d.kind == codec.Video {
			return d
		}
	}
	return nil
}

// SelectLayer says which layer of its video the session wants to be sent. It is
// in force from the next key frame of that layer on, which is asked for, and for
// all publishers to come; while there is no such layer the choice is automatic.
// Streams without simulcast have one layer, without a RID and with the index 0.
// Errors: ErrNoLayer.
func (s *Session) SelectLayer(c LayerChoice) error {
	var sub *subscriber
	switch o := s.owner.(type) {
	case *subscriber:
		sub = o
	case *push:
		sub = o.subscriber
	default:
		return ErrNoLayer
	}
	if c == (LayerChoice{}) {
		sub.choose(nil)
		return nil
	}
	exists := func(l Layer) bool {
		return (c.RID == "" || c.RID == l.RID) && (c.Spatial == nil || *c.Spatial == l.Index)
	}
	if !slices.ContainsFunc(s.Layers(), exists) {
		return ErrNoLayer
	}
	sub.choose(&c)
	return nil
}

// choose tells the sending loop what the viewer wants; nil: automatic.
func (s *subscriber) choose(c *LayerChoice) {
	d := s.video()
	if d == nil {
		return
	}
	s.sink.worker.post(func(int64) {
		d.choice = c
		if f := s.sink.worker.fanOf(d.prog); f != nil {
			f.choseAt = 0
		}
	})
}

// hasLayer tells whether the publisher negotiated a layer of that name.
func (p *publisher) hasLayer(rid string) bool {
	return slices.ContainsFunc(p.simulcast, func(t *inTrack) bool { return t.rid == rid })
}
