package tests

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

const sdpType = "application/sdp"

// httpVersions runs a test over each protocol version a gateway speaks.
func httpVersions(t *testing.T, test func(t *testing.T, g *harness.Gateway, c *http.Client)) {
	t.Parallel()
	plain := harness.Start(t, harness.Config{})
	secure := harness.Start(t, harness.Config{TLS: true})
	for _, v := range []harness.HTTPVersion{harness.HTTP1, harness.H2C, harness.H2TLS} {
		t.Run(v.String(), func(t *testing.T) {
			g := plain
			if v == harness.H2TLS {
				g = secure
			}
			test(t, g, harness.NewHTTPClient(t, v))
		})
	}
}

// 201: what a client needs of the reply, for publisher and viewer.
func TestCreated(t *testing.T) {
	httpVersions(t, func(t *testing.T, g *harness.Gateway, c *http.Client) {
		opts := harness.PeerOptions{HTTP: c}
		p := g.Publish(t, "created", harness.PublisherConfig{PeerOptions: opts})
		v := g.View(t, "created", harness.ViewerConfig{PeerOptions: opts})
		v.AwaitVideo(t, 20, 10*time.Second)
		requireCreated(t, g, p.Reply(), "recvonly")
		requireCreated(t, g, v.Reply(), "sendonly")
		if p.Location() == v.Location() {
			t.Error("two sessions share a URL")
		}
		if v.Delete(t) != http.StatusOK || p.Delete(t) != http.StatusOK {
			t.Error("DELETE is not 200")
		}
	})
}

func requireCreated(t *testing.T, g *harness.Gateway, r harness.Reply, direction string) {
	t.Helper()
	if r.Status != http.StatusCreated {
		t.Errorf("status %d", r.Status)
	}
	if ct := r.Header.Get("Content-Type"); ct != sdpType {
		t.Errorf("Content-Type %q", ct)
	}
	if cc := r.Header.Get("Cache-Control"); !strings.Contains(cc, "no-store") {
		t.Errorf("Cache-Control %q: the reply holds a capability", cc)
	}
	if etag := r.Header.Get("ETag"); strings.HasPrefix(etag, "W/") {
		t.Errorf("ETag %s is weak", etag)
	}
	requireCORS(t, "201", r)
	requireLocation(t, g, r.Header.Values("Location"))
	requireAnswer(t, r.Body, direction)
}

// requireLocation: one absolute URL of this site, no state in the query, and
// a secret of 128 bits or more at its end.
func requireLocation(t *testing.T, g *harness.Gateway, locations []string) {
	t.Helper()
	if len(locations) != 1 {
		t.Fatalf("%d Location headers", len(locations))
	}
	u, err := url.Parse(locations[0])
	if err != nil || !strings.HasPrefix(locations[0], g.Origin()+"/live/") || u.RawQuery != "" || u.Fragment != "" {
		t.Errorf("Location %q is not an absolute URL under %s/live/ without a query (%v)", locations[0], g.Origin(), err)
		return
	}
	secret := u.Path[strings.LastIndexByte(u.Path, '/')+1:]
	if len(secret) < 22 { // 128 bits in base64
		t.Errorf("the secret %q is shorter than 128 bits", secret)
	}
}

var candidateLine = regexp.MustCompile(`(?m)^a=candidate:(\S+) (\d+) (\S+) (\d+) (\S+) (\d+) typ (\S+)(.*)$`)

func requireAnswer(t *testing.T, sdp, direction string) {
	t.Helper()
	lines := strings.Split(sdp, "\r\n")
	if strings.Contains(strings.ReplaceAll(sdp, "\r\n", ""), "\n") {
		t.Error("the answer has bare line feeds")
	}
	if !strings.Contains(sdp, "a=ice-lite\r\n") {
		t.Error("no a=ice-lite")
	}
	sections := strings.Split(sdp, "\r\nm=")
	for _, s := range sections[1:] {
		s += "\r\n"
		head := strings.Fields(s)
		if head[1] == "0" {
			t.Errorf("section %q is rejected", head)
		}
		for _, want := range []string{"a=rtcp-mux\r\n", "a=rtcp-mux-only\r\n", "a=" + direction + "\r\n", "a=mid:"} {
			if !strings.Contains(s, want) {
				t.Errorf("section %s has no %q", head[0], strings.TrimSpace(want))
			}
		}
		if strings.Contains(s, "a=bundle-only") {
			t.Errorf("section %s of an answer has a=bundle-only", head[0])
		}
	}
	if !strings.Contains(sdp, "a=group:BUNDLE") || !strings.Contains(sdp, "a=fingerprint:sha-256 ") || !strings.Contains(sdp, "a=end-of-candidates") {
		t.Error("no BUNDLE group, sha-256 fingerprint or end-of-candidates")
	}
	cands := candidateLine.FindAllStringSubmatch(strings.Join(lines, "\n"), -1)
	if len(cands) == 0 {
		t.Fatalf("no candidates in the answer:\n%s", sdp)
	}
	first := cands[0]
	if !strings.EqualFold(first[3], "udp") || strings.Contains(first[5], ":") || first[7] != "host" {
		t.Errorf("the first candidate is not an IPv4 UDP host, which is the only one some clients try: %s", first[0])
	}
	tcp := false
	for _, c := range cands {
		if c[2] != "1" {
			t.Errorf("a candidate of component %s: %s", c[2], c[0])
		}
		tcp = tcp || strings.EqualFold(c[3], "tcp") && strings.Contains(c[8], "tcptype passive")
	}
	if !tcp {
		t.Error("no passive TCP candidate")
	}
}

func requireCORS(t *testing.T, what string, r harness.Reply) {
	t.Helper()
	if r.Header.Get("Access-Control-Allow-Origin") == "" {
		t.Errorf("%s (status %d): no Access-Control-Allow-Origin", what, r.Status)
	}
	exposed := strings.ToLower(r.Header.Get("Access-Control-Expose-Headers"))
	for _, name := range []string{"location", "retry-after", "etag", "link", "www-authenticate"} {
		if !strings.Contains(exposed, name) {
			t.Errorf("%s (status %d): %s is not exposed", what, r.Status, name)
		}
	}
}

// requireProblem checks the problem details of an error reply.
func requireProblem(t *testing.T, what string, r harness.Reply, status int) {
	t.Helper()
	if r.Status != status {
		t.Errorf("%s: status %d, want %d: %s", what, r.Status, status, r.Body)
		return
	}
	requireCORS(t, what, r)
	if ct := r.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("%s: Content-Type %q", what, ct)
		return
	}
	var p struct {
		Type, Title, Detail string
		Status              int
	}
	if err := json.Unmarshal([]byte(r.Body), &p); err != nil {
		t.Errorf("%s: %v in %q", what, err, r.Body)
		return
	}
	if p.Type == "" || p.Title == "" || p.Status != status || len(strings.Fields(p.Detail)) < 4 {
		t.Errorf("%s: the problem does not say what to do: %s", what, r.Body)
	}
	if regexp.MustCompile(`\.go:\d+|goroutine \d|0x[0-9a-f]{6}`).MatchString(r.Body) {
		t.Errorf("%s: the reply shows the inside: %s", what, r.Body)
	}
}

// The table of replies to POST on an endpoint.
func TestPostReplies(t *testing.T) {
	httpVersions(t, func(t *testing.T, g *harness.Gateway, c *http.Client) {
		live := g.Publish(t, "live", harness.PublisherConfig{PeerOptions: harness.PeerOptions{HTTP: c}, Bitrate: 100_000})
		pub := g.PublisherOffer(t, harness.PublisherConfig{})
		sub := g.ViewerOffer(t, harness.ViewerConfig{})
		whip, whep := g.WHIP("post"), g.WHEP("live")
		replace := strings.ReplaceAll
		tests := []struct {
			name, url, contentType, body string
			status                       int
		}{
			{"whip", whip, sdpType, pub, 201},
			{"whep", whep, sdpType, sub, 201},
			{"media type with parameter and capitals", whip, "Application/SDP; charset=utf-8", pub, 201},
			{"whip text/plain", whip, "text/plain", pub, 415},
			{"whep json", whep, "application/json", `{"sdp":""}`, 415},
			{"whip no type", whip, "", pub, 415},
			{"whip empty", whip, sdpType, "", 400},
			{"whep empty", whep, sdpType, "", 400},
			{"whip garbage", whip, sdpType, "this is no session description", 400},
			{"whip nul bytes", whip, sdpType, strings.Repeat("\x00", 500), 400},
			{"whep garbage", whep, sdpType, "{}", 400},
			{"whip html", whip, sdpType, "<html></html>\r\n", 400},
			{"whip 1 MB", whip, sdpType, pub + strings.Repeat("a=x:12345678901234567890\r\n", 40_000), 413},
			{"whep 1 MB", whep, sdpType, strings.Repeat("v=0\r\n", 200_000), 413},
			{"whip recvonly", whip, sdpType, replace(pub, "a=sendonly", "a=recvonly"), 422},
			{"whip inactive", whip, sdpType, replace(pub, "a=sendonly", "a=inactive"), 422},
			{"whip sendrecv", whip, sdpType, replace(pub, "a=sendonly", "a=sendrecv"), 201},
			{"whep sendonly", whep, sdpType, replace(sub, "a=recvonly", "a=sendonly"), 422},
			{"whep inactive", whep, sdpType, replace(sub, "a=recvonly", "a=inactive"), 422},
			{"whip two videos", whip, sdpType, twoVideos(t, pub), 422},
			{"whip no media", whip, sdpType, sessionPart(pub), 422},
			{"whip unknown codec only", whip, sdpType, unknownCodec(pub), 422},
			{"whep unknown codec only", whep, sdpType, unknownCodec(sub), 422},
			{"whip no fingerprint", whip, sdpType, without(pub, "a=fingerprint"), 422},
			{"whip no ice-ufrag", whip, sdpType, without(pub, "a=ice-ufrag"), 422},
			{"whip bare line feeds", whip, sdpType, replace(pub, "\r\n", "\n"), 201},
			{"whip without msid", whip, sdpType, without(pub, "a=msid", "a=ssrc"), 201},
			{"whip audio codec in capitals", whip, sdpType, replace(pub, "opus/48000", "OPUS/48000"), 201},
			{"whip mdns and unknown candidates", whip, sdpType, withCandidates(pub), 201},
			{"whep with a data channel", whep, sdpType, withDataChannel(sub), 201},
			{"whip example of RFC 9725", whip, sdpType, rfc9725Offer, 201},
			{"whep nobody publishes", g.WHEP("nobody"), sdpType, sub, 409},
			{"whip no stream name", g.URL("whip/"), sdpType, pub, 404},
		}
		for _, tt := range tests {
			r := post(t, c, tt.url, tt.body, tt.contentType)
			switch {
			case tt.status == 422 && r.Status == 400:
				// Both are permitted; 422 is what we promise for valid SDP.
				t.Errorf("%s: 400, want 422: %s", tt.name, r.Body)
			case tt.status != 201:
				requireProblem(t, tt.name, r, tt.status)
			case r.Status != 201:
				t.Errorf("%s: status %d: %s", tt.name, r.Status, r.Body)
			default:
				requireNoRejected(t, tt.name, r.Body)
				if del := harness.Do(t, c, http.MethodDelete, r.Header.Get("Location"), ""); del.Status != 200 {
					t.Errorf("%s: DELETE is %d", tt.name, del.Status)
				}
			}
			if tt.status == 409 {
				if secs, err := strconv.Atoi(r.Header.Get("Retry-After")); err != nil || secs < 1 || secs > 60 {
					t.Errorf("%s: Retry-After %q", tt.name, r.Header.Get("Retry-After"))
				}
			}
			if tt.status == 415 && r.Header.Get("Accept-Post") != sdpType {
				t.Errorf("%s: Accept-Post %q", tt.name, r.Header.Get("Accept-Post"))
			}
		}
		if live.HasEnded() {
			t.Error("the live publisher did not survive")
		}
	})
}

// post sends an offer. A server may answer 413 and close while the client is
// still writing; whether the client then reads the answer or only sees the
// connection reset is the network's choice, so that is tried again.
func post(t *testing.T, c *http.Client, u, body, contentType string) (r harness.Reply) {
	t.Helper()
	var err error
	harness.Poll(3*time.Second, func() bool {
		r, err = harness.Try(c, http.MethodPost, u, body, "Content-Type", contentType)
		return err == nil || len(body) < 64<<10
	})
	if err != nil {
		t.Errorf("POST of %d bytes: %v", len(body), err)
	}
	return r
}

// requireNoRejected: port 0 in an answer means refused media, except for a
// data channel, which the gateway does not carry.
func requireNoRejected(t *testing.T, what, sdp string) {
	t.Helper()
	for line := range strings.Lines(sdp) {
		f := strings.Fields(line)
		if strings.HasPrefix(line, "m=") && !strings.HasPrefix(line, "m=application") && f[1] == "0" {
			t.Errorf("%s: the answer refuses a section: %s", what, line)
		}
	}
}

func sessionPart(sdp string) string {
	head, _, _ := strings.Cut(sdp, "m=")
	return without(head, "a=group")
}

func without(sdp string, prefixes ...string) string {
	var b strings.Builder
lines:
	for line := range strings.Lines(sdp) {
		for _, p := range prefixes {
			if strings.HasPrefix(line, p) {
				continue lines
			}
		}
		b.WriteString(line)
	}
	return b.String()
}

// twoVideos repeats the video section under another mid.
func twoVideos(t *testing.T, sdp string) string {
	t.Helper()
	start := strings.Index(sdp, "m=video")
	end := strings.Index(sdp[start+1:], "\r\nm=")
	section := sdp[start:]
	if end >= 0 {
		section = sdp[start : start+1+end+2]
	}
	mid := regexp.MustCompile(`a=mid:\S+`)
	group := regexp.MustCompile(`a=group:BUNDLE[^\r]*`)
	out := group.ReplaceAllString(sdp, "${0} second") + without(mid.ReplaceAllString(section, "a=mid:second"), "a=ssrc")
	if strings.Count(out, "m=video") != 2 {
		t.Fatal("the offer has no video to repeat")
	}
	return out
}

// unknownCodec renames every codec.
func unknownCodec(sdp string) string {
	sdp = without(sdp, "a=fmtp")
	return regexp.MustCompile(`a=rtpmap:(\d+) [^\r/]+/`).ReplaceAllString(regexp.MustCompile(`(m=audio \d+ \S+)[^\r]*`).ReplaceAllString(sdp, "$1 97 111"), "a=rtpmap:$1 THEORA/")
}

func withCandidates(sdp string) string {
	extra := "a=candidate:1 1 udp 2113937151 6dbe0000-1111-2222-3333-444455556666.local 50000 typ host\r\n" +
		"a=candidate:2 1 sctp 2113937151 192.0.2.7 50000 typ host\r\n" +
		"a=candidate:3 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active\r\n" +
		"a=candidate:4 2 udp 2113937150 2001:db8::7 50001 typ host\r\n"
	return regexp.MustCompile(`a=ice-ufrag:`).ReplaceAllString(sdp, extra+"a=ice-ufrag:")
}

func withDataChannel(sdp string) string {
	group := regexp.MustCompile(`a=group:BUNDLE[^\r]*`)
	section := "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n"
	for _, name := range []string{"a=ice-ufrag", "a=ice-pwd", "a=fingerprint", "a=setup"} {
		section += regexp.MustCompile(name+`:[^\r]*`).FindString(sdp) + "\r\n"
	}
	return group.ReplaceAllString(sdp, "${0} data") + section + "a=mid:data\r\na=sctp-port:5000\r\n"
}

// rfc9725Offer has the shape of the offer in RFC 9725 section 4.2: the video
// section has port 0, bundle-only, and no transport lines of its own.
var rfc9725Offer = strings.ReplaceAll(`v=0
o=- 5228595038118931041 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=extmap-allow-mixed
a=ice-options:trickle ice2
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:EsAw
a=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y
a=fingerprint:sha-256 DA:7B:57:DC:28:CE:04:4F:31:79:85:C4:31:67:EB:27:58:29:ED:77:2A:0D:24:AE:ED:AD:30:BC:BD:F1:9C:02
a=setup:actpass
a=mid:0
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=sendonly
a=msid:d46fb922-d52a-4e9c-aa87-444eadc1521b ce326ecf-a081-453a-8f9f-0605d5ef4128
a=rtcp-mux
a=rtcp-mux-only
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;useinbandfec=1
m=video 0 UDP/TLS/RTP/SAVPF 96 97
a=mid:1
a=bundle-only
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id
a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id
a=sendonly
a=msid:d46fb922-d52a-4e9c-aa87-444eadc1521b 3956b460-40f4-4d05-acef-03abcdd8c6fd
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 ccm fir
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
`, "\n", "\r\n")

// The DTLS role of the answer follows the offer, and each one connects.
func TestSetupRoles(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	for offer, answer := range map[string]string{"actpass": "passive", "active": "passive", "passive": "active"} {
		t.Run(offer, func(t *testing.T) {
			opts := harness.PeerOptions{Setup: offer, NoCandidates: true}
			p := g.Publish(t, "setup-"+offer, harness.PublisherConfig{PeerOptions: opts})
			v := g.View(t, "setup-"+offer, harness.ViewerConfig{PeerOptions: opts})
			v.AwaitVideo(t, 50, 10*time.Second)
			v.AwaitAudio(t, 20, 10*time.Second)
			for who, sdp := range map[string]string{"publisher": p.Answer(), "viewer": v.Answer()} {
				if !strings.Contains(sdp, "a=setup:"+answer+"\r\n") || strings.Count(sdp, "a=setup:") != strings.Count(sdp, "a=setup:"+answer) {
					t.Errorf("%s: offer %s is not answered %s", who, offer, answer)
				}
			}
		})
	}
}

// The other methods, on endpoints and on sessions.
func TestMethods(t *testing.T) {
	httpVersions(t, func(t *testing.T, g *harness.Gateway, c *http.Client) {
		p := g.Publish(t, "methods", harness.PublisherConfig{PeerOptions: harness.PeerOptions{HTTP: c}, Bitrate: 100_000})
		whip, whep, session := g.WHIP("methods"), g.WHEP("methods"), p.Location()
		for _, u := range []string{whip, whep, session} {
			get, head := harness.Do(t, c, "GET", u, ""), harness.Do(t, c, "HEAD", u, "")
			if get.Status/100 != 2 || get.Body != "" {
				t.Errorf("GET %s: %d %q", u, get.Status, get.Body)
			}
			if head.Status != get.Status || head.Header.Get("Content-Type") != get.Header.Get("Content-Type") {
				t.Errorf("HEAD %s: %d, GET is %d", u, head.Status, get.Status)
			}
			put := harness.Do(t, c, "PUT", u, "x")
			if put.Status != 405 || put.Header.Get("Allow") == "" {
				t.Errorf("PUT %s: %d, Allow %q", u, put.Status, put.Header.Get("Allow"))
			}
			requireProblem(t, "PUT "+u, put, 405)
			requirePreflight(t, c, u)
		}
		if ct := harness.Do(t, c, "HEAD", whep, "").Header.Get("Content-Type"); ct != sdpType {
			t.Errorf("HEAD on the WHEP endpoint: Content-Type %q", ct)
		}
		for _, m := range []string{"PATCH", "DELETE"} {
			for _, u := range []string{whip, whep} {
				requireProblem(t, m+" "+u, harness.Do(t, c, m, u, ""), 405)
			}
		}
		options := harness.Do(t, c, "OPTIONS", whip, "")
		if options.Status != 200 || options.Header.Get("Accept-Post") != sdpType {
			t.Errorf("OPTIONS: %d, Accept-Post %q", options.Status, options.Header.Get("Accept-Post"))
		}
		if p.HasEnded() {
			t.Error("one of these ended the session")
		}
	})
}

func requirePreflight(t *testing.T, c *http.Client, u string) {
	t.Helper()
	r := harness.Do(t, c, "OPTIONS", u, "", "Origin", "https://elsewhere.example",
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type")
	if r.Status != 200 {
		t.Errorf("preflight %s: status %d", u, r.Status)
	}
	for header, words := range map[string][]string{
		"Access-Control-Allow-Origin":  {""},
		"Access-Control-Allow-Methods": {"POST", "PATCH", "DELETE", "OPTIONS"},
		"Access-Control-Allow-Headers": {"authorization", "content-type", "if-match"},
		"Access-Control-Max-Age":       {""},
	} {
		got := r.Header.Get(header)
		for _, w := range words {
			if got == "" || !strings.Contains(strings.ToLower(got), strings.ToLower(w)) {
				t.Errorf("preflight %s: %s %q lacks %q", u, header, got, w)
			}
		}
	}
	for _, l := range r.Header.Values("Link") {
		if strings.Contains(l, "ice-server") {
			t.Errorf("preflight %s: shows ICE servers: %s", u, l)
		}
	}
}

// DELETE ends the session at once: for HTTP and for the peer.
func TestDelete(t *testing.T) {
	httpVersions(t, func(t *testing.T, g *harness.Gateway, c *http.Client) {
		opts := harness.PeerOptions{HTTP: c}
		p := g.Publish(t, "delete", harness.PublisherConfig{PeerOptions: opts})
		v := g.View(t, "delete", harness.ViewerConfig{PeerOptions: opts})
		v.AwaitVideo(t, 20, 10*time.Second)
		for i, end := range []struct {
			location string
			ended    <-chan struct{}
		}{{v.Location(), v.Ended()}, {p.Location(), p.Ended()}} {
			r := harness.Do(t, c, "DELETE", end.location, "", "If-Match", `"no such tag"`)
			if r.Status != 200 {
				t.Errorf("DELETE %d with an If-Match: %d %s", i, r.Status, r.Body)
			}
			select {
			case <-end.ended:
			case <-time.After(2 * time.Second):
				t.Errorf("the peer of session %d saw no end within 2s of DELETE", i)
			}
			requireProblem(t, "second DELETE", harness.Do(t, c, "DELETE", end.location, ""), 404)
			requireProblem(t, "GET after DELETE", harness.Do(t, c, "GET", end.location, ""), 404)
		}
		requireProblem(t, "DELETE of nothing", harness.Do(t, c, "DELETE", g.URL("session/AAAAAAAAAAAAAAAAAAAAAAAAAA"), ""), 404)
	})
}

// Session URLs are secrets: no two alike, none in the log.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	c := harness.NewHTTPClient(t, harness.HTTP1)
	seen := map[string]bool{}
	offer := g.PublisherOffer(t, harness.PublisherConfig{})
	for i := range 20 {
		r := harness.PostOffer(t, c, g.WHIP(fmt.Sprintf("secret%d", i)), offer)
		loc := r.Header.Get("Location")
		if r.Status != 201 || seen[loc] {
			t.Fatalf("status %d, Location %q", r.Status, loc)
		}
		seen[loc] = true
	}
	for loc := range seen {
		harness.Do(t, c, "DELETE", loc, "")
		secret := loc[strings.LastIndexByte(loc, '/')+1:]
		if strings.Contains(g.Log(), secret) {
			t.Fatalf("the log shows the session secret %s", secret)
		}
	}
}
