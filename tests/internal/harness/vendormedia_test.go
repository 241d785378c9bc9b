package harness

import (
	"slices"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/talwtn/caddy-wtn/tests/internal/vendorcmd/behaviour"
)

func TestVendorForwards(t *testing.T) {
	v := StartVendor(t, VendorOptions{})
	for _, c := range []Codec{H264, VP8, VP9, AV1} {
		t.Run(c.Name(), func(t *testing.T) {
			p := v.Publish(t, "a"+c.Name(), PublisherConfig{Video: c, KeyframeEvery: -1})
			v.AwaitStream("a" + c.Name())
			viewers := []*Viewer{v.View(t, "a"+c.Name(), ViewerConfig{}), v.View(t, "a"+c.Name(), ViewerConfig{})}
			for _, w := range viewers {
				w.AwaitVideo(t, 200, 10*time.Second)
				w.AwaitAudio(t, 20, 10*time.Second)
			}
			p.Silence()
			for _, w := range viewers {
				Eventually(t, 5*time.Second, "the last packet at the viewer", func() bool { return w.HasLastOf(p) })
				RequireContinuous(t, "viewer", w.Video(), Rules{Codec: c})
				RequireContinuous(t, "viewer", w.Audio(), Rules{Codec: Opus})
				if _, _, err := MatchSent(c.MimeType, p.SentVideo(), w.Video()); err != nil {
					t.Error(err)
				}
				if len(DecodableFrames(c.MimeType, w.Video())) < 20 {
					t.Error("nothing decodable: the key frame a new player needs was not asked for")
				}
			}
			a, b := viewers[0].Video()[0], viewers[1].Video()[0]
			if a.SSRC == b.SSRC || a.Seq == b.Seq && a.TS == b.TS {
				t.Errorf("two players have the same ssrc or numbers: %+v, %+v", a, b)
			}
		})
	}
}

// Frames packed anew are the same frames: the data, the timestamps' steps and
// the order are as sent, the packets are not.
func TestVendorRepacketises(t *testing.T) {
	for _, c := range []Codec{H264, VP8} {
		t.Run(c.Name(), func(t *testing.T) {
			v := StartVendor(t, VendorOptions{})
			const room = 700
			v.Set(Behaviour{Media: MediaFault{Repacketise: room}})
			p := v.Publish(t, "a", PublisherConfig{Video: c})
			v.AwaitStream("a")
			w := v.View(t, "a", ViewerConfig{})
			w.AwaitVideo(t, 600, 10*time.Second)
			pkts := w.Video()
			// The harness's own check of stamps is per packet and blind here.
			RequireContinuous(t, "viewer", pkts[:len(pkts)-20], Rules{Codec: c})
			sizes := map[int]bool{}
			for _, p := range pkts {
				sizes[len(p.Payload)] = true
				if len(p.Payload) > room {
					t.Fatalf("a payload of %d bytes", len(p.Payload))
				}
			}
			if !sizes[room] {
				t.Errorf("payload sizes %v", sizes)
			}
			requireFramesAsSent(t, c, p, DecodableFrames(c.MimeType, pkts))

			// A frame that misses a packet is left out, and leaves no gap.
			s := v.Set(Behaviour{Media: MediaFault{Repacketise: room, Drop: 3, Seed: 1}})
			from := len(w.Video())
			w.AwaitVideo(t, 500, 15*time.Second)
			after := w.Video()[from:]
			for i := 1; i < len(after); i++ {
				if after[i].Seq != after[i-1].Seq+1 {
					t.Errorf("%d after %d", after[i].Seq, after[i-1].Seq)
				}
			}
			if v.State().Dropped == s.Dropped || len(DecodableFrames(c.MimeType, after)) == len(Frames(after)) {
				t.Error("nothing was lost")
			}
		})
	}
}

// requireFramesAsSent checks that a run of frames is complete and has the
// steps of the timestamps that were sent.
func requireFramesAsSent(t *testing.T, c Codec, p *Publisher, frames []DecodableFrame) {
	t.Helper()
	if len(frames) < 30 {
		t.Fatalf("%d frames", len(frames))
	}
	ts := map[uint32]uint32{} // of the packet numbers
	for _, s := range p.SentVideo() {
		if _, n, ok := Stamp(s.Payload); ok {
			ts[n] = s.TS
		}
	}
	offset := frames[0].TS - ts[frames[0].First]
	for k, f := range frames {
		if k > 0 && f.First != frames[k-1].Last+1 {
			t.Fatalf("%s: frame %d begins with packet %d, the one before ended with %d", c.Name(), k, f.First, frames[k-1].Last)
		}
		if f.TS-ts[f.First] != offset || ts[f.First] != ts[f.Last] {
			t.Fatalf("%s: frame %d has timestamp %d, was %d, others are %d off", c.Name(), k, f.TS, ts[f.First], offset)
		}
	}
}

// Drop leaves gaps that nobody repairs; with CloseGaps the numbers hide them.
func TestVendorDrops(t *testing.T) {
	for _, closed := range []bool{false, true} {
		v := StartVendor(t, VendorOptions{})
		v.Publish(t, "a", PublisherConfig{})
		v.AwaitStream("a")
		w := v.View(t, "a", ViewerConfig{})
		w.AwaitVideo(t, 50, 10*time.Second)
		v.Set(Behaviour{Media: MediaFault{Drop: 10, Seed: 1, CloseGaps: closed}})
		from := len(w.Video())
		w.AwaitVideo(t, 500, 10*time.Second)
		s := v.State()
		pkts := w.Video()[from:]
		gaps, numbers := 0, 0
		for i := 1; i < len(pkts); i++ {
			gaps += int(pkts[i].Seq - pkts[i-1].Seq - 1)
			_, a, okA := Stamp(pkts[i-1].Payload)
			_, b, okB := Stamp(pkts[i].Payload)
			if okA && okB && b > a {
				numbers += int(b - a - 1)
			}
		}
		if s.Dropped < 30 || s.Dropped > 150 {
			t.Errorf("%d of about 650 packets were dropped at 10%%", s.Dropped)
		}
		if numbers < 20 {
			t.Errorf("closed %t: only %d packets are missing", closed, numbers)
		}
		if closed && gaps != 0 || !closed && gaps < 20 {
			t.Errorf("closed %t: %d missing sequence numbers", closed, gaps)
		}
	}
}

// Two viewers, and delay set for both: what was sent arrives later by that.
func TestVendorDelaysMedia(t *testing.T) {
	v := StartVendor(t, VendorOptions{})
	p := v.Publish(t, "a", PublisherConfig{})
	v.AwaitStream("a")
	w := v.View(t, "a", ViewerConfig{})
	for _, delay := range []behaviour.Millis{0, 250} {
		v.Set(Behaviour{Media: MediaFault{Delay: delay}})
		from := time.Now().Add(delay.Duration())
		Eventually(t, 10*time.Second, "media after the change", func() bool {
			n := len(w.Video())
			return n > 0 && w.Video()[n-1].Arrival.After(from.Add(time.Second))
		})
		if got := latency(p, w, from); got < delay.Duration() || got > delay.Duration()+100*time.Millisecond {
			t.Errorf("delay %d ms: packets are %s late", delay, got)
		}
	}
}

// latency is the median time from sending to arrival of video since a moment.
func latency(p *Publisher, w *Viewer, since time.Time) time.Duration {
	sent := map[uint32]time.Time{}
	for _, s := range p.SentVideo() {
		if _, n, ok := Stamp(s.Payload); ok {
			sent[n] = s.At
		}
	}
	var ages []time.Duration
	for _, g := range w.Video() {
		if _, n, ok := Stamp(g.Payload); ok && g.Arrival.After(since) {
			ages = append(ages, g.Arrival.Sub(sent[n]))
		}
	}
	slices.Sort(ages)
	return ages[len(ages)/2]
}

// WireDelay is for all datagrams, those that connect included.
func TestVendorIsFarAway(t *testing.T) {
	v := StartVendor(t, VendorOptions{})
	p := v.Publish(t, "a", PublisherConfig{})
	v.AwaitStream("a")
	connect := func(delay time.Duration) time.Duration {
		start := time.Now()
		w := v.View(t, "a", ViewerConfig{NoAudio: true})
		took := time.Since(start)
		w.AwaitVideo(t, 100, 10*time.Second)
		if got := latency(p, w, start); got < delay {
			t.Errorf("packets are only %s late", got)
		}
		w.Close()
		return took
	}
	near := connect(0)
	v.Set(Behaviour{Media: MediaFault{WireDelay: 100}})
	// At least one round trip of ICE and two of DTLS.
	if far := connect(100 * time.Millisecond); far < near+200*time.Millisecond {
		t.Errorf("connected in %s near by and in %s with 100 ms", near, far)
	}
}

// A publisher that comes again goes on, on the timeline of each viewer.
func TestVendorKeepsViewersAcrossPublishers(t *testing.T) {
	v := StartVendor(t, VendorOptions{})
	p := v.Publish(t, "a", PublisherConfig{})
	v.AwaitStream("a")
	w := v.View(t, "a", ViewerConfig{})
	w.AwaitVideo(t, 100, 10*time.Second)
	p.Close()
	q := v.Publish(t, "a", PublisherConfig{})
	w.AwaitSource(t, q.Source, 10*time.Second)
	w.AwaitVideo(t, 100, 10*time.Second)
	if n := w.Tracks(webrtc.RTPCodecTypeVideo); n != 1 {
		t.Errorf("%d tracks", n)
	}
	for _, f := range Check(w.Video(), Rules{Codec: H264, TornAtSwitch: true}) {
		if f.Fault != FaultPace { // nothing was sent for a while
			t.Error(f)
		}
	}
}
