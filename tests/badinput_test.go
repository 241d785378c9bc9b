package tests

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// All kinds of bad input, on every door there is, while a good session runs:
// each is answered with a clear 4xx, and the good session loses no packet.
func TestBadInputDisturbsNobody(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	p := g.Publish(t, "good", harness.PublisherConfig{Bitrate: 1_500_000})
	v := g.View(t, "good", harness.ViewerConfig{})
	tcp := g.View(t, "good", harness.ViewerConfig{PeerOptions: harness.PeerOptions{TCP: true}})
	v.AwaitVideo(t, 100, 10*time.Second)

	c := harness.NewHTTPClient(t, harness.HTTP1)
	offer := g.PublisherOffer(t, harness.PublisherConfig{})
	for name, body := range badOffers(offer) {
		for _, u := range []string{g.WHIP("bad"), g.WHEP("good")} {
			r := harness.PostOffer(t, c, u, body)
			if r.Status < 400 || r.Status > 499 {
				t.Errorf("%s to %s: status %d: %.200s", name, u, r.Status, r.Body)
				continue
			}
			requireProblem(t, name, r, r.Status)
		}
	}
	for _, path := range badPaths() {
		r := harness.PostOffer(t, c, g.Origin()+path, offer)
		if r.Status < 400 || r.Status > 499 {
			t.Errorf("POST %.80s: status %d", path, r.Status)
		}
	}
	flood(t, g)
	noise(t, g)
	v.Record(t, time.Second)
	stopAndDrain(t, p, v, tcp)
	requireIntact(t, "viewer", p, v)
	requireIntact(t, "viewer over tcp", p, tcp)
}

func badOffers(good string) map[string]string {
	replace := strings.ReplaceAll
	return map[string]string{
		"random bytes":          string(random(2000)),
		"truncated":             good[:strings.Index(good, "m=")+9],
		"not SDP":               "POST / HTTP/1.1\r\n\r\n",
		"only a version":        "v=0\r\n",
		"version 9":             replace(good, "v=0", "v=9"),
		"no session line":       replace(good, "s=-\r\n", ""),
		"every direction wrong": replace(good, "a=sendonly", "a=inactive"),
		"fingerprint too short": replace(good, "a=fingerprint:sha-256 ", "a=fingerprint:sha-256 AB\r\na=x:"),
		"fingerprint unknown":   replace(good, "a=fingerprint:sha-256", "a=fingerprint:md2"),
		"ufrag empty":           replace(good, "a=ice-ufrag:", "a=ice-ufrag:\r\na=x:"),
		"password short":        replace(good, "a=ice-pwd:", "a=ice-pwd:x\r\na=x:"),
		"setup nonsense":        replace(good, "a=setup:actpass", "a=setup:sideways"),
		"payload types 999":     replace(replace(good, "a=rtpmap:102", "a=rtpmap:999"), "a=rtpmap:111", "a=rtpmap:-1"),
		"a thousand sections":   good + strings.Repeat("m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=sendonly\r\n", 1000),
		"one endless line":      good + "a=" + strings.Repeat("x", 60_000) + "\r\nm=video",
		"plain RTP":             replace(good, "UDP/TLS/RTP/SAVPF", "RTP/AVP"),
	}
}

func badPaths() []string {
	return []string{
		"/live/whip/" + strings.Repeat("a", 4000),
		"/live/whip/%00", "/live/whip/..%2f..%2fetc", "/live/whip/a%0d%0ab", "/live/whip/" + "%ff%fe",
		"/live/whip/<script>", "/live/whep/a//b", "/live/session/x/y/z", "/live/pub/app", "/live/nothing/here",
	}
}

// flood posts 100 pieces of garbage at once.
func flood(t *testing.T, g *harness.Gateway) {
	t.Helper()
	c := harness.NewHTTPClient(t, harness.HTTP1)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			u := g.WHIP(fmt.Sprintf("flood%d", i))
			if i%2 == 0 {
				u = g.WHEP("good")
			}
			r, err := harness.Try(c, http.MethodPost, u, string(random(4096)), "Content-Type", sdpType)
			if err != nil || r.Status != http.StatusBadRequest {
				t.Errorf("garbage %d: %v, status %d", i, err, r.Status)
			}
		})
	}
	wg.Wait()
	c.CloseIdleConnections()
}

// noise sends what is not for them to the media ports.
func noise(t *testing.T, g *harness.Gateway) {
	t.Helper()
	udp, err := net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", g.UDP))
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	binding := append([]byte{0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42}, random(20)...)
	for i := range 300 {
		b := random(1 + i*4)
		switch i % 5 {
		case 1:
			b[0] = 0x80 // looks like RTP
		case 2:
			b[0] = 22 // looks like DTLS
		case 3:
			b = binding[:20+i%9] // STUN, cut anywhere
		case 4:
			b = []byte{}
		}
		_, _ = udp.Write(b) // refusals are welcome
	}
	for i := range 10 {
		tcp, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", g.TCP))
		if err != nil {
			t.Errorf("tcp %d: %v", i, err)
			continue
		}
		// Frames of RFC 4571 with lengths that lie, and plain nonsense.
		_, _ = tcp.Write(append([]byte{0xff, 0xff}, random(100*i)...))
		_ = tcp.Close()
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}
