// Package behaviour is what the vendor command and its clients say to each
// other over the control endpoint: how the vendor shall behave, and what it saw.
package behaviour

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Behaviour is everything the vendor does wrong. The zero value is a good
// vendor. A new one replaces the old one whole.
type Behaviour struct {
	HTTP    HTTP    `json:"http"`
	Session Session `json:"session"`
	Media   Media   `json:"media"`
	// Token is what every request must bear (Authorization: Bearer), else 401.
	Token string `json:"token,omitempty"`
	// HTTPDelay holds every request up before it is looked at.
	HTTPDelay Millis `json:"httpDelayMs,omitempty"`
	// Synthetic lets streams be played that nobody publishes: their players get
	// a tiny picture, ten times a second, in sessions made from now on.
	Synthetic bool `json:"synthetic,omitempty"`
}

// HTTP is what becomes of requests to the WHIP and WHEP endpoints and sessions.
type HTTP struct {
	// Role limits it to one of Publish and Play, Method to one method. Empty:
	// both roles, POST only; "*" is every method.
	Role   string `json:"role,omitempty"`
	Method string `json:"method,omitempty"`
	// Times is how many requests it is for; the vendor is good to those after.
	// 0: until changed.
	Times int `json:"times,omitempty"`

	// Hang keeps the request waiting until the client or the vendor goes.
	Hang bool `json:"hang,omitempty"`
	// Status refuses with a status, RetryAfter (s) goes with it.
	Status     int `json:"status,omitempty"`
	RetryAfter int `json:"retryAfter,omitempty"`
	// RedirectTo is the Location of a Status that redirects (302, 307, 308);
	// {path} in it is the path asked for.
	RedirectTo string `json:"redirectTo,omitempty"`

	// OKStatus is what a session is answered with instead of 201.
	OKStatus int `json:"okStatus,omitempty"`
	// Location is the session URL in the answer instead of the right one, see
	// the Location constants; {id} is the session, {host} the vendor's address.
	Location string `json:"location,omitempty"`
	// GarbageAnswer answers with a body that is no SDP.
	GarbageAnswer bool `json:"garbageAnswer,omitempty"`
	// HugeBody pads the answer to so many bytes, with lines SDP permits.
	HugeBody int64 `json:"hugeBody,omitempty"`
}

// Wrong places of a session.
const (
	LocationMissing       = "-"
	LocationOtherHost     = "https://vendor.invalid/session/{id}"
	LocationPlainHTTP     = "http://{host}/session/{id}"
	LocationLinkLocal     = "http://169.254.169.254/session/{id}"
	LocationPath          = "/session/{id}"
	LocationRelative      = "../session/{id}"
	LocationRelativeQuery = "?session={id}"
)

// Session is for sessions made from now on.
type Session struct {
	// Silent connects and sends nothing; what is published is forwarded to nobody.
	Silent bool `json:"silent,omitempty"`
	// NeverConnect answers well and then hears no ICE check.
	NeverConnect bool `json:"neverConnect,omitempty"`
}

// Media is done to what viewers get, from now on, in sessions old and new.
type Media struct {
	// Repacketise splits H.264 and VP8 frames anew into payloads of at most so
	// many bytes, with sequence numbers and VP8 picture ids of its own and the
	// timestamps as they were. A frame with a packet missing is left out and
	// leaves no gap. Other codecs pass unchanged. 0: off.
	Repacketise int `json:"repacketise,omitempty"`
	// CloseGaps numbers what is sent without gaps, whatever was lost before.
	CloseGaps bool `json:"closeGaps,omitempty"`
	// Drop loses so many percent of packets inside the vendor: nobody can
	// repair them. Seed makes it the same packets each time, 0: random.
	Drop float64 `json:"dropPercent,omitempty"`
	Seed uint64  `json:"seed,omitempty"`
	// Delay holds media up.
	Delay Millis `json:"delayMs,omitempty"`
	// WireDelay holds every datagram of the vendor up, ICE and DTLS as well:
	// with HTTPDelay it makes a distant vendor.
	WireDelay Millis `json:"wireDelayMs,omitempty"`
	// Pause stops media once, from the moment it is set; then what was held up
	// goes out at once, or is lost with PauseLoses.
	Pause      Millis `json:"pauseMs,omitempty"`
	PauseLoses bool   `json:"pauseLoses,omitempty"`
	// IgnorePLI forwards no request for a key frame.
	IgnorePLI bool `json:"ignorePli,omitempty"`
}

// Millis is a length of time in ms.
type Millis int

// Duration is the same as a Duration.
func (m Millis) Duration() time.Duration { return time.Duration(m) * time.Millisecond }

// Roles of a session and of a request.
const (
	Publish = "publish"
	Play    = "play"
)

// Addresses is what the command prints when it is ready.
type Addresses struct {
	HTTP    string `json:"http"`
	Control string `json:"control"`
	Media   string `json:"media"` // UDP
}

// State is what the vendor saw since it was started.
type State struct {
	Requests map[string]int `json:"requests"` // by method, all of them
	Log      []Request      `json:"log"`      // the newest LogSize
	Sessions []Live         `json:"sessions"`
	// PLI counts requests for key frames from viewers, PLIForwarded those that
	// went on to a publisher.
	PLI          int `json:"pli"`
	PLIForwarded int `json:"pliForwarded"`
	// Dropped counts packets lost on demand, Overflowed those lost because a
	// viewer did not take them in time.
	Dropped    int `json:"dropped"`
	Overflowed int `json:"overflowed"`
	// PausedAt is when the last pause began, PausedUntil when it ends or ended.
	PausedAt    time.Time `json:"pausedAt"`
	PausedUntil time.Time `json:"pausedUntil"`
}

// LogSize is how many requests the vendor remembers.
const LogSize = 20000

// Request is one HTTP request.
type Request struct {
	At     time.Time `json:"at"`
	Method string    `json:"method"`
	Path   string    `json:"path"`
	Role   string    `json:"role"`
	Stream string    `json:"stream"`
	// Auth is HashAuth of the Authorization header, empty without one.
	Auth string `json:"auth,omitempty"`
}

// Live is a session that has not ended.
type Live struct {
	ID        string    `json:"id"`
	Role      string    `json:"role"`
	Stream    string    `json:"stream"`
	Since     time.Time `json:"since"`
	Connected bool      `json:"connected"`
	Packets   int       `json:"packets"` // received from or sent to it
}

// Posts are the requests that asked for a session with a role, any with "".
func (s State) Posts(role string) (out []Request) {
	for _, r := range s.Log {
		if r.Method == "POST" && (role == "" || r.Role == role) {
			out = append(out, r)
		}
	}
	return out
}

// Live lists the sessions with a role on a stream; "" is any.
func (s State) Live(role, stream string) (out []Live) {
	for _, l := range s.Sessions {
		if (role == "" || l.Role == role) && (stream == "" || l.Stream == stream) {
			out = append(out, l)
		}
	}
	return out
}

// Connected counts the connected ones of them.
func (s State) Connected(role, stream string) (n int) {
	for _, l := range s.Live(role, stream) {
		if l.Connected {
			n++
		}
	}
	return n
}

// HashAuth is what the vendor remembers of an Authorization header: not the
// header itself.
func HashAuth(header string) string {
	if header == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(header))
	return hex.EncodeToString(sum[:8])
}
