package caddymodule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/talwtn/caddy-wtn/turnsvc"
)

const (
	turnPort       = 3478
	turnsPort      = 5349
	maxTURNSockets = 16
	maxPrevious    = 3
)

// TURN is a relay for clients whose network lets nothing through to the media
// ports. It is on unless switched off, clients learn of it with the reply to
// their offer, and unless `open` says otherwise it reaches the media of this
// gateway and nothing else: it cannot be abused as an open relay. To reach it through the HTTPS port, which
// every network lets pass, add the listener wrapper `turn` to the server.
type TURN struct {
	// Whether there is no TURN server.
	Off bool `json:"off,omitempty"`

	// Where TURN clients are awaited: `udp/<host>:<port>`, `tcp/<host>:<port>`
	// or `tls/<host>:<port>`. The default is `udp/:3478` and `tcp/:3478`, each
	// left out with a warning if the port is taken. A port that is configured
	// here and cannot be opened is an error. Placeholders are replaced.
	Listen []string `json:"listen,omitempty"`

	// The names or addresses clients reach the TURN server at. The first is
	// also the certificate's name for TLS clients that send none. Certificates
	// for all of them are managed if there is a `tls/` listener.
	// Default: the host of the client's request.
	Hosts []string `json:"hosts,omitempty"`

	// What credentials are signed with. All gateways behind one name need the
	// same. Placeholders such as `{env.TURN_SECRET}` are replaced.
	// Default: made once and kept in Caddy's storage.
	Secret string `json:"secret,omitempty"`

	// Secrets that were used before, at most 3. Credentials made with them are
	// still accepted.
	PreviousSecrets []string `json:"previous_secrets,omitempty"`

	// How many allocations one session may have. Default: 10.
	Quota int `json:"quota,omitempty"`

	// The realm of the server, as it is shown to clients. Default: `turn`.
	Realm string `json:"realm,omitempty"`

	// The most one allocation may send or receive, in bits per second.
	// Default: no limit.
	Bandwidth int64 `json:"bandwidth,omitempty"`

	// Makes a general relay of it, which reaches the whole public Internet.
	// Default: none, the server is closed.
	Open *TURNOpen `json:"open,omitempty"`
}

// turnSettings are what one configuration wants of the TURN server.
type turnSettings struct {
	listen  []turnAddress
	implied bool          // the default: what cannot be bound is left out
	held    []turnAddress // of these, what is bound
	config  turnsvc.Config
	hosts   []string
	tls     *turnTLS // nil without tls/ listeners
}

// settings checks and resolves the options. It is nil when TURN is off.
func (t *TURN) settings() (*turnSettings, error) {
	if t == nil {
		t = new(TURN)
	}
	if t.Off {
		return nil, nil
	}
	s := &turnSettings{implied: len(t.Listen) == 0}
	var err error
	if s.listen, err = parseTURNListen(t.Listen); err != nil {
		return nil, err
	}
	repl := caddy.NewReplacer()
	for _, h := range t.Hosts {
		v, err := repl.ReplaceOrErr(h, true, true)
		if err != nil {
			return nil, fmt.Errorf("turn host %q: %w", h, err)
		}
		if v = strings.ToLower(strings.Trim(v, "[]")); !validURLHost(v) {
			return nil, fmt.Errorf("turn host %q is neither a name nor an IP address: write it like turn.example.com, without scheme and port", v)
		}
		s.hosts = append(s.hosts, v)
	}
	if s.config.Secrets, err = t.secrets(repl); err != nil {
		return nil, err
	}
	if s.config.Open, err = t.Open.relay(); err != nil {
		return nil, err
	}
	s.config.Realm, s.config.MaxPerUser, s.config.Bandwidth = t.Realm, t.Quota, t.Bandwidth
	return s, t.checkRanges()
}

// secrets are the configured ones; the first is empty if it is to come from
// the storage.
func (t *TURN) secrets(repl *caddy.Replacer) ([]string, error) {
	if len(t.PreviousSecrets) > maxPrevious {
		return nil, fmt.Errorf("turn has %d previous secrets: keep at most %d", len(t.PreviousSecrets), maxPrevious)
	}
	var list []string
	for _, s := range append([]string{t.Secret}, t.PreviousSecrets...) {
		v, err := repl.ReplaceOrErr(s, true, false)
		if err != nil {
			return nil, fmt.Errorf("turn secret: %w", err)
		}
		if v == "" && (s != "" || len(list) > 0) {
			return nil, fmt.Errorf("a turn secret is empty: set it, or leave the option out to have one made and kept in the storage")
		}
		list = append(list, v)
	}
	return list, nil
}

func (t *TURN) checkRanges() error {
	switch {
	case t.Quota < 0:
		return fmt.Errorf("turn quota is %d: use a number above 0", t.Quota)
	case t.Bandwidth < 0:
		return fmt.Errorf("turn bandwidth is %d: use bits per second, or leave it out for no limit", t.Bandwidth)
	case len(t.Realm) > 127 || strings.ContainsFunc(t.Realm, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }):
		return fmt.Errorf("turn realm %q: use at most 127 printable ASCII characters without quote and backslash", t.Realm)
	}
	return nil
}

// turnAddress is one place where TURN clients are awaited; like a media
// address it is the identity of its socket.
type turnAddress struct {
	network string // udp, udp4, udp6, tcp, tcp4, tcp6
	tls     bool
	host    string
	port    uint
}

// kind is udp, tcp or tls.
func (a turnAddress) kind() string {
	if a.tls {
		return "tls"
	}
	return a.network[:3]
}

func (a turnAddress) String() string {
	network := a.network
	if a.tls {
		network = "tls"
	}
	return network + "/" + a.mediaAddress().hostPort()
}

func (a turnAddress) mediaAddress() mediaAddress { return mediaAddress{a.network, a.host, a.port} }

func parseTURNListen(list []string) ([]turnAddress, error) {
	if len(list) == 0 {
		return []turnAddress{{network: "udp", port: turnPort}, {network: "tcp", port: turnPort}}, nil
	}
	var out []turnAddress
	repl := caddy.NewReplacer()
	for _, s := range list {
		v, err := repl.ReplaceOrErr(s, true, true)
		if err != nil {
			return nil, fmt.Errorf("turn listener %q: %w", s, err)
		}
		rest, secure := strings.CutPrefix(v, "tls/")
		network, port := "udp", uint(turnPort)
		if secure {
			network, port = "tcp", turnsPort
		}
		na, err := caddy.ParseNetworkAddressWithDefaults(rest, network, port)
		if err != nil {
			return nil, fmt.Errorf("turn listener %q: %w", v, err)
		}
		if !slices.Contains([]string{"udp", "udp4", "udp6", "tcp", "tcp4", "tcp6"}, na.Network) || secure && na.Network != "tcp" {
			return nil, fmt.Errorf("turn listener %q: use udp/, tcp/ or tls/, for example udp/:%s", v, strconv.Itoa(turnPort))
		}
		if int(na.PortRangeSize())+len(out) > maxTURNSockets {
			return nil, fmt.Errorf("turn listeners are too many: use at most %d, one port serves any number of clients", maxTURNSockets)
		}
		for _, one := range na.Expand() {
			a := turnAddress{one.Network, secure, one.Host, one.StartPort}
			if slices.Contains(out, a) {
				return nil, fmt.Errorf("turn listener %s is given twice", a)
			}
			out = append(out, a)
		}
	}
	return out, nil
}

// validURLHost reports whether s is a name or an address that can stand in a
// turn: URL and in a header.
func validURLHost(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	if certmagic.SubjectIsIP(s) {
		return true
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	})
}
