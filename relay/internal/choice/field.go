package choice

import "math"

// field is all candidates of one step.
type field struct {
	list []Candidate
	v    [MaxCandidates]verdict
	cur  int // the wanted one, -1: none

	preferred uint64
}

// rank is the rank of the candidate i, the preferred one's is the best.
func (f *field) rank(i int) int {
	if c := &f.list[i]; c.Key != f.preferred {
		return c.Rank
	}
	return math.MinInt
}

// eligible tells whether the candidate i can be gone over to.
func (f *field) eligible(i int) bool {
	c := &f.list[i]
	return i != f.cur && c.able() && c.Usable && !c.Held && f.v[i].state != Down
}

// delivers tells whether the candidate i delivers what is needed.
func (f *field) delivers(i int, n need) bool {
	return f.v[i].video || n == needAny && f.v[i].audio
}

// flowing is the best candidate beside the one not that delivers what is needed,
// clean: without much loss; -1: none.
func (f *field) flowing(not int, n need, clean bool) int {
	best := -1
	for i := range f.list {
		if i == not || !f.eligible(i) || !f.delivers(i, n) || clean && f.list[i].Lossy {
			continue
		}
		if best < 0 || f.rank(i) < f.rank(best) {
			best = i
		}
	}
	return best
}

// proof is the best candidate with live media whose encoder is another one, so
// that a suspicion of the current one is enough to leave it; -1: none. Of the
// same media only a relative sign counts: when a publisher goes on after a pause,
// one is always the first to have it.
func (f *field) proof() int {
	cur, v := &f.list[f.cur], &f.v[f.cur]
	best := -1
	for i := range f.list {
		if !f.eligible(i) || !f.delivers(i, v.need) {
			continue
		}
		if cur.Group != 0 && cur.Group == f.list[i].Group {
			continue
		}
		if best < 0 || f.rank(i) < f.rank(best) {
			best = i
		}
	}
	return best
}

// connected is the best candidate that may deliver soon; -1: none. Those that
// are held count only if asked for.
func (f *field) connected(held bool) int {
	best := -1
	for i := range f.list {
		c := &f.list[i]
		if !f.eligible(i) && !(held && i != f.cur && c.able() && c.Usable && c.Held) {
			continue
		}
		if best < 0 || f.rank(i) < f.rank(best) {
			best = i
		}
	}
	return best
}
