package tests

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// The test process itself must not leak either: a client that is not closed
// could hide a session the gateway does not end.
func TestMain(m *testing.M) {
	code := m.Run()
	harness.RemoveBinary()
	var err error
	if code == 0 && !harness.Poll(5*time.Second, func() bool { err = goleak.Find(); return err == nil }) {
		fmt.Fprintf(os.Stderr, "the tests leak goroutines: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

// length is how long media flows in the tests that measure loss: 60 s with
// WTN_LONG=1, else short.
func length() time.Duration {
	if os.Getenv("WTN_LONG") == "1" {
		return 60 * time.Second
	}
	return 8 * time.Second
}

// stopAndDrain silences the publisher, waits until every viewer that is still
// connected has the last packet of each kind, and ends them all.
func stopAndDrain(t *testing.T, p *harness.Publisher, viewers ...*harness.Viewer) {
	t.Helper()
	p.Silence()
	for i, v := range viewers {
		if !v.HasEnded() && !harness.Poll(5*time.Second, func() bool { return v.HasEnded() || v.HasLastOf(p) }) {
			t.Errorf("viewer %d of %d did not get the last packet sent", i, len(viewers))
		}
	}
	p.Close()
	for i, v := range viewers {
		v.Close()
		if len(v.Video())+len(v.Audio()) == 0 {
			t.Errorf("viewer %d got nothing", i)
		}
	}
}

// requireIntact checks that a viewer got one unbroken timeline that is, byte
// for byte, what the publisher sent, and returns the numbers of packets.
func requireIntact(t *testing.T, who string, p *harness.Publisher, v *harness.Viewer) (video, audio int) {
	t.Helper()
	check := func(c harness.Codec, sent []harness.SentPacket, got []harness.Packet) int {
		harness.RequireContinuous(t, who, got, harness.Rules{Codec: c})
		if _, _, err := harness.MatchSent(c.MimeType, sent, got); err != nil {
			t.Errorf("%s: %s: %v", who, c.Name(), err)
		}
		return len(got)
	}
	if got := v.Video(); len(got) > 0 {
		video = check(p.VideoCodec(), p.SentVideo(), got)
	}
	if got := v.Audio(); len(got) > 0 {
		audio = check(p.AudioCodec(), p.SentAudio(), got)
	}
	return video, audio
}

// requireDecodableStart checks that the first video frame is one a decoder
// can start with.
func requireDecodableStart(t *testing.T, who string, c harness.Codec, v *harness.Viewer) {
	t.Helper()
	frames := harness.Frames(v.Video())
	if len(frames) == 0 {
		t.Errorf("%s: no video", who)
		return
	}
	if !frames[0].Keyframe(c.MimeType) {
		t.Errorf("%s: the first of %d %s frames is no place to start decoding: %.32x", who, len(frames), c.Name(), frames[0].Packets[0].Payload)
	}
}
