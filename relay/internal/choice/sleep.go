package choice

import "time"

// Tick is about the distance of steps.
const Tick = 25 * time.Millisecond

const (
	// overslept is how far apart two steps are if the host did not let us run.
	overslept = 4 * int64(Tick)
	// naps is how many times are remembered. Silences that matter last 2 s.
	naps = 16
)

// sleeper remembers when we did not run, though we should have.
type sleeper struct {
	from, to [naps]int64
	n        uint64
	last     int64 // step
	awake    bool
}

// step is told of each step.
func (s *sleeper) step(now int64) {
	if s.awake && now-s.last > overslept {
		i := s.n % naps
		s.from[i], s.to[i] = s.last+int64(Tick), now
		s.n++
	}
	s.last, s.awake = now, true
}

// since is how much has been slept after t.
func (s *sleeper) since(t int64) (total int64) {
	for k := range min(s.n, naps) {
		i := (s.n - 1 - k) % naps
		if s.to[i] <= t {
			break
		}
		total += s.to[i] - max(s.from[i], t)
	}
	return total
}

// silence is for how long nothing came since t, as far as we would have seen it.
func (s *sleeper) silence(now, t int64) time.Duration {
	return time.Duration(now - t - s.since(t))
}
