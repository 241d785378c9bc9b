package caddymodule

import (
	"strings"
	"testing"

	"github.com/pion/webrtc/v4"
)

// Item 26 [WTN-50..55]: two peers, one connection each, and what is muted.
func TestWTNPubSub(t *testing.T) {
	s := newSite(t)
	s.mustLoad(localMedia, "wtn")
	talker := func(path string) *client {
		c := newPeerOf(s, func(c *client) error {
			_, err := c.pc.AddTransceiverFromTrack(c.track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendrecv})
			return err
		})
		c.post(s, path)
		c.wait(c.connected, "connection")
		return c
	}
	a := talker("/webrtc/pub-sub/app/a/b?SessionID=x&ClientID=y")
	b := talker("/webrtc/pub-sub/app/b/a?PubMuteVideo=true")
	if !strings.Contains(a.url, "/session/wtn/") || len(attributes(a.answer, "a=sendrecv")) != 1 {
		t.Errorf("Location %s, answer\n%s", a.url, a.answer)
	}
	a.reaches(b)
	if len(a.received) > 0 {
		t.Error("muted video arrived")
	}
	configure := func(c *client, body string, want int, text string) {
		t.Helper()
		if status, _, got := send(t, "POST", c.url, body, "Content-Type", "application/json"); status != want || got != text {
			t.Errorf("%s: %d %q", body, status, got)
		}
	}
	configure(b, `{"Pub":{"MuteVideo":false}}`, 200, "")
	b.reaches(a)
	configure(a, `{"Sub":{"MuteVideo":true}}`, 200, "")
	configure(a, `{"Sub":{"MuteVideo":false},"Pub":{"MuteAudio":true}}`, 200, "")
	b.reaches(a)
	configure(a, `{"Sub":{"RID":"h"}}`, 400, "Invalid RID")
	configure(a, `{"Sub":7}`, 400, "Unknown Request")

	if status, _, _ := send(t, "DELETE", b.url, ""); status != 200 {
		t.Errorf("destroy: %d", status)
	}
	b.wait(b.gone, "end of the connection")
	if status, _, body := send(t, "DELETE", b.url, ""); status != 404 || body != "Resource Not Exist" {
		t.Errorf("destroy again: %d %q", status, body)
	}
	if status, _, _ := send(t, "GET", a.url, ""); status != 200 {
		t.Errorf("the other peer's resource: %d", status)
	}
	eventually(t, "the two sides of one session, and no other", func() bool { // the twin ends by itself
		return len(livingState().hub.Sessions()) == 2
	})
}
