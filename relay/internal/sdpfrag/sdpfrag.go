// Package sdpfrag reads and writes the bodies of trickle-ICE PATCH requests
// and of ICE restart answers: application/trickle-ice-sdpfrag (RFC 8840
// sections 4 and 9, as RFC 9725 section 4.3 uses it).
//
// A fragment is a few attributes about the ICE session followed by pseudo
// m-sections, of which only the mid means anything, with candidates below.
// Since the gateway has one bundled transport for each session, a fragment
// also describes one transport: credentials may stand at any level but must
// agree, and a candidate counts for the transport whatever its mid, or without
// one. Lines may end in CR, LF or both; attributes and line types of no
// interest are passed over. Whether a candidate is usable (transport, address,
// .local names) is not decided here.
package sdpfrag

import (
	"errors"
	"fmt"
	"strings"
)

// Bounds of one fragment.
const (
	MaxSize       = 8 << 10 // bytes
	MaxCandidates = 64
	maxValue      = 256 // ufrag, pwd and mid
)

var (
	// ErrMalformed: the bytes are no fragment (400).
	ErrMalformed = errors.New("malformed trickle-ice-sdpfrag")
	// ErrTooLarge: more bytes or candidates than one fragment may have (413).
	ErrTooLarge = errors.New("trickle-ice-sdpfrag too large")
)

// Fragment is one body.
type Fragment struct {
	Ufrag, Pwd      string   // empty if not stated
	Lite            bool     // a=ice-lite
	Options         []string // words of the first a=ice-options
	Bundle          []string // mids of a=group:BUNDLE
	Candidates      []Candidate
	EndOfCandidates bool // at any level: the bundle has one transport
}

// Candidate is one a=candidate line.
type Candidate struct {
	MID  string // empty if it stands outside of any section or the section has no mid
	Line string // "candidate:..." without the leading "a="
}

// Parse reads a fragment. Its errors wrap [ErrMalformed] or [ErrTooLarge].
func Parse(b []byte) (*Fragment, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, send at most %d", ErrTooLarge, len(b), MaxSize)
	}
	p := parser{frag: new(Fragment)}
	for line := range strings.FieldsFuncSeq(string(b), func(r rune) bool { return r == '\r' || r == '\n' }) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if err := p.line(line); err != nil {
			return nil, err
		}
	}
	p.endSection()
	if p.lines == 0 {
		return nil, fmt.Errorf("%w: the body is empty", ErrMalformed)
	}
	return p.frag, nil
}

type parser struct {
	frag  *Fragment
	lines int
	mid   string // of the current section, known only at its end
	first int    // index of the section's first candidate
}

func (p *parser) line(s string) error {
	p.lines++
	// Some clients put the candidate of the browser's event in as it is.
	if strings.HasPrefix(s, "candidate:") {
		s = "a=" + s
	}
	if len(s) < 2 || s[1] != '=' || s[0] < 'a' || s[0] > 'z' {
		return fmt.Errorf("%w: line %d is not of the form a=value", ErrMalformed, p.lines)
	}
	switch s[0] {
	case 'm':
		p.endSection()
	case 'a':
		key, value, _ := strings.Cut(s[2:], ":")
		return p.attribute(key, strings.TrimSpace(value))
	}
	return nil
}

// endSection gives the candidates of the section their mid.
func (p *parser) endSection() {
	for i := p.first; i < len(p.frag.Candidates); i++ {
		p.frag.Candidates[i].MID = p.mid
	}
	p.mid, p.first = "", len(p.frag.Candidates)
}

func (p *parser) attribute(key, value string) error {
	f := p.frag
	switch key {
	case "ice-ufrag":
		return set(&f.Ufrag, key, value)
	case "ice-pwd":
		return set(&f.Pwd, key, value)
	case "mid":
		return set(&p.mid, key, value)
	case "ice-lite":
		f.Lite = true
	case "ice-options":
		if f.Options == nil { // clients repeat them in each section
			f.Options = strings.Fields(value)
		}
	case "group":
		if mids := strings.Fields(value); len(mids) > 1 && mids[0] == "BUNDLE" && f.Bundle == nil {
			f.Bundle = mids[1:]
		}
	case "end-of-candidates":
		f.EndOfCandidates = true
	case "candidate":
		return p.candidate(value)
	}
	return nil
}

// set takes a value that may be repeated but not contradicted.
func set(field *string, key, value string) error {
	if !isWord(value) || len(value) > maxValue {
		return fmt.Errorf("%w: a=%s must be one word of at most %d characters", ErrMalformed, key, maxValue)
	}
	if *field != "" && *field != value {
		return fmt.Errorf("%w: there are two different a=%s, but the session has one transport", ErrMalformed, key)
	}
	*field = value
	return nil
}

// candidate checks the shape of the line, eight words or more (RFC 8839
// section 5.1). The empty candidate is how browsers say that there are no
// more.
func (p *parser) candidate(value string) error {
	value = strings.TrimSpace(strings.TrimPrefix(value, "candidate:"))
	if value == "" {
		p.frag.EndOfCandidates = true
		return nil
	}
	if words := strings.Fields(value); len(words) < 8 || words[6] != "typ" {
		return fmt.Errorf("%w: line %d is not a candidate (foundation component transport priority address port typ type)", ErrMalformed, p.lines)
	}
	if len(p.frag.Candidates) == MaxCandidates {
		return fmt.Errorf("%w: more than %d candidates", ErrTooLarge, MaxCandidates)
	}
	p.frag.Candidates = append(p.frag.Candidates, Candidate{Line: "candidate:" + value})
	return nil
}

// isWord tells whether s is visible ASCII without a space.
func isWord(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}
