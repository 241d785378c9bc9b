package relay

import (
	"testing"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

// overload plays a loop that has time for capacity viewers and is given n, with
// a packet every 2 ms, for some seconds. It returns, per viewer, how often the
// picture was interrupted, and the worst lag of the second half.
func overload(n, capacity int, seconds int64) (interrupted []int, served int, worst int64) {
	var s share
	interrupted = make([]int, n)
	out := make([]bool, n)
	cost := float64(2*ms) / float64(capacity) // of one packet to one viewer
	free := first
	for at := first; at < first+seconds*1000*ms; at += 2 * ms {
		start := max(at, free) // the loop is busy until free
		served, _ = s.update(n, start-at, start)
		free = start + int64(cost*float64(served))
		for i := range n {
			if now := i >= served; now != out[i] {
				if out[i] = now; now {
					interrupted[i]++
				}
			}
		}
		if at > first+seconds*500*ms {
			worst = max(worst, start-at)
		}
	}
	return interrupted, served, worst
}

// Under overload the first viewers never lose their picture, the lag is worked
// off, and most of what the loop can do is done.
func TestOverload(t *testing.T) {
	for _, c := range []struct{ n, capacity int }{{100, 90}, {200, 100}, {400, 100}, {1000, 300}, {3, 2}} {
		interrupted, served, worst := overload(c.n, c.capacity, 30)
		smooth := 0
		for smooth < c.n && interrupted[smooth] == 0 {
			smooth++
		}
		t.Logf("%d viewers, time for %d: %d never interrupted, %d served at the end, lag up to %d ms", c.n, c.capacity, smooth, served, worst/ms)
		if smooth < c.capacity/2 || served > c.n || served < c.capacity/2 || worst > 150*ms {
			t.Errorf("%d viewers, time for %d: %d smooth, %d served, lag %d ms", c.n, c.capacity, smooth, served, worst/ms)
		}
	}
}

func TestNoOverload(t *testing.T) {
	if interrupted, served, _ := overload(100, 110, 10); served != 100 || interrupted[99] != 0 {
		t.Errorf("%d served of 100 that there is time for", served)
	}
}

func TestHiccupShedsNobody(t *testing.T) {
	var s share
	for now := first; now < first+3000*ms; now += 2 * ms {
		lag := int64(0)
		switch into := now - first - 1000*ms; { // the process got no time, then works it off
		case into >= 0 && into < 100*ms:
			lag = 3 * into
		case into >= 0 && into < 400*ms:
			lag = 400*ms - into
		}
		if served, _ := s.update(50, lag, now); served != 50 {
			t.Fatalf("%d served at %d ms", served, (now-first)/ms)
		}
	}
}

func TestShareReturns(t *testing.T) {
	s := share{n: 80, out: 40}
	now, returns := first, 0
	for ; s.out > 0 && now < first+60_000*ms; now += 10 * ms {
		if _, more := s.update(80, ms, now); more {
			returns++
		}
	}
	if returns != 4 || now-first < 8000*ms || now-first > 9000*ms {
		t.Errorf("all were back after %d ms in %d steps", (now-first)/ms, returns)
	}
}

func TestShareFollowsTheCrowd(t *testing.T) {
	for _, c := range []struct{ n, out, now, served int }{
		{10, 4, 12, 6},  // newcomers sit out
		{10, 4, 7, 3},   // who knows who left
		{10, 4, 2, 0},   // back in time, see TestShareReturns
		{10, 0, 12, 12}, // no overload
		{10, 4, 0, 0},
	} {
		s := share{n: c.n, out: c.out}
		if served, _ := s.update(c.now, ms, first); served != c.served {
			t.Errorf("%+v: %d served", c, served)
		}
	}
	var s share
	for now := first; now < first+1000*ms; now += ms {
		if served, _ := s.update(0, now-first, now); served != 0 {
			t.Fatalf("%d of nobody served", served)
		}
	}
}

// The loop applies it: those who came first are served without a gap, the
// others start over at a key frame when there is time again.
func TestLateLoopShedsTheNewest(t *testing.T) {
	h := newHouse(t)
	a := h.actor("a", codecVP8)
	h.g.want(a.src, CauseReplace)
	var seats []*seat
	for range 4 {
		seats = append(seats, h.seat(plainVP8))
	}
	h.step()
	a.frame(true, 2)
	h.steps()
	for late := 60 * ms; late < 300*ms; late += 30 * ms { // the lag grows by 3/4
		a.frame(false, 2)
		h.w.step(h.now + late)
	}
	asked := a.asked
	for range 60 {
		a.frame(false, 2)
		h.w.step(h.now)
	}
	if a.asked == asked {
		t.Error("no key frame for those who return")
	}
	for range 4 {
		for range 50 {
			a.frame(false, 2)
			h.w.step(h.now)
		}
		a.frame(true, 2)
		h.w.step(h.now)
	}
	all := seats[0].hears()
	inOrder(t, all)
	last := seats[3].hears()
	inOrder(t, last) // what was left out is closed
	if n := int(h.g.tracks[codec.Video].ring.Next()); len(all) != n || len(last) >= n || len(last) < 50 {
		t.Errorf("the first viewer got %d, the last %d of %d packets", len(all), len(last), n)
	}
	if h.w.stats.shed.Load() == 0 {
		t.Error("what was shed is not counted")
	}
}
