package relay

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay/internal/sdpfrag"
	"github.com/talwtn/caddy-wtn/relay/internal/sdpneg"
)

// MaxFragment bounds the body of an ICE PATCH, in bytes.
const MaxFragment = sdpfrag.MaxSize

const (
	// maxRemoteCandidates bounds the different candidates of one ICE session.
	maxRemoteCandidates = 64
	// maxFormer bounds the former credentials a session remembers.
	maxFormer = 16
)

// ICEPatch is one PATCH of a session: candidates of the peer, or an ICE restart
// (RFC 9725 sections 4.3.2 and 4.3.3).
type ICEPatch struct {
	Fragment []byte // application/trickle-ice-sdpfrag
	// IfMatch are the entity tags of the If-Match field, without quotes; "*"
	// matches any ICE session. Empty: the request had none.
	IfMatch []string
	// Strict refuses every patch without IfMatch. Otherwise candidates may come
	// without; a restart may not.
	Strict bool
}

// ICEReply is what an ICE restart is answered with. It is nil for candidates.
type ICEReply struct {
	Fragment []byte // our new credentials and all candidates
	ETag     string // of the new ICE session, without quotes
}

// iceSession is the ICE side of a session. It has one transport, so the peer's
// candidates only have to be well-formed: an ICE-lite agent sends no checks to
// them, it answers those that arrive (RFC 8445 section 2.5).
type iceSession struct {
	mu         sync.Mutex // serialises patches
	tag        string
	ufrag, pwd string   // of the peer
	former     []string // ufrags of the peer's earlier ICE sessions
	mid        string   // of the section that stands for the bundle
	loopback   bool
	candidates []uint64 // hashes of those of the present ICE session
}

var candidateSeed = maphash.MakeSeed()

func (s *Session) beginICE(o *sdpneg.Offer, choices []sdpneg.Choice, loopback bool) {
	s.ice.tag, s.ice.ufrag, s.ice.pwd, s.ice.loopback = newETag(), o.Ufrag, o.Pwd, loopback
	for _, c := range choices {
		if !c.Reject {
			s.ice.mid = o.Media[c.Media].MID
			return
		}
	}
}

// newETag names an ICE session.
func newETag() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// ETag names the session's present ICE session, without quotes. It changes with
// every ICE restart and never otherwise.
func (s *Session) ETag() string {
	s.ice.mu.Lock()
	defer s.ice.mu.Unlock()
	return s.ice.tag
}

// PatchICE takes candidates or an ICE restart; which of the two is told by the
// credentials in the fragment alone. Patches of a session take effect one after
// the other. Whatever the error, the session goes on as it was. Errors:
// ErrFragment, ErrFragmentSize, ErrNoPrecondition, ErrPrecondition, ErrNotReady,
// ErrSessionNotFound.
func (s *Session) PatchICE(p ICEPatch) (*ICEReply, error) {
	f, err := sdpfrag.Parse(p.Fragment)
	if err != nil {
		return nil, fragmentError(err)
	}
	c := &s.ice
	c.mu.Lock()
	defer c.mu.Unlock()
	restart, err := c.restarts(f)
	if err != nil {
		return nil, err
	}
	if len(p.IfMatch) == 0 && (p.Strict || restart) {
		return nil, ErrNoPrecondition
	}
	if len(p.IfMatch) > 0 && !slices.Contains(p.IfMatch, "*") && !slices.Contains(p.IfMatch, c.tag) {
		return nil, ErrPrecondition
	}
	if restart {
		return s.restartICE(f)
	}
	return nil, c.trickle(f)
}

// restarts classifies a fragment: both credentials new is a restart (RFC 9725
// section 4.3.3). What belongs to an earlier ICE session came too late.
func (c *iceSession) restarts(f *sdpfrag.Fragment) (bool, error) {
	switch {
	case f.Ufrag == "" && f.Pwd == "",
		f.Ufrag == c.ufrag && (f.Pwd == "" || f.Pwd == c.pwd):
		return false, nil
	case slices.Contains(c.former, f.Ufrag):
		return false, ErrPrecondition
	case f.Ufrag == "" || f.Pwd == "" || f.Ufrag == c.ufrag || f.Pwd == c.pwd:
		return false, fmt.Errorf("%w: a restart needs both a new a=ice-ufrag and a new a=ice-pwd", ErrFragment)
	case len(f.Ufrag) < 4 || len(f.Pwd) < 22 || strings.Contains(f.Ufrag, ":"):
		return false, fmt.Errorf("%w: a=ice-ufrag has at least 4 characters and a=ice-pwd at least 22", ErrFragment)
	}
	return true, nil
}

// trickle counts the candidates that are new and could be used. The others (of
// another transport, or with a name for an address) are dropped without a word,
// as RFC 9725 section 4.3.2 has it.
func (c *iceSession) trickle(f *sdpfrag.Fragment) error {
	seen := c.candidates
	for _, k := range f.Candidates {
		if !usable(k.Line) {
			continue
		}
		sum := maphash.String(candidateSeed, k.Line)
		if slices.Contains(seen, sum) {
			continue
		}
		if len(seen) == maxRemoteCandidates {
			return fmt.Errorf("%w: more than %d candidates for one ICE session", ErrFragmentSize, maxRemoteCandidates)
		}
		seen = append(seen, sum)
	}
	c.candidates = seen
	return nil
}

// usable tells whether a candidate has a transport and an address we could be
// reached from.
func usable(line string) bool {
	w := strings.Fields(line) // at least eight words, see sdpfrag
	transport := strings.ToLower(w[2])
	_, err := netip.ParseAddr(w[4])
	return w[1] == "1" && (transport == "udp" || transport == "tcp") && err == nil
}

// restartICE begins a new ICE session. Media stays on the old path until the
// peer has proven and nominated one with the new credentials. Needs s.ice.mu.
func (s *Session) restartICE(f *sdpfrag.Fragment) (*ICEReply, error) {
	c := &s.ice
	ours, err := s.hub.candidates(c.loopback)
	if err != nil {
		return nil, err
	}
	next := iceSession{}
	if err := next.trickle(f); err != nil {
		return nil, err
	}
	if s.ended.Load() {
		return nil, ErrSessionNotFound
	}
	reply := &sdpfrag.Fragment{Lite: true, Options: []string{"trickle"}, EndOfCandidates: true}
	reply.Ufrag, reply.Pwd = s.leg.Load().Restart(f.Ufrag, f.Pwd)
	for _, k := range ours {
		reply.Candidates = append(reply.Candidates, sdpfrag.Candidate{MID: c.mid, Line: k.Line()})
	}
	if c.former = append(c.former, c.ufrag); len(c.former) > maxFormer {
		c.former = c.former[1:]
	}
	c.tag, c.ufrag, c.pwd, c.candidates = newETag(), f.Ufrag, f.Pwd, next.candidates
	s.hub.env.Load().Logger.Debug("ICE restart", zap.String("session", s.id), zap.String("stream", s.stream))
	return &ICEReply{Fragment: sdpfrag.Format(reply), ETag: c.tag}, nil
}

func fragmentError(err error) error {
	if errors.Is(err, sdpfrag.ErrTooLarge) {
		return fmt.Errorf("%w (%w)", ErrFragmentSize, err)
	}
	return fmt.Errorf("%w (%w)", ErrFragment, err)
}
