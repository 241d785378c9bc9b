package relay

const (
	// lateAfter: a burst that leaves so long after its packets came is late.
	lateAfter = 40 * int64(1e6)
	// latePatience is how long bursts must be late without a break before that
	// is overload and not a hiccup.
	latePatience = 150 * int64(1e6)
	// regainAfter is how long bursts must be in time before more viewers are
	// served again.
	regainAfter = 2 * int64(1e9)
	// shareHeadroom leaves time to work off what has piled up.
	shareHeadroom = 0.85
	// leastShare bounds what one step takes away, for measurements can be wrong.
	leastShare = 0.25
)

// share decides how many viewers of a track a loop serves that cannot serve all.
// Under overload the newest sit out until there is time for them, so that those
// who came first keep a smooth picture: half a picture for everybody is a
// picture for nobody.
type share struct {
	n, out  int   // viewers, and those of them who sit out
	lateAt  int64 // since when all bursts were late; 0: the last one was not
	lagThen int64 // how late the burst at lateAt was
	peak    int64 // and the latest since
	calmAt  int64 // since when no burst was late and the share did not change
}

// update takes note of a burst of n viewers that left lag ns late. It returns how
// many of them are served, and whether these are more than before.
//
// While a loop is overloaded its lag grows; the rate of growth is the part of
// its work that it does not get done.
func (s *share) update(n int, lag, now int64) (served int, more bool) {
	if s.out > 0 && n > s.n {
		s.out += n - s.n // newcomers come last
	}
	s.n, s.out = n, min(s.out, n)
	if lag < lateAfter {
		s.lateAt = 0
		if s.calmAt == 0 {
			s.calmAt = now
		}
		if s.out > 0 && now-s.calmAt >= regainAfter {
			s.out -= min(s.out, max(1, n/8))
			s.calmAt, more = now, true
		}
		return n - s.out, more
	}
	s.calmAt = 0
	if s.lateAt == 0 {
		s.lateAt, s.lagThen, s.peak = now, lag, lag
	}
	s.peak = max(s.peak, lag)
	if took := now - s.lateAt; took >= latePatience {
		growth := float64(lag-s.lagThen) / float64(took)
		if growth > 0 && lag > s.peak*9/10 { // else it recovers already
			served = int(float64(n-s.out) * max(leastShare, 1-growth) * shareHeadroom)
			s.out = n - min(n, max(1, served))
		}
		s.lateAt, s.lagThen, s.peak = now, lag, lag
	}
	return n - s.out, false
}

// admit gives the number of live down tracks, from the first on, that are
// served. Those who return need a key frame.
func (f *fan) admit(l lane, lag, now int64) int {
	t := &f.tracks[l]
	served, more := t.share.update(len(t.live), lag, now)
	if more {
		f.prog.requestKeyframe(l, now)
	}
	return served
}
