package harness

import (
	"slices"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
)

// record is 4 s of one source: 30 frames/s, a key frame each second.
func record(t *testing.T, c Codec) []Packet {
	t.Helper()
	enc := newEncoder(t, c, 5, Picture{640, 360})
	start := time.Unix(1_700_000_000, 0)
	var out []Packet
	seq, ts0 := uint16(0xfff0), uint32(0xffff8000)
	for k := range 120 {
		payloads := enc.frame(k%30 == 0, 5000)
		for i, p := range payloads {
			out = append(out, Packet{
				Arrival: start.Add(time.Duration(k) * time.Second / 30), Seq: seq, TS: ts0 + uint32(k*3000),
				SSRC: 7, PT: 100, Marker: i == len(payloads)-1, Payload: slices.Clone(p),
			})
			seq++
		}
	}
	return out
}

var videoCodecs = []Codec{H264, H264Profile(103, "42e01f", 0), H265, VP8, VP9, AV1}

func TestDecodableFramesOfAnIntactRecord(t *testing.T) {
	for _, c := range videoCodecs {
		t.Run(c.Name(), func(t *testing.T) {
			frames := DecodableFrames(c.MimeType, record(t, c))
			if len(frames) != 120 {
				t.Fatalf("%d of 120 frames are decodable", len(frames))
			}
			for k, f := range frames {
				if f.Key != (k%30 == 0) || !f.Stamped || f.Source != 5 || k > 0 && f.First != frames[k-1].Last+1 {
					t.Fatalf("frame %d is %+v", k, f)
				}
			}
		})
	}
}

// After a loss nothing is decodable until the next key frame, whether the
// sequence numbers show it or not.
func TestDecodableFramesAfterLoss(t *testing.T) {
	for _, c := range videoCodecs {
		for _, closed := range []bool{false, true} {
			for _, part := range []string{"packet", "frame"} {
				pkts := record(t, c)
				f := Frames(pkts)[40]
				from, n := f.First+1, 1
				if part == "frame" {
					from, n = f.First, len(f.Packets)
				}
				pkts = slices.Delete(pkts, from, from+n)
				if closed {
					for i := range pkts {
						pkts[i].Seq = uint16(i)
					}
				}
				frames := DecodableFrames(c.MimeType, pkts)
				if len(frames) != 100 || frames[39].Key || !frames[40].Key {
					t.Errorf("%s, a %s lost, gaps closed: %t: %d frames are decodable, want 100 (40 to 59 are not)", c.Name(), part, closed, len(frames))
				}
			}
		}
	}
}

// A packet that comes late holds up its own frame and those after it.
func TestDecodableFramesWaitForLatePackets(t *testing.T) {
	pkts := record(t, H264)
	f := Frames(pkts)[10]
	late := pkts[f.First+1]
	pkts = slices.Delete(pkts, f.First+1, f.First+2)
	late.Arrival = late.Arrival.Add(100 * time.Millisecond)
	i := slices.IndexFunc(pkts, func(p Packet) bool { return p.Arrival.After(late.Arrival) })
	pkts = slices.Insert(pkts, i, late, late) // and twice
	frames := DecodableFrames(H264.MimeType, pkts)
	if len(frames) != 120 {
		t.Fatalf("%d of 120 frames are decodable", len(frames))
	}
	for k := 10; k <= 13; k++ {
		if !frames[k].At.Equal(late.Arrival) {
			t.Errorf("frame %d is decodable %s after the late packet", k, frames[k].At.Sub(late.Arrival))
		}
	}
	g := largestGap(times(frames), frames[5].At, frames[119].At)
	if want := late.Arrival.Sub(frames[9].At); g.Length() != want || g.Open {
		t.Errorf("the largest gap is %s, want %s", g, want)
	}
}

func times(frames []DecodableFrame) (out []time.Time) {
	for _, f := range frames {
		out = append(out, f.At)
	}
	return out
}

func TestDecodableFramesNeedAKeyFrame(t *testing.T) {
	for _, c := range videoCodecs {
		pkts := record(t, c)
		pkts = pkts[Frames(pkts)[3].First:]
		frames := DecodableFrames(c.MimeType, pkts)
		if len(frames) != 90 || !frames[0].Key {
			t.Errorf("%s: %d frames are decodable, want the 90 from the key frame on", c.Name(), len(frames))
		}
	}
	if got := DecodableFrames(webrtc.MimeTypeH264, nil); len(got) != 0 {
		t.Errorf("%d frames of nothing", len(got))
	}
}

func TestLargestGap(t *testing.T) {
	at := func(ms ...int) (out []time.Time) {
		for _, m := range ms {
			out = append(out, time.UnixMilli(int64(m)))
		}
		return out
	}
	for _, c := range []struct {
		name             string
		times            []int
		from, to         int
		wantFrom, wantTo int
		open             bool
	}{
		{"around the event", []int{0, 30, 60, 400, 430}, 70, 450, 60, 400, false},
		{"one in flight after the event", []int{0, 30, 60, 75, 400, 430}, 70, 450, 75, 400, false},
		{"gaps before do not count", []int{0, 1000, 1030, 1060}, 1040, 1070, 1030, 1060, false},
		{"goes on at the end of the window", []int{0, 30, 60}, 50, 1000, 60, 1000, true},
		{"what comes after the window is not waited for", []int{0, 30, 2000}, 40, 1000, 30, 1000, true},
		{"nothing at all", nil, 40, 1000, 40, 1000, true},
	} {
		g := largestGap(at(c.times...), time.UnixMilli(int64(c.from)), time.UnixMilli(int64(c.to)))
		want := Gap{time.UnixMilli(int64(c.wantFrom)), time.UnixMilli(int64(c.wantTo)), c.open}
		if g != want {
			t.Errorf("%s: %+v, want %+v", c.name, g, want)
		}
	}
}
