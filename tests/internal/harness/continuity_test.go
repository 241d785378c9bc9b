package harness

import (
	"slices"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
)

// timeline makes a good record: 30 frames/s over 4 s, sequence numbers and
// timestamps that wrap, a switch of source at a key frame half way.
func timeline(t *testing.T, c Codec) []Packet {
	t.Helper()
	a := newEncoder(t, c, 1, Picture{640, 360})
	b := newEncoder(t, c, 2, Picture{1280, 720})
	start := time.Unix(1_700_000_000, 0)
	var out []Packet
	seq, ts0 := uint16(0xfff0), uint32(0xffff8000)
	step := time.Second / 30
	if c.Kind == webrtc.RTPCodecTypeAudio {
		step = audioFrame
	}
	frames := int(4 * time.Second / step)
	for k := range frames {
		at := time.Duration(k) * step
		enc, key := a, k == 0
		if k >= frames/2 {
			enc, key = b, k == frames/2
		}
		payloads := enc.frame(key, 5000)
		for i, p := range payloads {
			out = append(out, Packet{
				Arrival: start.Add(at), Seq: seq, TS: ts0 + uint32(at*time.Duration(c.ClockRate)/time.Second),
				SSRC: 0x1234, PT: 100, Marker: c.Kind == webrtc.RTPCodecTypeVideo && i == len(payloads)-1,
				Payload: slices.Clone(p),
			})
			seq++
		}
	}
	if c.MimeType == webrtc.MimeTypeVP8 {
		renumberVP8(out)
	}
	return out
}

// renumberVP8 gives the record picture ids that go on across the switch and wrap.
func renumberVP8(pkts []Packet) {
	id, tl0 := uint16(0x7fe0), uint8(0xf0)
	for _, f := range Frames(pkts) {
		for _, p := range f.Packets {
			p.Payload[2], p.Payload[3], p.Payload[4] = 0x80|byte(id>>8), byte(id), tl0
		}
		id, tl0 = (id+1)&0x7fff, tl0+1
	}
}

var allCodecs = []Codec{H264, H264Profile(103, "42e01f", 0), H265, VP8, VP9, AV1, Opus, PCMU, PCMA, G722}

func TestCheckAcceptsGoodTimelines(t *testing.T) {
	for _, c := range allCodecs {
		t.Run(c.Name(), func(t *testing.T) {
			for _, v := range Check(timeline(t, c), Rules{Codec: c}) {
				t.Error(v)
			}
		})
	}
}

// Each kind of damage is found, and is called by its name.
func TestCheckFindsDamage(t *testing.T) {
	at := func(pkts []Packet, frame int) *Packet { return &pkts[Frames(pkts)[frame].First] }
	after := func(pkts []Packet, frame int, change func(*Packet)) []Packet {
		for i := Frames(pkts)[frame].First; i < len(pkts); i++ {
			change(&pkts[i])
		}
		return pkts
	}
	swap := func(pkts []Packet, i int) []Packet {
		pkts[i], pkts[i+1] = pkts[i+1], pkts[i]
		return pkts
	}
	tests := []struct {
		name   string
		codec  Codec
		damage func([]Packet) []Packet
		want   Fault
	}{
		{"new ssrc", H264, func(p []Packet) []Packet { return after(p, 40, func(p *Packet) { p.SSRC++ }) }, FaultSSRC},
		{"one packet of another ssrc", Opus, func(p []Packet) []Packet { at(p, 50).SSRC++; return p }, FaultSSRC},
		{"new payload type", H264, func(p []Packet) []Packet { return after(p, 40, func(p *Packet) { p.PT++ }) }, FaultPT},
		{"lost packet", H264, func(p []Packet) []Packet { return slices.Delete(p, 101, 102) }, FaultGap},
		{"lost packet at the wrap", H264, func(p []Packet) []Packet { return slices.Delete(p, 16, 17) }, FaultGap},
		{"sequence jump", Opus, func(p []Packet) []Packet { return after(p, 75, func(p *Packet) { p.Seq += 5000 }) }, FaultGap},
		{"sequence restarts", Opus, func(p []Packet) []Packet { return after(p, 75, func(p *Packet) { p.Seq -= 3000 }) }, FaultReorder},
		{"reordered", H264, func(p []Packet) []Packet { return swap(p, 100) }, FaultReorder},
		{"duplicate", H264, func(p []Packet) []Packet { return slices.Insert(p, 101, p[100]) }, FaultDuplicate},
		{"late duplicate", H264, func(p []Packet) []Packet { return slices.Insert(p, 150, p[100]) }, FaultDuplicate},
		{"timestamp backwards", H264, func(p []Packet) []Packet { return after(p, 45, func(p *Packet) { p.TS -= 90000 }) }, FaultBackwards},
		{"timestamp jumps ahead", H264, func(p []Packet) []Packet { return after(p, 75, func(p *Packet) { p.TS += 90000 }) }, FaultPace},
		{"timestamp jumps early", H264, func(p []Packet) []Packet { return after(p, 40, func(p *Packet) { p.TS += 90000 }) }, FaultPace},
		{"clock a fifth too fast", Opus, func(p []Packet) []Packet {
			for i := range p {
				p[i].TS += uint32(i * 960 / 5)
			}
			return p
		}, FaultPace},
		{"timestamp jumps far", Opus, func(p []Packet) []Packet { return after(p, 120, func(p *Packet) { p.TS += 48000 * 100 }) }, FaultPace},
		{"a gap in time that the timestamp hides", VP8, func(p []Packet) []Packet {
			return after(p, 45, func(p *Packet) { p.Arrival = p.Arrival.Add(time.Second) })
		}, FaultPace},
		{"two frames with one timestamp", H264, func(p []Packet) []Packet {
			f := Frames(p)
			for i := range f[41].Packets {
				p[f[41].First+i].TS = p[f[40].First].TS
			}
			return p
		}, FaultMerged},
		{"two audio packets with one timestamp", Opus, func(p []Packet) []Packet { p[60].TS = p[59].TS; return p }, FaultMerged},
		{"marker lost", H264, func(p []Packet) []Packet { p[Frames(p)[41].First-1].Marker = false; return p }, FaultMarker},
		{"marker too early", H264, func(p []Packet) []Packet { at(p, 40).Marker = true; return p }, FaultMerged},
		{"picture id jumps", VP8, func(p []Packet) []Packet {
			return after(p, 45, func(p *Packet) { p.Payload[3] ^= 0x55 })
		}, FaultPictureID},
		{"picture id in 7 bits all at once", VP8, func(p []Packet) []Packet {
			return after(p, 45, func(p *Packet) {
				p.Payload = append([]byte{p.Payload[0], p.Payload[1], p.Payload[3] & 0x7f}, p.Payload[4:]...)
			})
		}, FaultPictureID},
		{"picture id changes inside a frame", VP8, func(p []Packet) []Packet {
			p[Frames(p)[40].First+1].Payload[3]++
			return p
		}, FaultPictureID},
		{"picture id missing", VP8, func(p []Packet) []Packet {
			pk := at(p, 40)
			pk.Payload = append([]byte{0x10}, pk.Payload[6:]...)
			return p
		}, FaultPictureID},
		{"tl0picidx jumps", VP8, func(p []Packet) []Packet { return after(p, 45, func(p *Packet) { p.Payload[4] += 7 }) }, FaultTL0},
		{"old source comes back", H264, func(p []Packet) []Packet {
			f := Frames(p)
			for i := range f[70].Packets {
				pl := p[f[70].First+i].Payload
				stamp(pl, 1, 9999)
			}
			return p
		}, FaultMixed},
		{"sources in one frame", H264, func(p []Packet) []Packet {
			stamp(p[Frames(p)[70].First].Payload, 1, 9999)
			return p
		}, FaultMixed},
		{"nothing", H264, func([]Packet) []Packet { return nil }, FaultEmpty},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			requireFault(t, Check(tt.damage(timeline(t, tt.codec)), Rules{Codec: tt.codec}), tt.want)
		})
	}
}

// A switch of source ahead of the new source's key frame is found for every codec.
func TestCheckFindsSwitchWithoutKeyframe(t *testing.T) {
	for _, c := range allCodecs {
		if c.Kind == webrtc.RTPCodecTypeAudio {
			continue
		}
		t.Run(c.Name(), func(t *testing.T) {
			pkts := timeline(t, c)
			frames := Frames(pkts)
			mid := slices.IndexFunc(frames, func(f Frame) bool { s, _, _ := f.Source(); return s == 2 })
			cut := slices.Delete(slices.Clone(pkts), frames[mid].First, frames[mid+1].First)
			requireFault(t, Check(cut, Rules{Codec: c}), FaultSwitch)
		})
	}
}

// Without its parameter sets an IDR picture is no place to begin.
func TestKeyframeNeedsParameterSets(t *testing.T) {
	for _, c := range []Codec{H264, H265} {
		f := Frames(timeline(t, c))[0]
		if !f.Keyframe(c.MimeType) {
			t.Errorf("%s: the key frame is not seen as one", c.Name())
		}
		f.Packets = f.Packets[1:]
		if f.Keyframe(c.MimeType) {
			t.Errorf("%s: an IDR picture without parameter sets passes as a start", c.Name())
		}
	}
}

// A frame cut off by the death of its source is permitted where asked for,
// and nowhere else.
func TestTornFrame(t *testing.T) {
	pkts := timeline(t, H264)
	frames := Frames(pkts)
	mid := slices.IndexFunc(frames, func(f Frame) bool { s, _, _ := f.Source(); return s == 2 })
	tear := func(frame int) []Packet {
		end := frames[frame].First + len(frames[frame].Packets) - 1
		out := slices.Delete(slices.Clone(pkts), end, end+1)
		for i := end; i < len(out); i++ {
			out[i].Seq--
		}
		return out
	}
	if vs := Check(tear(mid-1), Rules{Codec: H264, TornAtSwitch: true}); len(vs) > 0 {
		t.Errorf("a torn frame at the switch is not permitted: %v", vs)
	}
	requireFault(t, Check(tear(mid-1), Rules{Codec: H264}), FaultMarker)
	requireFault(t, Check(tear(mid-3), Rules{Codec: H264, TornAtSwitch: true}), FaultMarker)
}

// A machine that stalls makes packets late and then catches up: no fault.
func TestStallIsNoFault(t *testing.T) {
	pkts := timeline(t, H264)
	until := pkts[0].Arrival.Add(2200 * time.Millisecond)
	for i := range pkts {
		if at := pkts[i].Arrival; at.After(until.Add(-700*time.Millisecond)) && at.Before(until) {
			pkts[i].Arrival = until
		}
	}
	if vs := Check(pkts, Rules{Codec: H264}); len(vs) > 0 {
		t.Errorf("a stall of 700ms: %v", vs)
	}
}

func requireFault(t *testing.T, vs []Violation, want Fault) {
	t.Helper()
	if !slices.ContainsFunc(vs, func(v Violation) bool { return v.Fault == want }) {
		t.Fatalf("want %q, found %v", want, vs)
	}
}

func TestMatchSent(t *testing.T) {
	for _, c := range []Codec{H264, VP8, VP9, AV1, Opus} {
		pkts := timeline(t, c)
		var sent []SentPacket
		for _, p := range pkts {
			sent = append(sent, SentPacket{p.Arrival, p.TS, p.Marker, slices.Clone(p.Payload)})
		}
		got := slices.Clone(pkts[20:])
		if from, to, err := MatchSent(c.MimeType, sent, got); err != nil || from != 20 || to != len(pkts) {
			t.Errorf("%s: %d to %d, %v", c.Name(), from, to, err)
		}
		damages := map[string]func([]Packet) []Packet{
			"one byte changed": func(p []Packet) []Packet {
				b := slices.Clone(p[5].Payload)
				b[len(b)-20] ^= 1
				p[5].Payload = b
				return p
			},
			"one packet missing":   func(p []Packet) []Packet { return slices.Delete(p, 10, 11) },
			"marker changed":       func(p []Packet) []Packet { p[7].Marker = !p[7].Marker; return p },
			"timestamp changed":    func(p []Packet) []Packet { p[len(p)-9].TS++; return p },
			"more than sent":       func(p []Packet) []Packet { return append(slices.Clone(pkts[20:]), p[0]) },
			"from somebody else":   func(p []Packet) []Packet { return []Packet{{Payload: make([]byte, 50)}} },
			"nothing":              func([]Packet) []Packet { return nil },
			"payload cut at start": func(p []Packet) []Packet { p[3].Payload = p[3].Payload[12:]; return p },
		}
		for name, damage := range damages {
			if _, _, err := MatchSent(c.MimeType, sent, damage(slices.Clone(pkts[20:]))); err == nil {
				t.Errorf("%s: %s is not found", c.Name(), name)
			}
		}
	}
}

// Reports that put audio and video on one clock give one age; reports that do
// not give ages that differ by the drift.
func TestClockOffsetFindsDrift(t *testing.T) {
	video, audio := timeline(t, H264), timeline(t, Opus)
	report := func(pkts []Packet, skew time.Duration) (out []SenderReport) {
		for i := 0; i < len(pkts); i += 100 {
			at := pkts[i].Arrival.Add(skew)
			sec := uint64(at.Unix() + 2208988800)
			frac := uint64(at.Nanosecond()) << 32 / uint64(time.Second)
			out = append(out, SenderReport{pkts[i].Arrival, pkts[i].SSRC, sec<<32 | frac, pkts[i].TS})
		}
		return out
	}
	for _, skew := range []time.Duration{0, 80 * time.Millisecond, -time.Second} {
		v, err := ClockOffset(video, report(video, 0), H264.ClockRate)
		if err != nil {
			t.Fatal(err)
		}
		a, err := ClockOffset(audio, report(audio, skew), Opus.ClockRate)
		if err != nil {
			t.Fatal(err)
		}
		if off := v - a - skew; off.Abs() > time.Millisecond {
			t.Errorf("skew %s: found %s", skew, v-a)
		}
	}
	if _, err := ClockOffset(video, nil, 90000); err == nil {
		t.Error("no reports, no error")
	}
}

func TestStampSurvives(t *testing.T) {
	b := make([]byte, 64)
	stamp(b, 0xbeef, 0xfedcba98)
	if s, n, ok := Stamp(b); !ok || s != 0xbeef || n != 0xfedcba98 {
		t.Fatal(s, n, ok)
	}
	if slices.Contains(b[len(b)-stampSize:], 0) {
		t.Error("the stamp holds a zero byte")
	}
	if _, _, ok := Stamp(make([]byte, 64)); ok {
		t.Error("a stamp in nothing")
	}
}
