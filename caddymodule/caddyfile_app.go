package caddymodule

import (
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// parseAppOption reads the global option.
func parseAppOption(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		return nil, d.Err("the wtn option is given twice: put everything into one block")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "wtn", Value: caddyconfig.JSON(app, nil)}, nil
}

const appOptions = "media, public_address, interfaces, allow_addresses, deny_addresses, timeouts, gop_cache, limits, turn, ice_server, ice_server_api, upstream"

// UnmarshalCaddyfile sets up the app from the global option:
//
//	wtn {
//		media           <network address...>
//		public_address  <ip...>
//		interfaces      <name...>
//		allow_addresses <prefix...>
//		deny_addresses  <prefix...>
//		gop_cache       auto|on|off
//		timeouts {
//			publisher_connect  <duration>
//			subscriber_connect <duration>
//			grace              <duration>
//			consent            <duration>
//		}
//		limits {
//			publishers             <count>
//			subscribers            <count>
//			subscribers_per_stream <count>
//			bitrate                <bits per second, as 800M>
//			busy                   <share>
//		}
//		turn off
//		turn {
//			listen          <network address...>
//			host            <name or ip...>
//			secret          <secret>
//			previous_secret <secret...>
//			quota           <allocations per session>
//			bandwidth       <bits per second, as 8M>
//			realm           <realm>
//			open {
//				bind      <ip>
//				advertise <ip>
//				ports     <min>-<max>
//				deny      <prefix...>
//			}
//		}
//		ice_server <url...> {
//			username   <name>
//			credential <password>
//			secret     <secret>
//			ttl        <duration>
//		}
//		upstream <name> {
//			vendor          <module>
//			<option>        <value...>       those of the vendor
//			rate            <sessions a second>
//			burst           <count>
//			max_fails       <streams>
//			fail_duration   <duration>
//			health_interval <duration>|off
//			health_timeout  <duration>
//			health_fails    <count>
//			health_passes   <count>
//			setup_timeout   <duration>
//		}
//		ice_server_api <url> {
//			token  <token>
//			ttl    <duration>
//			header <name> <value>
//		}
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() == "ice_server" || d.Val() == "ice_server_api" || d.Val() == "upstream" { // those that may be given several times
			seen[d.Val()] = false
		}
		if err := once(d, seen); err != nil {
			return err
		}
		if err := a.unmarshalOption(d); err != nil {
			return err
		}
	}
	return nil
}

func (a *App) unmarshalOption(d *caddyfile.Dispenser) (err error) {
	switch d.Val() {
	case "media":
		a.Media, err = values(d)
	case "public_address":
		a.PublicAddresses, err = values(d)
	case "interfaces":
		a.Interfaces, err = values(d)
	case "allow_addresses":
		a.AllowAddresses, err = values(d)
	case "deny_addresses":
		a.DenyAddresses, err = values(d)
	case "gop_cache":
		a.GOPCache, err = choice(d, "auto", "on", "off")
	case "timeouts":
		a.Timeouts = new(Timeouts)
		err = a.Timeouts.unmarshal(d)
	case "limits":
		a.Limits = new(Limits)
		err = a.Limits.unmarshal(d)
	case "turn":
		a.TURN = new(TURN)
		err = a.TURN.unmarshal(d)
	case "upstream":
		err = a.unmarshalUpstream(d)
	case "ice_server":
		var s ICEServer
		err = s.unmarshal(d)
		a.ICEServers = append(a.ICEServers, s)
	case "ice_server_api":
		var s ICEServerAPI
		err = s.unmarshal(d)
		a.ICEServerAPIs = append(a.ICEServerAPIs, s)
	default:
		if oneOf(handlerOptions, d.Val()) {
			return d.Errf("%s is an option of wtn in a site, and this is the global one: it has %s", d.Val(), appOptions)
		}
		err = unknownOption(d, "wtn", appOptions)
	}
	return err
}

func (a *App) unmarshalUpstream(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 1 {
		return d.Err("an upstream is written as upstream <name> { ... }, with a vendor and its options in the block")
	}
	name := args[0]
	if a.Upstreams[name] != nil {
		return d.Errf("the upstream %s is described twice", name)
	}
	if a.Upstreams == nil {
		a.Upstreams = make(map[string]*Upstream)
	}
	u := new(Upstream)
	a.Upstreams[name] = u
	return u.unmarshal(d)
}

func (t *Timeouts) unmarshal(d *caddyfile.Dispenser) error {
	fields := map[string]*caddy.Duration{
		"publisher_connect":  &t.PublisherConnect,
		"subscriber_connect": &t.SubscriberConnect,
		"grace":              &t.Grace,
		"consent":            &t.Consent,
	}
	return eachOption(d, func() error {
		field := fields[d.Val()]
		if field == nil {
			return unknownOption(d, "timeouts", "publisher_connect, subscriber_connect, grace, consent")
		}
		v, err := value(d)
		if err != nil {
			return err
		}
		dur, err := caddy.ParseDuration(v)
		if err != nil || dur <= 0 {
			return d.Errf("%q is not a time: write it like 30s or 1m30s", v)
		}
		*field = caddy.Duration(dur)
		return nil
	})
}

func (l *Limits) unmarshal(d *caddyfile.Dispenser) error {
	fields := map[string]*int{
		"publishers":             &l.Publishers,
		"subscribers":            &l.Subscribers,
		"subscribers_per_stream": &l.SubscribersPerStream,
	}
	return eachOption(d, func() error {
		name := d.Val()
		if name == "bitrate" {
			var err error
			l.Bitrate, err = bitrateOption(d)
			return err
		}
		if name != "busy" && fields[name] == nil {
			return unknownOption(d, "limits", "publishers, subscribers, subscribers_per_stream, bitrate, busy")
		}
		v, err := value(d)
		if err != nil {
			return err
		}
		if name == "busy" {
			if l.Busy, err = strconv.ParseFloat(v, 64); err != nil || !(l.Busy > 0 && l.Busy <= 1) {
				return d.Errf("busy is %q: use a share above 0 and up to 1, for example 0.85", v)
			}
			return nil
		}
		if *fields[name], err = strconv.Atoi(v); err != nil || *fields[name] <= 0 {
			return d.Errf("%s is %q: use a number above 0, or leave it out for no limit", name, v)
		}
		return nil
	})
}

// Interface guards.
var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*Handler)(nil)
)
