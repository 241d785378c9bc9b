package sdpneg

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

func TestAnswerPublisher(t *testing.T) {
	o := mustParse(t, fixture(t, "rfc9725"))
	choices, err := Publish(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := mustAnswer(t, o, params(o, Recv, choices))
	fp := strings.TrimSuffix(strings.Repeat("AB:", 32), ":")
	transport := "a=ice-ufrag:gatewayufrag\na=ice-pwd:gatewaypasswordgatewaypassword\na=ice-options:trickle\na=fingerprint:sha-256 " + fp + "\na=setup:passive\n"
	want := "v=0\no=- 42 1 IN IP4 0.0.0.0\ns=-\nt=0 0\n" +
		"a=group:BUNDLE 0 1\na=extmap-allow-mixed\na=ice-lite\n" +
		"m=audio 9 UDP/TLS/RTP/SAVPF 111\nc=IN IP4 0.0.0.0\n" + transport +
		"a=candidate:3747402217 1 udp 2130706431 192.0.2.1 5004 typ host\n" +
		"a=candidate:4194327206 1 udp 2130706175 2001:db8::1 5004 typ host\n" +
		"a=candidate:3241834323 1 tcp 2130705919 192.0.2.1 5004 typ host tcptype passive\n" +
		"a=end-of-candidates\n" +
		"a=mid:0\na=recvonly\na=rtcp-mux\na=rtcp-mux-only\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\n" +
		"a=rtpmap:111 opus/48000/2\na=fmtp:111 minptime=10;useinbandfec=1\n" +
		"m=video 9 UDP/TLS/RTP/SAVPF 96 97\nc=IN IP4 0.0.0.0\n" + transport +
		"a=mid:1\na=recvonly\na=rtcp-mux\na=rtcp-mux-only\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\n" +
		"a=rtpmap:96 VP8/90000\na=rtcp-fb:96 nack\na=rtcp-fb:96 nack pli\na=rtpmap:97 rtx/90000\na=fmtp:97 apt=96\n"
	if got = strings.ReplaceAll(got, "\r\n", "\n"); maskFoundations(got) != maskFoundations(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// maskFoundations replaces the foundations, whose values mean nothing.
func maskFoundations(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if rest, ok := strings.CutPrefix(l, "a=candidate:"); ok {
			_, rest, _ = strings.Cut(rest, " ")
			lines[i] = "a=candidate:F " + rest
		}
	}
	return strings.Join(lines, "\n")
}

func TestAnswerViewer(t *testing.T) {
	o := mustParse(t, fixture(t, "mediamtx-reader"))
	source := []codec.Codec{mustCodec(t, "opus/48000/2", ""), mustCodec(t, "VP8/90000", "")}
	choices, err := Play(o, source)
	if err != nil {
		t.Fatal(err)
	}
	p := params(o, Send, choices)
	p.Lite, p.Trickle = false, false
	got, desc := mustAnswer(t, o, p)
	for _, want := range []string{
		"a=group:BUNDLE 0 1\r\n", "a=msid-semantic: WMS live\r\n", "a=msid:live video\r\n", "a=msid:live audio\r\n",
		"a=ssrc-group:FID 1000 2000\r\n", "a=ssrc:1000 cname:cname\r\n", "a=ssrc:2000 msid:live video\r\n",
		"a=ssrc:1001 msid:live audio\r\n", "a=fmtp:111 minptime=10;useinbandfec=1;stereo=1\r\n",
		"a=rtcp-fb:96 goog-remb\r\n", "a=rtcp-rsize\r\n", "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for _, never := range []string{"a=ssrc:2001", "ice-lite", "ice-options", "sctp-port"} {
		if strings.Contains(got, never) {
			t.Errorf("%q in\n%s", never, got)
		}
	}
	if f := desc.MediaDescriptions[0].MediaName.Formats; f[0] != "96" || f[1] != "97" {
		t.Errorf("formats %v do not start with the chosen codec", f)
	}

	tr := p.Tracks[0]
	tr.RTXSSRC, tr.ID = 0, "camera"
	p.Tracks[0] = tr
	got, _ = mustAnswer(t, o, p)
	if strings.Contains(got, "rtx/90000") || strings.Contains(got, "FID") || !strings.Contains(got, "a=msid:live camera\r\n") {
		t.Errorf("retransmission without an SSRC is confirmed:\n%s", got)
	}
}

// What was not offered is not answered.
func TestAnswerFollowsOffer(t *testing.T) {
	o := mustParse(t, head+transport+audio)
	choices, err := Publish(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := params(o, Recv, choices)
	p.Candidates = nil
	got, _ := mustAnswer(t, o, p)
	for _, never := range []string{"BUNDLE", "extmap", "rtcp-rsize", "rtcp-fb", "candidate:"} {
		if strings.Contains(got, never) {
			t.Errorf("%q in\n%s", never, got)
		}
	}
	if !strings.Contains(got, "a=end-of-candidates\r\n") {
		t.Error("no end-of-candidates")
	}
}

func TestAnswerSetup(t *testing.T) {
	for offer, want := range map[Setup]Setup{ActPass: Passive, Active: Passive, Passive: Active} {
		if got := AnswerSetup(offer); got != want {
			t.Errorf("%v is answered %v, want %v", offer, got, want)
		}
		o := mustParse(t, strings.Replace(both, "actpass", offer.String(), 1))
		if o.Setup != offer {
			t.Errorf("offered %v, read %v", offer, o.Setup)
		}
	}
	if o := mustParse(t, strings.Replace(both, "a=setup:actpass\n", "", 1)); o.Setup != ActPass {
		t.Errorf("an offer without a role reads as %v", o.Setup)
	}
}

// A caller's mistake is an error, never a broken line.
func TestAnswerRefuses(t *testing.T) {
	o := mustParse(t, fixture(t, "chromium-play"))
	choices, err := Play(o, []codec.Codec{mustCodec(t, "VP8/90000", "")})
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*AnswerParams){
		"no choices":       func(p *AnswerParams) { p.Choices = nil },
		"wrong order":      func(p *AnswerParams) { p.Choices = []Choice{p.Choices[1], p.Choices[0]} },
		"no codec":         func(p *AnswerParams) { p.Choices = []Choice{{Media: 0}, p.Choices[1]} },
		"no role":          func(p *AnswerParams) { p.Role = 0 },
		"actpass":          func(p *AnswerParams) { p.Setup = ActPass },
		"short ufrag":      func(p *AnswerParams) { p.Ufrag = "abc" },
		"injected pwd":     func(p *AnswerParams) { p.Pwd = "0123456789012345678901\r\na=x" },
		"no fingerprint":   func(p *AnswerParams) { p.Fingerprint = Fingerprint{} },
		"stream of 2 word": func(p *AnswerParams) { p.StreamID = "my stream" },
		"no track":         func(p *AnswerParams) { p.Tracks = nil },
		"injected cname":   func(p *AnswerParams) { p.Tracks = map[int]Track{0: {CNAME: "a\nb"}} },
	} {
		p := params(o, Send, slices.Clone(choices))
		spoil(&p)
		if b, err := Answer(o, p); err == nil {
			t.Errorf("%s: answered\n%s", name, b)
		}
	}
}

func TestSortCandidates(t *testing.T) {
	c := func(network, addr string) Candidate {
		return Candidate{Network: network, Addr: netip.MustParseAddrPort(addr)}
	}
	sorted := SortCandidates([]Candidate{
		c("udp", "127.0.0.1:1"), c("tcp", "[2001:db8::1]:1"), c("tcp", "192.0.2.1:1"), c("udp", "[2001:db8::1]:1"),
		c("udp", "198.51.100.1:1"), c("udp", "192.0.2.1:1"), c("udp", "[::ffff:192.0.2.1]:1"), c("udp", "0.0.0.0:1"),
		c("udp", "192.0.2.1:0"), c("sctp", "192.0.2.1:1"), c("udp", "[::1]:1"), {Network: "udp"},
	})
	want := []string{
		"udp 198.51.100.1:1", "udp 192.0.2.1:1", "udp [2001:db8::1]:1", "tcp 192.0.2.1:1", "tcp [2001:db8::1]:1",
		"udp 127.0.0.1:1", "udp [::1]:1",
	}
	var got []string
	foundations := map[string]bool{}
	for i, c := range sorted {
		got = append(got, c.Network+" "+c.Addr.String())
		if i > 0 && c.Priority >= sorted[i-1].Priority {
			t.Errorf("priority of %v does not fall", c)
		}
		if foundations[c.Foundation] {
			t.Errorf("foundation of %v is not its own", c)
		}
		foundations[c.Foundation] = true
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if p := sorted[0].Priority; p != 2130706431 {
		t.Errorf("the first priority is %d", p)
	}
	if got := sorted[3].Line(); !strings.HasSuffix(got, " 1 tcp 2130705663 192.0.2.1 1 typ host tcptype passive") {
		t.Errorf("line %q", got)
	}
	only := SortCandidates([]Candidate{c("tcp", "127.0.0.1:1"), c("udp", "127.0.0.1:1")})
	if len(only) != 2 || only[0].Network != "udp" {
		t.Errorf("only loopback: %v", only)
	}
}
