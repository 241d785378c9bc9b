package caddymodule

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// parseHandlerDirective reads `wtn [<matcher>] { ... }`. The prefix is that of
// the path matcher, written in place or behind a name, unless the block names one.
func parseHandlerDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	if !h.Next() {
		return nil, h.ArgErr()
	}
	matchers, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	h.Next()
	derived, errDerive := prefixOf(h.Dispenser, matchers) // here, so that its error names the directive's line
	h.Reset()
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	switch {
	case handler.Prefix == "/":
		handler.Prefix = ""
	case handler.Prefix != "":
	case errDerive != nil:
		return nil, errDerive
	default:
		handler.Prefix = derived
	}
	return h.NewRoute(matchers, handler), nil
}

// prefixOf derives the prefix from a path matcher that holds one pattern. A
// matcher without paths leaves the prefix empty.
func prefixOf(d *caddyfile.Dispenser, matchers caddy.ModuleMap) (string, error) {
	raw, ok := matchers["path"]
	if !ok {
		return "", nil
	}
	var patterns []string
	if err := json.Unmarshal(raw, &patterns); err != nil {
		return "", d.WrapErr(err)
	}
	if len(patterns) != 1 {
		return "", d.Errf("the matcher has the paths %s: say with the prefix option which one everything is under, or use one wtn directive for each", strings.Join(patterns, " "))
	}
	pattern := patterns[0]
	prefix, ok := strings.CutSuffix(pattern, "/*")
	if pattern == "*" {
		prefix, ok = "", true
	}
	if !ok {
		return "", d.Errf("the path matcher %s does not match what is below it: write %s/*", pattern, strings.TrimRight(pattern, "/*"))
	}
	if strings.ContainsAny(prefix, "*%{") {
		return "", d.Errf("no prefix can be derived from the path matcher %s: name it with the prefix option", pattern)
	}
	return prefix, nil
}

const handlerOptions = "prefix, console, publish, play, codecs, streams, publishers, push, pull, detour, failover, slate, limits, redirect, hold, counter_offer, strict_etags, rate_limit, " + accessOptions

// UnmarshalCaddyfile sets up the handler:
//
//	wtn [<matcher>] {
//		prefix  <path>
//		console on|off
//		console {
//			streams on|off
//		}
//		publish on|off
//		play    on|off
//		codecs  <name...>
//		streams <pattern...>
//		publishers replace|refuse|backup
//		push [mirror|first] <upstream...>
//		pull [cold|warm|hot] <upstream...> {
//			linger <duration>
//		}
//		detour
//		failover {
//			media_timeout    <duration>
//			audio_timeout    <duration>
//			relative_timeout <duration>
//			failback_delay   <duration>
//			failback         auto|manual
//		}
//		slate [<file>] {
//			after <duration>
//			max   <duration>
//		}
//		limits [<name>] {
//			publishers         <count>
//			viewers            <count>
//			viewers_per_stream <count>
//			bitrate            <bits per second, as 8M>
//		}
//		redirect <url...>
//		hold
//		counter_offer
//		strict_etags
//		rate_limit <posts per second> [<burst>]
//		auth    [publish|play] <method> [<args...>] [{ ... }]
//		query_token <name>
//		bare_token
//		strict_sessions
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() == "auth" { // once for each action
			seen["auth"] = false
		}
		if err := once(d, seen); err != nil {
			return err
		}
		if err := h.unmarshalOption(d); err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) unmarshalOption(d *caddyfile.Dispenser) (err error) {
	switch d.Val() {
	case "prefix":
		err = h.unmarshalPrefix(d)
	case "console":
		err = h.unmarshalConsole(d)
	case "push", "pull", "detour", "failover", "slate":
		err = h.Routes.unmarshalOption(d)
	case "publish":
		h.Publish, err = onOff(d)
	case "play":
		h.Play, err = onOff(d)
	case "codecs":
		h.Codecs, err = values(d)
	case "streams":
		h.Streams, err = values(d)
	case "publishers":
		h.Publishers, err = choice(d, "replace", "refuse", "backup")
	case "limits":
		h.Limits = new(HandlerLimits)
		err = h.Limits.unmarshal(d)
	case "redirect":
		h.Redirect, err = values(d)
	case "hold":
		h.Hold, err = flagOption(d)
	case "counter_offer":
		h.CounterOffer, err = flagOption(d)
	case "strict_etags":
		h.StrictETags, err = flagOption(d)
	case "rate_limit":
		err = h.unmarshalRate(d)
	case "auth", "query_token", "bare_token", "strict_sessions":
		err = h.Access.UnmarshalCaddyfile(d)
	default:
		if oneOf(appOptions, d.Val()) {
			return d.Errf("%s is an option of the global wtn, and this is wtn in a site: it has %s", d.Val(), handlerOptions)
		}
		err = unknownOption(d, "wtn", handlerOptions)
	}
	return err
}

// unmarshalPrefix keeps the slash of a bare "/", which says that there is no
// prefix whatever the matcher is.
func (h *Handler) unmarshalPrefix(d *caddyfile.Dispenser) error {
	v, err := value(d)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(v, "/") || strings.ContainsAny(v, "*?#") {
		return d.Errf("prefix is %q: write a path like /live, or / for none", v)
	}
	h.Prefix = strings.TrimRight(v, "/")
	if h.Prefix == "" {
		h.Prefix = "/"
	}
	return nil
}

func (h *Handler) unmarshalConsole(d *caddyfile.Dispenser) (err error) {
	if args := d.CountRemainingArgs(); args > 0 {
		h.Console, err = onOff(d)
		return err
	}
	options := 0
	err = eachOption(d, func() (err error) {
		options++
		if d.Val() != "streams" {
			return unknownOption(d, "console", "streams")
		}
		h.ConsoleStreams, err = onOff(d)
		return err
	})
	if err == nil && options == 0 {
		err = d.Err("console needs on or off, or a block with streams on|off")
	}
	return err
}

func (l *HandlerLimits) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		l.Name = d.Val()
	}
	return eachOption(d, func() (err error) {
		switch d.Val() {
		case "publishers":
			l.Publishers, err = countOption(d)
		case "viewers":
			l.Viewers, err = countOption(d)
		case "viewers_per_stream":
			l.ViewersPerStream, err = countOption(d)
		case "bitrate":
			l.Bitrate, err = bitrateOption(d)
		default:
			err = unknownOption(d, "limits", "publishers, viewers, viewers_per_stream, bitrate")
		}
		return err
	})
}

// bitrateOption is a limit in bits per second.
func bitrateOption(d *caddyfile.Dispenser) (uint64, error) {
	name := d.Val()
	n, err := bitsPerSecond(d)
	if err == nil && n < minBitrate {
		err = d.Errf("%s is %d bits per second, which is less than one voice: write it like 500k or 8M", name, n)
	}
	return uint64(n), err
}

// countOption is a whole number above 0.
func countOption(d *caddyfile.Dispenser) (int, error) {
	name := d.Val()
	v, err := value(d)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		return 0, d.Errf("%s is %q: use a whole number above 0", name, v)
	}
	return n, nil
}

func (h *Handler) unmarshalRate(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return d.ArgErr()
	}
	l := new(RateLimit)
	var err error
	if l.Rate, err = strconv.ParseFloat(args[0], 64); err != nil {
		return d.Errf("rate_limit is %q: use a number of offers a second, as in 5 or 0.2", args[0])
	}
	if len(args) == 2 {
		if l.Burst, err = strconv.Atoi(args[1]); err != nil {
			return d.Errf("the burst of rate_limit is %q: use a whole number", args[1])
		}
	}
	h.RateLimit = l
	return l.validate()
}
