package caddymodule

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// send makes a request with headers, given as pairs.
func send(t *testing.T, method, url, body string, headers ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := c.Do(req)
	for try := 0; err != nil && try < 10; try++ { // see do
		req.Body = io.NopCloser(strings.NewReader(body))
		resp, err = c.Do(req)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b strings.Builder
	if _, err := bufio.NewReader(resp.Body).WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, b.String()
}

const localMedia = "wtn {\nmedia udp/127.0.0.1:0\n}"

// client is a pion peer of the site.
type client struct {
	t              *testing.T
	pc             *webrtc.PeerConnection
	url, etag      string
	answer         string
	header         http.Header
	connected      chan struct{}
	track          *webrtc.TrackLocalStaticRTP
	seq            uint16
	ts             uint32
	received, gone chan struct{}
}

// newClient publishes VP8, or plays, at a path of the site.
func newClient(s *site, path string, publisher bool) *client {
	s.t.Helper()
	c := newPeerOf(s, func(c *client) error {
		if publisher {
			_, err := c.pc.AddTransceiverFromTrack(c.track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
			return err
		}
		_, err := c.pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		return err
	})
	c.post(s, path)
	return c
}

// newPeerOf makes a peer with the sections that prepare adds.
func newPeerOf(s *site, prepare func(*client) error) *client {
	s.t.Helper()
	t := s.t
	se := webrtc.SettingEngine{}
	se.SetIncludeLoopbackCandidate(true)
	m := &webrtc.MediaEngine{}
	if err := m.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithSettingEngine(se)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, pc: pc, connected: make(chan struct{}, 8), received: make(chan struct{}, 1024), gone: make(chan struct{}, 8)}
	t.Cleanup(func() { pc.Close() })
	pc.OnConnectionStateChange(func(st webrtc.PeerConnectionState) {
		switch st {
		case webrtc.PeerConnectionStateConnected:
			c.connected <- struct{}{}
		case webrtc.PeerConnectionStateClosed, webrtc.PeerConnectionStateFailed:
			c.gone <- struct{}{}
		}
	})
	pc.OnTrack(func(tr *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			if _, _, err := tr.ReadRTP(); err != nil {
				return
			}
			select {
			case c.received <- struct{}{}:
			default:
			}
		}
	})
	if c.track, err = webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}, "v", "s"); err != nil {
		t.Fatal(err)
	}
	if err := prepare(c); err != nil {
		t.Fatal(err)
	}
	return c
}

// post makes the session.
func (c *client) post(s *site, path string) {
	c.t.Helper()
	status, header, body := send(c.t, "POST", s.url(path), c.local(nil), "Content-Type", "application/sdp")
	if status != 201 {
		c.t.Fatalf("%s: %d %s", path, status, body)
	}
	c.header, c.url, c.etag, c.answer = header, header.Get("Location"), header.Get("ETag"), body
	c.remote(c.answer)
}

// local makes an offer and gathers.
func (c *client) local(o *webrtc.OfferOptions) string {
	c.t.Helper()
	gathered := webrtc.GatheringCompletePromise(c.pc)
	offer, err := c.pc.CreateOffer(o)
	if err == nil {
		err = c.pc.SetLocalDescription(offer)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	<-gathered
	return c.pc.LocalDescription().SDP
}

func (c *client) remote(sdp string) {
	c.t.Helper()
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: sdp}); err != nil {
		c.t.Fatalf("%v in\n%s", err, sdp)
	}
}

func (c *client) wait(ch <-chan struct{}, what string) {
	c.t.Helper()
	select {
	case <-ch:
	case <-time.After(10 * time.Second):
		c.t.Fatalf("no %s within 10 s", what)
	}
}

// frame sends one key frame in one packet.
func (c *client) frame() {
	c.t.Helper()
	c.seq, c.ts = c.seq+1, c.ts+3000
	p := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: c.seq, Timestamp: c.ts, Marker: true}, Payload: append([]byte{0x10, 0}, make([]byte, 500)...)}
	if err := c.track.WriteRTP(p); err != nil {
		c.t.Fatal(err)
	}
}

// reaches sends until the viewer receives.
func (c *client) reaches(v *client) {
	c.t.Helper()
	for len(v.received) > 0 {
		<-v.received
	}
	eventually(c.t, "media at the viewer", func() bool { c.frame(); return len(v.received) > 0 })
}

// attributes are the lines of sdp that begin like one of the prefixes.
func attributes(sdp string, prefixes ...string) (out []string) {
	for line := range strings.SplitSeq(sdp, "\r\n") {
		for _, p := range prefixes {
			if strings.HasPrefix(line, p) {
				out = append(out, line)
			}
		}
	}
	return out
}

const fragments = "application/trickle-ice-sdpfrag"

// Items 14 to 20 of the black-box list: PATCH over HTTP by a real client, whose
// media goes on over an ICE restart [WHIP-60..92].
func TestPatch(t *testing.T) {
	s := newSite(t)
	s.mustLoad(localMedia, "wtn")
	p := newClient(s, "/whip/room", true)
	p.wait(p.connected, "connection")
	v := newClient(s, "/whep/room", false)
	v.wait(v.connected, "connection")
	p.reaches(v)

	for _, c := range []*client{p, v} {
		if len(c.etag) < 10 || !strings.HasPrefix(c.etag, `"`) || !strings.HasSuffix(c.etag, `"`) {
			t.Errorf("ETag %s is not strong", c.etag)
		}
		if !strings.Contains(c.answer, "a=ice-options:trickle\r\n") {
			t.Error("no a=ice-options:trickle in the answer")
		}
	}
	ice := strings.Join(attributes(p.pc.LocalDescription().SDP, "a=ice-ufrag:", "a=ice-pwd:"), "\r\n") + "\r\n"
	trickle := ice + "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 udp 1 abc.local 9 typ host\r\na=end-of-candidates\r\n"
	for _, c := range []struct {
		name, contentType, body, match string
		status                         int
		slug                           string
	}{
		{"tag", fragments, trickle, p.etag, 204, ""},
		{"star", fragments, trickle, "*", 204, ""},
		{"quoted star", fragments, trickle, `"*"`, 204, ""},
		{"without", fragments, trickle, "", 204, ""},
		{"type with parameter", "Application/Trickle-ICE-SDPfrag; charset=utf-8", trickle, "*", 204, ""},
		{"stale", fragments, trickle, `"0123456789abcdef"`, 412, "precondition-failed"},
		{"weak", fragments, trickle, "W/" + p.etag, 412, "precondition-failed"},
		{"JSON", "application/json", `{"candidate":"candidate:1"}`, "*", 415, "media-type"},
		{"SDP", "application/sdp", "v=0\r\n", "*", 422, "complete"},
		{"garbage", fragments, "\x00\x01garbage", "*", 400, "malformed-fragment"},
		{"empty", fragments, "", "*", 400, "malformed-fragment"},
		{"too many", fragments, strings.Repeat("a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n", 100), "*", 413, "too-large"},
		{"too long", fragments, strings.Repeat("a", 9000), "*", 413, "too-large"},
		{"restart without", fragments, "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n", "", 428, "precondition-required"},
		{"half a restart", fragments, "a=ice-ufrag:abcd\r\n", "*", 400, "malformed-fragment"},
	} {
		headers := []string{"Content-Type", c.contentType, "Origin", "https://elsewhere.example"}
		if c.match != "" {
			headers = append(headers, "If-Match", c.match)
		}
		status, header, body := send(t, "PATCH", p.url, c.body, headers...)
		if status != c.status || !strings.Contains(body, c.slug) || c.status == 204 && body != "" {
			t.Errorf("%s: %d %s", c.name, status, body)
		}
		if header.Get("ETag") != "" || header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: headers %v", c.name, header)
		}
		if got := header.Get("Accept-Patch"); (got == fragments) != (c.status == 415) {
			t.Errorf("%s: Accept-Patch %q", c.name, got)
		}
	}
	p.reaches(v)
	p.restart()
	v.restart()
	p.reaches(v)

	if status, _, _ := send(t, "DELETE", v.url, "", "If-Match", `"wrong"`); status != 200 {
		t.Errorf("DELETE with a wrong If-Match: %d", status) // WHIP-34
	}
	v.wait(v.gone, "DTLS close at the viewer")
	if status, _, _ := send(t, "PATCH", v.url, trickle, "Content-Type", fragments); status != 404 {
		t.Errorf("PATCH of an ended session: %d", status)
	}
}

// restart restarts ICE through PATCH, as a client with a new network does.
func (c *client) restart() {
	c.t.Helper()
	for len(c.connected) > 0 {
		<-c.connected
	}
	sdp := c.local(&webrtc.OfferOptions{ICERestart: true})
	body := strings.Join(attributes(sdp, "a=ice-ufrag:", "a=ice-pwd:", "m=", "a=mid:", "a=candidate:", "a=end-of-candidates"), "\r\n") + "\r\n"
	status, header, reply := send(c.t, "PATCH", c.url, body, "Content-Type", fragments, "If-Match", "*")
	if status != 200 || header.Get("Content-Type") != fragments || header.Get("ETag") == c.etag || header.Get("ETag") == "" {
		c.t.Fatalf("restart: %d %v\n%s", status, header, reply)
	}
	if !strings.Contains(header.Get("Access-Control-Expose-Headers"), "ETag") {
		c.t.Error("a page cannot read the new ETag")
	}
	if old, _, _ := send(c.t, "PATCH", c.url, "a=end-of-candidates\r\n", "Content-Type", fragments, "If-Match", c.etag); old != 412 {
		c.t.Errorf("the old ETag after a restart: %d", old)
	}
	c.etag = header.Get("ETag")
	replaced := c.answer
	for _, key := range []string{"a=ice-ufrag:", "a=ice-pwd:"} {
		was, is := attributes(c.answer, key), attributes(reply, key)
		if len(is) != 1 || was[0] == is[0] {
			c.t.Fatalf("%s in the reply: %v after %v", key, is, was[0])
		}
		replaced = strings.ReplaceAll(replaced, was[0], is[0])
	}
	if was, is := attributes(c.answer, "a=candidate:"), attributes(reply, "a=candidate:"); len(was) != len(is) {
		c.t.Errorf("%d candidates, want all %d", len(is), len(was))
	}
	c.answer = replaced
	c.remote(replaced)
	eventually(c.t, "ICE to connect again", func() bool {
		return c.pc.ICEConnectionState() == webrtc.ICEConnectionStateConnected && c.pc.ConnectionState() == webrtc.PeerConnectionStateConnected
	})
}

// WHIP-66: the letter of the RFC, on demand.
func TestStrictETags(t *testing.T) {
	s := newSite(t)
	s.mustLoad(localMedia, "wtn {\nstrict_etags\n}")
	url := s.publish("/whip/room")
	if status, _, body := send(t, "PATCH", url, "a=end-of-candidates\r\n", "Content-Type", fragments); status != 428 {
		t.Errorf("%d %s", status, body)
	}
	if status, _, body := send(t, "PATCH", url, "a=end-of-candidates\r\n", "Content-Type", fragments, "If-Match", "*"); status != 204 {
		t.Errorf("%d %s", status, body)
	}
}

// links finds the extensions a 201 announces, by relation.
func links(h http.Header) map[string]string {
	out := make(map[string]string)
	for _, l := range h.Values("Link") {
		target, params, _ := strings.Cut(l, ">; ")
		_, rel, _ := strings.Cut(params, `rel="`)
		rel, _, _ = strings.Cut(rel, `"`)
		out[rel] = strings.TrimPrefix(target, "<")
	}
	return out
}

// Items 24 and 25 [WHEP-60..84].
func TestWHEPExtensions(t *testing.T) {
	s := newSite(t)
	s.mustLoad(localMedia, "wtn")
	p := newClient(s, "/whip/room", true)
	p.wait(p.connected, "connection")
	if l := links(p.header); l[relEvents]+l[relLayer] != "" {
		t.Errorf("a publisher is told of %v", l)
	}
	v := newClient(s, "/whep/room", false)
	v.wait(v.connected, "connection")
	events, layer := links(v.header)[relEvents], links(v.header)[relLayer]
	if !strings.HasPrefix(events, v.url) || !strings.HasPrefix(layer, v.url) {
		t.Fatalf("links %q", v.header.Values("Link"))
	}
	for body, want := range map[string]int{`["active","fireworks"]`: 400, `{"active":true}`: 400, `[1]`: 400, `nonsense`: 400} {
		if status, _, reply := send(t, "POST", events, body, "Content-Type", "application/json"); status != want {
			t.Errorf("%s: %d %s", body, status, reply)
		}
	}
	if status, _, _ := send(t, "POST", events, `["active"]`, "Content-Type", "text/plain"); status != 415 {
		t.Errorf("text: %d", status)
	}
	status, header, _ := send(t, "POST", events, "")
	all := header.Get("Location")
	if status != 201 || !strings.HasPrefix(all, events+"/") {
		t.Fatalf("%d %v", status, header)
	}
	p.reaches(v)
	r := follow(t, all)
	r.until("active", "{}")
	r.until("viewercount", `{"viewercount":1}`)
	r.until("layers", `"spatialLayerId":0`)

	// The stream goes on over a reload, for a client that comes again.
	s.mustLoad(localMedia, "wtn {\nlimits {\nviewers_per_stream 5\n}\n}")
	r.ended()
	r = follow(t, all)
	v2 := newClient(s, "/whep/room", false)
	r.until("viewercount", `{"viewercount":2}`)
	if status, _, _ := send(t, "DELETE", all, ""); status != 200 {
		t.Errorf("DELETE: %d", status)
	}
	r.ended()
	if status, _, _ := send(t, "GET", all, ""); status != 404 {
		t.Errorf("GET after DELETE: %d", status)
	}

	for body, want := range map[string]int{
		`{"mediaId":"0"}`: 200, `{}`: 200, `{"spatialLayerId":0,"maxWidth":640}`: 200, `{"mediaId":"0","unknown":1}`: 200,
		`{"rid":"h"}`: 404, `{"encodingId":"h"}`: 404, `{"mediaId":"7"}`: 404, `{"spatialLayerId":1}`: 404,
		`{"mediaId":0}`: 400, `[]`: 400, ``: 400, `{`: 400, `{"mediaId":"` + strings.Repeat("0", 5000) + `"}`: 413,
	} {
		if status, _, reply := send(t, "POST", layer, body, "Content-Type", "application/json"); status != want {
			t.Errorf("%.40s: %d %s, want %d", body, status, reply, want)
		}
	}
	if status, _, _ := send(t, "POST", layer, "{}", "Content-Type", "text/plain"); status != 415 {
		t.Errorf("text: %d", status)
	}
	if status, _, _ := send(t, "POST", p.url+"/layer", "{}", "Content-Type", "application/json"); status != 404 {
		t.Errorf("a publisher chooses a layer: %d", status)
	}

	_, header, _ = send(t, "POST", links(v2.header)[relEvents], `["reconnect"]`, "Content-Type", "application/json")
	r = follow(t, header.Get("Location"))
	if status, _, _ := send(t, "DELETE", v2.url, ""); status != 200 {
		t.Errorf("DELETE: %d", status)
	}
	r.ended()
	if status, _, _ := send(t, "GET", header.Get("Location"), ""); status != 404 {
		t.Errorf("events of an ended session: %d", status)
	}
}

// listener reads an event stream as EventSource does.
type listener struct {
	t     *testing.T
	lines chan string
}

func follow(t *testing.T, url string) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(req)
	for try := 0; err != nil && try < 10; try++ { // see do
		resp, err = c.Do(req)
	}
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	l := &listener{t, make(chan string, 100)}
	go func() {
		defer close(l.lines)
		defer resp.Body.Close()
		for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
			l.lines <- sc.Text()
		}
	}()
	return l
}

func (l *listener) line() (string, bool) {
	l.t.Helper()
	select {
	case s, ok := <-l.lines:
		return s, ok
	case <-time.After(10 * time.Second):
		l.t.Fatal("nothing happens on the event stream")
		return "", false
	}
}

// until reads up to an event whose data holds part.
func (l *listener) until(event, part string) {
	l.t.Helper()
	for {
		s, ok := l.line()
		if !ok {
			l.t.Fatalf("the stream ended before %s", event)
		}
		if s != "event: "+event {
			continue
		}
		data, _ := l.line()
		data = strings.TrimPrefix(data, "data: ")
		if !json.Valid([]byte(data)) {
			l.t.Fatalf("data %q", data)
		}
		if strings.Contains(data, part) {
			return
		}
	}
}

// ended waits for the end of the stream.
func (l *listener) ended() {
	l.t.Helper()
	for {
		if _, ok := l.line(); !ok {
			return
		}
	}
}

// Item 26 [WTN-40..43, 70, 71].
func TestWTNConfigure(t *testing.T) {
	s := newSite(t)
	s.mustLoad(localMedia, "wtn")
	p := newClient(s, "/pub/app/room?SessionID=trace&MuteVideo=true&ClientIP=192.0.2.1", true)
	p.wait(p.connected, "connection")
	v := newClient(s, "/sub/app/room?MuteAudio=false", false)
	v.wait(v.connected, "connection")
	if l := links(v.header); l[relEvents]+l[relLayer] != "" {
		t.Errorf("WTN has no extensions: %v", l)
	}
	for range 20 {
		p.frame()
	}
	for _, url := range []string{p.url, v.url} {
		for _, c := range []struct {
			contentType, body string
			status            int
			text              string
		}{
			{"application/json; charset=utf-8", `{}`, 200, ""},
			{"application/json", `{"MuteAudio":true}`, 200, ""},
			{"application/json", `{"RID":""}`, 200, ""},
			{"application/json", `{"RID":"nope"}`, 400, "Invalid RID"},
			{"application/json", `{"MuteAudio":"yes"}`, 400, "Unknown Request"},
			{"application/json", `MuteAudio`, 400, "Unknown Request"},
			{"application/json", ``, 400, "Unknown Request"},
			{"text/plain", `{}`, 415, "Content-Type Illegal"},
		} {
			status, header, body := send(t, "POST", url, c.body, "Content-Type", c.contentType)
			if status != c.status || body != c.text || c.text != "" && !strings.HasPrefix(header.Get("Content-Type"), "text/plain") {
				t.Errorf("%s: %d %q, want %d %q", c.body, status, body, c.status, c.text)
			}
		}
	}
	if len(v.received) > 0 {
		t.Error("muted video arrived")
	}
	if status, _, body := send(t, "POST", p.url, `{"MuteVideo":false}`, "Content-Type", "application/json"); status != 200 {
		t.Errorf("unmute: %d %s", status, body)
	}
	p.reaches(v)
	send(t, "POST", v.url, `{"MuteVideo":true}`, "Content-Type", "application/json")
	hub := livingState().hub
	sent := func() uint64 { return hub.Stats().PacketsOut }
	before := sent()
	for range 50 {
		p.frame()
	}
	in := hub.Stats().PacketsIn
	eventually(t, "the publisher's packets at the gateway", func() bool { p.frame(); return hub.Stats().PacketsIn > in+20 })
	if n := sent() - before; n > 5 { // what was on its way
		t.Errorf("%d packets went to a muted viewer", n)
	}
	if status, _, body := send(t, "DELETE", p.url, ""); status != 200 || body != "" {
		t.Errorf("destroy: %d %q", status, body)
	}
	v.wait(v.gone, "end of the viewer with its publisher")
	for _, method := range []string{"POST", "DELETE"} {
		if status, _, body := send(t, method, v.url, "{}", "Content-Type", "application/json"); status != 404 || body != "Resource Not Exist" {
			t.Errorf("%s after the end: %d %q", method, status, body)
		}
	}
}

// Item 22 and its options [WHEP-21, WHEP-23].
func TestHoldAndViewerLimit(t *testing.T) {
	s := newSite(t)
	s.mustLoad(localMedia, "wtn {\nhold\nlimits {\nviewers_per_stream 1\n}\n}")
	v := newClient(s, "/whep/room", false)
	v.wait(v.connected, "connection")
	status, header, body := send(t, "POST", s.url("/whep/room"), v.pc.LocalDescription().SDP, "Content-Type", "application/sdp")
	if status != 503 || header.Get("Retry-After") == "" {
		t.Errorf("second viewer: %d %s", status, body)
	}
	p := newClient(s, "/whip/room", true)
	p.wait(p.connected, "connection")
	p.reaches(v)
	s.mustLoad(localMedia, "wtn")
	if status, header, body = send(t, "POST", s.url("/whep/other"), v.pc.LocalDescription().SDP, "Content-Type", "application/sdp"); status != 409 || header.Get("Retry-After") != "2" {
		t.Errorf("without hold: %d %s", status, body)
	}
}

// Item 28, with shortened timers [WTN-60..63, WHIP-33, WHIP-36].
func TestTimers(t *testing.T) {
	s := newSite(t)
	s.mustLoad("wtn {\nmedia udp/127.0.0.1:0\ntimeouts {\npublisher_connect 700ms\nsubscriber_connect 300ms\n}\n}", "wtn")
	p := newClient(s, "/pub/app/room", true)
	p.wait(p.connected, "connection")
	never := s.publish("/pub/app/never")
	begin := time.Now()
	_, header, _ := send(t, "POST", s.url("/sub/app/room"), viewerOffer(t), "Content-Type", "application/sdp")
	status := func(url string) int { n, _, _ := send(t, "GET", url, ""); return n }
	if status(header.Get("Location")) != 200 || status(never) != 200 {
		t.Error("a new session is not there")
	}
	eventually(t, "the viewer that never connects to be reaped", func() bool { return status(header.Get("Location")) == 404 })
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("it took %s", d)
	}
	eventually(t, "the publisher that never connects to be reaped", func() bool { return status(never) == 404 })
	if status(p.url) != 200 {
		t.Error("a connected session was reaped")
	}
}

func viewerOffer(t *testing.T) string {
	t.Helper()
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(offer.SDP)
}
