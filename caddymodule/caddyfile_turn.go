package caddymodule

import (
	"math"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func (t *TURN) unmarshal(d *caddyfile.Dispenser) error {
	if d.CountRemainingArgs() > 0 {
		v, err := choice(d, "on", "off")
		t.Off = v == "off"
		if err == nil && d.NextBlock(d.Nesting()) {
			return d.Errf("turn %s takes no block", v)
		}
		return err
	}
	return eachOption(d, func() (err error) {
		switch d.Val() {
		case "listen":
			t.Listen, err = values(d)
		case "host":
			t.Hosts, err = values(d)
		case "secret":
			t.Secret, err = value(d)
		case "previous_secret":
			t.PreviousSecrets, err = values(d)
		case "realm":
			t.Realm, err = value(d)
		case "quota":
			t.Quota, err = countOption(d)
		case "bandwidth":
			t.Bandwidth, err = bitsPerSecond(d)
		case "open":
			t.Open = new(TURNOpen)
			err = t.Open.unmarshal(d)
		default:
			err = unknownOption(d, "turn", "listen, host, secret, previous_secret, quota, bandwidth, realm, open")
		}
		return err
	})
}

func (o *TURNOpen) unmarshal(d *caddyfile.Dispenser) error {
	err := eachOption(d, func() (err error) {
		switch d.Val() {
		case "bind":
			o.Bind, err = value(d)
		case "advertise":
			o.Advertise, err = value(d)
		case "ports":
			o.MinPort, o.MaxPort, err = portRange(d)
		case "deny":
			o.Deny, err = values(d)
		default:
			err = unknownOption(d, "open", "bind, advertise, ports, deny")
		}
		return err
	})
	if err == nil && o.Bind == "" {
		err = d.Err("open turn needs bind: the IP address relayed packets leave from")
	}
	return err
}

// portRange is <min>-<max>.
func portRange(d *caddyfile.Dispenser) (low, high uint16, err error) {
	name := d.Val()
	v, err := value(d)
	if err != nil {
		return 0, 0, err
	}
	from, to, ok := strings.Cut(v, "-")
	a, errA := strconv.ParseUint(from, 10, 16)
	b, errB := strconv.ParseUint(to, 10, 16)
	if !ok || errA != nil || errB != nil || a == 0 || a > b {
		return 0, 0, d.Errf("%s is %q: write it like 49152-65535", name, v)
	}
	return uint16(a), uint16(b), nil
}

func (a *ICEServerAPI) unmarshal(d *caddyfile.Dispenser) error {
	var err error
	if a.URL, err = value(d); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch given := d.Val(); {
		case given == "token" && a.Token == "":
			a.Token, err = value(d)
		case given == "ttl" && a.TTL == 0:
			a.TTL, err = positiveDuration(d)
		case given == "token", given == "ttl":
			err = d.Errf("%s is given twice", given)
		case given == "header": // the one that may be given several times
			err = header(d, &a.Headers)
		default:
			err = unknownOption(d, "ice_server_api", "token, ttl, header")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *ICEServer) unmarshal(d *caddyfile.Dispenser) error {
	var err error
	if s.URLs, err = values(d); err != nil {
		return err
	}
	return eachOption(d, func() (err error) {
		switch d.Val() {
		case "username":
			s.Username, err = value(d)
		case "credential":
			s.Credential, err = value(d)
		case "secret":
			s.Secret, err = value(d)
		case "ttl":
			s.TTL, err = positiveDuration(d)
		default:
			err = unknownOption(d, "ice_server", "username, credential, secret, ttl")
		}
		return err
	})
}

func positiveDuration(d *caddyfile.Dispenser) (caddy.Duration, error) {
	v, err := value(d)
	if err != nil {
		return 0, err
	}
	dur, err := caddy.ParseDuration(v)
	if err != nil || dur <= 0 {
		return 0, d.Errf("%q is not a time: write it like 30s or 1h", v)
	}
	return caddy.Duration(dur), nil
}

// bitsPerSecond is a number, with k, M or G for thousands, millions and so on.
func bitsPerSecond(d *caddyfile.Dispenser) (int64, error) {
	name := d.Val()
	v, err := value(d)
	if err != nil {
		return 0, err
	}
	digits, factor := v, 1.0
	if v != "" {
		if f, ok := map[byte]float64{'k': 1e3, 'K': 1e3, 'm': 1e6, 'M': 1e6, 'g': 1e9, 'G': 1e9}[v[len(v)-1]]; ok {
			digits, factor = v[:len(v)-1], f
		}
	}
	n, err := strconv.ParseFloat(digits, 64)
	if n *= factor; err != nil || !(n >= 1 && n < math.MaxInt64/2) {
		return 0, d.Errf("%s is %q: write bits per second like 500k, 8M or 1G", name, v)
	}
	return int64(n), nil
}
