package caddymodule

import (
	"mime"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
)

// Item 23 [WHEP-14..18, WHEP-34, D-4]: the player answers.
func TestCounterOffer(t *testing.T) {
	s := newSite(t)
	s.mustLoad(localMedia, "wtn {\ncounter_offer\n}")
	p := newClient(s, "/whip/room", true)
	p.wait(p.connected, "connection")
	p.frame()

	if status, header, _ := send(t, "POST", s.url("/whep/none"), ""); status != 409 || header.Get("Retry-After") == "" {
		t.Errorf("nobody publishes: %d", status)
	}
	if status, _, _ := send(t, "POST", s.url("/whip/room"), "", "Content-Type", "application/sdp"); status != 400 {
		t.Errorf("an empty offer to publish: %d", status)
	}
	ask := func() (url, etag, sdp string) {
		t.Helper()
		status, header, body := send(t, "POST", s.url("/whep/room"), "", "Content-Type", "application/sdp")
		mediaType, params, err := mime.ParseMediaType(header.Get("Content-Type"))
		if status != 406 || err != nil || mediaType != "application/sdp" || header.Get("Location") == "" || links(header)[relEvents] == "" {
			t.Fatalf("%d %v %v\n%s", status, err, header, body)
		}
		until, err := http.ParseTime(params["valid-until"])
		if left := time.Until(until); err != nil || left < 20*time.Second || left > 31*time.Second {
			t.Errorf("valid-until %v, %v", params, err)
		}
		if len(attributes(body, "a=sendonly")) != 1 || len(attributes(body, "a=setup:actpass")) != 1 || len(attributes(body, "a=candidate:")) == 0 {
			t.Errorf("offer\n%s", body)
		}
		return header.Get("Location"), header.Get("ETag"), body
	}
	url, etag, offer := ask()
	v := newPeerOf(s, func(*client) error { return nil })
	if err := v.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		t.Fatalf("%v in\n%s", err, offer)
	}
	answer, err := v.pc.CreateAnswer(nil)
	if err == nil {
		err = v.pc.SetLocalDescription(answer)
	}
	if err != nil {
		t.Fatal(err)
	}
	patch := func(body, contentType string) (int, http.Header) {
		t.Helper()
		status, header, _ := send(t, "PATCH", url, body, "Content-Type", contentType)
		return status, header
	}
	if status, _ := patch("a=end-of-candidates\r\n", fragments); status != 409 {
		t.Errorf("candidates before the answer: %d", status)
	}
	if status, header := patch("{}", "application/json"); status != 415 || header.Get("Accept-Patch") != "application/sdp" {
		t.Errorf("JSON: %d %v", status, header)
	}
	for _, body := range []string{"garbage", "", "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"} {
		if status, _ := patch(body, "application/sdp"); status != 400 && status != 422 {
			t.Errorf("%q: %d", body, status)
		}
	}
	if status, _, _ := send(t, "GET", url, ""); status != 200 {
		t.Errorf("GET of what waits: %d", status)
	}
	if status, header := patch(answer.SDP, "application/sdp"); status != 204 || header.Get("ETag") != etag {
		t.Fatalf("answer: %d, ETag %s, want %s\n%s", status, header.Get("ETag"), etag, answer.SDP)
	}
	v.wait(v.connected, "connection")
	p.reaches(v)
	s.mustLoad(localMedia, "wtn {\ncounter_offer\nlimits {\nviewers 1\n}\n}")
	if status, _, body := send(t, "POST", s.url("/whep/room"), ""); status != 503 {
		t.Errorf("the player does not count: %d %s", status, body)
	}
	if n := livingState().stats().JoinsRefused; n != 1 {
		t.Errorf("%d refusals are counted", n)
	}
	s.mustLoad(localMedia, "wtn {\ncounter_offer\n}")
	if status, _ := patch("a=end-of-candidates\r\n", fragments); status != 204 {
		t.Errorf("candidates after the answer: %d", status)
	}
	if status, _ := patch(answer.SDP, "application/sdp"); status != 422 {
		t.Errorf("a second answer: %d", status)
	}
	if status, _, _ := send(t, "DELETE", url, ""); status != 200 {
		t.Errorf("DELETE: %d", status)
	}
	v.wait(v.gone, "end of the connection")

	url, _, _ = ask()
	for _, want := range []int{200, 404} {
		if status, _, _ := send(t, "DELETE", url, ""); status != want {
			t.Errorf("DELETE of what waits: %d, want %d", status, want)
		}
	}
	if status, _ := patch(answer.SDP, "application/sdp"); status != 404 {
		t.Errorf("an answer to nothing: %d", status)
	}
	s.mustLoad(localMedia, "wtn")
	if status, _, body := send(t, "POST", s.url("/whep/room"), "", "Content-Type", "application/sdp"); status != 400 || !strings.Contains(body, "malformed-offer") {
		t.Errorf("without the option: %d %s", status, body)
	}
}
