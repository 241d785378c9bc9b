package codec

import (
	"errors"
	"strings"
	"testing"
)

func h264of(profile, mode, more string) Codec {
	c, _ := Parse("H264/90000")
	c.FMTP = "profile-level-id=" + profile + ";packetization-mode=" + mode + more
	return c
}

func video(name, fmtp string) Codec {
	c, ok := Parse(name + "/90000")
	if !ok {
		panic(name)
	}
	c.FMTP = fmtp
	return c
}

func TestSupported(t *testing.T) {
	for in, want := range map[string]string{
		"OPUS": "opus", "opus": "opus", "pcmu": "PCMU", "PCMA": "PCMA", "g722": "G722",
		"h264": "H264", "H265": "H265", "vp8": "VP8", "VP9": "VP9", "av1": "AV1",
		"AV1X": "", "rtx": "", "red": "", "telephone-event": "", "": "",
	} {
		got, kind, ok := Supported(in)
		if got != want || ok != (want != "") {
			t.Errorf("Supported(%q) = %q, %v", in, got, ok)
		}
		if wantVideo := strings.ContainsAny(want, "HVX") || want == "AV1"; ok && (kind == Video) != wantVideo {
			t.Errorf("Supported(%q): kind %v", in, kind)
		}
	}
	if Audio.String() != "audio" || Video.String() != "video" || Kind(0).String() != "other" {
		t.Error("kind names")
	}
}

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"OPUS/48000/2": "opus/48000/2",
		"opus/48000":   "opus/48000/2",
		"H264/90000":   "H264/90000",
		"PCMU/8000/1":  "PCMU/8000",
		" vp8/90000 ":  "VP8/90000",
	} {
		if c, ok := Parse(in); !ok || c.Encoding() != want {
			t.Errorf("Parse(%q) = %q, %v, want %q", in, c.Encoding(), ok, want)
		}
	}
	for _, in := range []string{"", "opus", "opus/44100/2", "opus/48000/6", "PCMU/16000", "PCMU/8000/2", "H264/90000/1/2", "VP8/x", "VP8/99999999999", "multiopus/48000/6"} {
		if c, ok := Parse(in); ok {
			t.Errorf("Parse(%q) = %v, want refusal", in, c)
		}
	}
	for pt, want := range map[uint8]string{0: "PCMU", 8: "PCMA", 9: "G722"} {
		if c, ok := Static(pt); !ok || c.Name != want || c.Kind != Audio {
			t.Errorf("Static(%d) = %v, %v", pt, c, ok)
		}
	}
	if _, ok := Static(96); ok {
		t.Error("Static(96) must not exist")
	}
}

// Rows of RFC 6184 table 5 and the spellings seen in real offers.
func TestH264Classes(t *testing.T) {
	for plid, want := range map[string]h264Profile{
		"42e01f": constrainedBaseline, "42c01f": constrainedBaseline, "42401f": constrainedBaseline,
		"42E01F": constrainedBaseline, "4d801f": constrainedBaseline, "4de01f": constrainedBaseline, "58c01f": constrainedBaseline,
		"42001f": baseline, "42801f": baseline, "58801f": baseline,
		"4d001f": mainProfile, "4d401f": mainProfile, "58001f": extended, "58401f": extended,
		"64001f": high, "640c1f": constrainedHigh, "64081f": high,
		"6e001f": high10, "6e101f": high10Intra, "7a001f": high422, "7a101f": high422Intra,
		"f4001f": high444, "f4101f": high444Intra, "2c101f": cavlc444Intra,
		"53001f": profileUnknown, "zz": profileUnknown, "": profileUnknown,
	} {
		if got := parseH264("profile-level-id=" + plid).profile; got != want {
			t.Errorf("%s is %s, want %s", plid, h264Names[got], h264Names[want])
		}
	}
	if h := parseH264(""); h.profile != constrainedBaseline || h.mode != 0 || h.level != 0 {
		t.Errorf("no parameters: %+v", h)
	}
}

func TestCanPlayH264(t *testing.T) {
	const asym = ";level-asymmetry-allowed=1"
	tests := []struct {
		name           string
		source, viewer Codec
		ok             bool
	}{
		{"identical", h264of("42e01f", "1", ""), h264of("42e01f", "1", ""), true},
		{"e0 is c0", h264of("42c01f", "1", ""), h264of("42e01f", "1", ""), true},
		{"cb written as main with set0", h264of("4d801f", "1", ""), h264of("42e01f", "1", ""), true},
		{"cb on main", h264of("42e01f", "1", ""), h264of("4d001f", "1", ""), true},
		{"cb on high", h264of("42e01f", "1", ""), h264of("64001f", "1", ""), true},
		{"cb on extended", h264of("42e01f", "1", ""), h264of("58001f", "1", ""), true},
		{"cb on 4:4:4", h264of("42e01f", "1", ""), h264of("f4001f", "1", ""), true},
		{"main on high", h264of("4d401f", "1", ""), h264of("64001f", "1", ""), true},
		{"main on constrained high", h264of("4d401f", "1", ""), h264of("640c1f", "1", ""), true},
		{"high on constrained high", h264of("64001f", "1", ""), h264of("640c1f", "1", ""), true},
		{"high on 4:2:2", h264of("64001f", "1", ""), h264of("7a001f", "1", ""), true},
		{"baseline on cb, in practice", h264of("42001f", "1", ""), h264of("42e01f", "1", ""), true},
		{"main on cb", h264of("4d401f", "1", ""), h264of("42e01f", "1", ""), false},
		{"high on cb", h264of("64001f", "1", ""), h264of("42e01f", "1", ""), false},
		{"high on main", h264of("64001f", "1", ""), h264of("4d001f", "1", ""), false},
		{"high 10 on high", h264of("6e001f", "1", ""), h264of("64001f", "1", ""), false},
		{"extended on high", h264of("58001f", "1", ""), h264of("64001f", "1", ""), false},
		{"main on extended", h264of("4d001f", "1", ""), h264of("58001f", "1", ""), false},
		{"unknown alike", h264of("53001f", "1", ""), h264of("53001f", "1", ""), true},
		{"unknown differ", h264of("53001f", "1", ""), h264of("56001f", "1", ""), false},
		{"mode 1 on mode 0", h264of("42e01f", "1", ""), h264of("42e01f", "0", ""), false},
		{"mode 0 on mode 1", h264of("42e01f", "0", ""), h264of("42e01f", "1", ""), true},
		{"absent mode is 0", video("H264", "profile-level-id=42e01f"), h264of("42e01f", "1", ""), true},
		{"mode 1 on absent mode", h264of("42e01f", "1", ""), video("H264", "profile-level-id=42e01f"), false},
		{"mode 1 on mode 2", h264of("42e01f", "1", ""), h264of("42e01f", "2", ""), false},
		{"higher level", h264of("42e028", "1", ""), h264of("42e01f", "1", ""), false},
		{"higher level, asymmetry", h264of("42e028", "1", ""), h264of("42e01f", "1", asym), true},
		{"lower level", h264of("42e01e", "1", ""), h264of("42e01f", "1", ""), true},
		{"1b below 1.1", h264of("42f00b", "1", ""), h264of("42e00b", "1", ""), true},
		{"1.1 above 1b", h264of("42e00b", "1", ""), h264of("42f00b", "1", ""), false},
		{"viewer without profile", h264of("42e028", "1", ""), video("H264", "packetization-mode=1"), true},
		{"no fmtp at all", video("H264", ""), video("H264", ""), true},
	}
	for _, tt := range tests {
		err := CanPlay(tt.source, tt.viewer)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err != nil && !errors.Is(err, ErrNotPlayable) {
			t.Errorf("%s: %v does not wrap ErrNotPlayable", tt.name, err)
		}
	}
}

func TestCanPlayOthers(t *testing.T) {
	opus, _ := Parse("opus/48000/2")
	stereo := opus
	stereo.FMTP = "minptime=10;useinbandfec=1;stereo=1"
	pcmu, _ := Parse("PCMU/8000")
	tests := []struct {
		name           string
		source, viewer Codec
		ok             bool
	}{
		{"opus fmtp does not matter", opus, stereo, true},
		{"opus on pcmu", opus, pcmu, false},
		{"vp8", video("VP8", ""), video("VP8", ""), true},
		{"vp8 on h264", video("VP8", ""), h264of("42e01f", "1", ""), false},
		{"vp9 default profile", video("VP9", ""), video("VP9", "profile-id=0"), true},
		{"vp9 profiles", video("VP9", "profile-id=2"), video("VP9", "profile-id=0"), false},
		{"av1 default profile", video("AV1", "level-idx=5;profile=0;tier=0"), video("AV1", ""), true},
		{"av1 main on high", video("AV1", ""), video("AV1", "profile=1"), true},
		{"av1 high on main", video("AV1", "profile=1"), video("AV1", ""), false},
		{"h265 defaults", video("H265", ""), video("H265", "level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST"), true},
		{"h265 higher level", video("H265", "level-id=156"), video("H265", "level-id=93"), true},
		{"h265 main on main 10", video("H265", ""), video("H265", "profile-id=2"), true},
		{"h265 main 10 on main", video("H265", "profile-id=2"), video("H265", ""), false},
		{"h265 main tier on high", video("H265", ""), video("H265", "tier-flag=1"), true},
		{"h265 high tier on main", video("H265", "tier-flag=1"), video("H265", ""), false},
		{"h265 mrst", video("H265", "tx-mode=MRST"), video("H265", ""), false},
		{"h265 range extensions", video("H265", "profile-id=4"), video("H265", "profile-id=4"), true},
		{"h265 main on range extensions", video("H265", ""), video("H265", "profile-id=4"), false},
	}
	for _, tt := range tests {
		if err := CanPlay(tt.source, tt.viewer); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestSame(t *testing.T) {
	if !Same(h264of("42e01f", "1", ""), h264of("42c028", "1", ";level-asymmetry-allowed=1")) {
		t.Error("42e0 and 42c0 of the same mode are one configuration")
	}
	for _, other := range []Codec{h264of("42e01f", "0", ""), h264of("42001f", "1", ""), h264of("64001f", "1", ""), video("VP8", "")} {
		if Same(h264of("42e01f", "1", ""), other) {
			t.Errorf("42e01f mode 1 is not %v", other)
		}
	}
	if !Same(video("VP9", ""), video("VP9", "profile-id=0")) || Same(video("VP9", ""), video("VP9", "profile-id=2")) {
		t.Error("VP9 goes by profile")
	}
	if !Same(video("AV1", ""), video("AV1", "profile=0")) || Same(video("AV1", ""), video("AV1", "profile=1")) {
		t.Error("AV1 goes by profile")
	}
	if !Same(video("H265", "level-id=93"), video("H265", "level-id=120")) || Same(video("H265", ""), video("H265", "profile-id=2")) {
		t.Error("H265 goes by profile and tier")
	}
}

func TestRank(t *testing.T) {
	with := func(c Codec, pt uint8) Codec { c.PT = pt; return c }
	const asym = ";level-asymmetry-allowed=1"
	chromium := []Codec{
		with(video("VP8", ""), 96),
		with(h264of("42001f", "1", asym), 103), with(h264of("42001f", "0", asym), 107),
		with(h264of("42e01f", "1", asym), 109), with(h264of("42e01f", "0", asym), 115),
		with(h264of("4d001f", "1", asym), 117), with(h264of("64001f", "1", asym), 119),
	}
	safari := []Codec{with(h264of("42e01f", "1", asym), 98), with(h264of("640c1f", "1", asym), 96), with(video("VP8", ""), 100)}
	tests := []struct {
		name   string
		source Codec
		offer  []Codec
		want   uint8
	}{
		{"exact profile before the first", h264of("42c01f", "1", asym), chromium, 109},
		{"exact mode", h264of("42e01f", "0", asym), chromium, 115},
		{"main", h264of("4d4028", "1", asym), chromium, 117},
		{"high", h264of("640028", "1", asym), chromium, 119},
		{"high on safari", h264of("64001f", "1", asym), safari, 96},
		{"main on safari", h264of("4d401f", "1", asym), safari, 96},
		{"baseline on safari", h264of("42001f", "1", asym), safari, 98},
		{"vp8", video("VP8", ""), chromium, 96},
		{"first of equals", h264of("42e01f", "1", ""), []Codec{with(h264of("42c01f", "1", ""), 5), with(h264of("42e01f", "1", ""), 6)}, 5},
		{"enough level first", h264of("42e028", "1", ""), []Codec{with(h264of("42e01f", "1", asym), 5), with(h264of("42e028", "1", ""), 6)}, 6},
	}
	for _, tt := range tests {
		best, err := Rank(tt.source, tt.offer)
		if err != nil || best.PT != tt.want {
			t.Errorf("%s: payload type %d, %v, want %d", tt.name, best.PT, err, tt.want)
		}
	}

	_, err := Rank(h264of("64001f", "1", asym), []Codec{video("VP8", ""), h264of("42e01f", "1", asym)})
	if !errors.Is(err, ErrNotPlayable) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"sends H264 high level 3.1 packetization-mode 1", "VP8", "constrained baseline"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %q", err, want)
		}
	}
	if _, err := Rank(video("AV1", ""), nil); err == nil || !strings.Contains(err.Error(), "nothing that is supported") {
		t.Errorf("empty offer: %v", err)
	}
}

func FuzzCanPlay(f *testing.F) {
	f.Add("profile-level-id=42e01f;packetization-mode=1", "level-asymmetry-allowed=1;profile-level-id=640c1f")
	f.Add("profile-id=2;tier-flag=1;level-id=93;tx-mode=MRST", " ; =;;profile-id=99999999999")
	f.Add("profile-level-id=42f00b", "profile-level-id=zz")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, n := range []string{"H264", "H265", "VP9", "AV1", "VP8"} {
			x, y := video(n, a), video(n, b)
			if err := CanPlay(x, x); err != nil {
				t.Fatalf("%v does not play itself: %v", x, err)
			}
			if Same(x, y) != Same(y, x) {
				t.Fatalf("Same is not symmetric: %v, %v", x, y)
			}
			best, err := Rank(x, []Codec{y, x})
			if err != nil || best != x && CanPlay(x, y) != nil {
				t.Fatalf("Rank chose %v for %v: %v", best, x, err)
			}
			_ = y.String()
		}
	})
}
