package probe

import (
	"context"
	"time"
)

// leave ends the sessions, the pull first: that it stops is to be seen while the
// stream goes on.
func (r *prober) leave(ctx context.Context) {
	r.Say("leaving")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupBudget)
	defer cancel()
	last := r.push
	if last == nil || last.res == nil {
		last = r.pull
	}
	if last != nil && last == r.pull && last.res != nil && last.profile.Located {
		last.profile.Restart = last.restart(ctx)
	}
	if r.pull != nil && r.pull.res != nil {
		asked := time.Now()
		r.pull.delete(ctx)
		if r.pull.profile.Delete != nil {
			r.pull.profile.StoppedIn = r.stopped(ctx, asked)
		}
	}
	if last != nil && last == r.push && last.res != nil && last.profile.Located {
		last.profile.Restart = last.restart(ctx)
	}
	if r.push != nil {
		r.push.delete(ctx)
	}
}

// stopped waits until nothing comes any more, and says how long that took. nil:
// it went on.
func (r *prober) stopped(ctx context.Context, since time.Time) *float64 {
	for deadline := since.Add(stopsWithin + silentFor); time.Now().Before(deadline); {
		newest := r.play.newest()
		if time.Since(newest) > silentFor || newest.IsZero() {
			took := ms(max(0, newest.Sub(since)))
			return &took
		}
		if !pause(ctx, 20*time.Millisecond) {
			break
		}
	}
	return nil
}

// cleanUp deletes what is left when something went wrong on the way.
func (r *prober) cleanUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupBudget)
	defer cancel()
	r.pull.delete(ctx)
	r.push.delete(ctx)
}
