package caddymodule

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // the REST credential convention defines the password with it
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

const (
	// sessionTTL is how long the credential of a session opens new
	// allocations. It ends with its session; allocations may outlive it.
	sessionTTL = 12 * time.Hour
	// visitorTTL is that of a credential given before there is a session.
	visitorTTL    = 10 * time.Minute
	maxICEServers = 16
)

// ICEServer is a STUN or TURN server of the operator's. Clients are told of it
// after the gateway's own TURN server.
type ICEServer struct {
	// The URLs, for example `stun:stun.example.com` or
	// `turns:turn.example.com:443?transport=tcp`. Clients are slow with long
	// lists: three are plenty.
	URLs []string `json:"urls"`

	// The user name, for TURN.
	Username string `json:"username,omitempty"`

	// The password, for TURN. Placeholders are replaced.
	Credential string `json:"credential,omitempty"`

	// The secret the server shares with us instead of a password, as coturn's
	// `static-auth-secret`: each session gets a credential of its own.
	// Placeholders are replaced.
	Secret string `json:"secret,omitempty"`

	// How long a credential made with the secret is valid. Default: `12h`.
	TTL caddy.Duration `json:"ttl,omitempty"`
}

// resolve checks the server and replaces placeholders.
func (s ICEServer) resolve() (ICEServer, error) {
	var err error
	repl := caddy.NewReplacer()
	for _, v := range []*string{&s.Username, &s.Credential, &s.Secret} {
		if *v, err = repl.ReplaceOrErr(*v, true, false); err != nil {
			return s, fmt.Errorf("ice_server %q: %w", s.URLs, err)
		}
	}
	if err := s.check(); err != nil {
		return s, err
	}
	if s.TTL == 0 {
		s.TTL = caddy.Duration(sessionTTL)
	}
	return s, nil
}

// check says what is wrong with the server, if anything is.
func (s ICEServer) check() error {
	if len(s.URLs) == 0 {
		return fmt.Errorf("an ice_server has no URL: write one like stun:stun.example.com")
	}
	auth := false
	for _, u := range s.URLs {
		scheme, rest, _ := strings.Cut(u, ":")
		switch scheme {
		case "turn", "turns":
			auth = true
		case "stun", "stuns":
		default:
			rest = ""
		}
		if rest == "" || !headerSafe(u) {
			return fmt.Errorf("ice_server %q is no URL of such a server: write it like turn:turn.example.com:3478?transport=udp", u)
		}
	}
	if !headerSafe(s.Username) || !headerSafe(s.Credential) {
		return fmt.Errorf("ice_server %s: username and credential reach clients in a header and cannot hold blanks, quotes, commas, semicolons, angle brackets or letters beyond ASCII", s.URLs[0])
	}
	switch {
	case s.Secret != "" && s.Credential != "":
		return fmt.Errorf("ice_server %s has a credential and a secret: give one of them", s.URLs[0])
	case auth && s.Secret == "" && (s.Username == "" || s.Credential == ""):
		return fmt.Errorf("ice_server %s is TURN and needs a username and a credential, or a secret", s.URLs[0])
	case s.TTL < 0:
		return fmt.Errorf("ice_server %s: ttl is negative", s.URLs[0])
	}
	return nil
}

// headerSafe reports whether s reaches every client in a Link header. Some cut
// the header at every comma and semicolon.
func headerSafe(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`<>"\,;`, r) })
}

// links are the server's Link headers for one user.
func (s ICEServer) links(user string, now time.Time) []string {
	name, password := s.Username, s.Credential
	if s.Secret != "" {
		if name != "" {
			user = name
		}
		name = strconv.FormatInt(now.Add(time.Duration(s.TTL)).Unix(), 10) + ":" + user
		mac := hmac.New(sha1.New, []byte(s.Secret))
		mac.Write([]byte(name))
		password = base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	var out []string
	for _, u := range s.URLs {
		if strings.HasPrefix(u, "stun") {
			out = append(out, iceLink(u, "", ""))
		} else {
			out = append(out, iceLink(u, name, password))
		}
	}
	return out
}

// iceLink is one Link header (RFC 9725 section 4.6).
func iceLink(url, username, password string) string {
	link := "<" + url + `>; rel="ice-server"`
	if username == "" {
		return link
	}
	return link + `; username="` + username + `"; credential="` + password + `"; credential-type="password"`
}

// iceServerLinks are the Link headers that tell a client of the TURN server
// and of the operator's own servers, in the order in which they should be
// sent, each as a header of its own. sessionID is the public id of the session
// the credential is for, or empty for a client that has none yet; host is the
// host of its request.
func iceServerLinks(sessionID, host string) []string {
	s := livingState()
	if s == nil {
		return nil
	}
	return s.turn.links(sessionID, host)
}

// hasICEServers reports whether iceServerLinks would have something to name to
// a client that came by this host, unless those it has to ask name none.
func hasICEServers(host string) bool {
	s := livingState()
	if s == nil {
		return false
	}
	live := s.turn.live.Load()
	return len(live.others.servers) > 0 || len(live.others.sources) > 0 || len(s.turn.urls(live, host)) > 0
}

func (p *turnPool) links(sessionID, host string) []string {
	live := p.live.Load()
	user, ttl := sessionID, sessionTTL
	if user == "" {
		user, ttl = visitor(), visitorTTL
	}
	var out []string
	if urls := p.urls(live, host); len(urls) > 0 {
		c, err := p.mint(user, ttl)
		if err != nil { // the session has ended already, or TURN was switched off just now
			live.logger.Debug("no TURN credential", zap.String("session", sessionID), zap.Error(err))
		} else {
			for _, u := range urls {
				out = append(out, iceLink(u, c.Username, c.Password))
			}
		}
	}
	for _, s := range live.others.servers {
		out = append(out, s.links(user, time.Now())...)
	}
	for _, s := range askAll(live.others.sources) {
		out = append(out, s.links(user, time.Now())...)
	}
	return out
}

// otherServers are those of the operator's, known and to be asked for.
type otherServers struct {
	servers []ICEServer
	sources []*iceSource
}

// visitor is a user id of somebody without a session.
func visitor() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return "visitor-" + hex.EncodeToString(b[:])
}

// urls are at most three, those first that connect fastest. Clients that do
// not trickle wait for each that their network blocks.
func (p *turnPool) urls(live *turnLive, hostport string) []string {
	if !live.on {
		return nil
	}
	host, asked := splitHost(hostport)
	if len(live.hosts) > 0 && !containsFold(live.hosts, host) {
		host = live.hosts[0]
	}
	if !validURLHost(host) {
		return nil
	}
	tcp := live.tcp
	if tcp == 0 {
		tcp = p.frontPort(false, asked)
	}
	tls := p.frontPort(true, asked)
	if tls == 0 {
		tls = live.tls
	}
	var out []string
	for _, u := range []struct {
		scheme, transport string
		port              int
	}{{"turn", "udp", live.udp}, {"turn", "tcp", tcp}, {"turns", "tcp", tls}} {
		if u.port != 0 {
			out = append(out, u.scheme+":"+net.JoinHostPort(host, strconv.Itoa(u.port))+"?transport="+u.transport)
		}
	}
	return out
}

func containsFold(list []string, s string) bool {
	for _, l := range list {
		if strings.EqualFold(l, s) {
			return true
		}
	}
	return false
}

// splitHost takes a Host header apart; the port is 0 if there is none.
func splitHost(hostport string) (host string, port int) {
	h, p, err := net.SplitHostPort(hostport)
	if err != nil {
		return strings.Trim(hostport, "[]"), 0
	}
	if a, err := netip.ParseAddr(h); err == nil {
		h = a.WithZone("").String()
	}
	port, _ = strconv.Atoi(p)
	return h, port
}
