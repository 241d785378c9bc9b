package sdpneg

import "github.com/talwtn/caddy-wtn/relay/internal/codec"

// Bounds of an offer. Browsers stay below a tenth of them.
const (
	MaxOfferSize  = 64 << 10 // bytes
	MaxSections   = 32       // m-lines
	MaxFormats    = 256      // formats of all m-lines together
	MaxCandidates = 64       // further ones are ignored
)

// Setup is the DTLS role a peer states in a=setup (RFC 8842 section 5).
type Setup uint8

// The zero value is not a role.
const (
	ActPass Setup = iota + 1
	Active
	Passive
)

// String returns the SDP word.
func (s Setup) String() string {
	switch s {
	case ActPass:
		return "actpass"
	case Active:
		return "active"
	case Passive:
		return "passive"
	}
	return "unknown"
}

// AnswerSetup is the role to answer with. An offerer that leaves the choice
// gets passive, as in the example of RFC 9725: browsers then start DTLS
// themselves and put AES-GCM first. A passive offerer (FFmpeg) needs active.
func AnswerSetup(offer Setup) Setup {
	if offer == Passive {
		return Active
	}
	return Passive
}

// Direction is the direction of a section as its writer sees it.
type Direction uint8

// SendRecv is the zero value because it is what SDP means without a word.
const (
	SendRecv Direction = iota
	SendOnly
	RecvOnly
	Inactive
)

// String returns the SDP word.
func (d Direction) String() string {
	switch d {
	case SendOnly:
		return "sendonly"
	case RecvOnly:
		return "recvonly"
	case Inactive:
		return "inactive"
	}
	return "sendrecv"
}

func (d Direction) sends() bool    { return d == SendRecv || d == SendOnly }
func (d Direction) receives() bool { return d == SendRecv || d == RecvOnly }

// Fingerprint of a DTLS certificate (RFC 8122 section 5).
type Fingerprint struct {
	Hash  string // sha-256, sha-384 or sha-512, lower case
	Value string // upper-case hex bytes with colons
}

// Offer is a parsed offer. The transport fields are those of the one bundled
// transport. It is read-only after ParseOffer.
type Offer struct {
	Ufrag, Pwd       string
	Fingerprints     []Fingerprint // at least one; any of them may match
	Setup            Setup
	Media            []Media  // every m-section, in order
	BundleMIDs       []string // as written; may name sections that do not exist
	Trickle          bool     // a=ice-options has trickle
	ExtmapAllowMixed bool
	Candidates       []string // "candidate:...", unparsed, without duplicates
}

// Media is one m-section.
type Media struct {
	Kind      codec.Kind // Audio or Video unless Other
	Other     bool       // data channel, text and the like
	Name      string     // the media word of the m-line
	MID       string     // as offered, or made up if it was missing; unique
	Direction Direction
	Protocol  string   // UDP/TLS/RTP/SAVPF
	Formats   []string // as in the m-line
	Rejected  bool     // port 0 without bundle-only

	// Codecs are the supported codecs in offered order, with the feedback the
	// peer offered. OfferedCodecs counts these and the unsupported ones, but
	// not retransmission, redundancy, comfort noise and tones.
	Codecs        []codec.Codec
	OfferedCodecs int

	Extensions        map[string]int // URI to one-byte id, 1..14
	StreamID, TrackID string         // a=msid; empty if there is none or it is "-"
	RTCPRsize         bool

	simulcast []rid // what the peer would send in several encodings
}

// av tells whether the section carries media the gateway may take.
func (m *Media) av() bool { return !m.Other && !m.Rejected }
