package slate

import (
	"bytes"
	"encoding/binary"
	"os/exec"
	"strings"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4/pkg/media/oggwriter"

	"github.com/talwtn/caddy-wtn/relay/internal/payload"
)

func TestSilenceOf(t *testing.T) {
	for codec, size := range map[string]int{payload.Opus: 3, payload.PCMU: 160, payload.PCMA: 160, payload.G722: 160} {
		got, ok := SilenceOf(codec)
		if !ok || len(got) != size || cap(got) != size {
			t.Errorf("%s: %d bytes, room for %d", codec, len(got), cap(got))
		}
	}
	if got, ok := SilenceOf(payload.VP8); ok || got != nil {
		t.Error("there is silence in VP8")
	}
	if got, _ := SilenceOf(payload.Opus); !bytes.Equal(got, Silence()) {
		t.Error("Opus has two kinds of silence")
	}
	if n := testing.AllocsPerRun(100, func() { SilenceOf(payload.PCMU); Silence() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// loudest decodes and returns the largest sample, of which 32768 is full scale.
func loudest(t *testing.T, data []byte, skip int, args string) (peak int) {
	t.Helper()
	cmd := exec.Command(ffmpeg(t), strings.Fields("-v error "+args+" -i - -f s16le -")...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil || len(out) < 2*skip+2*8000 {
		t.Fatalf("%s: %d bytes, %v", args, len(out), err)
	}
	for b := out[2*skip:]; len(b) > 1; b = b[2:] {
		v := int(int16(binary.LittleEndian.Uint16(b)))
		peak = max(peak, v, -v)
	}

	return peak
}

// TestSilenceIsSilent decodes a second of it, for G.722 after a second of noise
// as well, because it is adaptive.
func TestSilenceIsSilent(t *testing.T) {
	second := func(codec string) []byte {
		b, _ := SilenceOf(codec)
		return bytes.Repeat(b, 50)
	}
	if peak := loudest(t, second(payload.PCMU), 0, "-f mulaw -ar 8000"); peak != 0 {
		t.Errorf("PCMU: %d", peak)
	}
	if peak := loudest(t, second(payload.PCMA), 0, "-f alaw -ar 8000"); peak > 8 {
		t.Errorf("PCMA: %d", peak)
	}
	if peak := loudest(t, second(payload.G722), 0, "-f g722"); peak > 8 {
		t.Errorf("G722: %d", peak)
	}

	noise := make([]byte, 8000)
	for i := range noise {
		noise[i] = byte(i * i >> 3)
	}
	const settle = 320 // 20 ms
	if peak := loudest(t, append(noise, second(payload.G722)...), 16000+settle, "-f g722"); peak > 66 {
		t.Errorf("G722 after noise: %d", peak)
	}

	for _, channels := range []uint16{1, 2} {
		var file bytes.Buffer
		w, err := oggwriter.NewWith(&file, 48000, channels)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			p := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: uint16(i), Timestamp: uint32(i) * 960}, Payload: Silence()}
			if err := w.WriteRTP(p); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if peak := loudest(t, file.Bytes(), 0, "-f ogg"); peak != 0 {
			t.Errorf("opus, %d channels: %d", channels, peak)
		}
	}
}
