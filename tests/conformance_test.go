package tests

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// Item 4: one kind alone is fine, so are sections of one media stream; those
// of two are not [WHIP-104, 105, 108].
func TestOfferShapes(t *testing.T) {
	httpVersions(t, func(t *testing.T, g *harness.Gateway, c *http.Client) {
		both := g.PublisherOffer(t, harness.PublisherConfig{})
		for _, tt := range []struct {
			name, offer string
			status      int
		}{
			{"audio only", g.PublisherOffer(t, harness.PublisherConfig{NoVideo: true}), 201},
			{"video only", g.PublisherOffer(t, harness.PublisherConfig{NoAudio: true}), 201},
			{"one media stream", msids(t, both, "one", "one"), 201},
			{"two media streams", msids(t, both, "one", "two"), 422},
		} {
			r := harness.PostOffer(t, c, g.WHIP("shapes"), tt.offer)
			if tt.status != 201 {
				requireProblem(t, tt.name, r, tt.status)
				continue
			}
			if r.Status != 201 {
				t.Errorf("%s: %d %s", tt.name, r.Status, r.Body)
				continue
			}
			requireAnswer(t, r.Body, "recvonly")
			if want, got := strings.Count(tt.offer, "\r\nm="), strings.Count(r.Body, "\r\nm="); got != want {
				t.Errorf("%s: %d sections answer %d", tt.name, got, want)
			}
			harness.Do(t, c, "DELETE", r.Header.Get("Location"), "")
		}
	})
}

// msids gives each section of an offer a media stream.
func msids(t *testing.T, sdp string, streams ...string) string {
	t.Helper()
	sections := strings.Split(without(sdp, "a=msid:", "a=ssrc"), "m=")
	if len(sections) != len(streams)+1 {
		t.Fatalf("%d sections in the offer", len(sections)-1)
	}
	for i, s := range streams {
		sections[i+1] += fmt.Sprintf("a=msid:%s track%d\r\n", s, i)
	}
	return strings.Join(sections, "m=")
}

// Items 17 to 20: the fragments of known players, and what is a restart and
// what is not [WHIP-60..76, 80..84; Q-JS-1, 2, 3, 6].
func TestFragmentStyles(t *testing.T) {
	httpVersions(t, func(t *testing.T, g *harness.Gateway, c *http.Client) {
		offer := g.PublisherOffer(t, harness.PublisherConfig{})
		created := harness.PostOffer(t, c, g.WHIP("fragments"), offer)
		if created.Status != 201 {
			t.Fatalf("%d %s", created.Status, created.Body)
		}
		location, etag := created.Header.Get("Location"), created.Header.Get("ETag")
		own := func(name string) string { return regexp.MustCompile(`a=ice-` + name + `:[^\r]*\r\n`).FindString(offer) }
		ice := own("ufrag") + own("pwd")
		ufrag := strings.TrimSpace(strings.TrimPrefix(own("ufrag"), "a=ice-ufrag:"))
		const cand = "a=candidate:1 1 udp 2130706431 192.0.2.7 4444 typ host"
		const fresh = "a=ice-ufrag:%[1]s\r\na=ice-pwd:%[1]s90123456789012345678\r\n"
		for _, tt := range []struct {
			name, match, body string
			restart           bool
		}{
			{"medooze", etag, ice + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n" + cand + "\r\na=end-of-candidates\r\n", false},
			{"Eyevinn", "", "m=audio 9 RTP/AVP 0\r\na=mid:0\r\n" + ice + cand + " generation 0 ufrag " + ufrag + " network-cost 999\r\n", false},
			{"mediamtx reader", "*", ice + "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n" + cand + "\r\nm=application 9 UDP/DTLS/SCTP 0\r\na=mid:2\r\n", false},
			{"star and present ufrag", "*", ice + cand + "\r\n", false},
			{"browser name", etag, "a=candidate:1 1 udp 1 0f6b1a5c-9e1c-4d5c-8a4a-2f3f1b1f0c11.local 9 typ host\r\n", false},
			{"unknown transport", etag, "a=candidate:1 1 sctp 1 192.0.2.7 4444 typ host\r\n", false},
			{"restart, old ufrag in the candidates", "*", fmt.Sprintf(fresh, "newone") + cand + " ufrag " + ufrag + "\r\n", true},
			{"restart with the tag", "current", fmt.Sprintf(fresh, "newtwo"), true},
		} {
			headers := []string{"Content-Type", fragmentType}
			if tt.match == "current" {
				tt.match = etag
			}
			if tt.match != "" {
				headers = append(headers, "If-Match", tt.match)
			}
			r := harness.Do(t, c, "PATCH", location, tt.body, headers...)
			if !tt.restart {
				if r.Status != 204 || r.Body != "" || r.Header.Get("ETag") != "" {
					t.Errorf("%s: %d %q, ETag %q", tt.name, r.Status, r.Body, r.Header.Get("ETag"))
				}
				continue
			}
			now := r.Header.Get("ETag")
			if r.Status != 200 || now == "" || now == etag || !strings.Contains(r.Body, "a=ice-pwd:") {
				t.Errorf("%s: %d %q, ETag %q after %q", tt.name, r.Status, r.Body, now, etag)
			}
			etag = now
		}
		// JSON is refused with 415, and that does not end the session (Q-JS-6).
		requireProblem(t, "JSON", harness.Do(t, c, "PATCH", location, `{"candidate":""}`, "Content-Type", "application/json"), 415)
		requireProblem(t, "garbage", harness.Do(t, c, "PATCH", location, "garbage", "Content-Type", fragmentType, "If-Match", "*"), 400)
		if r := harness.Do(t, c, "DELETE", location, ""); r.Status != 200 {
			t.Errorf("DELETE: %d", r.Status)
		}
		requireProblem(t, "PATCH after the end", harness.Do(t, c, "PATCH", location, cand+"\r\n", "Content-Type", fragmentType), 404)
	})
}

// Item 15: with strict_etags a PATCH without If-Match is refused [WHIP-66].
func TestStrictETags(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{Handler: "strict_etags"})
	offer := g.PublisherOffer(t, harness.PublisherConfig{})
	for _, v := range []harness.HTTPVersion{harness.H2C, harness.HTTP1} {
		c := harness.NewHTTPClient(t, v)
		r := harness.PostOffer(t, c, g.WHIP("strict"+v.String()), offer)
		patch := func(headers ...string) harness.Reply {
			return harness.Do(t, c, "PATCH", r.Header.Get("Location"), "a=end-of-candidates\r\n", append(headers, "Content-Type", fragmentType)...)
		}
		requireProblem(t, "without If-Match", patch(), 428)
		requireProblem(t, "stale", patch("If-Match", `"stale"`), 412)
		if got := patch("If-Match", r.Header.Get("ETag")); got.Status != 204 {
			t.Errorf("%s: with the tag: %d %s", v, got.Status, got.Body)
		}
		harness.Do(t, c, "DELETE", r.Header.Get("Location"), "")
	}
}

// Item 40: a viewer's packets carry the header extensions of its own answer
// and no others, the mid of its own section, and no rid [RTP-07, 21, 24].
func TestHeaderExtensionsOfALeg(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	p := g.Publish(t, "extensions", harness.PublisherConfig{Bitrate: 300_000})
	var mu sync.Mutex
	var headers []rtp.Header
	v := g.View(t, "extensions", harness.ViewerConfig{Lose: func(b []byte) bool {
		var h rtp.Header
		if _, err := h.Unmarshal(b); err == nil { // the header is in the clear
			mu.Lock()
			headers = append(headers, cloned(h))
			mu.Unlock()
		}
		return false
	}})
	v.AwaitVideo(t, 50, 10*time.Second)
	v.AwaitAudio(t, 20, 10*time.Second)
	stopAndDrain(t, p, v)
	mu.Lock()
	defer mu.Unlock()
	for _, section := range strings.Split(v.Answer(), "\r\nm=")[1:] {
		requireExtensions(t, section, headers)
	}
}

// cloned is h with extensions that outlive the packet.
func cloned(h rtp.Header) rtp.Header {
	out := rtp.Header{PayloadType: h.PayloadType, ExtensionProfile: h.ExtensionProfile}
	for _, id := range h.GetExtensionIDs() {
		out.Extension = true
		if err := out.SetExtension(id, slices.Clone(h.GetExtension(id))); err != nil {
			panic(err) // what was parsed can be set
		}
	}
	return out
}

var extmapLine = regexp.MustCompile(`a=extmap:(\d+)\S* (\S+)`)

func requireExtensions(t *testing.T, section string, headers []rtp.Header) {
	t.Helper()
	head := strings.Fields(strings.SplitN(section, "\r\n", 2)[0])
	uris := map[uint8]string{}
	for _, m := range extmapLine.FindAllStringSubmatch(section, -1) {
		id, _ := strconv.Atoi(m[1])
		uris[uint8(id)] = m[2]
		if strings.Contains(m[2], "stream-id") {
			t.Errorf("%s: a viewer is offered %s", head[0], m[2])
		}
	}
	mid := regexp.MustCompile(`a=mid:(\S+)`).FindStringSubmatch(section)[1]
	n := 0
	for _, h := range headers {
		if !slices.Contains(head[3:], strconv.Itoa(int(h.PayloadType))) {
			continue
		}
		n++
		for _, id := range h.GetExtensionIDs() {
			switch value := h.GetExtension(id); {
			case uris[id] == "":
				t.Fatalf("%s: a packet has extension %d, which the answer does not have: %x", head[0], id, value)
			case strings.HasSuffix(uris[id], "sdes:mid") && string(value) != mid:
				t.Fatalf("%s: mid %q in a packet, the section's is %q", head[0], value, mid)
			}
		}
	}
	if n == 0 {
		t.Errorf("no packets of section %v", head)
	}
}

// Item 42: an Opus publisher that sends nothing for 10 s, as DTX permits, is
// not declared dead while its consent lives, and its viewers hear it again [RTP-71].
func TestSilentPublisherLives(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	p := g.PublishThinned(t, "radio", harness.PublisherConfig{NoVideo: true})
	v := g.View(t, "radio", harness.ViewerConfig{NoVideo: true})
	v.AwaitAudio(t, 50, 10*time.Second)
	p.Thin(0, 0)
	harness.Stays(t, 10*time.Second, "publisher and viewer are connected during the silence", func() bool {
		return !p.HasEnded() && !v.HasEnded()
	})
	c := harness.NewHTTPClient(t, harness.HTTP1)
	if r := harness.Do(t, c, "GET", p.Location(), ""); r.Status/100 != 2 {
		t.Errorf("the session of the silent publisher: %d", r.Status)
	}
	heard := len(v.Audio())
	p.Thin(1, 1)
	v.AwaitAudio(t, heard+50, 5*time.Second)
	stopAndDrain(t, p.Publisher, v)
	requireIntact(t, "listener", p.Publisher, v)
}

// Item 43, its second half: without a GOP cache and from a publisher that
// takes no notice of PLI, a late viewer starts with the next key frame [RTP-36].
func TestLateJoinerWithoutCache(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{App: "gop_cache off"})
	p := g.Publish(t, "show", harness.PublisherConfig{IgnorePLI: true, KeyframeEvery: 2 * time.Second, Bitrate: 300_000})
	warm := g.View(t, "show", harness.ViewerConfig{})
	warm.AwaitVideo(t, 30, 10*time.Second)
	late := g.View(t, "show", harness.ViewerConfig{})
	late.AwaitVideo(t, 30, 5*time.Second)
	if join := late.Video()[0].Arrival.Sub(late.Started); join > 3*time.Second {
		t.Errorf("the first picture came %s after the POST, with a key frame every 2s", join)
	}
	stopAndDrain(t, p, warm, late)
	requireDecodableStart(t, "late viewer", p.VideoCodec(), late)
	requireIntact(t, "late viewer", p, late)
}
