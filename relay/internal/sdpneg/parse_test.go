package sdpneg

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

func TestParseChromium(t *testing.T) {
	o := mustParse(t, fixture(t, "chromium-publish"))
	if o.Setup != ActPass || !o.Trickle || !o.ExtmapAllowMixed || len(o.Media) != 2 || len(o.Fingerprints) != 1 {
		t.Fatalf("%+v", o)
	}
	a, v := o.Media[0], o.Media[1]
	if a.Kind != codec.Audio || a.MID != "0" || a.Direction != SendOnly || a.StreamID == "" || a.StreamID != v.StreamID || a.TrackID == v.TrackID {
		t.Errorf("audio: %+v", a)
	}
	want := codec.Codec{Kind: codec.Audio, Name: "opus", ClockRate: 48000, Channels: 2, FMTP: "minptime=10;useinbandfec=1", PT: 111, TransportCC: true}
	if len(a.Codecs) != 4 || a.Codecs[0] != want || a.OfferedCodecs != 4 {
		t.Errorf("audio codecs: %+v", a.Codecs)
	}
	if len(v.Codecs) < 8 || v.Codecs[0].Name != "VP8" || v.Codecs[0].PT != 96 || v.Codecs[0].RTXPT != 97 {
		t.Errorf("video codecs: %+v", v.Codecs)
	}
	for _, c := range v.Codecs {
		if c.RTXPT == 0 || !c.NACK || !c.PLI || !c.FIR || !c.TransportCC || !c.REMB {
			t.Errorf("%+v lacks rtx or feedback", c)
		}
	}
	if v.Extensions[TransportCCURI] != 3 || v.Extensions["urn:3gpp:video-orientation"] != 13 || !v.RTCPRsize {
		t.Errorf("extensions: %v", v.Extensions)
	}
}

// Every line end and every level of the transport attributes reads the same.
func TestParseForms(t *testing.T) {
	session := mustParse(t, both)
	media := mustParse(t, head+"a=group:BUNDLE 0 1\n"+audio+transport+video+transport)
	tagged := mustParse(t, head+"a=group:BUNDLE 0 1\n"+audio+transport+strings.Replace(video, "m=video 9", "m=video 0", 1)+"a=bundle-only\n")
	crlf := mustParse(t, strings.ReplaceAll(both, "\n", "\r\n"))
	noEnd := mustParse(t, strings.TrimSuffix(both, "\n"))
	noise := mustParse(t, strings.Replace(both, "t=0 0\n", "i=x\nu=%zz\ne=a@b\nb=XX:1\nt=0 0\nz=1 x\n\n", 1))
	for name, o := range map[string]*Offer{"media level": media, "bundle-only": tagged, "CRLF": crlf, "no final line end": noEnd, "odd lines": noise} {
		if !reflect.DeepEqual(o, session) {
			t.Errorf("%s:\n%+v\nwant\n%+v", name, o, session)
		}
	}
}

// The section that stands for the bundle gives its credentials, not the one
// that comes first.
func TestParseTaggedSection(t *testing.T) {
	second := strings.ReplaceAll(transport, "abcd", "wxyz")
	o := mustParse(t, head+"a=group:BUNDLE 1 0\n"+audio+transport+video+second)
	if o.Ufrag != "wxyz" {
		t.Errorf("ufrag %q is not that of the first mid in BUNDLE", o.Ufrag)
	}
	o = mustParse(t, head+"a=group:BUNDLE d 0\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=mid:d\n"+second+audio)
	if o.Ufrag != "wxyz" || !o.Media[0].Other {
		t.Errorf("credentials that only the data channel section has are the bundle's: %+v", o)
	}
}

func TestParseMissingMIDs(t *testing.T) {
	text := strings.NewReplacer("a=mid:0\n", "", "a=mid:1\n", "").Replace(both)
	o := mustParse(t, text)
	if o.Media[0].MID != "0" || o.Media[1].MID != "1" {
		t.Errorf("mids %q and %q", o.Media[0].MID, o.Media[1].MID)
	}
	o = mustParse(t, strings.Replace(strings.Replace(both, "a=mid:0\n", "", 1), "a=mid:1\n", "a=mid:0\n", 1))
	if o.Media[0].MID == o.Media[1].MID {
		t.Error("a made-up mid clashes with an offered one")
	}
}

func TestParseDetails(t *testing.T) {
	text := head + transport +
		testFP + "a=fingerprint:sha-1 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33\n" +
		"a=candidate:1 1 udp 1 192.0.2.1 5000 typ host\na=candidate:1 1 udp 1 192.0.2.1 5000 typ host\n" +
		strings.Replace(audio, "111\nc", "111 0 8 70 111 300 x\nc", 1) +
		"a=rtcp-fb:* nack\na=extmap:15 urn:a\na=extmap:2/sendonly urn:b\na=extmap:x urn:c\na=extmap:3/inactive urn:d\na=extmap:9\n" +
		"a=ssrc:1 cname:x\na=ssrc:1 msid:stream track\na=rid:h send\na=rid:l recv\na=rid:\n"
	o := mustParse(t, text)
	m := o.Media[0]
	var names []string
	for _, c := range m.Codecs {
		names = append(names, fmt.Sprint(c.Name, c.PT, c.NACK))
	}
	if got := strings.Join(names, " "); got != "opus111 true PCMU0 true PCMA8 true" {
		t.Errorf("codecs %s", got)
	}
	if !reflect.DeepEqual(m.Extensions, map[string]int{"urn:b": 2}) {
		t.Errorf("extensions %v", m.Extensions)
	}
	if m.StreamID != "stream" || m.TrackID != "track" {
		t.Errorf("%+v", m)
	}
	if len(o.Fingerprints) != 1 || !reflect.DeepEqual(o.Candidates, []string{"candidate:1 1 udp 1 192.0.2.1 5000 typ host"}) {
		t.Errorf("%+v", o)
	}

	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, "a=candidate:%d 1 udp 1 192.0.2.1 5000 typ host\n", i)
	}
	if o := mustParse(t, head+transport+many.String()+audio); len(o.Candidates) != MaxCandidates {
		t.Errorf("%d candidates kept", len(o.Candidates))
	}
}

func TestParseErrors(t *testing.T) {
	without := func(s string) string { return strings.Replace(both, s, "", 1) }
	instead := func(a, b string) string { return strings.Replace(both, a, b, 1) }
	tests := []struct {
		name, offer string
		kind        ErrorKind
		detail      string
	}{
		{"empty", "", Malformed, "empty"},
		{"blank", "\r\n \r\n", Malformed, "empty"},
		{"JSON", `{"type":"offer"}`, Malformed, "cannot be parsed"},
		{"NUL", both + "\x00", Malformed, "NUL"},
		{"too large", both + strings.Repeat("a=x\n", MaxOfferSize/4), Malformed, "send at most 65536"},
		{"no version", strings.TrimPrefix(both, "v=0\n"), Malformed, "cannot be parsed"},
		{"too many sections", head + transport + strings.Repeat(strings.Replace(audio, "a=mid:0\n", "", 1), 33), Malformed, "at most 32"},
		{"too many formats", instead("SAVPF 111", "SAVPF "+strings.Repeat("5 ", 257)), Malformed, "fewer codecs"},
		{"no format", instead("SAVPF 111", "SAVPF"), Malformed, "no format"},
		{"two equal mids", instead("a=mid:1", "a=mid:0"), Malformed, "two sections"},
		{"mid of two words", instead("a=mid:1", "a=mid:1 2"), Malformed, "one word"},
		{"long mid", instead("a=mid:1", "a=mid:"+strings.Repeat("x", 65)), Malformed, "64 characters"},
		{"no media", head + transport, Unacceptable, "at least one"},
		{"only a data channel", head + transport + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=mid:0\n", Unacceptable, "at least one"},
		{"only rejected", head + transport + strings.Replace(audio, "audio 9", "audio 0", 1), Unacceptable, "at least one"},
		{"no ufrag", without("a=ice-ufrag:abcd\n"), Unacceptable, "ice-ufrag"},
		{"no pwd", without("a=ice-pwd:0123456789012345678901\n"), Unacceptable, "ice-pwd"},
		{"short ufrag", instead("abcd", "abc"), Malformed, "4 to 256"},
		{"long ufrag", instead("abcd", strings.Repeat("a", 257)), Malformed, "4 to 256"},
		{"colon in ufrag", instead("abcd", "ab:cd"), Malformed, "ice-ufrag"},
		{"short pwd", instead("0123456789012345678901", "012345678901234567890"), Malformed, "22 to 256"},
		{"no fingerprint", without(testFP), Unacceptable, "fingerprint"},
		{"sha-1 only", instead(testFP, "a=fingerprint:sha-1 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33\n"), Unacceptable, "sha-256"},
		{"short sha-256", instead(testFP, "a=fingerprint:sha-256 AB:CD\n"), Malformed, "fingerprint"},
		{"no hex", instead(testFP, "a=fingerprint:sha-256 XY:CD\n"), Malformed, "fingerprint"},
		{"one word", instead(testFP, "a=fingerprint:sha-256\n"), Malformed, "fingerprint"},
		{"holdconn", instead("actpass", "holdconn"), Unacceptable, "actpass"},
		{"unknown setup", instead("actpass", "whatever"), Malformed, "whatever"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseOffer([]byte(tt.offer))
			wantError(t, err, tt.kind, tt.detail)
		})
	}
}
