package sdpneg

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/pion/sdp/v3"
)

// ParseOffer reads an offer. It accepts bare LF, ICE and DTLS attributes at
// session or media level, offers without candidates, sections without a mid,
// bundle-only sections without transport lines (RFC 9143 section 6), and a
// BUNDLE group that names sections which do not exist. Every error is an
// [*Error].
func ParseOffer(b []byte) (*Offer, error) {
	desc, err := unmarshal(b)
	if err != nil {
		return nil, err
	}
	o := &Offer{
		BundleMIDs:       bundleMIDs(desc.Attributes),
		ExtmapAllowMixed: has(desc.Attributes, "extmap-allow-mixed"),
	}
	if err := o.parseSections(desc); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(o.Media, func(m Media) bool { return m.av() }) {
		return nil, unacceptable("there is no audio or video section: offer at least one")
	}
	if err := o.parseTransport(desc); err != nil {
		return nil, err
	}
	return o, nil
}

// unmarshal hands the normalised text to the SDP library and turns whatever
// happens there into an error.
func unmarshal(b []byte) (desc *sdp.SessionDescription, err error) {
	if len(b) > MaxOfferSize {
		return nil, malformed("the offer has %d bytes, send at most %d", len(b), MaxOfferSize)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, malformed("the body is empty: POST an SDP offer")
	}
	if bytes.IndexByte(b, 0) >= 0 {
		return nil, malformed("the offer contains a NUL byte")
	}
	defer func() {
		if p := recover(); p != nil {
			desc, err = nil, malformed("the SDP cannot be parsed")
		}
	}()
	desc = new(sdp.SessionDescription)
	if cause := desc.UnmarshalString(normalise(string(b))); cause != nil {
		return nil, malformed("the SDP cannot be parsed (%s): send an SDP offer with v=, o=, s=, t= and m= lines", clip(cause.Error()))
	}
	return desc, nil
}

// normalise ends every line with CRLF and leaves out the line types that say
// nothing to a WebRTC answerer (bandwidth, e-mail, time zones ...), so that a
// peculiar one cannot fail an otherwise good offer.
func normalise(s string) string {
	var out strings.Builder
	out.Grow(len(s) + len(s)/16 + 2)
	for line := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '\r' || r == '\n' }) {
		line = strings.TrimRight(line, " \t")
		if line == "" || len(line) > 1 && line[1] == '=' && strings.IndexByte("iuepcbrzk", line[0]) >= 0 {
			continue
		}
		out.WriteString(line)
		out.WriteString("\r\n")
	}
	return out.String()
}

func (o *Offer) parseSections(desc *sdp.SessionDescription) error {
	if n := len(desc.MediaDescriptions); n > MaxSections {
		return malformed("there are %d m-lines, offer at most %d", n, MaxSections)
	}
	formats := 0
	for i, d := range desc.MediaDescriptions {
		if formats += len(d.MediaName.Formats); formats > MaxFormats {
			return malformed("there are more than %d formats in the m-lines, offer fewer codecs", MaxFormats)
		}
		m, err := parseMedia(desc, d)
		if err != nil {
			return malformed("m-section %d: %v", i, err)
		}
		if m.MID != "" && o.index(m.MID) >= 0 {
			return malformed("two sections have the mid %q: give each its own", m.MID)
		}
		o.Media = append(o.Media, m)
	}
	o.assignMIDs()
	return nil
}

// assignMIDs names the sections that have no mid by their index, which is what
// a BUNDLE group of such an offer calls them.
func (o *Offer) assignMIDs() {
	for i := range o.Media {
		if o.Media[i].MID != "" {
			continue
		}
		mid := fmt.Sprint(i)
		for o.index(mid) >= 0 {
			mid = "m" + mid
		}
		o.Media[i].MID = mid
	}
}

// index finds a section by mid, or returns -1.
func (o *Offer) index(mid string) int {
	return slices.IndexFunc(o.Media, func(m Media) bool { return m.MID == mid })
}

// bundled tells whether the section is in the offered BUNDLE group.
func (o *Offer) bundled(i int) bool { return slices.Contains(o.BundleMIDs, o.Media[i].MID) }

// bundleMIDs returns the first BUNDLE group; other semantics (LS, FID) are
// passed over.
func bundleMIDs(attrs []sdp.Attribute) []string {
	for _, a := range attrs {
		if a.Key != "group" {
			continue
		}
		if f := strings.Fields(a.Value); len(f) > 0 && strings.EqualFold(f[0], "BUNDLE") {
			return f[1:]
		}
	}
	return nil
}

func has(attrs []sdp.Attribute, key string) bool {
	return slices.ContainsFunc(attrs, func(a sdp.Attribute) bool { return a.Key == key })
}

// value returns the first value of an attribute, trimmed.
func value(attrs []sdp.Attribute, key string) (string, bool) {
	for _, a := range attrs {
		if a.Key == key {
			return strings.TrimSpace(a.Value), true
		}
	}
	return "", false
}
