package sdpneg

import (
	"encoding/hex"
	"slices"
	"strings"

	"github.com/pion/sdp/v3"
)

// Lengths of ICE credentials (RFC 8839 section 5.4).
const (
	minUfrag, maxUfrag = 4, 256
	minPwd, maxPwd     = 22, 256
)

// hashBytes are the fingerprint hashes that are strong enough (RFC 8122
// section 5 forbids MD5, browsers no longer take SHA-1).
var hashBytes = map[string]int{"sha-256": 32, "sha-384": 48, "sha-512": 64}

// parseTransport finds the attributes of the one transport.
func (o *Offer) parseTransport(desc *sdp.SessionDescription) error {
	scopes := o.transportScopes(desc)
	if err := o.parseICE(scopes); err != nil {
		return err
	}
	if err := o.parseFingerprints(scopes); err != nil {
		return err
	}
	return o.parseSetup(scopes)
}

// transportScopes lists where transport attributes may be, the most telling
// place first: the audio and video sections in the order of the BUNDLE group
// (its first is the one that stands for all), those outside of it, the session
// level, and last the sections we do not take, which may have been meant to
// stand for the bundle.
func (o *Offer) transportScopes(desc *sdp.SessionDescription) [][]sdp.Attribute {
	var order []int
	for _, mid := range o.BundleMIDs {
		if i := o.index(mid); i >= 0 && !slices.Contains(order, i) {
			order = append(order, i)
		}
	}
	for i := range o.Media {
		if !slices.Contains(order, i) {
			order = append(order, i)
		}
	}
	var scopes, others [][]sdp.Attribute
	for _, i := range order {
		if attrs := desc.MediaDescriptions[i].Attributes; o.Media[i].av() {
			scopes = append(scopes, attrs)
		} else {
			others = append(others, attrs)
		}
	}
	return append(append(scopes, desc.Attributes), others...)
}

func (o *Offer) parseICE(scopes [][]sdp.Attribute) error {
	first := func(key string) string {
		for _, attrs := range scopes {
			if v, ok := value(attrs, key); ok {
				return v
			}
		}
		return ""
	}
	o.Ufrag, o.Pwd = first("ice-ufrag"), first("ice-pwd")
	// A section with both wins over a mixture.
	for _, attrs := range scopes {
		u, okU := value(attrs, "ice-ufrag")
		p, okP := value(attrs, "ice-pwd")
		if okU && okP {
			o.Ufrag, o.Pwd = u, p
			break
		}
	}
	if o.Ufrag == "" || o.Pwd == "" {
		return unacceptable("there is no a=ice-ufrag and a=ice-pwd: offer ICE")
	}
	if !isToken(o.Ufrag, minUfrag, maxUfrag) || strings.Contains(o.Ufrag, ":") {
		return malformed("a=ice-ufrag must have %d to %d characters", minUfrag, maxUfrag)
	}
	if !isToken(o.Pwd, minPwd, maxPwd) {
		return malformed("a=ice-pwd must have %d to %d characters", minPwd, maxPwd)
	}
	for _, attrs := range scopes {
		o.addCandidates(attrs)
	}
	return nil
}

func (o *Offer) addCandidates(attrs []sdp.Attribute) {
	for _, a := range attrs {
		switch a.Key {
		case "ice-options":
			// libdatachannel separates the options with commas.
			options := strings.Fields(strings.ReplaceAll(a.Value, ",", " "))
			o.Trickle = o.Trickle || slices.Contains(options, "trickle")
		case "candidate":
			line := "candidate:" + strings.TrimSpace(a.Value)
			if len(o.Candidates) < MaxCandidates && !slices.Contains(o.Candidates, line) {
				o.Candidates = append(o.Candidates, line)
			}
		}
	}
}

// parseFingerprints takes the usable fingerprints of the first place that has
// any fingerprint at all.
func (o *Offer) parseFingerprints(scopes [][]sdp.Attribute) error {
	for _, attrs := range scopes {
		if !has(attrs, "fingerprint") {
			continue
		}
		for _, a := range attrs {
			if a.Key != "fingerprint" {
				continue
			}
			fp, strong, ok := parseFingerprint(a.Value)
			if !ok {
				return malformed("a=fingerprint must be a hash name and colon-separated hex bytes")
			}
			if strong && !slices.Contains(o.Fingerprints, fp) {
				o.Fingerprints = append(o.Fingerprints, fp)
			}
		}
		if len(o.Fingerprints) == 0 {
			return unacceptable("the offer has only weak certificate fingerprints: add a=fingerprint:sha-256")
		}
		return nil
	}
	return unacceptable("there is no a=fingerprint: offer DTLS-SRTP with a sha-256 fingerprint")
}

func parseFingerprint(s string) (fp Fingerprint, strong, ok bool) {
	f := strings.Fields(s)
	if len(f) != 2 {
		return fp, false, false
	}
	fp = Fingerprint{Hash: strings.ToLower(f[0]), Value: strings.ToUpper(f[1])}
	raw, err := hex.DecodeString(strings.ReplaceAll(fp.Value, ":", ""))
	if err != nil || len(raw) == 0 || len(fp.Value) != 3*len(raw)-1 {
		return fp, false, false
	}
	want, strong := hashBytes[fp.Hash]
	return fp, strong, !strong || len(raw) == want
}

// parseSetup reads the DTLS role. An offer without one is taken as actpass,
// which leaves the choice to us.
func (o *Offer) parseSetup(scopes [][]sdp.Attribute) error {
	o.Setup = ActPass
	for _, attrs := range scopes {
		v, ok := value(attrs, "setup")
		if !ok {
			continue
		}
		switch v {
		case "actpass":
			o.Setup = ActPass
		case "active":
			o.Setup = Active
		case "passive":
			o.Setup = Passive
		case "holdconn":
			return unacceptable("a=setup:holdconn starts no connection: offer a=setup:actpass")
		default:
			return malformed("a=setup has the unknown value %q: offer a=setup:actpass", clip(v))
		}
		return nil
	}
	return nil
}

// isToken tells whether s has min to max visible ASCII characters and nothing
// else, so that it can stand in an SDP line.
func isToken(s string, min, max int) bool {
	if len(s) < min || len(s) > max {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// clip bounds a piece of the offer that is quoted in an error.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
