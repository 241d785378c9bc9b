package relay

import (
	"testing"
	"time"
)

func TestTakeoverStats(t *testing.T) {
	var c takeovers
	for _, i := range []TakeoverInfo{
		{Cause: CauseBehind, Gap: 30 * time.Millisecond}, {Cause: CauseBehind, Gap: 50 * time.Millisecond},
		{Cause: CausePath, Gap: time.Minute}, {Cause: CauseOperator, Gap: -time.Second},
	} {
		c.note(i)
	}
	s := c.stats()
	c.note(TakeoverInfo{Cause: CausePath}) // later than the snapshot
	if s.Count != 4 || s.GapSum != time.Minute+80*time.Millisecond || s.Causes[CauseBehind] != 2 || s.Causes[CausePath] != 1 {
		t.Errorf("counted %+v", s)
	}
	if s.Gaps[0] != 1 || s.Gaps[1] != 3 || s.Gaps[len(s.Gaps)-1] != 3 {
		t.Errorf("gaps %v, want them cumulative: 1, then 3", s.Gaps)
	}
}
