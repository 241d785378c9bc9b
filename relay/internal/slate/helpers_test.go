package slate

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pion/rtp/codecs"

	"github.com/talwtn/caddy-wtn/relay/internal/payload"
)

var videoCodecs = []string{payload.H264, payload.H265, payload.VP8, payload.VP9, payload.AV1}

// files are those of the built-in pictures.
var files = map[string]string{
	payload.H264: "default.h264",
	payload.H265: "default.h265",
	payload.VP8:  "default.vp8.ivf",
	payload.VP9:  "default.vp9.ivf",
	payload.AV1:  "default.av1.ivf",
}

func asset(t testing.TB, codec string) []byte {
	t.Helper()
	data, err := assets.ReadFile("assets/" + files[codec])
	if err != nil {
		t.Fatal(err)
	}

	return data
}

// ivf writes a file of 25 pictures per second.
func ivf(fourcc string, frames ...[]byte) []byte {
	b := append([]byte("DKIF\x00\x00\x20\x00"), fourcc...)
	b = binary.LittleEndian.AppendUint32(b, 360<<16|640)
	b = binary.LittleEndian.AppendUint32(b, 25)
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = append(b, make([]byte, 8)...)
	for i, f := range frames {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(f)))
		b = binary.LittleEndian.AppendUint64(b, uint64(i))
		b = append(b, f...)
	}

	return b
}

// pictures takes an IVF file apart, and nals an Annex B file, each in another way
// than the package does.
func pictures(t testing.TB, file []byte) (list [][]byte) {
	t.Helper()
	for b := file[32:]; len(b) > 0; {
		n := int(binary.LittleEndian.Uint32(b))
		list = append(list, b[12:12+n])
		b = b[12+n:]
	}

	return list
}

func nals(data []byte) (list [][]byte) {
	data = bytes.ReplaceAll(data, []byte{0, 0, 0, 1}, []byte{0, 0, 1})
	for _, nal := range bytes.Split(data, []byte{0, 0, 1}) {
		if len(nal) > 0 {
			list = append(list, nal)
		}
	}

	return list
}

// receive puts the payloads of one picture together again, as a viewer does.
func receive(t testing.TB, codec string, payloads [][]byte) (data []byte) {
	t.Helper()
	var d interface {
		Unmarshal([]byte) ([]byte, error)
	}
	switch codec {
	case payload.H264:
		d = &codecs.H264Packet{}
	case payload.H265:
		d = &codecs.H265Depacketizer{}
	case payload.VP8:
		d = &codecs.VP8Packet{}
	case payload.VP9:
		d = &codecs.VP9Packet{}
	case payload.AV1:
		d = &codecs.AV1Depacketizer{}
	}
	for _, p := range payloads {
		part, err := d.Unmarshal(p)
		if err != nil {
			t.Fatalf("%s: %v", codec, err)
		}
		data = append(data, part...)
	}

	return data
}

// received plays n pictures and returns the file that a viewer could store.
func received(t testing.TB, codec string, p *Player, n int) []byte {
	t.Helper()
	var list [][]byte
	for range n {
		payloads, _, _ := p.Next()
		list = append(list, receive(t, codec, payloads))
	}
	switch codec {
	case payload.VP8:
		return ivf("VP80", list...)
	case payload.VP9:
		return ivf("VP90", list...)
	case payload.AV1:
		for i := range list {
			list[i] = append([]byte{0x12, 0}, list[i]...) // the delimiter is not sent
		}
		return ivf("AV01", list...)
	default:
		return bytes.Join(list, nil)
	}
}

func ffmpeg(t *testing.T) string {
	t.Helper()
	tool, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("SKIPPED: ffmpeg is not installed: nothing was encoded or decoded")
	}

	return tool
}

// luma decodes a file to the brightness of its pixels. ffmpeg must not complain.
func luma(t *testing.T, file string) []byte {
	t.Helper()
	var complaints bytes.Buffer
	cmd := exec.Command(ffmpeg(t), "-nostdin", "-v", "error", "-err_detect", "explode", "-i", file,
		"-vsync", "passthrough", "-vf", "format=yuv420p,extractplanes=y", "-f", "rawvideo", "-")
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil || complaints.Len() > 0 {
		t.Fatalf("%s: %v: %s", filepath.Base(file), err, complaints.Bytes())
	}

	return out
}

func store(t testing.TB, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}

	return file
}
