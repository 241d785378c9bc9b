package sdpneg

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

// A mid should have at most three bytes (RFC 9143 section 15.2), and nobody
// has more than a handful of simulcast layers.
const (
	maxMID  = 64
	maxRIDs = 16
)

// helpers are encodings that accompany codecs and are never one themselves.
var helpers = []string{"rtx", "red", "ulpfec", "flexfec", "flexfec-03", "cn", "telephone-event"}

// parseMedia reads one m-section.
func parseMedia(desc *sdp.SessionDescription, d *sdp.MediaDescription) (Media, error) {
	m := Media{
		Name:     d.MediaName.Media,
		Protocol: strings.Join(d.MediaName.Protos, "/"),
		Formats:  d.MediaName.Formats,
		Rejected: d.MediaName.Port.Value == 0 && !has(d.Attributes, "bundle-only"),
	}
	if len(m.Formats) == 0 {
		return m, errors.New("the m-line has no format")
	}
	if mid, ok := value(d.Attributes, "mid"); ok {
		if !isToken(mid, 1, maxMID) {
			return m, fmt.Errorf("a=mid must be one word of at most %d characters", maxMID)
		}
		m.MID = mid
	}
	switch d.MediaName.Media {
	case "audio":
		m.Kind = codec.Audio
	case "video":
		m.Kind = codec.Video
	default:
		m.Other = true
		return m, nil
	}
	m.Direction = direction(d.Attributes, direction(desc.Attributes, SendRecv))
	m.RTCPRsize = has(d.Attributes, "rtcp-rsize")
	m.StreamID, m.TrackID = msid(d.Attributes)
	m.simulcast = simulcast(d.Attributes, rids(d.Attributes))
	m.Extensions = extensions(d.Attributes)
	m.Codecs, m.OfferedCodecs = codecs(m.Kind, m.Formats, d.Attributes)
	return m, nil
}

// direction returns the stated direction, or absent.
func direction(attrs []sdp.Attribute, absent Direction) Direction {
	for _, a := range attrs {
		switch a.Key {
		case "sendrecv":
			return SendRecv
		case "sendonly":
			return SendOnly
		case "recvonly":
			return RecvOnly
		case "inactive":
			return Inactive
		}
	}
	return absent
}

// msid reads a=msid (RFC 8830) or its older form in a=ssrc. A track of several
// streams counts for the first. "-" means no stream.
func msid(attrs []sdp.Attribute) (stream, track string) {
	v, ok := value(attrs, "msid")
	if !ok {
		for _, a := range attrs {
			if a.Key != "ssrc" {
				continue
			}
			if _, after, found := strings.Cut(a.Value, " msid:"); found {
				v = after
				break
			}
		}
	}
	f := strings.Fields(v)
	if len(f) > 0 && f[0] != "-" {
		stream = f[0]
	}
	if len(f) > 1 {
		track = f[1]
	}
	return stream, track
}

// extensions returns the header extensions with a one-byte id (RFC 8285
// section 4.2). The first id of a URI counts.
func extensions(attrs []sdp.Attribute) map[string]int {
	exts := map[string]int{}
	for _, a := range attrs {
		if a.Key != "extmap" {
			continue
		}
		f := strings.Fields(a.Value)
		if len(f) < 2 || !isToken(f[1], 1, 255) {
			continue
		}
		number, dir, _ := strings.Cut(f[0], "/")
		id, err := strconv.Atoi(number)
		if err != nil || id < 1 || id > 14 || dir == "inactive" {
			continue
		}
		if _, dup := exts[f[1]]; !dup {
			exts[f[1]] = id
		}
	}
	return exts
}

// codecs reads rtpmap, fmtp and rtcp-fb in the order of the m-line and ties
// each RFC 4588 entry to the codec it repeats.
func codecs(kind codec.Kind, formats []string, attrs []sdp.Attribute) (list []codec.Codec, offered int) {
	maps, fmtps, fbs := perFormat(attrs, "rtpmap"), perFormat(attrs, "fmtp"), feedback(attrs)
	rtx := map[string]uint8{} // apt -> payload type
	done := map[string]bool{}
	for _, f := range formats {
		pt, ok := payloadType(f)
		if !ok || done[f] {
			continue
		}
		done[f] = true
		c, known := codec.Static(pt)
		name := c.Name
		if enc, mapped := maps[f]; mapped {
			name, _, _ = strings.Cut(enc, "/")
			c, known = codec.Parse(enc)
		}
		if strings.EqualFold(name, "rtx") {
			if apt, ok := aptOf(fmtps[f]); ok && rtx[apt] == 0 {
				rtx[apt] = pt
			}
			continue
		}
		if slices.Contains(helpers, strings.ToLower(name)) {
			continue
		}
		offered++
		if !known || c.Kind != kind {
			continue
		}
		c.PT, c.FMTP = pt, fmtps[f]
		addFeedback(&c, fbs[f], fbs["*"])
		list = append(list, c)
	}
	for i := range list {
		list[i].RTXPT = rtx[strconv.Itoa(int(list[i].PT))]
	}
	return list, offered
}

// payloadType reads an RTP payload type. 64 to 95 cannot be told from RTCP on
// a multiplexed transport (RFC 5761 section 4) and are not usable.
func payloadType(s string) (uint8, bool) {
	pt, err := strconv.ParseUint(s, 10, 7)
	if err != nil || pt >= 64 && pt <= 95 || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	return uint8(pt), true
}

func aptOf(fmtp string) (string, bool) {
	for pair := range strings.SplitSeq(fmtp, ";") {
		if k, v, _ := strings.Cut(pair, "="); strings.EqualFold(strings.TrimSpace(k), "apt") {
			return strings.TrimSpace(v), true
		}
	}
	return "", false
}

// perFormat collects attributes of the form "key:<format> <value>"; the first
// for a format counts.
func perFormat(attrs []sdp.Attribute, key string) map[string]string {
	values := map[string]string{}
	for _, a := range attrs {
		if a.Key != key {
			continue
		}
		format, v, _ := strings.Cut(strings.TrimSpace(a.Value), " ")
		if _, dup := values[format]; !dup {
			values[format] = strings.TrimSpace(v)
		}
	}
	return values
}

// feedback collects the RTCP feedback offered for each format or for all ("*").
func feedback(attrs []sdp.Attribute) map[string]codec.Codec {
	offered := map[string]codec.Codec{}
	for _, a := range attrs {
		if a.Key != "rtcp-fb" {
			continue
		}
		format, kind, _ := strings.Cut(strings.TrimSpace(a.Value), " ")
		c := offered[format]
		switch strings.TrimSpace(kind) {
		case "nack":
			c.NACK = true
		case "nack pli":
			c.PLI = true
		case "ccm fir":
			c.FIR = true
		case "transport-cc":
			c.TransportCC = true
		case "goog-remb":
			c.REMB = true
		}
		offered[format] = c
	}
	return offered
}

// addFeedback sets the feedback of either set.
func addFeedback(c *codec.Codec, a, b codec.Codec) {
	c.NACK = a.NACK || b.NACK
	c.PLI = a.PLI || b.PLI
	c.FIR = a.FIR || b.FIR
	c.TransportCC = a.TransportCC || b.TransportCC
	c.REMB = a.REMB || b.REMB
}
