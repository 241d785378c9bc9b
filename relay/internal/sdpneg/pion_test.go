package sdpneg

import (
	"testing"

	"github.com/pion/webrtc/v4"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

// pionOffer creates an offer with a full WebRTC stack.
func pionOffer(t *testing.T, direction webrtc.RTPTransceiverDirection, dataChannel bool) (*webrtc.PeerConnection, *Offer) {
	t.Helper()
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{BundlePolicy: webrtc.BundlePolicyMaxBundle})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pc.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, mime := range []string{webrtc.MimeTypeOpus, webrtc.MimeTypeH264} {
		track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mime}, mime[:5], "stream")
		if err != nil {
			t.Fatal(err)
		}
		if direction == webrtc.RTPTransceiverDirectionRecvonly {
			_, err = pc.AddTransceiverFromKind(track.Kind(), webrtc.RTPTransceiverInit{Direction: direction})
		} else {
			_, err = pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: direction})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if dataChannel {
		if _, err := pc.CreateDataChannel("", nil); err != nil {
			t.Fatal(err)
		}
	}
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := pc.SetLocalDescription(offer); err != nil {
		t.Fatal(err)
	}
	return pc, mustParse(t, offer.SDP)
}

func accept(t *testing.T, pc *webrtc.PeerConnection, o *Offer, p AnswerParams) {
	t.Helper()
	text, _ := mustAnswer(t, o, p)
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: text}); err != nil {
		t.Fatalf("the answer is refused: %v\n%s", err, text)
	}
	if s := pc.SignalingState(); s != webrtc.SignalingStateStable {
		t.Errorf("signaling state is %v", s)
	}
}

func TestPionPublisherTakesAnswer(t *testing.T) {
	for _, dir := range []webrtc.RTPTransceiverDirection{webrtc.RTPTransceiverDirectionSendonly, webrtc.RTPTransceiverDirectionSendrecv} {
		pc, o := pionOffer(t, dir, false)
		choices, err := Publish(o, func(c codec.Codec) bool { return c.Name == "opus" || c.Name == "H264" })
		if err != nil {
			t.Fatal(err)
		}
		accept(t, pc, o, params(o, Recv, choices))
		for _, tr := range pc.GetTransceivers() {
			i := o.index(tr.Mid())
			if i < 0 || tr.Sender() == nil {
				t.Fatalf("no section for mid %q", tr.Mid())
			}
			if got := tr.Sender().GetParameters().Codecs; len(got) == 0 || uint8(got[0].PayloadType) != choices[i].Codecs[0].PT {
				t.Errorf("mid %s sends %+v, chosen %+v", tr.Mid(), got, choices[i].Codecs[0])
			}
		}
	}
}

func TestPionViewerTakesAnswer(t *testing.T) {
	opus := mustCodec(t, "opus/48000/2", "")
	high := mustCodec(t, "H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640028")
	for name, tt := range map[string]struct {
		source      []codec.Codec
		dataChannel bool
	}{
		"both":               {[]codec.Codec{opus, high}, false},
		"with data channel":  {[]codec.Codec{opus, high}, true},
		"audio is not there": {[]codec.Codec{high}, false},
		"video is not there": {[]codec.Codec{opus}, true},
	} {
		t.Run(name, func(t *testing.T) {
			pc, o := pionOffer(t, webrtc.RTPTransceiverDirectionRecvonly, tt.dataChannel)
			choices, err := Play(o, tt.source)
			if err != nil {
				t.Fatal(err)
			}
			accept(t, pc, o, params(o, Send, choices))
		})
	}
}
