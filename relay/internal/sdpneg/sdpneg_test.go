package sdpneg

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pion/sdp/v3"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

// fixture reads an offer of a client, kept with LF in the repository.
func fixture(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".sdp"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\n", "\r\n")
}

func mustParse(t testing.TB, text string) *Offer {
	t.Helper()
	o, err := ParseOffer([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func mustCodec(t testing.TB, encoding, fmtp string) codec.Codec {
	t.Helper()
	c, ok := codec.Parse(encoding)
	if !ok {
		t.Fatalf("%s is not a codec", encoding)
	}
	c.FMTP = fmtp
	return c
}

// params are our side of a session, with everything switched on.
func params(o *Offer, role Role, choices []Choice) AnswerParams {
	p := AnswerParams{
		SessionID: 1<<63 | 42, Ufrag: "gatewayufrag", Pwd: "gatewaypasswordgatewaypassword",
		Fingerprint: Fingerprint{Hash: "sha-256", Value: strings.TrimSuffix(strings.Repeat("AB:", 32), ":")},
		Setup:       AnswerSetup(o.Setup), Trickle: true, Lite: true, Role: role, Choices: choices,
		Candidates: []Candidate{
			{Network: "tcp", Addr: netip.MustParseAddrPort("192.0.2.1:5004")},
			{Network: "udp", Addr: netip.MustParseAddrPort("[2001:db8::1]:5004")},
			{Network: "udp", Addr: netip.MustParseAddrPort("192.0.2.1:5004")},
		},
		StreamID: "live", Tracks: map[int]Track{},
	}
	for i := range choices {
		p.Tracks[i] = Track{SSRC: uint32(1000 + i), RTXSSRC: uint32(2000 + i), CNAME: "cname"}
	}
	return p
}

// mustAnswer writes an answer and reads it back with the library's parser.
func mustAnswer(t testing.TB, o *Offer, p AnswerParams) (string, *sdp.SessionDescription) {
	t.Helper()
	b, err := Answer(o, p)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	if strings.Count(text, "\n") != strings.Count(text, "\r\n") || !strings.HasSuffix(text, "\r\n") {
		t.Errorf("line ends are not all CRLF: %q", text)
	}
	var desc sdp.SessionDescription
	if err := desc.Unmarshal(b); err != nil {
		t.Fatalf("the answer does not parse: %v\n%s", err, text)
	}
	checkAnswer(t, o, p, &desc)
	return text, &desc
}

// checkAnswer holds the rules that every answer keeps.
func checkAnswer(t testing.TB, o *Offer, p AnswerParams, desc *sdp.SessionDescription) {
	t.Helper()
	if len(desc.MediaDescriptions) != len(o.Media) {
		t.Fatalf("%d sections answered of %d", len(desc.MediaDescriptions), len(o.Media))
	}
	bundle, withCandidates := bundleMIDs(desc.Attributes), 0
	for i, d := range desc.MediaDescriptions {
		m, ch := &o.Media[i], p.Choices[i]
		mid, _ := d.Attribute("mid")
		if mid != m.MID {
			t.Errorf("section %d: mid %q, offered %q", i, mid, m.MID)
		}
		if inBundle := slices.Contains(bundle, mid); inBundle != (!ch.Reject && o.bundled(i)) {
			t.Errorf("section %d: in BUNDLE is %v", i, inBundle)
		}
		if ch.Reject {
			if d.MediaName.Port.Value != 0 || has(d.Attributes, "ice-ufrag") {
				t.Errorf("section %d is not rejected", i)
			}
			continue
		}
		if d.MediaName.Port.Value != 9 || d.ConnectionInformation == nil {
			t.Errorf("section %d: port %d", i, d.MediaName.Port.Value)
		}
		for _, key := range []string{"ice-ufrag", "ice-pwd", "fingerprint", "setup", "rtcp-mux", "rtcp-mux-only"} {
			if !has(d.Attributes, key) {
				t.Errorf("section %d has no %s", i, key)
			}
		}
		if has(d.Attributes, "bundle-only") {
			t.Errorf("section %d has bundle-only", i)
		}
		checkLayers(t, i, ch, p.roleOf(ch), d)
		if has(d.Attributes, "rtcp-rsize") != m.RTCPRsize {
			t.Errorf("section %d: rtcp-rsize must follow the offer", i)
		}
		if has(d.Attributes, "candidate") {
			withCandidates++
		}
		for _, f := range d.MediaName.Formats {
			if !slices.Contains(m.Formats, f) {
				t.Errorf("section %d answers payload type %s, which was not offered", i, f)
			}
		}
		for _, a := range d.Attributes {
			if a.Key == "rtpmap" && (strings.Contains(a.Value, "red/") || strings.Contains(a.Value, "fec") || strings.Contains(a.Value, "telephone")) {
				t.Errorf("section %d accepts %s", i, a.Value)
			}
			if a.Key == "extmap" && strings.Contains(a.Value, "video-orientation") {
				t.Errorf("section %d accepts %s", i, a.Value)
			}
		}
	}
	if withCandidates > 1 {
		t.Errorf("candidates stand in %d sections", withCandidates)
	}
}

func wantError(t *testing.T, err error, kind ErrorKind, detail string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	if e.Kind != kind || !strings.Contains(e.Detail, detail) {
		t.Errorf("got %v, want %v with %q", e, kind, detail)
	}
}

const testFP = "a=fingerprint:sha-256 AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB\n"

// head and the two sections make a small complete offer out of parts.
const (
	head      = "v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\n"
	transport = "a=ice-ufrag:abcd\na=ice-pwd:0123456789012345678901\n" + testFP + "a=setup:actpass\n"
	audio     = "m=audio 9 UDP/TLS/RTP/SAVPF 111\nc=IN IP4 0.0.0.0\na=mid:0\na=sendonly\na=rtcp-mux\na=rtpmap:111 opus/48000/2\n"
	video     = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\nc=IN IP4 0.0.0.0\na=mid:1\na=sendonly\na=rtcp-mux\na=rtpmap:96 VP8/90000\na=rtpmap:97 rtx/90000\na=fmtp:97 apt=96\n"
	both      = head + transport + "a=group:BUNDLE 0 1\n" + audio + video
)

// checkLayers holds the simulcast of an answer against what was chosen: RIDs are
// received or not there, and never go to a viewer.
func checkLayers(t testing.TB, i int, ch Choice, role Role, d *sdp.MediaDescription) {
	t.Helper()
	var ids []string
	for _, a := range d.Attributes {
		if id, ok := strings.CutSuffix(a.Value, " recv"); a.Key == "rid" && ok {
			ids = append(ids, id)
		} else if a.Key == "rid" {
			t.Errorf("section %d: a=rid:%s", i, a.Value)
		}
	}
	line, found := value(d.Attributes, "simulcast")
	_, ext := ch.Extensions[RIDURI]
	if found != (len(ids) > 0) || ext != found || found && line != "recv "+strings.Join(ids, ";") ||
		!slices.Equal(ids, ch.RIDs) || len(ids) > MaxLayers || found && role == Send {
		t.Errorf("section %d answers rids %q and simulcast %q to role %v, chosen were %q", i, ids, line, role, ch.RIDs)
	}
}
