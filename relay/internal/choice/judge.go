package choice

import (
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/liveness"
)

const (
	// PathTimeout is for how long a peer must not answer checks of its path to
	// be dead if it is silent as well.
	PathTimeout = 300 * time.Millisecond
	// pathLost is when it is so dead that any other connection is better.
	pathLost = 2 * time.Second
	// quietFactor of its own gaps is unusual for a source.
	quietFactor = 4
	// soundGoesOn is the least silence of video while there is sound: the picture
	// may just be switched off, and the path is fine.
	soundGoesOn = 2 * time.Second
	// soundFresh is how old sound may be to go on; else twice its interval.
	soundFresh = 200 * time.Millisecond
	// startTime is what a source may take to its first media of a kind.
	startTime = 2 * time.Second
	// A candidate is behind another one by newerFrames that the other one had
	// since. Loss takes three in a row now and then: of fast ones all within
	// RelativeTimeout must have been missed, up to sureFrames, and of rare ones
	// (further apart than rare) one more.
	newerFrames = 3
	sureFrames  = 6
	rare        = 100 * time.Millisecond
	// aliveFactor is by how much more it takes where other media of it goes on.
	aliveFactor = 3
)

// need is what another candidate must deliver to be better than a dead one.
type need uint8

const (
	needAny need = iota
	needVideo
)

// verdict is what is thought of one candidate.
type verdict struct {
	state        State
	cause        Cause // of Suspect and Down
	need         need
	doubt        bool // check its path
	sure         bool // it will not come back by itself
	flows        bool
	video, audio bool // flow
}

// judge looks at the candidate i.
func (c *Chooser) judge(now int64, list []Candidate, i int) verdict {
	cand, m := &list[i], &c.mem[i]
	var v verdict
	if cand.Lost {
		v.state, v.cause, v.sure = Down, CauseTransport, true
		return v
	}
	p := cand.Pulse
	if cand.Paused || !cand.Connected && p.FirstAt() == 0 {
		return v
	}
	v.video = p.FlowsVideo(now - c.sleep.since(p.LastVideo()))
	v.audio = p.FlowsAudio(now - c.sleep.since(p.LastAudio()))
	v.flows = v.video || v.audio && !p.HasVideo()
	if v.flows {
		v.state = Up
	}
	if need, ok := c.trails(now, list, i, &v); ok {
		v.state, v.cause, v.need, v.doubt = Down, CauseRelative, need, true
		return v
	}
	c.listen(now, cand, m, &v)
	return v
}

// listen judges a candidate by itself.
func (c *Chooser) listen(now int64, cand *Candidate, m *memory, v *verdict) {
	p := cand.Pulse
	var last int64
	var limit time.Duration
	v.cause = CauseMediaTimeout
	switch {
	case p.HasVideo():
		last, limit = p.LastVideo(), c.set.MediaTimeout
		v.need = needVideo
	case p.HasAudio():
		last, limit = p.LastAudio(), c.set.AudioTimeout
		v.cause = CauseAudioTimeout
	default:
		limit = max(c.set.MediaTimeout, startTime)
	}
	silence := c.sleep.silence(now, max(last, m.since))
	if v.need == needVideo && silence > limit {
		limit = c.patience(now, p)
	}
	if silence <= limit {
		if p.FirstAt() != 0 {
			v.state = Up
		}
		v.cause = ""
		return
	}
	v.doubt = true
	v.state = Suspect
	unanswered := cand.Unanswered - time.Duration(c.sleep.since(now-int64(cand.Unanswered)))
	switch {
	case cand.Probed && unanswered >= PathTimeout:
		v.state, v.need, v.sure = Down, needAny, unanswered >= pathLost
	case cand.Probed && v.cause == CauseAudioTimeout:
		v.state, v.cause = Up, "" // nobody speaks: the path is all there is to see
	}
}

// patience is how long video may be silent.
func (c *Chooser) patience(now int64, p *liveness.Meter) time.Duration {
	limit := max(c.set.MediaTimeout, quietFactor*p.Gap())
	if p.Gap() == 0 { // no rhythm yet
		limit = max(limit, startTime)
	}
	if p.HasAudio() && c.sleep.silence(now, p.LastAudio()) <= max(soundFresh, 2*p.AudioInterval()) {
		limit = max(limit, soundGoesOn)
	}
	return limit
}
