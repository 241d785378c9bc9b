package relay

import "github.com/talwtn/caddy-wtn/relay/internal/codec"

// Mute says what a session is to stop or to go on carrying; nil leaves it as it
// is. What is muted is left out by the gateway: nothing is negotiated, and the
// connection lives on.
type Mute struct {
	Audio, Video *bool
}

// Mute changes what the session carries. Video goes on with a key frame, which
// is asked for at once.
func (s *Session) Mute(m Mute) {
	if m.Audio != nil {
		s.owner.mute(codec.Audio, *m.Audio)
	}
	if m.Video != nil {
		s.owner.mute(codec.Video, *m.Video)
	}
}

// mute implements owner. To the program a publisher that goes on after a pause
// is like another source: numbers and times close the gap, video waits for a
// key frame. Newcomers do not see what was on before.
func (p *publisher) mute(kind codec.Kind, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l, t := range p.tracks {
		if t == nil || t.codec.Kind != kind || t.muted == on {
			continue
		}
		if t.muted = on; on {
			p.prog.tracks[l].ring.Forget()
		} else if t.ssrc != 0 {
			t.source = p.prog.renew(t.source)
		}
	}
}

// mutes tells whether the track of a kind is muted.
func (p *publisher) mutes(kind codec.Kind) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tracks[kind] != nil && p.tracks[kind].muted
}

// mute implements owner.
func (s *subscriber) mute(kind codec.Kind, on bool) {
	for _, d := range s.sink.downs {
		if d.kind == kind {
			s.sink.worker.post(func(now int64) { d.mute(on, now) })
		}
	}
}

// mute belongs to the sending loop.
func (d *downTrack) mute(on bool, now int64) {
	if d.muted == on {
		return
	}
	d.muted = on
	if d.kind == codec.Video {
		if on {
			d.broken, d.waitKey = true, true
			return
		}
		d.requestKeyframe(now)
	}
}
