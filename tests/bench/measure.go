package main

import (
	"context"
	"fmt"
	"time"

	"github.com/talwtn/caddy-wtn/tests/bench/load"
)

// sampleEvery is how many viewers there are for each that decrypts everything.
const sampleEvery = 20

// row is one server under one load.
type row struct {
	server  string
	viewers int
	load.Window
	joins load.Joins

	cpu, core, generator time.Duration // in the window
	rss, idle            int64         // bytes: with all viewers, with none
}

func (r row) perPacket() float64 { // microseconds
	return float64(r.cpu) / 1e3 / max(float64(r.Received), 1)
}

func (r row) perViewer() float64 { // KiB
	return float64(r.rss-r.idle) / 1024 / float64(r.viewers)
}

func (r row) share(d time.Duration) float64 { // percent of the window
	return 100 * float64(d) / float64(r.Length)
}

// others is the share of the server's core that was not the server's.
func (r row) others() float64 { return max(r.share(r.core-r.cpu), 0) }

// delivered is in percent of what a perfect server would have delivered.
func (r row) delivered() float64 {
	return 100 * float64(r.Received) / max(float64(r.Sent)*float64(r.viewers), 1)
}

// measure runs one server from start to end.
func measure(ctx context.Context, dir string, s server, viewers int, o options) (r row, err error) {
	r.server, r.viewers = s.name, viewers
	p, err := s.start(ctx, dir, o.core)
	if err != nil {
		return r, err
	}
	defer p.stop()
	connect, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	l, err := load.Publish(connect, load.Config{
		WHIP: p.origin + s.whip, WHEP: p.origin + s.whep,
		Obey: o.obey, SampleEvery: sampleEvery, JoinRate: o.joinRate,
	})
	if err != nil {
		return r, fmt.Errorf("%w; the server's log:\n%s", err, p.tail())
	}
	defer l.Close()
	if err := pause(ctx, o.settle); err != nil { // the publisher's first frames
		return r, err
	}
	before, err := readUsage(p.pid(), o.core)
	if err != nil {
		return r, err
	}
	r.idle = before.rss
	r.joins = l.Join(ctx, viewers)
	if r.joins.OK == 0 {
		return r, fmt.Errorf("no viewer could join: %w; the server's log:\n%s", r.joins.Err, p.tail())
	}
	if err := pause(ctx, o.settle); err != nil {
		return r, err
	}
	err = r.window(ctx, l, p, o)
	return r, err
}

// window measures with all viewers there.
func (r *row) window(ctx context.Context, l *load.Load, p *process, o options) error {
	var at [2]usage
	var own [2]time.Duration
	var failed error
	i := 0
	r.Window = l.Measure(ctx, o.duration, func() {
		u, err := readUsage(p.pid(), o.core)
		if err != nil {
			failed = fmt.Errorf("the server is gone: %w; its log:\n%s", err, p.tail())
		}
		at[i], own[i] = u, ownCPU()
		i++
	})
	r.cpu, r.core, r.rss = at[1].cpu-at[0].cpu, at[1].core-at[0].core, at[1].rss
	r.generator = own[1] - own[0]
	if failed == nil {
		failed = ctx.Err()
	}
	return failed
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
