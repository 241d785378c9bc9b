package caddymodule

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/talwtn/caddy-wtn/relay"
)

// Routes say where the streams of a handler come from and go to beside their
// sessions here, and what happens when that fails.
type Routes struct {
	// Where streams that are published here are pushed to.
	Push *Push `json:"push,omitempty"`

	// Where streams that nobody publishes here are pulled from when somebody
	// wants to watch them.
	Pull *Pull `json:"pull,omitempty"`

	// Whether what is published here is played by way of the upstreams: it is
	// pushed to them, and viewers get what is pulled from them. For backends that
	// do something to the media, or that have to see every viewer's stream.
	// Default: false, viewers are served from the publisher itself.
	Detour bool `json:"detour,omitempty"`

	// When a source is taken for dead, and when a better one is gone back to.
	Failover *Failover `json:"failover,omitempty"`

	// What viewers see when all sources are gone. Default: the last picture.
	Slate *Slate `json:"slate,omitempty"`
}

// Push is where published streams are sent to.
type Push struct {
	// The names of the upstreams.
	Upstreams []string `json:"upstreams"`

	// `mirror` sends to all of them at once, `first` to the first that works.
	// Default: `mirror`.
	Mode string `json:"mode,omitempty"`
}

// Pull is where streams are got from.
type Pull struct {
	// The names of the upstreams, the preferred first.
	Upstreams []string `json:"upstreams"`

	// How ready the second one is: `hot`, its media flows all the time; `warm`,
	// it is connected and paused where the vendor can; `cold`, it is asked when
	// the first one fails. Default: `cold`.
	Standby string `json:"standby,omitempty"`

	// How long a pull goes on without viewers. Default: `10s`.
	Linger caddy.Duration `json:"linger,omitempty"`
}

// Failover is how patient streams are with their sources. Quiet is not dead: all
// times grow with the rhythm a source has shown, and a silent source is first
// asked whether it lives.
type Failover struct {
	// Least time without video after which a source is suspected. Default: `500ms`.
	MediaTimeout caddy.Duration `json:"media_timeout,omitempty"`

	// The same for sound without picture. Default: `1s`.
	AudioTimeout caddy.Duration `json:"audio_timeout,omitempty"`

	// How far a source may be behind another one with the same media. Default: `150ms`.
	RelativeTimeout caddy.Duration `json:"relative_timeout,omitempty"`

	// How long a better source has to be well before streams go back to it.
	// Default: `30s`.
	FailbackDelay caddy.Duration `json:"failback_delay,omitempty"`

	// Whether going back is left to the operator (admin API). Default: false.
	FailbackManual bool `json:"failback_manual,omitempty"`
}

// Slate is the picture that stands in for a stream.
type Slate struct {
	// A still or a short loop: an IVF file (VP8, VP9, AV1) or an H.264 or H.265
	// elementary stream (.h264, .h265), up to 4 MiB. Streams in another codec get
	// the built-in picture. Default: the built-in picture.
	File string `json:"file,omitempty"`

	// How long nothing may flow before it is shown. Default: `1s`.
	After caddy.Duration `json:"after,omitempty"`

	// How long it is shown before the viewers are ended. Default: `10m`.
	Max caddy.Duration `json:"max,omitempty"`

	clip *relay.SlateClip
}

// provision checks the routes against the upstreams there are.
func (r *Routes) provision(app *App) error {
	if p := r.Push; p != nil {
		if len(p.Upstreams) == 0 {
			return errors.New("push names no upstream")
		}
		if err := app.usableUpstreams(relay.RolePush, p.Upstreams); err != nil {
			return fmt.Errorf("push: %w", err)
		}
		switch relay.PushMode(p.Mode) {
		case "", relay.PushMirror, relay.PushFirst:
		default:
			return fmt.Errorf("push is %q: use mirror or first", p.Mode)
		}
	}
	if p := r.Pull; p != nil {
		if len(p.Upstreams) == 0 {
			return errors.New("pull names no upstream")
		}
		if err := app.usableUpstreams(relay.RolePull, p.Upstreams); err != nil {
			return fmt.Errorf("pull: %w", err)
		}
		switch relay.Standby(p.Standby) {
		case "", relay.StandbyCold, relay.StandbyWarm, relay.StandbyHot:
		default:
			return fmt.Errorf("the standby of pull is %q: use cold, warm or hot", p.Standby)
		}
		if p.Linger < 0 || p.Linger > caddy.Duration(time.Hour) {
			return errors.New("the linger of pull is out of range: use 0 to 1h")
		}
	}
	if r.Detour && (r.Push == nil || r.Pull == nil) {
		return errors.New("detour needs both push and pull: viewers get what goes through the upstreams")
	}
	if err := r.Failover.validate(); err != nil {
		return err
	}
	return r.Slate.load()
}

func (f *Failover) validate() error {
	if f == nil {
		return nil
	}
	for _, v := range []struct {
		option   string
		d        caddy.Duration
		min, max time.Duration
	}{
		{"media_timeout", f.MediaTimeout, 250 * time.Millisecond, time.Minute},
		{"audio_timeout", f.AudioTimeout, 200 * time.Millisecond, time.Minute},
		{"relative_timeout", f.RelativeTimeout, 20 * time.Millisecond, 10 * time.Second},
		{"failback_delay", f.FailbackDelay, time.Second, 24 * time.Hour},
	} {
		if d := time.Duration(v.d); d != 0 && (d < v.min || d > v.max) {
			return fmt.Errorf("%s is %s: use %s to %s", v.option, d, v.min, v.max)
		}
	}
	return nil
}

// load reads the file, so that a bad one is refused with the configuration.
func (s *Slate) load() error {
	if s == nil {
		return nil
	}
	if s.After < 0 || s.Max < 0 {
		return errors.New("the times of slate are above 0")
	}
	if s.File == "" {
		return nil
	}
	name, err := caddy.NewReplacer().ReplaceOrErr(s.File, true, true)
	if err != nil {
		return fmt.Errorf("slate: %w", err)
	}
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return fmt.Errorf("slate: %w", err)
	}
	defer f.Close()
	if s.clip, err = relay.ReadSlate(name, f); err != nil {
		return err // begins with what it is about
	}
	return nil
}

// into adds what the relay needs to know.
func (r *Routes) into(to *relay.Routing) {
	if p := r.Push; p != nil {
		to.Push, to.PushMode = p.Upstreams, relay.PushMode(p.Mode)
	}
	if p := r.Pull; p != nil {
		to.Pull, to.Standby, to.PullLinger = p.Upstreams, relay.Standby(p.Standby), time.Duration(p.Linger)
	}
	to.Detour = r.Detour
	if f := r.Failover; f != nil {
		to.Failover = relay.Failover{
			MediaTimeout: time.Duration(f.MediaTimeout), AudioTimeout: time.Duration(f.AudioTimeout),
			RelativeTimeout: time.Duration(f.RelativeTimeout),
			FailbackDelay:   time.Duration(f.FailbackDelay), FailbackManual: f.FailbackManual,
		}
	}
	if s := r.Slate; s != nil {
		to.Slate = &relay.Slate{Clip: s.clip, After: time.Duration(s.After), Max: time.Duration(s.Max)}
	}
}
