package relay

import (
	"testing"
	"time"

	"github.com/pion/rtcp"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

func reports(t testing.TB, l *fakeLeg) (list [][]rtcp.Packet) {
	t.Helper()
	for _, b := range l.rtcp {
		pkts, err := rtcp.Unmarshal(b)
		if err != nil {
			t.Fatalf("%v in %x", err, b)
		}
		list = append(list, pkts)
	}
	return list
}

// The first report comes as soon as both kinds flow, and ties them to one clock.
func TestFirstSenderReport(t *testing.T) {
	h := newHouse(t)
	a := h.actor("a", codecVP8, codecOpus)
	a.ts[codec.Audio] = 1 << 31
	h.g.want(a.src, CauseReplace)
	s := h.seat(plainVP8, codecOpus)
	h.step()
	a.speak()
	h.steps()
	if len(s.leg.rtcp) != 0 {
		t.Fatal("a report while one track has sent nothing")
	}
	a.frame(true, 3)
	h.steps()
	list := reports(t, s.leg)
	if len(list) != 1 || len(list[0]) != 3 {
		t.Fatalf("%d reports: %v", len(list), list)
	}
	video, ok := list[0][0].(*rtcp.SenderReport)
	audio, ok2 := list[0][1].(*rtcp.SenderReport)
	sdes, ok3 := list[0][2].(*rtcp.SourceDescription)
	if !ok || !ok2 || !ok3 || sdes.Chunks[0].Source != video.SSRC || sdes.Chunks[0].Items[0].Text != "0123456789abcdef" {
		t.Fatalf("%v", list[0])
	}
	v, au := s.track(codec.Video), s.track(codec.Audio)
	if video.SSRC != v.ssrc || video.PacketCount != 3 || video.OctetCount != uint32(3*len(vp8Payload(0, true, true))) ||
		audio.SSRC != au.ssrc || audio.PacketCount != 1 || audio.OctetCount != 5 {
		t.Errorf("%v\n%v", video, audio)
	}
	if video.NTPTime != audio.NTPTime || video.NTPTime != ntpTime(h.now) {
		t.Error("the tracks' reports are of different times")
	}
	got := s.hears()
	if video.RTPTime != got[1].TS { // it arrived just now
		t.Errorf("video is at %d, its last packet at %d", video.RTPTime, got[1].TS)
	}
	if d := audio.RTPTime - got[0].TS; d != uint32(frameTime*48/ms) { // it arrived a frame ago
		t.Errorf("audio is %d ticks after its last packet", d)
	}
}

func TestReportsOfATrackThatIsSilent(t *testing.T) {
	h := newHouse(t)
	a := h.actor("a", codecVP8, codecOpus)
	h.g.want(a.src, CauseReplace)
	s := h.seat(plainVP8, codecOpus)
	h.step()
	h.now += firstReport
	h.step()
	if len(s.leg.rtcp) != 0 {
		t.Fatal("a report about nothing")
	}
	a.frame(true, 1)
	h.now += 1000 * ms
	h.steps()
	list := reports(t, s.leg)
	if len(list) != 1 || len(list[0]) != 2 {
		t.Fatalf("%v", list)
	}
	if sr := list[0][0].(*rtcp.SenderReport); sr.SSRC != s.track(codec.Video).ssrc {
		t.Errorf("a report about %d", sr.SSRC)
	}
}

// Everybody gets a report each second, however many come and go.
func TestReportsAreFair(t *testing.T) {
	h := newHouse(t)
	a := h.actor("a", codecOpus)
	h.g.want(a.src, CauseReplace)
	var seats []*seat
	for range 10 {
		seats = append(seats, h.seat(codecOpus))
		h.step()
		h.now += 70 * ms
	}
	guest := h.seat(codecOpus)
	end := h.now + 10_000*ms
	for i := 0; h.now < end; i++ {
		a.speak()
		h.now += audioTime
		if i%5 == 0 { // somebody leaves and somebody comes, ten times a second
			h.w.remove(guest.subscriber.sink)
			guest = h.seat(codecOpus)
		}
		if i%100 == 99 {
			h.w.remove(seats[0].subscriber.sink)
			seats = seats[1:]
		}
		h.step()
	}
	for i, s := range seats {
		if n := len(s.leg.rtcp); n < 10 || n > 12 {
			t.Errorf("viewer %d got %d reports in 10 s", i, n)
		}
	}
	if len(h.w.sinks)+len(h.w.fresh) != len(seats)+1 {
		t.Errorf("the loop has %d sinks", len(h.w.sinks)+len(h.w.fresh))
	}
	for _, s := range append(seats, guest) {
		h.w.remove(s.subscriber.sink)
		h.w.remove(s.subscriber.sink)
	}
	if len(h.w.sinks)+len(h.w.fresh)+len(h.w.fans)+len(*h.g.fans.Load()) != 0 {
		t.Error("something is left in the loop")
	}
	h.step()
}

func TestFeedback(t *testing.T) {
	h := newHouse(t)
	a := h.actor("a", codecVP8)
	h.g.want(a.src, CauseReplace)
	a.frame(true, 1)
	s := h.seat(plainVP8)
	ssrc := s.track(codec.Video).ssrc
	sent := ntpTime(h.now - 150*ms)
	b, err := rtcp.Marshal([]rtcp.Packet{
		&rtcp.ReceiverReport{Reports: []rtcp.ReceptionReport{
			{SSRC: 1, FractionLost: 255}, // not ours
			{SSRC: ssrc, FractionLost: 64, LastSenderReport: uint32(sent >> 16), Delay: 65536 / 10},
		}},
		&rtcp.ReceiverEstimatedMaximumBitrate{Bitrate: 1 << 20, SSRCs: []uint32{ssrc}},
		&rtcp.PictureLossIndication{MediaSSRC: ssrc},
		&rtcp.FullIntraRequest{MediaSSRC: ssrc, FIR: []rtcp.FIREntry{{SSRC: ssrc}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	asked := a.asked
	for range 100 {
		s.HandleRTCP(b, h.now)
	}
	if rtt := time.Duration(s.rtt.Load()); rtt < 49*time.Millisecond || rtt > 51*time.Millisecond {
		t.Errorf("round trip %s, want 50 ms", rtt)
	}
	if s.lost.Load() != 64 || s.remb.Load() != 1<<20 {
		t.Errorf("lost %d, estimate %d", s.lost.Load(), s.remb.Load())
	}
	if h.hub.stats.plisIn.Load() != 200 || a.asked != asked+1 {
		t.Errorf("%d requests came, %d went on", h.hub.stats.plisIn.Load(), a.asked-asked)
	}
	s.HandleRTCP([]byte{1, 2, 3}, h.now)
	s.HandleRTCP(nil, h.now)
}
