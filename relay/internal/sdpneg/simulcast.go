package sdpneg

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

// MaxLayers is how many simulcast layers of a publisher are accepted. OBS sends
// up to four, and gives up where not all are accepted.
const MaxLayers = 4

// maxRID is what a one-byte header extension holds (RFC 8285 section 4.2).
const maxRID = 16

// rid is one a=rid of the send direction (RFC 8851).
type rid struct {
	id  string
	pts []string // the only formats it may be sent in; none: any
}

// rids returns the restriction ids the peer sends, each once.
func rids(attrs []sdp.Attribute) (list []rid) {
	for _, a := range attrs {
		f := strings.Fields(a.Value)
		if a.Key != "rid" || len(f) < 2 || f[1] != "send" || !isRID(f[0]) || len(list) == maxRIDs {
			continue
		}
		if slices.ContainsFunc(list, func(r rid) bool { return r.id == f[0] }) {
			continue
		}
		r := rid{id: f[0]}
		for param := range strings.SplitSeq(strings.Join(f[2:], ""), ";") {
			if pts, ok := strings.CutPrefix(param, "pt="); ok {
				r.pts = strings.Split(pts, ",")
			}
		}
		list = append(list, r)
	}
	return list
}

// isRID tells whether s is an rid-id (RFC 8851 section 10) that fits a packet.
func isRID(s string) bool {
	if s == "" || len(s) > maxRID {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// simulcast reads which layers the peer would send (RFC 8853 section 5.1), in
// the order it names them. Of alternatives the first that is known is taken,
// what is paused at the beginning is taken as well, and what no a=rid describes
// is passed over.
func simulcast(attrs []sdp.Attribute, known []rid) (list []rid) {
	v, _ := value(attrs, "simulcast")
	f := strings.Fields(v)
	at := slices.Index(f, "send")
	if at < 0 || at+1 == len(f) {
		return nil
	}
	for stream := range strings.SplitSeq(f[at+1], ";") {
		for id := range strings.SplitSeq(stream, ",") {
			i := slices.IndexFunc(known, func(r rid) bool { return r.id == strings.TrimPrefix(id, "~") })
			if i < 0 {
				continue
			}
			if !slices.ContainsFunc(list, func(r rid) bool { return r.id == known[i].id }) {
				list = append(list, known[i])
			}
			break
		}
	}
	return list
}

// layers accepts the simulcast layers of a publisher's video that come in the
// chosen codec, at most MaxLayers. Without the header extension that tells them
// apart there are none, and the peer sends one encoding.
func (ch *Choice) layers(m *Media) {
	id, ok := m.Extensions[RIDURI]
	if !ok || m.Kind != codec.Video || len(ch.Codecs) == 0 {
		return
	}
	for _, r := range m.simulcast {
		if len(ch.RIDs) < MaxLayers && (len(r.pts) == 0 || slices.Contains(r.pts, strconv.Itoa(int(ch.Codecs[0].PT)))) {
			ch.RIDs = append(ch.RIDs, r.id)
		}
	}
	if len(ch.RIDs) == 0 {
		return
	}
	ch.Extensions[RIDURI] = id
	if id, ok := m.Extensions[RepairedRIDURI]; ok {
		ch.Extensions[RepairedRIDURI] = id
	}
}

// noLayers takes that back: nobody offered to receive any.
func (ch *Choice) noLayers() {
	ch.RIDs = nil
	delete(ch.Extensions, RIDURI)
	delete(ch.Extensions, RepairedRIDURI)
}

// simulcast writes the accepted layers (RFC 8853 section 5.3.2).
func (w *section) simulcast() {
	for _, id := range w.ch.RIDs {
		w.line("rid", "%s recv", id)
	}
	if len(w.ch.RIDs) > 0 {
		w.line("simulcast", "recv %s", strings.Join(w.ch.RIDs, ";"))
	}
}
