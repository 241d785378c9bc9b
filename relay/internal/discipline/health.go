package discipline

const (
	defaultHealthFails  = 2
	defaultHealthPasses = 3
)

// Health counts the outcomes of checks. It is well until told otherwise.
type Health struct {
	fails, passes int
	row           int // outcomes in a row that speak against what it is
	down          bool
}

// Configure sets how many failures in a row make it down, and how many
// successes up again. Zero: 2 and 3. What it is stays.
func (h *Health) Configure(fails, passes int) {
	h.fails, h.passes = fails, passes
	if fails <= 0 {
		h.fails = defaultHealthFails
	}
	if passes <= 0 {
		h.passes = defaultHealthPasses
	}
}

// Note takes the outcome of a check. Changed says that it made a difference.
func (h *Health) Note(ok bool) (healthy, changed bool) {
	if h.fails == 0 {
		h.Configure(0, 0)
	}
	if ok != h.down {
		h.row = 0
		return !h.down, false
	}
	limit := h.fails
	if h.down {
		limit = h.passes
	}
	if h.row++; h.row < limit {
		return !h.down, false
	}
	h.down, h.row = !h.down, 0
	return !h.down, true
}

// Healthy is what the last Note returned.
func (h *Health) Healthy() bool { return !h.down }
