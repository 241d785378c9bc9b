package relay

import (
	"io"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
	"github.com/talwtn/caddy-wtn/relay/internal/rtpx"
	"github.com/talwtn/caddy-wtn/relay/internal/slate"
)

const (
	slateID   = "slate"               // in place of a session's id
	slateTick = 20 * time.Millisecond // one packet of silence
	// quietPath is for how long nothing at all may come from a publisher without
	// media: peers check their path, or report, every 2.5 s.
	quietPath = 3 * time.Second
	// forsaken is for how long there may be no media, though the path is well.
	forsaken = 10 * time.Second
)

// SlateClip is a still picture or a short loop.
type SlateClip = slate.Clip

// ReadSlate reads a picture: an IVF file, or an elementary stream whose name
// ends in .h264 or .h265. Errors tell what to do.
func ReadSlate(name string, r io.Reader) (*SlateClip, error) { return slate.Read(name, r) }

// slateSource plays a slate into a program until it is told to stop.
type slateSource struct {
	prog   *program
	src    *source
	since  int64
	quit   chan struct{}
	player *slate.Player // nil: the stream has no picture
	quiet  []byte        // 20 ms of silence; nil: the stream has no sound
}

// newSlate makes a slate in the codecs of a stream, nil if none of them has one.
func newSlate(g *program, codecs []codec.Codec, clip *SlateClip, now int64) *slateSource {
	s := &slateSource{prog: g, since: now, quit: make(chan struct{})}
	s.src = newSource(slateID, func() bool { return true }) // its next key frame comes within a second
	for _, c := range codecs {
		if c.Kind == codec.Audio {
			if quiet, ok := slate.SilenceOf(c.Name); ok {
				s.quiet = quiet
				s.src.addTrack(c)
			}
			continue
		}
		if s.player = slate.NewPlayer(clip, c.Name, 0); s.player != nil {
			s.src.addTrack(c)
		}
	}
	if s.player == nil && s.quiet == nil || !g.register(s.src) {
		return nil
	}
	return s
}

// run plays until stop is called.
func (s *slateSource) run() {
	tick := time.NewTicker(slateTick)
	defer tick.Stop()
	defer s.prog.drop(s.src)
	start := leg.Now()
	var seq [kinds]uint64
	due := start
	for {
		now := leg.Now()
		if s.player != nil && now >= due {
			list, _, shown := s.player.Next()
			for i, pay := range list {
				s.send(codec.Video, &seq, now-start, i == len(list)-1, pay, now)
			}
			if due += int64(shown); due < now {
				due = now
			}
		}
		if s.quiet != nil {
			s.send(codec.Audio, &seq, now-start, false, s.quiet, now)
		}
		s.prog.flush()
		select {
		case <-s.quit:
			return
		case <-tick.C:
		}
	}
}

// send writes a packet of the time since the start.
func (s *slateSource) send(kind codec.Kind, seq *[kinds]uint64, since int64, marker bool, pay []byte, now int64) {
	t := s.src.tracks[kind]
	ts := uint32(since / int64(time.Microsecond) * int64(t.codec.ClockRate) / 1e6)
	if kind == codec.Audio { // one frame after the other, whatever the timer does
		ts = uint32(seq[kind]) * t.codec.ClockRate / uint32(time.Second/slateTick)
	}
	seq[kind]++
	p := rtpx.Packet{Seq: uint16(seq[kind]), TS: ts, Marker: marker, Payload: pay}
	s.prog.write(t, &p, 1<<16+seq[kind], now)
}

func (s *slateSource) stop() { close(s.quit) }

// cover shows the slate of a stream when nothing has come from its sources for a
// while, and takes it away when one of them has the program again. It returns
// true when the slate has been shown for too long. The hub's lock is held.
func (h *Hub) cover(st *stream, now int64) (over bool) {
	config := st.routing.Slate
	if config == nil || !st.announced {
		return false
	}
	for _, p := range st.all() {
		if p.alive(now) {
			st.darkAt = 0
			return false
		}
	}
	switch {
	case st.darkAt == 0:
		st.darkAt = now
	case st.slate == nil && now-st.darkAt > int64(config.after()):
		if st.slate = newSlate(st.prog, st.sent, config.Clip, now); st.slate == nil {
			return false
		}
		h.task(st.slate.run)
		st.prog.want(st.slate.src, CauseSlate)
	}
	return now-st.darkAt > int64(config.max())
}

// alive tells that something comes from the source, or may come at any moment:
// quiet is not dead.
func (p *publisher) alive(now int64) bool {
	if !p.connected() || p.closedAt.Load() != 0 || p.deadAt.Load() != 0 {
		return false
	}
	p.prog.mu.Lock()
	flows := p.src.lively(now).FlowsVideo(now) || p.src.pulse.FlowsAudio(now)
	p.prog.mu.Unlock()
	switch {
	case flows:
		return true
	case now-max(p.heardAt(), p.readyAt.Load()) > int64(forsaken):
		return false
	case p.local():
		return p.silence(now) < quietPath
	}
	unanswered, _ := p.pull.unanswered(now)
	return unanswered < time.Second
}

// uncover takes the slate away. The hub's lock is held.
func (st *stream) uncover() {
	if st.slate != nil {
		st.slate.stop()
		st.slate, st.darkAt = nil, 0
	}
}

func (s *Slate) after() time.Duration {
	if s.After == 0 {
		return time.Second
	}
	return s.After
}

func (s *Slate) max() time.Duration {
	if s.Max == 0 {
		return 10 * time.Minute
	}
	return s.Max
}
