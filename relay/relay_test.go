package relay

import (
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

const video = webrtc.RTPCodecTypeVideo

// continuous fails on any change of SSRC or payload type and on any gap.
func continuous(t *testing.T, pkts []rtp.Packet) {
	t.Helper()
	for i := 1; i < len(pkts); i++ {
		a, b := pkts[i-1], pkts[i]
		if a.SSRC != b.SSRC || a.PayloadType != b.PayloadType {
			t.Fatalf("packet %d: ssrc %d pt %d, before %d %d", i, b.SSRC, b.PayloadType, a.SSRC, a.PayloadType)
		}
		if b.SequenceNumber != a.SequenceNumber+1 {
			t.Fatalf("packet %d: number %d after %d", i, b.SequenceNumber, a.SequenceNumber)
		}
		if int32(b.Timestamp-a.Timestamp) < 0 {
			t.Fatalf("packet %d: time goes back by %d", i, a.Timestamp-b.Timestamp)
		}
	}
}

func TestPublishAndSubscribe(t *testing.T) {
	h := newHub(t)
	c := newCamera(t, h)
	c.waitLive()
	v := newViewer(t, h)
	v.waitLive()
	c.frame(false, 1)
	await(t, c.plis, "key frame request for the newcomer")
	c.frame(true, 3)
	for range 50 {
		c.frame(false, 2)
	}
	continuous(t, v.packets(video, 103))
}

func TestNewcomerStartsFromTheCache(t *testing.T) {
	h := newHub(t)
	if err := h.Apply(Config{GOPCache: CacheOn}); err != nil {
		t.Fatal(err)
	}
	c := newCamera(t, h)
	c.waitLive()
	first := newViewer(t, h)
	first.waitLive()
	c.frame(false, 1)
	await(t, c.plis, "key frame request")
	c.frame(true, 3)
	for range 40 {
		c.frame(false, 2)
	}
	first.packets(video, 83)
	v := newViewer(t, h)
	v.waitLive()
	continuous(t, v.packets(video, 83)) // without a frame in the meantime
	c.frame(false, 2)
	continuous(t, v.packets(video, 85))
}

func TestTakeoverIsSeamless(t *testing.T) {
	h := newHub(t)
	a := newCamera(t, h)
	a.waitLive()
	v := newViewer(t, h)
	v.waitLive()
	a.frame(false, 1)
	await(t, a.plis, "key frame request")
	a.frame(true, 3)
	for range 10 {
		a.frame(false, 2)
	}
	v.packets(video, 23)
	b := newCamera(t, h)
	b.waitLive()
	a.frame(false, 2) // still forwarded: the new one has no key frame yet
	v.packets(video, 25)
	b.seq, b.ts, b.id = 7, 12345, 99
	b.frame(false, 1)
	await(t, b.plis, "key frame request to the new source")
	b.frame(true, 3)
	for range 10 {
		b.frame(false, 2)
	}
	pkts := v.packets(video, 48)
	continuous(t, pkts)
	id := func(p rtp.Packet) int { return int(p.Payload[2]&0x7f)<<8 | int(p.Payload[3]) }
	for i := 1; i < len(pkts); i++ {
		if d := id(pkts[i]) - id(pkts[i-1]); d != 0 && d != 1 {
			t.Fatalf("picture id %d after %d", id(pkts[i]), id(pkts[i-1]))
		}
	}
	await(t, a.sess.Done(), "end of the old publisher")
	if a.sess.reason != ReasonTakeover {
		t.Errorf("it ended by %s", a.sess.reason)
	}
}

func TestEndOfPublisherEndsSubscribers(t *testing.T) {
	h := newHub(t)
	c := newCamera(t, h)
	c.waitLive()
	v, w := newViewer(t, h), newViewer(t, h)
	v.waitLive()
	w.waitLive()
	w.sess.End(ReasonDelete)
	await(t, w.gone, "end of the subscriber's connection")
	select {
	case <-c.sess.Done():
		t.Fatal("ending a subscriber ended the publisher")
	default:
	}
	c.sess.End(ReasonDelete)
	await(t, v.sess.Done(), "end of the subscriber with its publisher")
	await(t, v.gone, "DTLS close at the subscriber")
	if n := len(h.Streams()); n != 0 {
		t.Errorf("%d streams left", n)
	}
}
