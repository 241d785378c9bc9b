package relay

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
)

// newTalker publishes name and plays what the other one publishes, in one
// section (sendrecv) or in two.
func newTalker(t *testing.T, h *Hub, name, other string, direction webrtc.RTPTransceiverDirection) (*camera, error) {
	t.Helper()
	c := &camera{peer: newPeer(t), plis: make(chan struct{}, 64)}
	var err error
	if c.track, err = webrtc.NewTrackLocalStaticRTP(vp8.RTPCodecCapability, "v", "s"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.pc.AddTransceiverFromTrack(c.track, webrtc.RTPTransceiverInit{Direction: direction}); err != nil {
		t.Fatal(err)
	}
	if direction == webrtc.RTPTransceiverDirectionSendonly {
		if _, err := c.pc.AddTransceiverFromKind(video, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			t.Fatal(err)
		}
	}
	pub, sub := request(c.offer()), request(nil)
	pub.Stream, sub.Stream = name, other
	a, err := h.PubSub(context.Background(), pub, sub)
	if err != nil {
		return c, err
	}
	c.apply(a, nil)
	return c, nil
}

// WTN-50, WTN-53: two peers talk, each over one connection, whoever comes first.
func TestPubSub(t *testing.T) {
	for _, direction := range []webrtc.RTPTransceiverDirection{webrtc.RTPTransceiverDirectionSendrecv, webrtc.RTPTransceiverDirectionSendonly} {
		t.Run(direction.String(), func(t *testing.T) {
			h := newHub(t)
			a, err := newTalker(t, h, "app/a", "app/b", direction)
			if err != nil {
				t.Fatal(err)
			}
			b, err := newTalker(t, h, "app/b", "app/a", direction)
			if err != nil {
				t.Fatal(err)
			}
			a.waitLive()
			b.waitLive()
			got := func(p *peer) int {
				p.mu.Lock()
				defer p.mu.Unlock()
				return len(p.got[video])
			}
			talk(t, func() bool { return got(a.peer) > 10 && got(b.peer) > 10 }, a, b)
			if s := h.Stats(); s.Publishers != 2 || s.Subscribers != 2 || s.Streams != 2 {
				t.Errorf("%+v", s)
			}
			if a.sess.Role() != RolePublish || a.sess.Twin().Role() != RoleSubscribe || a.sess.Twin().Stream() != "app/b" {
				t.Errorf("twins %v %v", a.sess.Info(), a.sess.Twin().Info())
			}

			// b goes; a waits for another one, and goes on when it comes.
			b.sess.End(ReasonDelete)
			await(t, b.gone, "end of b's connection")
			await(t, b.sess.Twin().Done(), "end of b's other side")
			d, err := newTalker(t, h, "app/b", "app/a", direction)
			if err != nil {
				t.Fatal(err)
			}
			d.waitLive()
			before := got(a.peer)
			talk(t, func() bool { return got(a.peer) > before+10 && got(d.peer) > 10 }, a, d)

			// The same triple again replaces the former resource.
			e, err := newTalker(t, h, "app/b", "app/a", direction)
			if err != nil {
				t.Fatal(err)
			}
			e.waitLive()
			before = got(a.peer)
			talk(t, func() bool {
				select {
				case <-d.sess.Done():
					return got(a.peer) > before+10
				default:
					return false
				}
			}, a, e)
			await(t, d.sess.Twin().Done(), "end of the replaced one's other side")

			// Nobody to listen to for too long: given up.
			if err := h.Apply(Config{SubscriberConnectTimeout: 300 * time.Millisecond}); err != nil {
				t.Fatal(err)
			}
			e.sess.End(ReasonDelete)
			await(t, a.sess.Done(), "end of who listens to nobody")
			if a.sess.reason != ReasonPublisherGone {
				t.Errorf("it ended by %s", a.sess.reason)
			}
			await(t, a.sess.Twin().Done(), "end of its other side")
			if s := h.Stats(); s.Publishers+s.Subscribers+s.Streams != 0 {
				t.Errorf("left: %+v", s)
			}
		})
	}
}

// talk lets the cameras send until the condition holds.
func talk(t *testing.T, until func() bool, cameras ...*camera) {
	t.Helper()
	tick, late := time.NewTicker(5*time.Millisecond), time.After(10*time.Second)
	defer tick.Stop()
	for !until() {
		for _, c := range cameras {
			c.frame(true, 1)
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("the peers do not hear each other within 10 s")
		}
	}
}

func TestPubSubRefusals(t *testing.T) {
	h := newHub(t)
	if _, err := newTalker(t, h, "app/a", "app/ b", webrtc.RTPTransceiverDirectionSendrecv); !errors.Is(err, ErrStreamName) {
		t.Errorf("bad name: %v", err)
	}
	for direction, hint := range map[webrtc.RTPTransceiverDirection]string{
		webrtc.RTPTransceiverDirectionSendonly: "receive", webrtc.RTPTransceiverDirectionRecvonly: "sends",
	} {
		p := newPeer(t)
		if _, err := p.pc.AddTransceiverFromKind(video, webrtc.RTPTransceiverInit{Direction: direction}); err != nil {
			t.Fatal(err)
		}
		sub := request(nil)
		sub.Stream = "other"
		_, err := h.PubSub(context.Background(), request(p.offer()), sub)
		var o *OfferError
		if !errors.As(err, &o) || !strings.Contains(o.Detail, hint) {
			t.Errorf("only %v: %v", direction, err)
		}
	}
	if n := len(h.Streams()); n != 0 {
		t.Errorf("%d streams left", n)
	}
}
