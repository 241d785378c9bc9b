package relay

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

func yes() *bool { v := true; return &v }
func no() *bool  { return new(bool) }

// WTN-40, WTN-43: what the publisher mutes is not forwarded; unmuting asks for
// a key frame, and viewers see neither gap nor old pictures.
func TestMutedPublisher(t *testing.T) {
	h := newHub(t)
	c := newCamera(t, h)
	c.waitLive()
	v := newViewer(t, h)
	v.waitLive()
	c.frame(true, 2)
	v.packets(video, 2)

	c.sess.Mute(Mute{Video: yes()})
	c.sess.Mute(Mute{Audio: yes()}) // absent: nothing happens to video
	for range 20 {
		c.frame(false, 2)
	}
	for len(c.plis) > 0 {
		<-c.plis
	}
	c.sess.Mute(Mute{Video: no()})
	c.frame(false, 1) // not decodable: left out
	await(t, c.plis, "key frame request after unmuting")
	c.frame(true, 3)
	pkts := v.packets(video, 5)
	continuous(t, pkts)
	if len(pkts) != 5 {
		t.Errorf("%d packets, want the 2 from before and the 3 of the key frame", len(pkts))
	}
}

// passed waits until the sending loop of a viewer is done with all the video
// that its program holds.
func passed(t *testing.T, p *peer) {
	t.Helper()
	k := p.sess.owner.(*subscriber).sink
	tick, late := time.NewTicker(5*time.Millisecond), time.After(10*time.Second)
	defer tick.Stop()
	for {
		done := make(chan bool)
		k.worker.post(func(int64) {
			done <- k.worker.fanOf(k.prog).tracks[codec.Video].cursor == k.prog.tracks[codec.Video].ring.Next()
		})
		if <-done {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("the sending loop is behind")
		}
	}
}

// WTN-41: of a viewer only itself is muted.
func TestMutedSubscriber(t *testing.T) {
	h := newHub(t)
	c := newCamera(t, h)
	c.waitLive()
	r := request(nil)
	r.MuteVideo = true
	a, b := newViewer(t, h), newPeer(t)
	if _, err := b.pc.AddTransceiverFromKind(video, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	r.Offer = b.offer()
	b.apply(h.Subscribe(context.Background(), r))
	a.waitLive()
	b.waitLive()
	c.frame(true, 2)
	for range 10 {
		c.frame(false, 2)
	}
	a.packets(video, 22)
	passed(t, b)
	for len(c.plis) > 0 {
		<-c.plis
	}
	b.sess.Mute(Mute{Video: no()})
	await(t, c.plis, "key frame request after unmuting")
	c.frame(true, 3)
	if n := len(b.packets(video, 3)); n != 3 {
		t.Errorf("the muted viewer has %d packets, want the 3 of the key frame", n)
	}
	continuous(t, a.packets(video, 25))
	b.sess.Mute(Mute{Video: yes()})
	b.sess.Mute(Mute{Video: no()})
	await(t, c.plis, "key frame request after unmuting")
	c.frame(true, 2)
	continuous(t, b.packets(video, 5))
}

// WHEP-21, WHEP-23: a viewer waits for its publisher.
func TestHeldSubscriber(t *testing.T) {
	h := newHub(t)
	hold := func(p *peer) (*Answer, error) {
		r := request(p.offer())
		r.Hold = true
		return h.Subscribe(context.Background(), r)
	}
	viewer := func(codecs ...webrtc.RTPCodecParameters) *peer {
		p := newPeer(t, codecs...)
		if _, err := p.pc.AddTransceiverFromKind(video, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			t.Fatal(err)
		}
		return p
	}
	v := viewer()
	v.apply(hold(v))
	v.waitLive()
	h264 := webrtc.RTPCodecParameters{
		RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeH264, ClockRate: 90000, SDPFmtpLine: "packetization-mode=1;profile-level-id=42e01f"},
		PayloadType:        102,
	}
	deaf := viewer(h264) // plays nothing that comes
	deaf.apply(hold(deaf))
	deaf.waitLive()

	w := newPeer(t)
	if _, err := w.pc.AddTransceiverFromKind(video, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Subscribe(context.Background(), request(w.offer())); !errors.Is(err, ErrNoPublisher) {
		t.Errorf("a viewer that does not want to wait: %v", err)
	}
	if s := h.Streams(); len(s) != 1 || s[0].Publisher != nil || s[0].Subscribers != 2 || s[0].Live {
		t.Errorf("streams %+v", s)
	}
	c := newCamera(t, h)
	c.waitLive()
	c.frame(false, 1)
	await(t, c.plis, "key frame request")
	c.frame(true, 3)
	for range 5 {
		c.frame(false, 2)
	}
	continuous(t, v.packets(video, 13))
	await(t, deaf.sess.Done(), "end of the viewer without the codec")
	if deaf.sess.reason != ReasonCodec {
		t.Errorf("it ended by %s", deaf.sess.reason)
	}
	c.sess.End(ReasonDelete)
	await(t, v.sess.Done(), "end of the viewer with its publisher")

	// The last one to wait takes the stream along.
	x := viewer()
	x.apply(hold(x))
	x.sess.End(ReasonDelete)
	if n := len(h.Streams()); n != 0 {
		t.Errorf("%d streams left", n)
	}
}

// WHEP-60..73: what a player is told, in this order.
func TestEventStream(t *testing.T) {
	h := newHub(t)
	c := newCamera(t, h)
	c.waitLive()
	v := newViewer(t, h)
	v.waitLive()
	if _, err := v.sess.OpenEvents([]EventName{"fireworks"}); !errors.Is(err, ErrEventName) {
		t.Errorf("unknown event: %v", err)
	}
	e, err := v.sess.OpenEvents([]EventName{EventActive, EventInactive, EventLayers})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	next := e.Read()
	want := func(name EventName) Event {
		t.Helper()
		ev, ok := next(ctx)
		if !ok || ev.Name != name {
			t.Fatalf("%+v %v, want %s", ev, ok, name)
		}
		return ev
	}
	if l := want(EventLayers).Layers; len(l) != 1 || l[0].Media != 1 { // nothing flowed yet: no "inactive" first
		t.Errorf("layers %+v", l)
	}
	c.frame(true, 2)
	want(EventActive)
	e.mu.Lock()
	e.layersAt = 1 << 62 // only changes from here on
	e.mu.Unlock()
	p := c.sess.owner.(*publisher)
	p.quiet.Store(true)
	h.publisherQuiet(p, true)
	want(EventInactive)

	second := e.Read() // another reader takes over
	if ev, ok := next(ctx); ok {
		t.Errorf("the first reader got %+v", ev)
	}
	next = second
	if err := v.sess.CloseEvents(e.ID()); err != nil {
		t.Error(err)
	}
	if ev, ok := next(ctx); ok {
		t.Errorf("a closed stream gave %+v", ev)
	}
	if _, err := v.sess.Events(e.ID()); !errors.Is(err, ErrEventsNotFound) {
		t.Errorf("closed stream: %v", err)
	}

	for range maxEventStreams {
		if e, err = v.sess.OpenEvents([]EventName{EventViewerCount, EventReconnect}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.sess.OpenEvents(nil); !errors.Is(err, ErrEventStreams) {
		t.Errorf("one too many: %v", err)
	}
	next = e.Read()
	if ev := want(EventViewerCount); ev.Viewers != 1 {
		t.Errorf("%d viewers", ev.Viewers)
	}
	newViewer(t, h)
	if ev := want(EventViewerCount); ev.Viewers != 2 {
		t.Errorf("%d viewers", ev.Viewers)
	}
	v.sess.End(ReasonCodec)
	want(EventReconnect)
	if ev, ok := next(ctx); ok {
		t.Errorf("after the end: %+v", ev)
	}
	if _, err := v.sess.OpenEvents(nil); !errors.Is(err, ErrSessionNotFound) {
		t.Errorf("events of an ended session: %v", err)
	}
}
