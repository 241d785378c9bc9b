package vendors

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/talwtn/caddy-wtn/relay"
)

const (
	// Namespace is where vendors are registered: `wtn.vendors.<name>`.
	Namespace = "wtn.vendors"
	// InlineKey is the JSON field that names the module of a vendor.
	InlineKey = "name"
)

// Vendor knows how sessions are made at one kind of service. Its methods are
// called from many goroutines at once, do no I/O and are quick. Settings are
// read in Provision and stay as they are.
type Vendor interface {
	caddy.Module

	// Request says where and with what credentials a session is made. It is
	// called again for a fresh signature: once after a 401 or 403, and for
	// everything that is sent to the session later. Errors hold no secrets;
	// one that is ErrStream means that this stream is not there, any other that
	// the configuration is wrong.
	Request(c Call) (Request, error)

	// Classify says what a status means that is neither 2xx nor 3xx. Vendors
	// that have nothing special use StandardVerdict.
	Classify(role relay.Role, status int) Verdict

	// Quirks never change.
	Quirks() Quirks
}

// OptionUnmarshaler is a Vendor that can be written in a Caddyfile.
type OptionUnmarshaler interface {
	// UnmarshalOption reads one line. The dispenser is at its first token, the
	// name of the option. An unknown name is an error that lists the known ones.
	UnmarshalOption(d *caddyfile.Dispenser) error
}

// Call is a session that is made, or was.
type Call struct {
	Role    relay.Role // relay.RolePush or relay.RolePull
	Stream  string     // as the relay names it
	Session string     // public id of our session: 16 hex digits
	Offer   []byte     // SDP; nil when the session exists and only Header is wanted
	Now     time.Time  // for signatures
}

// Request is how a session is made.
type Request struct {
	// URLs are where the offer can be posted, the preferred one first. The next
	// one is asked when there is no answer, a 429 or a 5xx. They may be signed.
	URLs []*url.URL
	// Header is sent to the origins of URLs only, with the offer and with what
	// follows.
	Header http.Header
	// Mutes: the session takes WTN's JSON calls that mute and unmute it.
	Mutes bool
}

// Quirks are the ways of a service that the client has to know.
type Quirks struct {
	// Probes are what is asked whether the service answers, one after the other
	// until one does. They hold no stream and no secret.
	Probes []*url.URL
	// Hosts are further hosts that redirects and sessions may be on, beside
	// those of the URLs: `host`, `host:port`, `*.domain` or `*.domain:port`.
	// Without a port it is the one of the scheme.
	Hosts []string
	// Untyped: answers may have another Content-Type than application/sdp.
	Untyped bool
}

// Verdict is what a status means.
type Verdict uint8

// The verdicts. All but VerdictResign are the actions of relay.UpstreamError.
const (
	VerdictNext   Verdict = iota + 1 // the service is failing
	VerdictAbsent                    // it has no such stream (yet)
	VerdictBusy                      // somebody else publishes the stream
	VerdictBroken                    // the same request will fail again
	VerdictResign                    // as VerdictBroken, unless a fresh signature helps
)

var (
	// ErrStream: the vendor does not have this stream.
	ErrStream = errors.New("this stream is not known there")
	// ErrRole: the vendor cannot do this at all.
	ErrRole = errors.New("this vendor cannot do that")
)

// StandardVerdict is what a status means with plain WHIP and WHEP. Unknown
// statuses are what the first of their class is (RFC 9725 section 4.1).
func StandardVerdict(role relay.Role, status int) Verdict {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return VerdictResign
	case http.StatusNotFound, http.StatusGone:
		if role == relay.RolePull {
			return VerdictAbsent
		}
		return VerdictBroken
	case http.StatusConflict:
		if role == relay.RolePull {
			return VerdictAbsent
		}
		return VerdictBusy
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return VerdictNext
	}
	if status >= 500 {
		return VerdictNext
	}
	return VerdictBroken
}

// Name is what a vendor's module is called, without the namespace.
func Name(v Vendor) string { return v.CaddyModule().ID.Name() }
