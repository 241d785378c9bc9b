package choice

import (
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/liveness"
)

// trails tells whether the candidate i is silent while another one of its group
// goes on, and which kind of media shows it.
func (c *Chooser) trails(now int64, list []Candidate, i int, v *verdict) (need, bool) {
	cand, since := &list[i], c.mem[i].since
	if cand.Group == 0 {
		return needAny, false
	}
	for j := range list {
		other := &list[j]
		if j == i || other.Group != cand.Group || !other.able() {
			continue
		}
		limit := max(0, cand.Behind-other.Behind)
		at := now - c.sleep.since(other.Pulse.LastVideo())
		if other.Pulse.FlowsVideo(at) && c.behindVideo(now, cand.Pulse, other.Pulse, since, limit) {
			return needVideo, true
		}
		// Without picture on both sides sound tells the same.
		at = now - c.sleep.since(other.Pulse.LastAudio())
		if !v.video && other.Pulse.FlowsAudio(at) && c.behindAudio(now, cand.Pulse, other.Pulse, since, limit) {
			return needAny, true
		}
	}
	return needAny, false
}

func (c *Chooser) behindVideo(now int64, own, other *liveness.Meter, since int64, skew time.Duration) bool {
	t := max(own.LastVideo(), since)
	if c.sleep.silence(now, t) <= c.set.RelativeTimeout {
		return false
	}
	n, first := other.VideoAfter(t)
	r := race{n: n, first: first, since: t, step: other.Interval(), skew: skew, fresh: !own.HasVideo()}
	// Sound that outlived the picture came over the same path: it takes more to
	// say that this was not loss.
	r.alive = own.LastAudio()-t > 2*int64(r.step)
	return c.lost(now, r)
}

func (c *Chooser) behindAudio(now int64, own, other *liveness.Meter, since int64, skew time.Duration) bool {
	t := max(own.LastAudio(), since)
	if c.sleep.silence(now, t) <= c.set.RelativeTimeout {
		return false
	}
	n, first := other.AudioAfter(t)
	r := race{n: n, first: first, since: t, step: other.AudioInterval(), skew: skew, fresh: !own.HasAudio()}
	return c.lost(now, r)
}

// race is how far another source is ahead of one that fell silent.
type race struct {
	n     int           // arrivals of the other since then,
	first int64         // when the first of them came
	since int64         // since when the one is silent
	step  time.Duration // of the other
	skew  time.Duration // by how much the other is earlier usually
	fresh bool          // the one had none of this media yet
	alive bool          // but other media
}

// lost tells whether the silent one has lost the race.
func (c *Chooser) lost(now int64, r race) bool {
	if r.n < newerFrames {
		return false
	}
	steps := min(max(newerFrames, int(c.set.RelativeTimeout/max(r.step, 1))), sureFrames)
	// The rhythm may just have become slower than it is known to be.
	r.step = max(r.step, time.Duration(now-r.first)/time.Duration(r.n))
	limit := max(c.set.RelativeTimeout, r.skew+newerFrames*r.step)
	if r.step > rare {
		steps = max(steps, newerFrames+1)
		limit = r.skew + time.Duration(steps)*r.step + c.set.RelativeTimeout
	}
	if r.alive {
		limit *= aliveFactor
	}
	if r.fresh {
		limit = max(limit, startTime)
	}
	// After a pause of the publisher all start anew, one earlier than another:
	// what counts is since the first did. A steady flow is measured from the
	// silence on.
	if r.first-r.since > 2*int64(r.step) {
		r.since = r.first
	}
	if r.n < steps {
		return false
	}
	return r.n == liveness.Window && !r.alive || c.sleep.silence(now, r.since) > limit
}
