package caddymodule

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/talwtn/caddy-wtn/caddymodule/vendors"
)

const upstreamOptions = "vendor, rate, burst, max_fails, fail_duration, health_interval, health_timeout, health_fails, health_passes, setup_timeout, and those of the vendor"

// unmarshal reads `upstream <name> { ... }`, whose name was read already. What
// not all upstreams have belongs to the vendor.
func (u *Upstream) unmarshal(d *caddyfile.Dispenser) error {
	var vendor string
	var own []caddyfile.Segment
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		known := false
		if d.Val() == "vendor" {
			if err = once(d, seen); err == nil {
				vendor, err = value(d)
			}
			known = true
		} else {
			known, err = u.unmarshalOption(d)
		}
		if err != nil {
			return err
		}
		if !known {
			own = append(own, d.NextSegment())
		}
	}
	if vendor == "" {
		return d.Errf("the upstream has no vendor: name one, as in vendor whip (there are %s; options of all upstreams: %s)", strings.Join(vendors.Names(), ", "), upstreamOptions)
	}
	var err error
	u.VendorRaw, err = vendors.Unmarshal(d, vendor, own)
	return err
}

// unmarshalOption reads an option that all upstreams have.
func (u *Upstream) unmarshalOption(d *caddyfile.Dispenser) (known bool, err error) {
	durations := map[string]*caddy.Duration{
		"fail_duration": &u.FailDuration, "health_interval": &u.HealthInterval,
		"health_timeout": &u.HealthTimeout, "setup_timeout": &u.SetupTimeout,
	}
	counts := map[string]*int{
		"burst": &u.Burst, "max_fails": &u.MaxFails, "health_fails": &u.HealthFails, "health_passes": &u.HealthPasses,
	}
	name := d.Val()
	switch {
	case name == "health_interval" && d.CountRemainingArgs() == 1 && nextArg(d) == "off":
		_, err = value(d)
		u.HealthInterval = -1
	case durations[name] != nil:
		*durations[name], err = durationOption(d)
	case counts[name] != nil:
		*counts[name], err = countOption(d)
	case name == "rate":
		var v string
		if v, err = value(d); err == nil {
			if u.Rate, err = strconv.ParseFloat(v, 64); err != nil || !(u.Rate > 0 && u.Rate <= 1000) {
				err = d.Errf("rate is %q: use sessions a second, above 0 and up to 1000", v)
			}
		}
	default:
		return false, nil
	}
	return true, err
}

// nextArg is the next argument, which stays where it is.
func nextArg(d *caddyfile.Dispenser) string {
	if !d.NextArg() {
		return ""
	}
	v := d.Val()
	d.Prev()
	return v
}

// durationOption is a time above 0.
func durationOption(d *caddyfile.Dispenser) (caddy.Duration, error) {
	name := d.Val()
	v, err := value(d)
	if err != nil {
		return 0, err
	}
	dur, err := caddy.ParseDuration(v)
	if err != nil || dur <= 0 {
		return 0, d.Errf("%s is %q: write a time like 500ms or 1m30s", name, v)
	}
	return caddy.Duration(dur), nil
}

// unmarshalOption reads an option of the routes.
func (r *Routes) unmarshalOption(d *caddyfile.Dispenser) (err error) {
	switch d.Val() {
	case "push":
		r.Push = new(Push)
		r.Push.Mode, r.Push.Upstreams, err = modeAndNames(d, "mirror", "first")
	case "pull":
		err = r.unmarshalPull(d)
	case "detour":
		r.Detour, err = flagOption(d)
	case "failover":
		r.Failover = new(Failover)
		err = r.Failover.unmarshal(d)
	case "slate":
		r.Slate = new(Slate)
		err = r.Slate.unmarshal(d)
	}
	return err
}

// modeAndNames reads `[<mode>] <name...>`.
func modeAndNames(d *caddyfile.Dispenser, modes ...string) (mode string, names []string, err error) {
	option := d.Val()
	if names, err = values(d); err != nil {
		return "", nil, err
	}
	for _, m := range modes {
		if names[0] == m {
			mode, names = m, names[1:]
			break
		}
	}
	if len(names) == 0 {
		return "", nil, d.Errf("%s names no upstream", option)
	}
	return mode, names, nil
}

func (r *Routes) unmarshalPull(d *caddyfile.Dispenser) (err error) {
	r.Pull = new(Pull)
	if r.Pull.Standby, r.Pull.Upstreams, err = modeAndNames(d, "cold", "warm", "hot"); err != nil {
		return err
	}
	return eachOption(d, func() (err error) {
		if d.Val() != "linger" {
			return unknownOption(d, "pull", "linger (how ready the next upstream is stands before the names: pull hot a b)")
		}
		r.Pull.Linger, err = durationOption(d)
		return err
	})
}

func (f *Failover) unmarshal(d *caddyfile.Dispenser) error {
	fields := map[string]*caddy.Duration{
		"media_timeout": &f.MediaTimeout, "audio_timeout": &f.AudioTimeout,
		"relative_timeout": &f.RelativeTimeout, "failback_delay": &f.FailbackDelay,
	}
	return eachOption(d, func() (err error) {
		switch field := fields[d.Val()]; {
		case field != nil:
			*field, err = durationOption(d)
		case d.Val() == "failback":
			var v string
			v, err = choice(d, "auto", "manual")
			f.FailbackManual = v == "manual"
		default:
			err = unknownOption(d, "failover", "media_timeout, audio_timeout, relative_timeout, failback_delay, failback")
		}
		return err
	})
}

func (s *Slate) unmarshal(d *caddyfile.Dispenser) error {
	if d.CountRemainingArgs() > 1 {
		return d.ArgErr()
	}
	if d.NextArg() {
		s.File = d.Val()
	}
	return eachOption(d, func() (err error) {
		switch d.Val() {
		case "after":
			s.After, err = durationOption(d)
		case "max":
			s.Max, err = durationOption(d)
		default:
			err = unknownOption(d, "slate", "after, max")
		}
		return err
	})
}
