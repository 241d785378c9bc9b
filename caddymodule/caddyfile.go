package caddymodule

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// What both Caddyfile parsers need. All errors carry file and line.

// once refuses an option that was given before in the same block.
func once(d *caddyfile.Dispenser, seen map[string]bool) error {
	if seen[d.Val()] {
		return d.Errf("%s is given twice", d.Val())
	}
	seen[d.Val()] = true
	return nil
}

// eachOption calls f at every option of the block the dispenser is at.
func eachOption(d *caddyfile.Dispenser, f func() error) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := once(d, seen); err != nil {
			return err
		}
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func unknownOption(d *caddyfile.Dispenser, block, allowed string) error {
	return d.Errf("%s has no option %s: use %s", block, d.Val(), allowed)
}

// oneOf looks for an option in a list as errors show it.
func oneOf(list, option string) bool { return slices.Contains(strings.Split(list, ", "), option) }

// value is the single argument of the current option.
func value(d *caddyfile.Dispenser) (string, error) {
	args := d.RemainingArgs()
	if len(args) != 1 {
		return "", d.ArgErr()
	}
	return args[0], nil
}

// values are the arguments of the current option, at least one.
func values(d *caddyfile.Dispenser) ([]string, error) {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return nil, d.ArgErr()
	}
	return args, nil
}

// choice is the single argument of the current option, one of a few words.
func choice(d *caddyfile.Dispenser, words ...string) (string, error) {
	name := d.Val()
	v, err := value(d)
	if err != nil {
		return "", err
	}
	if !slices.Contains(words, v) {
		return "", d.Errf("%s is %q: use %s", name, v, orList(words))
	}
	return v, nil
}

// orList is "a, b or c".
func orList(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// onOff is nil for on, which is the default, so that it leaves no trace in JSON.
func onOff(d *caddyfile.Dispenser) (*bool, error) {
	v, err := choice(d, "on", "off")
	if err != nil || v == "on" {
		return nil, err
	}
	off := false
	return &off, nil
}

// header adds `header <name> <value>`, an option that may be given several
// times, once for each name.
func header(d *caddyfile.Dispenser, headers *map[string]string) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Err("a header is written as its name and its value")
	}
	name := http.CanonicalHeaderKey(args[0])
	if _, ok := (*headers)[name]; ok {
		return d.Errf("the header %s is given twice", name)
	}
	if *headers == nil {
		*headers = make(map[string]string)
	}
	(*headers)[name] = args[1]
	return nil
}
