package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/talwtn/caddy-wtn/relay/internal/sdpfrag"
)

// fragmentOf is what a client sends of its description.
func fragmentOf(sdp string) []byte {
	var b strings.Builder
	for line := range strings.SplitSeq(sdp, "\r\n") {
		for _, p := range []string{"a=ice-ufrag:", "a=ice-pwd:", "a=candidate:", "a=end-of-candidates"} {
			if strings.HasPrefix(line, p) {
				b.WriteString(line + "\r\n")
			}
		}
	}
	return []byte(b.String())
}

// restarted is the answer with the ICE side replaced by that of a restart.
func restarted(answer string, reply []byte) string {
	f, err := sdpfrag.Parse(reply)
	if err != nil {
		panic(err)
	}
	var out []string
	placed := false
	for line := range strings.SplitSeq(answer, "\r\n") {
		switch {
		case strings.HasPrefix(line, "a=ice-ufrag:"):
			line = "a=ice-ufrag:" + f.Ufrag
		case strings.HasPrefix(line, "a=ice-pwd:"):
			line = "a=ice-pwd:" + f.Pwd
		case strings.HasPrefix(line, "a=candidate:"):
			if placed {
				continue
			}
			placed = true
			for _, c := range f.Candidates {
				out = append(out, "a="+c.Line)
			}
			continue
		}
		out = append(out, line)
	}
	return strings.Join(out, "\r\n")
}

// WHIP-80..84: a client restarts ICE, media goes on over new credentials and
// the same DTLS.
func TestRestartKeepsMedia(t *testing.T) {
	h := newHub(t)
	c := newCamera(t, h)
	c.waitLive()
	v := newPeer(t)
	if _, err := v.pc.AddTransceiverFromKind(video, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	a, err := h.Subscribe(context.Background(), request(v.offer()))
	v.apply(a, err)
	v.waitLive()
	c.frame(true, 2)
	before := len(v.packets(video, 2))
	path := v.sess.leg.Load().Path()

	old := v.sess.ETag()
	gathered := webrtc.GatheringCompletePromise(v.pc)
	offer, err := v.pc.CreateOffer(&webrtc.OfferOptions{ICERestart: true})
	if err == nil {
		err = v.pc.SetLocalDescription(offer)
	}
	if err != nil {
		t.Fatal(err)
	}
	<-gathered
	reply, err := v.sess.PatchICE(ICEPatch{Fragment: fragmentOf(v.pc.LocalDescription().SDP), IfMatch: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	if reply == nil || reply.ETag == old || reply.ETag != v.sess.ETag() {
		t.Fatalf("reply %+v, ETag %s before", reply, old)
	}
	requireReply(t, reply.Fragment, string(a.SDP))
	if _, err := v.sess.PatchICE(ICEPatch{Fragment: []byte("a=end-of-candidates\r\n"), IfMatch: []string{old}}); !errors.Is(err, ErrPrecondition) {
		t.Errorf("the old ETag: %v", err)
	}
	if err := v.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: restarted(string(a.SDP), reply.Fragment)}); err != nil {
		t.Fatal(err)
	}
	tick, late := time.NewTicker(10*time.Millisecond), time.After(10*time.Second)
	defer tick.Stop()
	for v.sess.leg.Load().Path() == path { // a restart of pion's gathers new sockets, the old ones are gone
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("the path did not change within 10 s")
		}
	}
	c.frame(true, 3)
	for range 20 {
		c.frame(false, 2)
	}
	continuous(t, v.packets(video, before+43))
	if s := v.pc.ConnectionState(); s != webrtc.PeerConnectionStateConnected {
		t.Errorf("the client is %v", s)
	}
}

func requireReply(t *testing.T, b []byte, answer string) {
	t.Helper()
	f, err := sdpfrag.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if f.Ufrag == "" || f.Pwd == "" || strings.Contains(answer, f.Ufrag) || !f.Lite || len(f.Options) != 1 || !f.EndOfCandidates {
		t.Errorf("fragment\n%s", b)
	}
	if n := strings.Count(answer, "a=candidate:"); len(f.Candidates) != n || n == 0 {
		t.Errorf("%d candidates, the answer had %d", len(f.Candidates), n)
	}
	for _, c := range f.Candidates {
		if c.MID == "" || strings.Fields(c.Line)[1] != "1" {
			t.Errorf("candidate %+v", c)
		}
	}
	if !strings.Contains(answer, "a=ice-options:trickle\r\n") {
		t.Error("the answer does not say that candidates may come later")
	}
}

const (
	newUfrag = "a=ice-ufrag:abcdef\r\n"
	newPwd   = "a=ice-pwd:0123456789012345678901\r\n"
)

// WHIP-64..93 and D-5, by the decision table; clients by Q-JS-1..3 and the
// GStreamer ones.
func TestPatchTable(t *testing.T) {
	h := newHub(t)
	c := newCamera(t, h)
	candidate := "a=candidate:1 1 udp 2130706431 192.0.2.7 4444 typ host"
	cases := []struct {
		name    string
		body    string // U and P stand for the present credentials
		match   []string
		strict  bool
		err     error
		restart bool
	}{
		{name: "medooze", match: []string{"E"}, body: "a=ice-ufrag:U\r\na=ice-pwd:P\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n" + candidate + "\r\na=end-of-candidates\r\n"},
		{name: "Eyevinn", body: "m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=ice-ufrag:U\r\na=ice-pwd:P\r\n" + candidate + " generation 0 ufrag U network-cost 999\r\n"},
		{name: "MediaMTX reader", match: []string{"*"}, body: "a=ice-ufrag:U\r\na=ice-pwd:P\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n" + candidate + "\r\nm=application 9 UDP/DTLS/SCTP 0\r\na=mid:1\r\n"},
		{name: "GStreamer", match: []string{"E"}, body: "a=ice-ufrag:U\r\na=ice-pwd:P\r\nm=audio 9 RTP/AVP 0\r\na=mid:audio0\r\na=candidate:3 1 TCP 1015022079 fe80::1 9 typ host tcptype active\r\na=candidate:4 2 UDP 2015363582 192.0.2.7 33 typ host\r\n"},
		{name: "no section, LF", match: []string{"E"}, body: candidate + "\n"},
		{name: "browser names", match: []string{"E"}, body: "a=candidate:1 1 udp 2130706431 0f6b1a5c-9e1c-4d5c-8a4a-2f3f1b1f0c11.local 4444 typ host\r\n"},
		{name: "unknown transport", match: []string{"E"}, body: "a=candidate:1 1 sctp 1 192.0.2.7 4444 typ host\r\n"},
		{name: "lenient without tag", body: "a=ice-ufrag:U\r\n" + candidate + "\r\n"},
		{name: "strict without tag", strict: true, body: candidate + "\r\n", err: ErrNoPrecondition},
		{name: "strict with tag", strict: true, match: []string{"E"}, body: candidate + "\r\n"},
		{name: "one of several tags", match: []string{"zzz", "E"}, body: candidate + "\r\n"},
		{name: "stale", match: []string{"0000"}, body: candidate + "\r\n", err: ErrPrecondition},
		{name: "restart without tag", body: newUfrag + newPwd, err: ErrNoPrecondition},
		{name: "restart, stale tag", match: []string{"0000"}, body: newUfrag + newPwd, err: ErrPrecondition},
		{name: "only ufrag new", match: []string{"*"}, body: newUfrag + "a=ice-pwd:P\r\n", err: ErrFragment},
		{name: "only pwd new", match: []string{"*"}, body: "a=ice-ufrag:U\r\n" + newPwd, err: ErrFragment},
		{name: "new ufrag, no pwd", match: []string{"*"}, body: newUfrag, err: ErrFragment},
		{name: "short pwd", match: []string{"*"}, body: newUfrag + "a=ice-pwd:short\r\n", err: ErrFragment},
		{name: "garbage", match: []string{"*"}, body: "hello", err: ErrFragment},
		{name: "empty", match: []string{"*"}, err: ErrFragment},
		{name: "65 candidates", match: []string{"*"}, body: strings.Repeat(candidate+"\r\n", 65), err: ErrFragmentSize},
		{name: "too long", match: []string{"*"}, body: strings.Repeat("a=x\r\n", 2000), err: ErrFragmentSize},
		{name: "restart with star, old ufrag in candidates", match: []string{"*"}, restart: true, body: newUfrag + newPwd + candidate + " ufrag U\r\n"},
		{name: "late trickle of before", match: []string{"*"}, body: "a=ice-ufrag:F\r\na=ice-pwd:P\r\n" + candidate + "\r\n", err: ErrPrecondition},
		{name: "trickle after restart", match: []string{"*"}, body: newUfrag + newPwd + candidate + "\r\n"},
		{name: "restart with the tag", match: []string{"E"}, restart: true, body: "a=ice-ufrag:ghijkl\r\na=ice-pwd:9876543210987654321098\r\n"},
	}
	first := c.sess.ice.ufrag
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			s := c.sess
			tag := s.ETag()
			body := strings.NewReplacer("frag:U", "frag:"+s.ice.ufrag, "pwd:P", "pwd:"+s.ice.pwd, "frag:F", "frag:"+first).Replace(k.body)
			match := append([]string(nil), k.match...)
			for i := range match {
				match[i] = strings.Replace(match[i], "E", tag, 1)
			}
			reply, err := s.PatchICE(ICEPatch{Fragment: []byte(body), IfMatch: match, Strict: k.strict})
			if !errors.Is(err, k.err) {
				t.Fatalf("%v, want %v", err, k.err)
			}
			if (reply != nil) != k.restart || (s.ETag() != tag) != k.restart {
				t.Errorf("reply %+v, ETag %s after %s", reply, s.ETag(), tag)
			}
		})
	}
}

// WHIP-76: bounds hold over many patches, and the session lives.
func TestPatchBounds(t *testing.T) {
	h := newHub(t)
	c := newCamera(t, h)
	var last error
	for i := range 100 {
		line := fmt.Sprintf("a=candidate:1 1 udp 1 192.0.2.%d 4444 typ host\r\n", i+1)
		for range 3 { // repeated for each mid
			_, last = c.sess.PatchICE(ICEPatch{Fragment: []byte(line)})
		}
		if want := i >= maxRemoteCandidates; errors.Is(last, ErrFragmentSize) != want {
			t.Fatalf("candidate %d: %v", i, last)
		}
	}
	if n := len(c.sess.ice.candidates); n != maxRemoteCandidates {
		t.Errorf("%d kept", n)
	}
	c.waitLive()
}

// WHIP-85: a restart that fails changes nothing.
func TestFailedRestart(t *testing.T) {
	h := newHub(t)
	c := newCamera(t, h)
	c.waitLive()
	v := newViewer(t, h)
	v.waitLive()
	tag, ufrag := v.sess.ETag(), v.sess.leg.Load().Ufrag()
	h.mu.Lock()
	udp := h.udp
	h.udp = nil // no address to offer
	h.mu.Unlock()
	_, err := v.sess.PatchICE(ICEPatch{Fragment: []byte(newUfrag + newPwd), IfMatch: []string{"*"}})
	h.mu.Lock()
	h.udp = udp
	h.mu.Unlock()
	if !errors.Is(err, ErrNotReady) || v.sess.ETag() != tag || v.sess.leg.Load().Ufrag() != ufrag {
		t.Errorf("%v, ETag %s after %s", err, v.sess.ETag(), tag)
	}
	c.frame(true, 2)
	v.packets(video, 2)

	// A restart that the client never follows up leaves the old path in use.
	if _, err := v.sess.PatchICE(ICEPatch{Fragment: []byte(newUfrag + newPwd), IfMatch: []string{"*"}}); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		c.frame(false, 2)
	}
	continuous(t, v.packets(video, 22))
	v.sess.End(ReasonDelete)
	if _, err := v.sess.PatchICE(ICEPatch{Fragment: []byte("a=ice-ufrag:mnopqr\r\na=ice-pwd:abababababababababababab\r\n"), IfMatch: []string{"*"}}); !errors.Is(err, ErrSessionNotFound) {
		t.Errorf("restart of an ended session: %v", err)
	}
}

func FuzzPatch(f *testing.F) {
	f.Add([]byte(newUfrag + newPwd))
	f.Add([]byte("a=ice-ufrag:abcd\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n"))
	f.Add([]byte("candidate:1 1 udp 1 x.local 9 typ host\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &iceSession{ufrag: "abcd", pwd: "abcdefghijklmnopqrstuv", former: []string{"old1"}}
		frag, err := sdpfrag.Parse(b)
		if err != nil {
			return
		}
		restart, err := c.restarts(frag)
		if restart && (err != nil || frag.Ufrag == c.ufrag || frag.Pwd == c.pwd || len(frag.Ufrag) < 4 || len(frag.Pwd) < 22) {
			t.Errorf("a restart to %q %q, %v", frag.Ufrag, frag.Pwd, err)
		}
		_ = c.trickle(frag)
		if len(c.candidates) > maxRemoteCandidates {
			t.Errorf("%d candidates", len(c.candidates))
		}
	})
}
