package harness

import (
	"testing"
	"time"
)

// pollEvery is how often a condition is looked at.
const pollEvery = 20 * time.Millisecond

// Poll looks at cond until it holds or the time is over, and reports which.
func Poll(within time.Duration, cond func() bool) bool {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if cond() {
			return true
		}
		select {
		case <-deadline.C:
			return cond()
		case <-tick.C:
		}
	}
}

// Eventually fails the test when cond does not hold in time.
func Eventually(t testing.TB, within time.Duration, what string, cond func() bool) {
	t.Helper()
	if !Poll(within, cond) {
		t.Fatalf("not within %s: %s", within, what)
	}
}

// Stays fails the test as soon as cond stops to hold during the time given.
func Stays(t testing.TB, during time.Duration, what string, cond func() bool) {
	t.Helper()
	if Poll(during, func() bool { return !cond() }) {
		t.Fatalf("did not stay so for %s: %s", during, what)
	}
}
