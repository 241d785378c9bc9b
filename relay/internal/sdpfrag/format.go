package sdpfrag

import "strings"

// Format writes a fragment with CRLF line ends: session attributes first, then
// one pseudo m-section for each mid in the order of first appearance.
// Candidates without a mid stand before them. The caller vouches that no field
// contains a line end; fields that came out of [Parse] do not.
func Format(f *Fragment) []byte {
	var b strings.Builder
	line := func(parts ...string) {
		for _, s := range parts {
			b.WriteString(s)
		}
		b.WriteString("\r\n")
	}
	if f.Lite {
		line("a=ice-lite")
	}
	if len(f.Options) > 0 {
		line("a=ice-options:", strings.Join(f.Options, " "))
	}
	if len(f.Bundle) > 0 {
		line("a=group:BUNDLE ", strings.Join(f.Bundle, " "))
	}
	if f.Ufrag != "" {
		line("a=ice-ufrag:", f.Ufrag)
	}
	if f.Pwd != "" {
		line("a=ice-pwd:", f.Pwd)
	}
	mids := f.mids()
	for i, mid := range mids {
		if mid != "" {
			line("m=audio 9 UDP/TLS/RTP/SAVPF 0")
			line("a=mid:", mid)
		}
		for _, c := range f.Candidates {
			if c.MID == mid {
				line("a=", c.Line)
			}
		}
		if f.EndOfCandidates && i == len(mids)-1 {
			line("a=end-of-candidates")
		}
	}
	return []byte(b.String())
}

// mids lists the sections to write, the nameless one first. There is always at
// least that one.
func (f *Fragment) mids() []string {
	var mids []string
	seen := map[string]bool{}
	for _, c := range f.Candidates {
		if !seen[c.MID] {
			seen[c.MID] = true
			if c.MID != "" {
				mids = append(mids, c.MID)
			}
		}
	}
	if seen[""] || len(mids) == 0 {
		mids = append([]string{""}, mids...)
	}
	return mids
}
