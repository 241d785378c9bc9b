package choice

// next is the candidate to go to, and why; no cause: stay.
func (c *Chooser) next(now int64, f *field) (int, Cause) {
	if f.cur < 0 || f.list[f.cur].Lost {
		return c.replace(f)
	}
	if i, cause := c.leave(now, f); cause != "" {
		return i, cause
	}
	return c.improve(now, f)
}

// replace finds one where there is none (any more).
func (c *Chooser) replace(f *field) (int, Cause) {
	cause := CauseTransport
	if c.want == 0 {
		cause = CauseFirst
	}
	if i := f.flowing(-1, needVideo, false); i >= 0 {
		return i, cause
	}
	if i := f.flowing(-1, needAny, false); i >= 0 {
		return i, cause
	}
	if i := f.connected(false); i >= 0 {
		return i, cause
	}
	if i := f.connected(true); i >= 0 {
		return i, cause
	}
	if c.want == 0 {
		return -1, ""
	}
	return -1, CauseGone
}

// leave finds a way out where the current one is not good enough.
func (c *Chooser) leave(now int64, f *field) (int, Cause) {
	cur, v := &f.list[f.cur], &f.v[f.cur]
	other := f.flowing(f.cur, needAny, false)
	switch {
	case !cur.Usable && other >= 0:
		return other, CauseCodec
	case cur.Held && other >= 0:
		return other, CauseOperator
	}
	switch v.state {
	case Down:
		if i := f.flowing(f.cur, v.need, false); i >= 0 {
			return i, v.cause
		}
		if v.sure {
			if i := f.connected(false); i >= 0 {
				return i, v.cause
			}
		}
	case Suspect:
		if i := f.proof(); i >= 0 {
			return i, v.cause
		}
	}
	if !c.proven && other >= 0 && now-c.since >= firstGrace {
		return other, c.why
	}
	if cur.Lossy && now-c.since >= lossDwell {
		if i := f.flowing(f.cur, kind(v), true); i >= 0 {
			return i, CauseLoss
		}
	}
	return -1, ""
}

// kind is what the current candidate delivers.
func kind(v *verdict) need {
	if v.video {
		return needVideo
	}
	return needAny
}

// improve finds a better one while the current one is good.
func (c *Chooser) improve(now int64, f *field) (int, Cause) {
	best, why := -1, Cause("")
	for i := range f.list {
		if !f.eligible(i) || f.list[i].Lossy || !f.delivers(i, kind(&f.v[f.cur])) {
			continue
		}
		cause := c.better(now, f, i)
		if cause == CauseOperator {
			return i, cause
		}
		if cause != "" && (best < 0 || f.rank(i) < f.rank(best)) {
			best, why = i, cause
		}
	}
	return best, why
}

// better tells why the candidate i should be gone to, which flows; empty: it
// should not.
func (c *Chooser) better(now int64, f *field, i int) Cause {
	cand, m := &f.list[i], &c.mem[i]
	if c.asked && cand.Key == c.preferred {
		return CauseOperator
	}
	if f.rank(i) >= f.rank(f.cur) {
		return ""
	}
	if cand.Claim && !m.spent {
		return CausePriority
	}
	if c.why == CauseFirst && now-c.firstAt < settle {
		return CausePriority
	}
	delay := int64(c.set.FailbackDelay)
	if c.set.FailbackManual || !m.well || now-m.wellAt < delay || c.went && now-c.wentAt < delay {
		return ""
	}
	return CauseFailback
}

// shaky tells whether one more source would be good to have.
func (c *Chooser) shaky(f *field) bool {
	cur := &f.list[f.cur]
	s := f.v[f.cur].state
	return s == Suspect || s == Down || cur.Lossy || cur.Held || !cur.Usable
}
