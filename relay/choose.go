package relay

import (
	"slices"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/choice"
	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
)

// Cause says why a stream went over to another source.
type Cause string

const (
	CauseFirst    = Cause(choice.CauseFirst)        // nothing was there before
	CauseReplace  = Cause("replace")                // another publisher came, which replaces
	CausePriority = Cause(choice.CausePriority)     // one of a higher rank came
	CauseEnded    = Cause("ended")                  // the one before has ended
	CausePath     = Cause(choice.CauseTransport)    // its connection is lost
	CauseMedia    = Cause(choice.CauseMediaTimeout) // it delivers nothing
	CauseBehind   = Cause(choice.CauseRelative)     // it stopped while others went on
	CauseAudio    = Cause(choice.CauseAudioTimeout) // it says nothing, and has no picture
	CauseLoss     = Cause(choice.CauseLoss)         // too much of it is lost
	CauseCodec    = Cause(choice.CauseCodec)        // it sends what viewers cannot decode
	CauseFailback = Cause(choice.CauseFailback)     // a better one is well again
	CauseOperator = Cause(choice.CauseOperator)     // somebody asked for it
	CauseSlate    = Cause("slate")                  // there is no other
	CauseReturn   = Cause("return")                 // one is back, the slate goes
)

// dead tells that the source before delivers nothing worth waiting with.
func (c Cause) dead() bool {
	switch c {
	case CauseEnded, CausePath, CauseMedia, CauseBehind, CauseAudio, CauseReturn:
		return true
	}
	return false
}

// chooseInterval is how often streams with several sources look at them.
const chooseInterval = 25 * time.Millisecond

// direct chooses for all streams from time to time.
func (h *Hub) direct() {
	tick := time.NewTicker(chooseInterval)
	defer tick.Stop()
	for {
		select {
		case <-h.quit:
			return
		case <-tick.C:
		}
		now := leg.Now()
		h.mu.Lock()
		for _, st := range h.streams {
			if len(st.others) > 0 || st.puller != nil || st.slate != nil {
				st.choose(now)
			}
			h.foresee(st, now)
			if h.cover(st, now) {
				h.task(func() { h.giveUp(st) })
			}
		}
		h.mu.Unlock()
	}
}

// choose picks whom the program goes to, and lets the others keep what they
// send. The hub's lock is held.
func (st *stream) choose(now int64) {
	if p := st.successor(); p != nil {
		st.goTo(p, CauseReplace, now)
		return
	}
	list := slices.DeleteFunc(st.all(), func(p *publisher) bool { return !p.connected() })
	if len(list) == 0 {
		return
	}
	if len(st.others) == 0 && st.puller == nil {
		st.goTo(list[0], CauseEnded, now)
		return
	}
	if st.chooser == nil {
		st.chooser = choice.New(st.routing.Failover.settings())
	}
	st.chooser.SetSettings(st.routing.Failover.settings())
	slices.SortFunc(list, compareRank)
	d := st.decide(list, now)
	if d.Start && st.puller != nil {
		st.puller.needUntil = now + int64(needFor)
		st.puller.wake()
	}
	for _, p := range list {
		switch {
		case p.number == d.Want:
			st.goTo(p, Cause(d.Cause), now)
		case p.connected():
			st.prog.await(p.src)
		}
	}
}

const (
	// foreseeMedia and foreseePath are for how long nothing of a kind may come
	// from a publisher before its stream is looked for at upstreams, too.
	foreseeMedia = time.Second
	foreseePath  = 2 * time.Second
	// foreseeAgain is the least distance of two such attempts.
	foreseeAgain = 30 * time.Second
)

// foresee begins to pull a stream whose only publisher seems to have vanished,
// before that is certain. The hub's lock is held.
func (h *Hub) foresee(st *stream, now int64) {
	p := st.publisher
	if p == nil || len(st.others) > 0 || st.puller != nil || !st.pulls() || !p.connected() {
		return
	}
	if now-p.heardAt() > int64(foreseeMedia) && p.silence(now) > foreseePath && (st.foreseenAt == 0 || now-st.foreseenAt > int64(foreseeAgain)) {
		st.foreseenAt = now
		h.startPull(st)
	}
}

// goTo makes p the wanted source. A slate stays until p delivers.
func (st *stream) goTo(p *publisher, cause Cause, now int64) {
	if st.slate != nil {
		st.prog.await(p.src)
		if !p.flowing(now) {
			return
		}
		cause = CauseReturn
	}
	st.prog.want(p.src, cause)
}

// successor is the newest publisher that replaces others and has connected, as
// long as it has not taken the program.
func (st *stream) successor() (newest *publisher) {
	for _, p := range st.all() {
		if p.successor && p.local() && p.connected() && (newest == nil || p.number > newest.number) {
			newest = p
		}
	}
	if newest == nil || st.prog.live.Load() == newest.src {
		return nil
	}
	return newest
}

// decide asks the chooser. Its candidates are the publishers by rank.
func (st *stream) decide(list []*publisher, now int64) choice.Decision {
	candidates := make([]choice.Candidate, 0, choice.MaxCandidates)
	g := st.prog
	current := st.publisher.tracks[codec.Video]
	steady := st.failedAt == 0 || now-st.failedAt > int64(st.routing.Failover.delay())
	for rank, p := range list {
		g.mu.Lock()
		pulse := p.src.lively(now)
		g.mu.Unlock()
		c := choice.Candidate{
			Key: p.number, Rank: rank, Pulse: pulse, Connected: p.connected(),
			Lost: p.closedAt.Load() != 0 || p.ended.Load(), Claim: p.local() && steady, Lossy: p.quality.lossy.Load(), Held: p.held.Load(),
		}
		if !p.local() {
			c.Group = 1
			c.Unanswered, c.Probed = p.pull.unanswered(now)
			c.Paused = p.pull.paused.Load()
		}
		video := p.tracks[codec.Video]
		c.Usable = video == nil || current == nil || codec.Same(video.codec, current.codec) || len(st.blindTo(video.codec)) == 0
		candidates = append(candidates, c)
	}
	g.mu.Lock()
	d := st.chooser.Step(now, candidates)
	g.mu.Unlock()
	if d.Probe {
		for _, p := range list {
			if !p.local() {
				p.pull.probe()
			}
		}
	}
	return d
}

func (f *Failover) settings() choice.Settings {
	return choice.Settings{
		MediaTimeout: f.MediaTimeout, AudioTimeout: f.AudioTimeout, RelativeTimeout: f.RelativeTimeout,
		FailbackDelay: f.FailbackDelay, FailbackManual: f.FailbackManual,
	}
}
