package vendors

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/talwtn/caddy-wtn/relay"
)

// anyStream is the key of a setting that holds for all streams.
const anyStream = "*"

// Base are the settings that all vendors of this package have.
type Base struct {
	// Further hosts that the service's redirects and session URLs may be on:
	// `host`, `host:port`, `*.domain` or `*.domain:port`. Without a port it is
	// the usual one. Placeholders are replaced.
	Hosts []string `json:"hosts,omitempty"`

	// What streams are called there, by what they are called here. Others keep
	// their names as far as the service can take them.
	Streams map[string]string `json:"streams,omitempty"`

	hosts []string
}

// provision adds the domains that are known to be the vendor's.
func (b *Base) provision(s *settings, known ...string) {
	b.hosts = append([]string(nil), known...)
	for _, h := range b.Hosts {
		if h = s.text("hosts", h); s.err != nil {
			return
		}
		if _, err := parsePattern(h); err != nil {
			s.fail("hosts", "is not usable: "+err.Error())
			return
		}
		b.hosts = append(b.hosts, h)
	}
	for _, theirs := range b.Streams {
		if theirs == "" || strings.ContainsAny(theirs, "?#\\") {
			s.fail("streams", "has a name that cannot be part of a URL")
		}
	}
}

// Classify is the standard one.
func (b *Base) Classify(role relay.Role, status int) Verdict { return StandardVerdict(role, status) }

// renamed is the stream's name there, and whether that was configured.
func (b *Base) renamed(stream string) (string, bool) {
	if v, ok := b.Streams[stream]; ok {
		return v, true
	}
	return stream, false
}

// path are the segments of the stream's name.
func (b *Base) path(stream string) []string {
	name, _ := b.renamed(stream)
	return strings.Split(name, "/")
}

// id is the stream's name as one word of the service's characters.
func (b *Base) id(stream, extra string, limit int) string {
	name, ok := b.renamed(stream)
	if ok {
		return name
	}
	return StreamID(name, extra, limit)
}

func (b *Base) options(o options) options {
	o["hosts"] = many(&b.Hosts)
	o["stream"] = func(d *caddyfile.Dispenser) error { return pair(d, &b.Streams, "a name here and the name there") }
	return o
}

// forStream is what a keyed setting says for a stream.
func forStream(m map[string]string, stream, setting string) (string, error) {
	if v, ok := m[stream]; ok {
		return v, nil
	}
	if v, ok := m[anyStream]; ok {
		return v, nil
	}
	return "", fmt.Errorf("%w: it has no %s", ErrStream, setting)
}

func cannot(what string) error { return fmt.Errorf("%w: %s", ErrRole, what) }
