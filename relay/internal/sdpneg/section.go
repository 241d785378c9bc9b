package sdpneg

import (
	"fmt"
	"strings"

	"github.com/pion/sdp/v3"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

// section writes one accepted m-section.
type section struct {
	m  *Media
	ch Choice
	p  AnswerParams
	d  *sdp.MediaDescription
}

func (w *section) line(key, format string, args ...any) {
	w.d.WithValueAttribute(key, fmt.Sprintf(format, args...))
}

// transport writes ICE and DTLS. They are repeated in each section: the bundle
// needs them once, but several native clients read the section they look at.
func (w *section) transport() {
	w.line("ice-ufrag", "%s", w.p.Ufrag)
	w.line("ice-pwd", "%s", w.p.Pwd)
	if w.p.Trickle {
		w.line("ice-options", "trickle")
	}
	w.line("fingerprint", "%s %s", w.p.Fingerprint.Hash, w.p.Fingerprint.Value)
	w.line("setup", "%v", w.p.Setup)
}

func (w *section) candidates() {
	if w.p.offering && len(w.p.Candidates) == 0 {
		return // the other side learns them from our checks: it shall wait for these
	}
	for _, c := range SortCandidates(w.p.Candidates) {
		w.d.WithValueAttribute("candidate", strings.TrimPrefix(c.Line(), "candidate:"))
	}
	w.d.WithPropertyAttribute("end-of-candidates")
}

// media writes what RTP and RTCP look like.
func (w *section) media() {
	w.line("mid", "%s", w.m.MID)
	w.d.WithPropertyAttribute(w.direction().String())
	w.d.WithPropertyAttribute("rtcp-mux")
	w.d.WithPropertyAttribute("rtcp-mux-only")
	if w.m.RTCPRsize {
		w.d.WithPropertyAttribute("rtcp-rsize")
	}
	for _, uri := range sortedURIs(w.ch.Extensions) {
		w.line("extmap", "%d %s", w.ch.Extensions[uri], uri)
	}
	for _, c := range w.ch.Codecs {
		w.codec(c)
	}
	w.simulcast()
}

func (w *section) direction() Direction {
	switch {
	case w.ch.Inactive:
		return Inactive
	case w.p.roleOf(w.ch) == Send:
		return SendOnly
	case w.p.roleOf(w.ch) == Both:
		return SendRecv
	}
	return RecvOnly
}

func (w *section) codec(c codec.Codec) {
	w.line("rtpmap", "%d %s", c.PT, c.Encoding())
	if c.FMTP != "" {
		w.line("fmtp", "%d %s", c.PT, c.FMTP)
	}
	for _, fb := range []struct {
		on   bool
		text string
	}{
		{c.TransportCC, "transport-cc"}, {c.REMB, "goog-remb"}, {c.FIR, "ccm fir"}, {c.NACK, "nack"}, {c.PLI, "nack pli"},
	} {
		if fb.on {
			w.line("rtcp-fb", "%d %s", c.PT, fb.text)
		}
	}
	if confirmsRTX(c, w.ch, w.p) {
		w.line("rtpmap", "%d rtx/%d", c.RTXPT, c.ClockRate)
		w.line("fmtp", "%d apt=%d", c.RTXPT, c.PT)
	}
}

// track writes what we send: one stream, its SSRC and that of its
// retransmissions (RFC 5576, RFC 8830).
func (w *section) track() {
	if w.p.roleOf(w.ch) == Recv || !w.ch.Flows() {
		return
	}
	t := w.p.Tracks[w.ch.Media]
	if t.ID == "" {
		t.ID = w.m.Kind.String()
	}
	w.line("msid", "%s %s", w.p.StreamID, t.ID)
	ssrcs := []uint32{t.SSRC}
	for _, c := range w.ch.Codecs {
		if t.RTXSSRC != 0 && confirmsRTX(c, w.ch, w.p) {
			ssrcs = append(ssrcs, t.RTXSSRC)
			w.line("ssrc-group", "FID %d %d", t.SSRC, t.RTXSSRC)
			break
		}
	}
	for _, ssrc := range ssrcs {
		w.line("ssrc", "%d cname:%s", ssrc, t.CNAME)
		w.line("ssrc", "%d msid:%s %s", ssrc, w.p.StreamID, t.ID)
	}
}
