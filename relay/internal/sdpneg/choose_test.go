package sdpneg

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

// summary writes choices in one line: the payload types with their rtx, or
// what happened to the section.
func summary(choices []Choice) string {
	var parts []string
	for _, ch := range choices {
		s := ""
		switch {
		case ch.Reject:
			s = "reject"
		case ch.Inactive:
			s = "inactive"
		default:
			for _, c := range ch.Codecs {
				s += fmt.Sprintf("%s/%d/%d ", c.Name, c.PT, c.RTXPT)
			}
		}
		parts = append(parts, strings.TrimSpace(s))
	}
	return strings.Join(parts, ", ")
}

func TestPublishClients(t *testing.T) {
	only := func(name string) func(codec.Codec) bool {
		return func(c codec.Codec) bool { return c.Kind == codec.Audio || c.Name == name }
	}
	tests := []struct {
		client string
		allow  func(codec.Codec) bool
		want   string
		setup  string
	}{
		{"chromium-publish", nil, "opus/111/0, VP8/96/97", "passive"},
		{"chromium-publish", only("H264"), "opus/111/0, H264/102/103", "passive"},
		{"medooze-simulcast", nil, "opus/111/0, VP8/96/97", "passive"},
		{"firefox-publish", nil, "opus/109/0, VP8/120/124", "passive"},
		{"firefox-publish", only("H264"), "opus/109/0, H264/126/127", "passive"},
		{"obs", nil, "opus/111/0, H264/96/0", "passive"},
		{"gstreamer", nil, "opus/97/0, H264/96/0", "passive"},
		{"ffmpeg", nil, "H264/106/105", "active"},
		{"rfc9725", nil, "opus/111/0, VP8/96/97", "passive"},
	}
	for _, tt := range tests {
		t.Run(tt.client, func(t *testing.T) {
			for _, text := range []string{fixture(t, tt.client), strings.ReplaceAll(fixture(t, tt.client), "\r", "")} {
				o := mustParse(t, text)
				choices, err := Publish(o, tt.allow)
				if err != nil {
					t.Fatal(err)
				}
				if got := summary(choices); got != tt.want {
					t.Errorf("chose %s, want %s", got, tt.want)
				}
				answer, _ := mustAnswer(t, o, params(o, Recv, choices))
				if n := strings.Count(answer, "a=recvonly\r\n"); n != len(choices) {
					t.Errorf("%d sections are recvonly:\n%s", n, answer)
				}
				if !strings.Contains(answer, "a=setup:"+tt.setup+"\r\n") || strings.Contains(answer, "a=ssrc") || strings.Contains(answer, "goog-remb") {
					t.Errorf("not an answer for a publisher:\n%s", answer)
				}
			}
		})
	}
}

func TestPlayClients(t *testing.T) {
	opus := mustCodec(t, "opus/48000/2", "")
	vp8 := mustCodec(t, "VP8/90000", "")
	h264 := func(profile string) codec.Codec {
		return mustCodec(t, "H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id="+profile)
	}
	tests := []struct {
		client string
		source []codec.Codec
		want   string
	}{
		{"chromium-play", []codec.Codec{opus, vp8}, "VP8/96/97 VP9/98/99 H264/102/103 AV1/45/46, opus/111/0"},
		{"chromium-play", []codec.Codec{opus, h264("42c01f")}, "H264/108/109 VP8/96/97 VP9/98/99 AV1/45/46, opus/111/0"},
		{"chromium-play", []codec.Codec{opus, h264("4d4028")}, "H264/116/117 VP8/96/97 VP9/98/99 AV1/45/46, opus/111/0"},
		{"chromium-play", []codec.Codec{opus}, "inactive, opus/111/0"},
		{"chromium-play", []codec.Codec{vp8}, "VP8/96/97 VP9/98/99 H264/102/103 AV1/45/46, inactive"},
		{"mediamtx-reader", []codec.Codec{opus, h264("42e01f")}, "H264/108/109 VP8/96/97 VP9/98/99 AV1/45/46, opus/111/0, reject"},
		{"eyevinn-play", []codec.Codec{opus, vp8}, "VP8/96/97 VP9/98/99 H264/102/103 AV1/45/46, opus/111/0"},
		{"firefox-play", []codec.Codec{opus, h264("42e01f")}, "opus/109/0, H264/126/127 VP8/120/124 VP9/121/125"},
		{"safari-play", []codec.Codec{opus, h264("42e01f")}, "H264/98/99 H265/100/101 VP8/102/103, opus/111/0"},
		{"safari-play", []codec.Codec{opus, h264("640028")}, "H264/96/97 H265/100/101 VP8/102/103, opus/111/0"},
	}
	for _, tt := range tests {
		t.Run(tt.client, func(t *testing.T) {
			o := mustParse(t, fixture(t, tt.client))
			choices, err := Play(o, tt.source)
			if err != nil {
				t.Fatal(err)
			}
			got := summary(choices)
			if got != tt.want {
				t.Errorf("chose %s\nwant  %s", got, tt.want)
			}
			answer, _ := mustAnswer(t, o, params(o, Send, choices))
			flows := len(slices.DeleteFunc(slices.Clone(choices), func(c Choice) bool { return !c.Flows() }))
			if n := strings.Count(answer, "a=sendonly\r\n"); n != flows {
				t.Errorf("%d sections are sendonly, want %d:\n%s", n, flows, answer)
			}
			if n := strings.Count(answer, "a=msid:live "); n != flows || strings.Contains(answer, "transport-cc") {
				t.Errorf("not an answer for a viewer:\n%s", answer)
			}
		})
	}
}

func TestPublishErrors(t *testing.T) {
	again := strings.Replace(video, "a=mid:1", "a=mid:2", 1)
	tests := []struct{ name, offer, detail string }{
		{"two videos", head + transport + "a=group:BUNDLE 0 1 2\n" + audio + video + again, "at most one audio and one video"},
		{"recvonly", strings.Replace(both, "sendonly", "recvonly", 1), "must offer sendonly"},
		{"inactive", strings.Replace(both, "sendonly", "inactive", 1), "must offer sendonly"},
		{"unknown codec", strings.Replace(both, "VP8/", "THEORA/", 1), "offer one of H264, H265, VP8"},
		{"two streams", head + transport + "a=group:BUNDLE 0 1\n" + audio + "a=msid:a t0\n" + video + "a=msid:b t1\n", "several media streams"},
		{"no bundle", strings.Replace(both, "a=group:BUNDLE 0 1\n", "", 1), "max-bundle"},
		{"one outside of the bundle", strings.Replace(both, "BUNDLE 0 1", "BUNDLE 0", 1), "max-bundle"},
		{"no DTLS", strings.Replace(both, "UDP/TLS/RTP/SAVPF", "RTP/AVP", 1), "UDP/TLS/RTP/SAVPF"},
		{"one payload type twice", strings.ReplaceAll(both, "111", "96"), "payload type 96"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Publish(mustParse(t, tt.offer), nil)
			wantError(t, err, Unacceptable, tt.detail)
		})
	}
	_, err := Publish(mustParse(t, both), func(c codec.Codec) bool { return c.Kind == codec.Audio })
	wantError(t, err, Unacceptable, "is allowed for this stream (VP8)")
}

func TestPublishLenient(t *testing.T) {
	for name, tt := range map[string]struct{ offer, want string }{
		"sendrecv":             {strings.ReplaceAll(both, "a=sendonly\n", ""), "opus/111/0, VP8/96/97"},
		"audio only":           {head + transport + audio, "opus/111/0"},
		"video only":           {head + transport + "a=group:BUNDLE 0 1\n" + video, "VP8/96/97"},
		"one section rejected": {strings.Replace(both, "m=video 9", "m=video 0", 1), "opus/111/0, reject"},
		"data channel":         {both + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=mid:2\n", "opus/111/0, VP8/96/97, reject"},
		"msid without stream":  {head + transport + "a=group:BUNDLE 0 1\n" + audio + "a=msid:- t0\n" + video + "a=msid:b t1\n", "opus/111/0, VP8/96/97"},
		"static payload type":  {head + transport + "m=audio 9 UDP/TLS/RTP/SAVPF 13 8\na=mid:0\na=sendonly\n", "PCMA/8/0"},
	} {
		o := mustParse(t, tt.offer)
		choices, err := Publish(o, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := summary(choices); got != tt.want {
			t.Errorf("%s: chose %s, want %s", name, got, tt.want)
		}
		mustAnswer(t, o, params(o, Recv, choices))
	}
}

func TestPlayErrors(t *testing.T) {
	opus, vp8, vp9 := mustCodec(t, "opus/48000/2", ""), mustCodec(t, "VP8/90000", ""), mustCodec(t, "VP9/90000", "")
	viewer := strings.ReplaceAll(both, "sendonly", "recvonly")
	tests := []struct {
		name, offer string
		source      []codec.Codec
		detail      string
	}{
		{"sendonly", both, []codec.Codec{opus, vp8}, "must offer recvonly"},
		{"inactive", strings.ReplaceAll(both, "sendonly", "inactive"), []codec.Codec{opus, vp8}, "must offer recvonly"},
		{"not decodable", viewer, []codec.Codec{opus, vp9}, "the stream sends VP9 profile 0, the offer has VP8"},
		{"no common kind", head + transport + strings.Replace(audio, "sendonly", "recvonly", 1), []codec.Codec{vp8}, "sends only VP8"},
		{"nothing live", viewer, nil, "when it is live"},
		{"no bundle", strings.Replace(viewer, "a=group:BUNDLE 0 1\n", "", 1), []codec.Codec{opus, vp8}, "max-bundle"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Play(mustParse(t, tt.offer), tt.source)
			wantError(t, err, Unacceptable, tt.detail)
		})
	}
}

func TestPlayLenient(t *testing.T) {
	opus, vp8 := mustCodec(t, "opus/48000/2", ""), mustCodec(t, "VP8/90000", "")
	viewer := strings.ReplaceAll(both, "sendonly", "recvonly")
	second := strings.NewReplacer("a=mid:1", "a=mid:2", "96", "98", "97", "99", "sendonly", "recvonly").Replace(video)
	for name, tt := range map[string]struct {
		offer  string
		source []codec.Codec
		want   string
	}{
		"one section cannot receive":    {strings.Replace(viewer, "recvonly", "sendonly", 1), []codec.Codec{opus, vp8}, "inactive, VP8/96/97"},
		"second video section":          {strings.Replace(viewer, "BUNDLE 0 1", "BUNDLE 0 1 2", 1) + second, []codec.Codec{opus, vp8}, "opus/111/0, VP8/96/97, inactive"},
		"no section for video":          {head + transport + strings.Replace(audio, "sendonly", "recvonly", 1), []codec.Codec{opus, vp8}, "opus/111/0"},
		"unknown codec, kind not there": {strings.Replace(viewer, "VP8/", "THEORA/", 1), []codec.Codec{opus}, "opus/111/0, reject"},
	} {
		o := mustParse(t, tt.offer)
		choices, err := Play(o, tt.source)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := summary(choices); got != tt.want {
			t.Errorf("%s: chose %s, want %s", name, got, tt.want)
		}
		mustAnswer(t, o, params(o, Send, choices))
	}
}

func TestKept(t *testing.T) {
	o := mustParse(t, fixture(t, "chromium-publish"))
	choices, _ := Publish(o, nil)
	if got := fmt.Sprint(choices[1].Extensions); got != fmt.Sprint(map[string]int{TransportCCURI: 3, MIDURI: 4}) {
		t.Errorf("publisher keeps %s", got)
	}
	c := choices[1].Codecs[0]
	if !c.NACK || !c.PLI || !c.TransportCC || c.FIR || c.REMB {
		t.Errorf("publisher's feedback: %+v", c)
	}

	o = mustParse(t, fixture(t, "chromium-play"))
	choices, _ = Play(o, []codec.Codec{mustCodec(t, "VP8/90000", "")})
	if got := fmt.Sprint(choices[0].Extensions); got != fmt.Sprint(map[string]int{AbsSendTimeURI: 2}) {
		t.Errorf("viewer keeps %s", got)
	}
	c = choices[0].Codecs[0]
	if !c.NACK || !c.PLI || c.TransportCC || c.FIR || !c.REMB {
		t.Errorf("viewer's feedback: %+v", c)
	}

	// One half of transport-wide congestion control is of no use.
	half := both + "a=extmap:3 " + TransportCCURI + "\na=rtcp-fb:96 ccm fir\n"
	choices, _ = Publish(mustParse(t, half), nil)
	if len(choices[1].Extensions) != 0 || !choices[1].Codecs[0].FIR {
		t.Errorf("%+v", choices[1])
	}
	choices, _ = Publish(mustParse(t, both+"a=rtcp-fb:96 transport-cc\n"), nil)
	if choices[1].Codecs[0].TransportCC {
		t.Error("transport-cc without its extension is confirmed")
	}
}
