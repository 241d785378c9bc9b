package vendors

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Unmarshal makes the JSON of a vendor from the lines of a Caddyfile block that
// are the vendor's, as Dispenser.NextSegment returns them. d is for errors about
// name, which is its current token.
func Unmarshal(d *caddyfile.Dispenser, name string, lines []caddyfile.Segment) (json.RawMessage, error) {
	v, err := lookup(name)
	if err != nil {
		return nil, d.Err(err.Error())
	}
	u, ok := v.(OptionUnmarshaler)
	if !ok {
		return nil, d.Errf("vendor %s cannot be written in a Caddyfile: use JSON", name)
	}
	for _, line := range lines {
		ld := caddyfile.NewDispenser(line)
		if !ld.Next() {
			continue
		}
		if err := u.UnmarshalOption(ld); err != nil {
			return nil, err
		}
		if ld.Next() {
			return nil, ld.Errf("unexpected %s", ld.Val())
		}
	}
	return caddyconfig.JSONModuleObject(v, InlineKey, name, nil), nil
}

// lookup makes a vendor by the name of its module.
func lookup(name string) (Vendor, error) {
	info, err := caddy.GetModule(Namespace + "." + name)
	if err == nil {
		if v, ok := info.New().(Vendor); ok {
			return v, nil
		}
	}
	return nil, fmt.Errorf("there is no vendor %s: use %s", name, strings.Join(Names(), ", "))
}

// Names are the vendors that are built in.
func Names() (names []string) {
	for _, m := range caddy.GetModules(Namespace) {
		names = append(names, m.ID.Name())
	}
	return names
}

// options are what a vendor can be told, by name.
type options map[string]func(*caddyfile.Dispenser) error

func (o options) unmarshal(d *caddyfile.Dispenser, vendor string) error {
	f, ok := o[d.Val()]
	if !ok {
		var names []string
		for n := range o {
			names = append(names, n)
		}
		slices.Sort(names)
		return d.Errf("vendor %s has no option %s: use %s", vendor, d.Val(), strings.Join(names, ", "))
	}
	return f(d)
}

// one is an option with one argument, given once.
func one(v *string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		name, args := d.Val(), d.RemainingArgs()
		if len(args) != 1 || args[0] == "" {
			return d.Errf("%s has one argument", name)
		}
		if *v != "" {
			return d.Errf("%s is given twice", name)
		}
		*v = args[0]
		return nil
	}
}

// many is an option with one or more arguments.
func many(v *[]string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.ArgErr()
		}
		*v = append(*v, args...)
		return nil
	}
}

// keyed is an option with an optional stream and a value.
func keyed(m *map[string]string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		name, args := d.Val(), d.RemainingArgs()
		if len(args) == 1 {
			args = []string{anyStream, args[0]}
		}
		if len(args) != 2 {
			return d.Errf("%s is written with a value, or with a stream and the value for it", name)
		}
		return put(d, m, name, args[0], args[1])
	}
}

// pair is an option with two arguments that may be given several times.
func pair(d *caddyfile.Dispenser, m *map[string]string, what string) error {
	name, args := d.Val(), d.RemainingArgs()
	if len(args) != 2 {
		return d.Errf("%s is written with %s", name, what)
	}
	return put(d, m, name, args[0], args[1])
}

func put(d *caddyfile.Dispenser, m *map[string]string, option, key, value string) error {
	if _, ok := (*m)[key]; ok {
		return d.Errf("%s is given twice for the same name", option)
	}
	if *m == nil {
		*m = make(map[string]string)
	}
	(*m)[key] = value
	return nil
}

// lifetime is an option with a time.
func lifetime(v *caddy.Duration) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		var s string
		if err := one(&s)(d); err != nil {
			return err
		}
		t, err := caddy.ParseDuration(s)
		if err != nil || t <= 0 {
			return d.Errf("%q is not a time: write it like 30m or 24h", s)
		}
		if *v != 0 {
			return d.Err("ttl is given twice")
		}
		*v = caddy.Duration(t)
		return nil
	}
}

// onOff is an option that is on unless it is given as off, or the reverse.
func onOff(v **bool) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		var s string
		name := d.Val()
		if err := one(&s)(d); err != nil {
			return err
		}
		if s != "on" && s != "off" || *v != nil {
			return d.Errf("%s is given once, as on or off", name)
		}
		on := s == "on"
		*v = &on
		return nil
	}
}

// ttl is a configured lifetime of signatures: a minute to a year.
func (s *settings) ttl(v caddy.Duration) time.Duration {
	t := time.Duration(v)
	if t == 0 {
		return tokenLifetime
	}
	if t < time.Minute || t > 366*24*time.Hour {
		s.fail("ttl", "is out of range: use 1m to 8784h")
	}
	return t
}
