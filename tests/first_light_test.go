package tests

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

// 2.5 Mbit/s from one publisher to four viewers, one of them over ICE-TCP:
// nothing is lost, reordered or changed.
func TestFirstLight(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	p := g.Publish(t, "show", harness.PublisherConfig{})
	viewers := map[string]*harness.Viewer{
		"udp 1": g.View(t, "show", harness.ViewerConfig{}),
		"udp 2": g.View(t, "show", harness.ViewerConfig{PeerOptions: harness.PeerOptions{NoCandidates: true}}),
		"udp 3": g.View(t, "show", harness.ViewerConfig{}),
		"tcp":   g.View(t, "show", harness.ViewerConfig{PeerOptions: harness.PeerOptions{TCP: true}}),
	}
	for who, v := range viewers {
		want := "udp"
		if who == "tcp" {
			want = "tcp"
		}
		if got := v.SelectedPair(); got != want {
			t.Errorf("%s: connected over %q", who, got)
		}
	}
	viewers["udp 1"].Record(t, length())
	stopAndDrain(t, p, viewers["udp 1"], viewers["udp 2"], viewers["udp 3"], viewers["tcp"])
	for who, v := range viewers {
		requireDecodableStart(t, who, p.VideoCodec(), v)
		video, audio := requireIntact(t, who, p, v)
		// 30 frames of 10 packets and 50 audio packets each second.
		if secs := int(length().Seconds()); video < 250*secs || audio < 45*secs {
			t.Errorf("%s: %d video and %d audio packets in %s", who, video, audio, length())
		}
		if n := v.Tracks(webrtc.RTPCodecTypeVideo); n != 1 {
			t.Errorf("%s: %d video tracks", who, n)
		}
	}
}

// The same over TCP on the publisher's side.
func TestPublishOverTCP(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	p := g.Publish(t, "show", harness.PublisherConfig{PeerOptions: harness.PeerOptions{TCP: true}})
	if got := p.SelectedPair(); got != "tcp" {
		t.Errorf("connected over %q", got)
	}
	v := g.View(t, "show", harness.ViewerConfig{})
	v.Record(t, 3*time.Second)
	stopAndDrain(t, p, v)
	requireIntact(t, "viewer", p, v)
}

func TestAudioOnlyAndVideoOnly(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	t.Run("audio only", func(t *testing.T) {
		p := g.Publish(t, "radio", harness.PublisherConfig{NoVideo: true})
		v := g.View(t, "radio", harness.ViewerConfig{})
		only := g.View(t, "radio", harness.ViewerConfig{NoVideo: true})
		v.AwaitAudio(t, 100, 10*time.Second)
		only.AwaitAudio(t, 50, 10*time.Second)
		stopAndDrain(t, p, v, only)
		requireIntact(t, "viewer of both", p, v)
		requireIntact(t, "viewer of audio", p, only)
		if n := len(v.Video()); n > 0 {
			t.Errorf("%d video packets from nowhere", n)
		}
	})
	t.Run("video only", func(t *testing.T) {
		p := g.Publish(t, "mute", harness.PublisherConfig{NoAudio: true})
		v := g.View(t, "mute", harness.ViewerConfig{})
		only := g.View(t, "mute", harness.ViewerConfig{NoAudio: true})
		v.AwaitVideo(t, 500, 10*time.Second)
		only.AwaitVideo(t, 300, 10*time.Second)
		stopAndDrain(t, p, v, only)
		requireIntact(t, "viewer of both", p, v)
		requireIntact(t, "viewer of video", p, only)
		if n := len(v.Audio()); n > 0 {
			t.Errorf("%d audio packets from nowhere", n)
		}
	})
	t.Run("one kind of a stream that has both", func(t *testing.T) {
		p := g.Publish(t, "both", harness.PublisherConfig{})
		v := g.View(t, "both", harness.ViewerConfig{NoVideo: true})
		v.AwaitAudio(t, 50, 10*time.Second)
		w := g.View(t, "both", harness.ViewerConfig{NoAudio: true})
		w.AwaitVideo(t, 200, 10*time.Second)
		stopAndDrain(t, p, v, w)
		requireIntact(t, "viewer of audio", p, v)
		requireIntact(t, "viewer of video", p, w)
	})
}

// A viewer that comes in the middle of a long group of pictures, from a
// publisher that takes no notice of PLI, starts at once with parameter sets
// and an IDR picture, and goes on without a gap.
func TestLateJoinerStartsDecodable(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{App: "gop_cache on"})
	p := g.Publish(t, "show", harness.PublisherConfig{IgnorePLI: true, KeyframeEvery: 4 * time.Second, Bitrate: 1_000_000})
	first := g.View(t, "show", harness.ViewerConfig{})
	first.AwaitVideo(t, 100, 10*time.Second)
	var late []*harness.Viewer
	for range 3 {
		v := g.View(t, "show", harness.ViewerConfig{})
		v.AwaitVideo(t, 50, 5*time.Second)
		if join := v.Video()[0].Arrival.Sub(v.Started); join > time.Second {
			t.Errorf("the first picture came %s after the POST", join)
		}
		late = append(late, v)
	}
	late[2].Record(t, 2*time.Second)
	stopAndDrain(t, p, append(late, first)...)
	for i, v := range late {
		who := fmt.Sprintf("late viewer %d", i)
		requireDecodableStart(t, who, p.VideoCodec(), v)
		requireIntact(t, who, p, v)
	}
}

// With the cache off a newcomer waits for a key frame, which is asked for once.
func TestJoinAsksForOneKeyframe(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{App: "gop_cache off"})
	p := g.Publish(t, "show", harness.PublisherConfig{KeyframeEvery: -1, Bitrate: 1_000_000})
	warm := g.View(t, "show", harness.ViewerConfig{})
	warm.AwaitVideo(t, 200, 10*time.Second)
	before := len(p.PLIs())
	v := g.View(t, "show", harness.ViewerConfig{})
	v.AwaitVideo(t, 100, 5*time.Second)
	v.Record(t, time.Second)
	if n := len(p.PLIs()) - before; n != 1 {
		t.Errorf("%d key frames were asked for when one viewer joined", n)
	}
	stopAndDrain(t, p, v, warm)
	requireDecodableStart(t, "viewer", p.VideoCodec(), v)
	requireIntact(t, "viewer", p, v)
}

// Viewers that ask and ask get the publisher to hear at most one PLI per
// 500 ms.
func TestPLIStorm(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	p := g.Publish(t, "show", harness.PublisherConfig{KeyframeEvery: -1, Bitrate: 1_000_000})
	var viewers []*harness.Viewer
	for range 3 {
		v := g.View(t, "show", harness.ViewerConfig{})
		v.AwaitVideo(t, 20, 10*time.Second)
		viewers = append(viewers, v)
	}
	before := len(p.PLIs())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, v := range viewers {
		wg.Go(func() {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
					if err := v.SendPLI(); err != nil {
						t.Errorf("send PLI: %v", err)
						return
					}
				}
			}
		})
	}
	viewers[0].Record(t, 3*time.Second)
	close(stop)
	wg.Wait()
	plis := p.PLIs()
	if len(plis) == before {
		t.Fatal("not one of several hundred PLIs reached the publisher")
	}
	for i := max(1, before); i < len(plis); i++ {
		// The distance is made by the gateway's clock and seen by ours.
		if gap := plis[i].Sub(plis[i-1]); gap < 470*time.Millisecond {
			t.Errorf("two PLIs %s apart", gap)
		}
	}
	if n := len(plis) - before; n > 8 {
		t.Errorf("%d PLIs in 3s", n)
	}
}

// A viewer's NACK is answered: what the network lost comes again, over the
// retransmission stream when there is one.
func TestNACKIsAnswered(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	p := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 1_500_000})
	var plain []harness.Codec
	for _, c := range harness.ViewerCodecs() {
		if c.MimeType != webrtc.MimeTypeRTX {
			plain = append(plain, c)
		}
	}
	tests := []struct {
		name   string
		codecs []harness.Codec
	}{{"rtx", harness.ViewerCodecs()}, {"same ssrc", plain}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			net := &lossyNet{every: 17, lost: map[uint16]bool{}}
			v := g.View(t, "show", harness.ViewerConfig{Codecs: tt.codecs, Lose: net.lose})
			v.Record(t, 5*time.Second)
			// What was lost last may not have been asked for yet: the record
			// counts up to here, the rest is time for repairs.
			last := v.Video()[len(v.Video())-1].Seq
			v.Record(t, 2*time.Second)
			v.Close()
			requireRepaired(t, p, v.Video(), last, net, tt.name == "rtx")
		})
	}
}

// lossyNet loses one video packet in so many, the first time it is sent.
type lossyNet struct {
	every uint16
	mu    sync.Mutex
	lost  map[uint16]bool
}

// lose knows video by its payload type: ViewerCodecs gives it even ones from
// 100 on, and odd ones to retransmissions.
func (n *lossyNet) lose(b []byte) bool {
	pt, seq := b[1]&0x7f, uint16(b[2])<<8|uint16(b[3])
	if pt < 100 || pt%2 != 0 || seq%n.every != 5 {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	first := !n.lost[seq]
	n.lost[seq] = true
	return first
}

func requireRepaired(t *testing.T, p *harness.Publisher, pkts []harness.Packet, last uint16, net *lossyNet, rtx bool) {
	t.Helper()
	repaired := 0
	once := map[uint16]bool{}
	var whole []harness.Packet
	for _, pkt := range pkts {
		if pkt.Repaired {
			repaired++
		}
		if once[pkt.Seq] {
			if pkt.Repaired || !rtx && net.lost[pkt.Seq] {
				continue // asked for again, sent again
			}
			t.Errorf("packet %d came twice without being asked for", pkt.Seq)
		}
		once[pkt.Seq] = true
		whole = append(whole, pkt)
	}
	whole = inOrder(whole)
	whole = whole[:slices.IndexFunc(whole, func(p harness.Packet) bool { return p.Seq == last })+1]
	if len(net.lost) < 20 {
		t.Fatalf("only %d packets were lost on purpose", len(net.lost))
	}
	for i := 1; i < len(whole); i++ {
		if n := whole[i].Seq - whole[i-1].Seq - 1; n != 0 {
			t.Errorf("%d packets ahead of %d were lost and never came", n, whole[i].Seq)
		}
	}
	if rtx && repaired == 0 {
		t.Errorf("of %d lost packets none came over the negotiated retransmission stream", len(net.lost))
	}
	if _, _, err := harness.MatchSent(p.VideoCodec().MimeType, p.SentVideo(), whole); err != nil && !t.Failed() {
		t.Errorf("after repair: %v", err)
	}
}

// inOrder sorts packets by sequence number.
func inOrder(pkts []harness.Packet) []harness.Packet {
	out := slices.Clone(pkts)
	base := out[0].Seq
	slices.SortStableFunc(out, func(a, b harness.Packet) int { return int(int16(a.Seq-base)) - int(int16(b.Seq-base)) })
	return out
}

// A packet the publisher's network lost is asked for again, once it is
// missed, and the viewers see no gap. (The gateway is the receiver here.)
func TestGatewayRepairsItsOwnLosses(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, harness.Config{})
	p := g.Publish(t, "show", harness.PublisherConfig{Bitrate: 1_500_000, LoseEvery: 50})
	v := g.View(t, "show", harness.ViewerConfig{})
	v.Record(t, 4*time.Second)
	stopAndDrain(t, p, v)
	if p.NACKs() == 0 {
		t.Error("the gateway asked for nothing")
	}
	// The viewer may get repairs late, or of its own asking as well; in order
	// of sequence numbers the record is whole but for the tail that was still
	// on its way.
	pkts := inOrder(v.Video())
	for i := 1; i < len(pkts)-150; i++ {
		if n := int16(pkts[i].Seq-pkts[i-1].Seq) - 1; n > 0 {
			t.Errorf("%d packets ahead of %d were lost and never came", n, pkts[i].Seq)
		}
	}
}
