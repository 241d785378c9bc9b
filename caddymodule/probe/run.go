package probe

import (
	"context"
	"errors"
	"time"

	"github.com/talwtn/caddy-wtn/caddymodule/vendors"
	"github.com/talwtn/caddy-wtn/relay"
)

const (
	// MinDuration and MaxDuration bound how long media flows.
	MinDuration, MaxDuration = 2 * time.Second, 60 * time.Second

	absentBudget  = 8 * time.Second // for a stream to be there after it was published
	absentRetry   = 300 * time.Millisecond
	firstPacket   = 5 * time.Second
	stragglers    = 700 * time.Millisecond
	keyPassedIn   = 500 * time.Millisecond
	stopsWithin   = 2 * time.Second
	silentFor     = 500 * time.Millisecond
	cleanupBudget = 10 * time.Second
)

// Config says what to probe.
type Config struct {
	Upstream     relay.Upstream // with its vendor, see vendors.Client
	Name, Vendor string
	// Stream is the name to publish and play. Whoever publishes it there already
	// may lose it.
	Stream   string
	Duration time.Duration // of media, MinDuration to MaxDuration
	// NoPush and NoPull leave one half out. Without a push the stream is somebody
	// else's, and its media is not compared.
	NoPush, NoPull bool
	// Say hears what is being done; nil: nobody.
	Say func(string)
}

// prober is one run.
type prober struct {
	*Config
	p          *Profile
	run        string
	pub        *publisher
	play       *player
	push, pull *session
	asked      []time.Time // for key frames
	start, end time.Time   // of the media that counts
}

// Run probes a service. It takes the duration and a few seconds more. The
// sessions it makes are deleted, also when ctx ends. Errors are those of this
// machine; what the service does wrong is in the profile.
func Run(ctx context.Context, c Config) (*Profile, error) {
	r := &prober{Config: &c, run: newRun(), p: &Profile{
		Upstream: c.Name, Vendor: c.Vendor, Stream: c.Stream, Problems: []string{}, Notes: []string{},
	}}
	if c.Say == nil {
		c.Say = func(string) {}
	}
	var err error
	if r.pub, err = newPublisher(r.run); err != nil {
		return nil, err
	}
	defer r.pub.close()
	if r.play, err = newPlayer(); err != nil {
		return nil, err
	}
	defer func() { _ = r.play.pc.Close() }()
	defer r.cleanUp(ctx)
	r.check(ctx)
	if r.publish(ctx) && r.watch(ctx) {
		r.measure(ctx)
	}
	r.leave(ctx)
	r.result()
	if err := context.Cause(ctx); err != nil {
		r.p.problem("the probe was ended early")
	}
	r.p.judge()
	return r.p, nil
}

// check asks what health checks ask.
func (r *prober) check(ctx context.Context) {
	r.Say("asking whether it is there")
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var o *Reply
	err := r.Upstream.Check(vendors.Watch(ctx, func(a vendors.Seen) { o = &Reply{Status: a.Status, Took: ms(a.Took)} }))
	if err != nil {
		if o == nil {
			o = &Reply{}
		}
		o.Error = err.Error()
	}
	r.p.Options = o
}

// publish begins to send. false: there is no use in going on.
func (r *prober) publish(ctx context.Context) bool {
	if r.NoPush {
		return true
	}
	r.Say("publishing")
	s, err := open(ctx, r.Config, relay.RolePush, r.pub.peer)
	if errors.Is(err, vendors.ErrRole) {
		r.p.note("it takes no streams in: %s", detail(err))
		return true
	}
	r.push, r.p.Push = s, s.profile
	if err != nil {
		s.profile.Error = err.Error()
		return false
	}
	if s.profile.Located {
		s.profile.Trickle = s.trickle(ctx)
	}
	r.pub.send()
	return true
}

// watch begins to play. false: there is nothing to be measured.
func (r *prober) watch(ctx context.Context) bool {
	if r.NoPull {
		return r.push != nil
	}
	r.Say("playing")
	deadline := time.Now().Add(absentBudget)
	for tries := 1; ; tries++ {
		s, err := open(ctx, r.Config, relay.RolePull, r.play.peer)
		s.profile.Tries = tries
		if errors.Is(err, vendors.ErrRole) {
			r.p.note("it gives no streams out: %s", detail(err))
			return r.push != nil
		}
		r.pull, r.p.Pull = s, s.profile
		if err == nil {
			return true
		}
		s.profile.Error = err.Error()
		var refused *relay.UpstreamError
		if !errors.As(err, &refused) || refused.Action != relay.UpstreamAbsent || time.Now().After(deadline) || !pause(ctx, absentRetry) {
			return false
		}
		if err := r.newPlayer(); err != nil {
			return false
		}
	}
}

// detail is an upstream's error without what the relay makes of it.
func detail(err error) string {
	var refused *relay.UpstreamError
	if errors.As(err, &refused) {
		return refused.Detail
	}
	return err.Error()
}

// newPlayer replaces one whose offer was refused.
func (r *prober) newPlayer() error {
	_ = r.play.pc.Close()
	y, err := newPlayer()
	if err == nil {
		r.play = y
	}
	return err
}

// measure lets media flow, and disturbs it where that is to be seen.
func (r *prober) measure(ctx context.Context) {
	if r.pull != nil {
		timer := time.NewTimer(firstPacket)
		defer timer.Stop()
		select {
		case <-r.play.first:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	r.Say("measuring for " + r.Duration.String())
	r.start = time.Now()
	for _, step := range []struct {
		at float64
		do func()
	}{
		{0.2, r.askKey}, {0.35, r.losePacket}, {0.5, r.askKey}, {0.65, r.losePacket}, {0.8, r.askKey}, {1, func() {}},
	} {
		if !pause(ctx, time.Until(r.start.Add(time.Duration(step.at*float64(r.Duration))))) {
			break
		}
		step.do()
	}
	r.end = time.Now()
	for _, s := range []*session{r.push, r.pull} {
		if s != nil && s.lost() {
			s.profile.Error = "the connection was lost while media flowed"
		}
	}
	if r.pull != nil {
		pause(ctx, stragglers)
	}
}

func (r *prober) askKey() {
	if now := time.Now(); r.pull != nil && r.push != nil && r.play.askKey() {
		r.asked = append(r.asked, now)
	}
}

func (r *prober) losePacket() { r.pub.lose.Store(true) }

// pause waits; false if ctx ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
