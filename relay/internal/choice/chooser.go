package choice

import "time"

const (
	// settle is how long after the first choice a better candidate is taken as
	// soon as it flows: sources that start together come in any order.
	settle = int64(time.Second)
	// lossDwell is how long one stays at least where loss drove it.
	lossDwell = int64(5 * time.Second)
	// firstGrace is how long a source that has nothing yet is waited for while
	// another one flows.
	firstGrace = int64(250 * time.Millisecond)
)

// memory is what is kept of one candidate from step to step.
type memory struct {
	key      uint64
	able     bool
	since    int64 // when media could be expected first, or again
	well     bool  // delivers without interruption
	wellAt   int64 // since when
	spent    bool  // its claim
	trailing bool  // not better than the current one at the last step
}

// Chooser chooses for one stream. Make it with New.
type Chooser struct {
	set   Settings
	sleep sleeper
	mem   [MaxCandidates]memory // of the list of the last step, in its order
	n     int

	want   uint64
	why    Cause
	since  int64 // when want was chosen
	proven bool  // media of it came since

	firstAt   int64 // when a stream without a source got one
	went      bool
	wentAt    int64 // the last time of going back
	preferred uint64
	asked     bool // to go to preferred now
}

// New returns a Chooser that wants nobody yet.
func New(s Settings) *Chooser { return &Chooser{set: s.filled()} }

// SetSettings changes its patience. What it wants stays.
func (c *Chooser) SetSettings(s Settings) { c.set = s.filled() }

// Prefer is the operator's word: the candidate is wanted as soon as it flows,
// and outranks all others from then on. If it dies others step in, and it comes
// back as any better one does. A Key of 0, or of nobody: ranks are as they were.
func (c *Chooser) Prefer(key uint64) { c.preferred, c.asked = key, key != 0 }

// Want is the wanted candidate of the last step.
func (c *Chooser) Want() uint64 { return c.want }

// Step decides. It is to be called about every Tick; now never goes back. The
// list is in order of preference among equal ranks.
func (c *Chooser) Step(now int64, list []Candidate) Decision {
	list = list[:min(len(list), MaxCandidates)]
	c.sleep.step(now)
	c.remember(now, list)
	f := field{list: list, cur: -1, preferred: c.preferred}
	for i := range list {
		f.v[i] = c.judge(now, list, i)
		if list[i].Key == c.want {
			f.cur = i
		}
	}
	for i := range list {
		c.observe(now, &f, i)
	}

	var d Decision
	next, cause := c.next(now, &f)
	if cause != "" {
		d.Cause = cause
		c.turn(now, &f, next, cause)
	}
	d.Want = c.want
	d.Start = f.cur < 0 || c.shaky(&f) && f.flowing(f.cur, needAny, false) < 0
	d.Probe = f.cur >= 0 && f.v[f.cur].doubt
	for i := range list {
		d.states[i] = f.v[i].state
	}
	return d
}

// remember brings memory into the order of the list.
func (c *Chooser) remember(now int64, list []Candidate) {
	old, n := c.mem, c.n
	c.n = len(list)
	for i := range list {
		cand, m := &list[i], &c.mem[i]
		*m = memory{key: cand.Key}
		for k := range n {
			if old[k].key == cand.Key {
				*m = old[k]
				break
			}
		}
		if able := cand.able(); able != m.able {
			m.able, m.well = able, false
			if able {
				m.since = now
			}
		}
	}
}

// observe keeps the record of the candidate i: since when it is well, and
// whether its claim holds.
func (c *Chooser) observe(now int64, f *field, i int) {
	cand, m, v := &f.list[i], &c.mem[i], &f.v[i]
	// A publisher that pauses silences the whole group, and nobody is unwell.
	quiet := v.state == Suspect && cand.Group != 0 && f.cur >= 0 && i != f.cur &&
		f.list[f.cur].Group == cand.Group && f.v[f.cur].state == Suspect
	switch {
	case !m.able || cand.Lossy || cand.Held || !cand.Usable ||
		v.state == Down || v.state == Suspect && !quiet:
		m.well = false
	case !m.well && v.flows:
		m.well, m.wellAt = true, now
	}
	if f.cur < 0 {
		return
	}
	better := cand.Rank < f.list[f.cur].Rank
	if better && m.trailing {
		m.spent = false
	}
	m.trailing = !better
	if i == f.cur {
		m.spent = true
		c.proven = c.proven || v.flows || max(cand.Pulse.LastVideo(), cand.Pulse.LastAudio()) > c.since
	}
}

// turn makes the candidate next the wanted one, -1: nobody.
func (c *Chooser) turn(now int64, f *field, next int, cause Cause) {
	if f.cur >= 0 && f.v[f.cur].state == Suspect && cause == f.v[f.cur].cause {
		f.v[f.cur].state = Down
	}
	f.cur, c.since, c.why, c.proven = next, now, cause, false
	for i := range c.n {
		c.mem[i].trailing = false
	}
	if next < 0 {
		c.want = 0
		return
	}
	c.want = f.list[next].Key
	c.mem[next].spent = true
	c.proven = f.v[next].flows
	switch cause {
	case CauseFirst:
		c.firstAt = now
	case CauseFailback:
		c.went, c.wentAt = true, now
	}
	if c.want == c.preferred {
		c.asked = false
	}
}
