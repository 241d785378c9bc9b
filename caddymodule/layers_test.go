package caddymodule

import (
	"encoding/binary"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

var testRIDs = []string{"h", "m", "l"}

// newSimulcaster publishes VP8 in three layers, all key frames, until the test
// ends. Their sizes are 900, 600 and 300.
func newSimulcaster(s *site, path string) *client {
	s.t.Helper()
	var tracks []*webrtc.TrackLocalStaticRTP
	var sender *webrtc.RTPSender
	c := newPeerOf(s, func(c *client) error {
		for _, rid := range testRIDs {
			tr, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}, "v", "s", webrtc.WithRTPStreamID(rid))
			if err != nil {
				return err
			}
			if tracks = append(tracks, tr); len(tracks) == 1 {
				sender, err = c.pc.AddTrack(tr)
			} else {
				err = sender.AddEncoding(tr)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	c.post(s, path)
	c.wait(c.connected, "connection")
	ids := map[string]uint8{}
	for _, e := range sender.GetParameters().HeaderExtensions {
		ids[e.URI] = uint8(e.ID)
	}
	quit, done := make(chan struct{}), make(chan struct{})
	s.t.Cleanup(func() { close(quit); <-done })
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := uint16(0); ; n++ {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			for i, tr := range tracks {
				size := uint16(300 * (3 - i))
				pay := append([]byte{0x10, 0, 0, 0, 0x9d, 1, 0x2a}, make([]byte, 200)...)
				binary.LittleEndian.PutUint16(pay[7:], size)
				binary.LittleEndian.PutUint16(pay[9:], size)
				p := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: n, Timestamp: uint32(n) * 1800, Marker: true}, Payload: pay}
				_ = p.SetExtension(ids["urn:ietf:params:rtp-hdrext:sdes:mid"], []byte("0"))
				_ = p.SetExtension(ids["urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"], []byte(testRIDs[i]))
				_ = tr.WriteRTP(p)
			}
		}
	}()
	return c
}

// newWatcher plays and tells the size of each picture.
func newWatcher(s *site, path string) (*client, chan int) {
	s.t.Helper()
	sizes := make(chan int, 4096)
	c := newPeerOf(s, func(c *client) error {
		c.pc.OnTrack(func(tr *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
			for {
				p, _, err := tr.ReadRTP()
				if err != nil {
					return
				}
				if len(p.Payload) > 10 {
					sizes <- int(binary.LittleEndian.Uint16(p.Payload[7:]))
				}
			}
		})
		_, err := c.pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		return err
	})
	c.post(s, path)
	return c, sizes
}

func awaitSize(t *testing.T, sizes <-chan int, want int) {
	t.Helper()
	for deadline := time.After(10 * time.Second); ; {
		select {
		case got := <-sizes:
			if got == want {
				return
			}
		case <-deadline:
			t.Fatalf("no picture of %d", want)
		}
	}
}

// Item 25 [WHEP-72, WHEP-80..84]: what there is to choose from, and the choice.
func TestWHEPLayers(t *testing.T) {
	s := newSite(t)
	s.mustLoad(localMedia, "wtn")
	p := newSimulcaster(s, "/whip/room")
	if !strings.Contains(p.answer, "a=simulcast:recv h;m;l") {
		t.Fatalf("no simulcast in\n%s", p.answer)
	}
	v, sizes := newWatcher(s, "/whep/room")
	if strings.Contains(v.answer, "a=rid") || strings.Contains(v.answer, "simulcast") {
		t.Errorf("a viewer is told of layers in\n%s", v.answer)
	}
	awaitSize(t, sizes, 900)
	layer := links(v.header)[relLayer]
	choose := func(body string, want, size int) {
		t.Helper()
		status, _, reply := send(t, "POST", layer, body, "Content-Type", "application/json")
		if status != want {
			t.Errorf("%s: %d %s", body, status, reply)
		}
		if size > 0 {
			awaitSize(t, sizes, size)
		}
	}
	choose(`{"mediaId":"0","rid":"l"}`, 200, 300)
	choose(`{"mediaId":"0"}`, 200, 900)
	choose(`{"mediaId":"0","encodingId":"m"}`, 200, 600)
	choose(`{}`, 200, 900)
	choose(`{"spatialLayerId":0}`, 200, 300)
	choose(`{"spatialLayerId":2}`, 200, 900)
	choose(`{"maxSpatialLayerId":1}`, 200, 600)
	choose(`{"maxWidth":500}`, 200, 300)
	choose(`{"maxHeight":600}`, 200, 600)
	choose(`{"rid":"x"}`, 404, 0)
	choose(`{"encodingId":"x"}`, 404, 0)
	choose(`{"spatialLayerId":3}`, 404, 0)
	choose(`{"spatialLayerId":-1}`, 404, 0)
	choose(`{"mediaId":"1","rid":"l"}`, 404, 0)
	choose(`{"rid":"l","temporalLayerId":1}`, 404, 0)

	_, header, _ := send(t, "POST", links(v.header)[relEvents], `["layers"]`, "Content-Type", "application/json")
	follow(t, header.Get("Location")).until("layers", `{"rid":"m","spatialLayerId":1,"bitrate":`)
}

// Item 26 [WTN-21, WTN-41]: the layer a WTN client asks for.
func TestWTNLayers(t *testing.T) {
	s := newSite(t)
	s.mustLoad(localMedia, "wtn")
	p := newSimulcaster(s, "/pub/app/room")
	v, sizes := newWatcher(s, "/sub/app/room?RID=l")
	for range 10 {
		if got := <-sizes; got != 300 {
			t.Fatalf("a picture of %d, before the layer that was asked for", got)
		}
	}
	configure := func(url, body string, status int, text string) {
		t.Helper()
		if got, _, reply := send(t, "POST", url, body, "Content-Type", "application/json"); got != status || reply != text {
			t.Errorf("%s: %d %q, want %d %q", body, got, reply, status, text)
		}
	}
	configure(v.url, `{"RID":"m"}`, http.StatusOK, "")
	awaitSize(t, sizes, 600)
	configure(v.url, `{"RID":"x","MuteVideo":true}`, http.StatusBadRequest, "Invalid RID")
	configure(v.url, `{"MuteAudio":true}`, http.StatusOK, "")
	for range 10 {
		if got := <-sizes; got != 600 {
			t.Fatalf("a picture of %d, after what changes no layer", got)
		}
	}
	configure(v.url, `{"RID":""}`, http.StatusOK, "")
	awaitSize(t, sizes, 900)
	configure(p.url, `{"RID":"m"}`, http.StatusBadRequest, "Invalid RID")
	w := newPeerOf(s, func(c *client) error {
		_, err := c.pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		return err
	})
	if status, _, body := send(t, "POST", s.url("/sub/app/room?RID=x"), w.local(nil), "Content-Type", "application/sdp"); status != http.StatusBadRequest || body != "Invalid RID" {
		t.Errorf("an unknown RID: %d %q", status, body)
	}
}
