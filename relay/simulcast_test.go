package relay

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// rig is a pion publisher of simulcast VP8: frames of all layers that are on,
// 25 per second, key frames when they are asked for.
type rig struct {
	*peer
	layers []*rigLayer
	quit   chan struct{}
	done   chan struct{}
}

type rigLayer struct {
	rid   string
	width int
	track *webrtc.TrackLocalStaticRTP
	key   chan struct{} // a key frame is wanted
	off   chan bool
}

func newRig(t testing.TB, h *Hub, layers ...*rigLayer) *rig { return newRigWith(t, h, nil, layers...) }

func newRigWith(t testing.TB, h *Hub, routing *Routing, layers ...*rigLayer) *rig {
	t.Helper()
	r := &rig{peer: newPeer(t, vp8), layers: layers, quit: make(chan struct{}), done: make(chan struct{})}
	var sender *webrtc.RTPSender
	for i, l := range layers {
		l.key, l.off = make(chan struct{}, 8), make(chan bool, 1)
		var opts []func(*webrtc.TrackLocalStaticRTP)
		if l.rid != "" {
			opts = append(opts, webrtc.WithRTPStreamID(l.rid))
		}
		var err error
		if l.track, err = webrtc.NewTrackLocalStaticRTP(vp8.RTPCodecCapability, "v", "s", opts...); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			sender, err = r.pc.AddTrack(l.track)
		} else {
			err = sender.AddEncoding(l.track)
		}
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				var pkts []rtcp.Packet
				var err error
				if l.rid == "" {
					pkts, _, err = sender.ReadRTCP()
				} else {
					pkts, _, err = sender.ReadSimulcastRTCP(l.rid)
				}
				if err != nil {
					return
				}
				for _, p := range pkts {
					if _, ok := p.(*rtcp.PictureLossIndication); ok {
						select {
						case l.key <- struct{}{}:
						default:
						}
					}
				}
			}
		}()
	}
	req := request(r.offer())
	req.Routing = routing
	r.apply(h.Publish(context.Background(), req))
	r.waitLive()
	ids := map[string]uint8{}
	for _, e := range sender.GetParameters().HeaderExtensions {
		ids[e.URI] = uint8(e.ID)
	}
	go r.film(ids["urn:ietf:params:rtp-hdrext:sdes:mid"], ids["urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"])
	t.Cleanup(r.stop)
	return r
}

// film writes frames until the rig is stopped.
func (r *rig) film(midID, ridID uint8) {
	defer close(r.done)
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	off := make([]bool, len(r.layers))
	start := time.Now()
	for n := 0; ; n++ {
		select {
		case <-r.quit:
			return
		case <-tick.C:
		}
		elapsed := uint32(time.Since(start).Milliseconds()) * 90
		for i := len(r.layers) - 1; i >= 0; i-- {
			l := r.layers[i]
			select {
			case off[i] = <-l.off:
			default:
			}
			key := n == 0
			select {
			case <-l.key:
				key = !off[i]
			default:
			}
			if off[i] {
				continue
			}
			for k := range 2 {
				pkt := &rtp.Packet{
					Header: rtp.Header{
						Version: 2, SequenceNumber: uint16(n*2 + k + i*20000), Timestamp: elapsed + uint32(i)<<28, Marker: k == 1,
					},
					Payload: append(picture(uint16(n+i*5000), k == 0, key, l.width, i, n), make([]byte, 400)...),
				}
				if l.rid != "" {
					_ = pkt.SetExtension(midID, []byte("0"))
					_ = pkt.SetExtension(ridID, []byte(l.rid))
				}
				_ = l.track.WriteRTP(pkt)
			}
		}
	}
}

func (r *rig) stop() {
	select {
	case <-r.quit:
	default:
		close(r.quit)
	}
	<-r.done
}

func threeLayers() []*rigLayer {
	return []*rigLayer{{rid: "q", width: 320}, {rid: "h", width: 640}, {rid: "f", width: 1280}}
}

// until waits until the viewer's newest packet is of a layer, and returns all
// that it got.
func (p *peer) until(layer int) []rtp.Packet {
	p.t.Helper()
	n := 1
	for deadline := time.Now().Add(10 * time.Second); ; {
		got := p.packets(webrtc.RTPCodecTypeVideo, n)
		if layerOf(got[len(got)-1].Payload) == layer {
			return got
		}
		if n = len(got) + 1; time.Now().After(deadline) {
			p.t.Fatalf("no picture of layer %d within 10 s", layer)
		}
	}
}

// oneStream checks that what a viewer got looks like one encoding.
func oneStream(t *testing.T, list []rtp.Packet, ids bool) {
	t.Helper()
	for i := 1; i < len(list); i++ {
		a, b := &list[i-1], &list[i]
		if b.SSRC != a.SSRC || b.PayloadType != a.PayloadType || b.SequenceNumber != a.SequenceNumber+1 {
			t.Fatalf("packet %d: %d/%d/%d after %d/%d/%d", i, b.SSRC, b.PayloadType, b.SequenceNumber, a.SSRC, a.PayloadType, a.SequenceNumber)
		}
		begins := b.Payload[0]&0x10 != 0
		if step := int32(b.Timestamp - a.Timestamp); step < 0 || begins == (step == 0) || step > 90000 {
			t.Fatalf("packet %d: begins a frame is %v, time moves by %d", i, begins, step)
		}
		if layerOf(a.Payload) != layerOf(b.Payload) && !isKey(b.Payload) {
			t.Fatalf("packet %d: another layer begins without a key frame", i)
		}
		id := func(p *rtp.Packet) int { return int(binary.BigEndian.Uint16(p.Payload[2:]) & 0x7fff) }
		if d := (id(b) - id(a)) & 0x7fff; ids && (begins && d != 1 || !begins && d != 0) {
			t.Fatalf("packet %d: picture id %d after %d", i, id(b), id(a))
		}
		if len(b.GetExtensionIDs()) > 1 {
			t.Fatalf("packet %d has extensions %v", i, b.GetExtensionIDs())
		}
	}
}

func TestSimulcast(t *testing.T) {
	h := newHub(t)
	r := newRig(t, h, threeLayers()...)
	v, w := newViewer(t, h), newViewer(t, h)
	v.waitLive()
	w.waitLive()
	v.until(2)
	list := v.sess.Layers()
	if len(list) != 3 || list[0].RID != "q" || list[1].RID != "h" || list[2].RID != "f" || list[2].Width != 1280 || list[2].Index != 2 {
		t.Errorf("layers %+v", list)
	}
	for _, c := range []struct {
		choice LayerChoice
		want   int
	}{
		{LayerChoice{RID: "q"}, 0}, {LayerChoice{RID: "h"}, 1}, {LayerChoice{}, 2}, {LayerChoice{MaxWidth: 800}, 1}, {LayerChoice{}, 2},
	} {
		if err := v.sess.SelectLayer(c.choice); err != nil {
			t.Fatal(err)
		}
		v.until(c.want)
	}
	if err := v.sess.SelectLayer(LayerChoice{RID: "x"}); err != ErrNoLayer {
		t.Errorf("an unknown layer: %v", err)
	}
	three := 3
	if err := v.sess.SelectLayer(LayerChoice{Spatial: &three}); err != ErrNoLayer {
		t.Errorf("an unknown index: %v", err)
	}
	if err := r.sess.SelectLayer(LayerChoice{}); err != ErrNoLayer {
		t.Errorf("a publisher's layer: %v", err)
	}
	// The browser's uplink shrinks and grows again.
	r.layers[2].off <- true
	r.layers[1].off <- true
	v.until(0)
	r.layers[1].off <- false
	v.until(1)
	r.layers[2].off <- false
	oneStream(t, v.until(2), true)
	got := w.until(2)
	oneStream(t, got, true)
	s := h.Streams()[0]
	if len(s.Tracks) != 3 || s.Tracks[0].RID != "q" || s.Tracks[2].Width == 0 {
		t.Errorf("tracks %+v", s.Tracks)
	}
}

// A single encoding takes a simulcast stream over, and the other way round.
func TestSimulcastTakeover(t *testing.T) {
	h := newHub(t)
	first := newRig(t, h, threeLayers()...)
	v := newViewer(t, h)
	v.waitLive()
	v.until(2)
	if err := v.sess.SelectLayer(LayerChoice{RID: "h"}); err != nil {
		t.Fatal(err)
	}
	v.until(1)
	second := newRig(t, h, &rigLayer{width: 960})
	await(t, first.sess.Done(), "end of the first publisher")
	v.until(0)
	if list := v.sess.Layers(); len(list) != 1 || list[0].RID != "" {
		t.Errorf("layers %+v", list)
	}
	third := newRig(t, h, threeLayers()...)
	await(t, second.sess.Done(), "end of the second publisher")
	v.until(1) // still what it chose
	oneStream(t, v.until(1), false)
	third.stop()
}

func TestSubscribeToLayer(t *testing.T) {
	h := newHub(t)
	newRig(t, h, threeLayers()...)
	for rid, want := range map[string]error{"q": nil, "nothing": ErrNoLayer} {
		p := newPeer(t)
		if _, err := p.pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			t.Fatal(err)
		}
		req := request(p.offer())
		req.RID = rid
		a, err := h.Subscribe(context.Background(), req)
		if err != want {
			t.Fatalf("%s: %v", rid, err)
		}
		if err == nil {
			p.apply(a, nil)
			oneStream(t, p.until(0), true)
		}
	}
}

// A push carries one layer, the highest that flows.
func TestSimulcastPush(t *testing.T) {
	a, _, origin := vendors(t)
	r := newRigWith(t, origin, &Routing{Push: []string{"a"}}, threeLayers()...)
	eventually(t, "the highest layer at the vendor", func() bool {
		s := a.hub.Streams()
		return len(s) == 1 && s[0].Live && len(s[0].Tracks) == 1 && s[0].Tracks[0].Width == 1280 && s[0].Tracks[0].RID == ""
	})
	v := newViewer(t, a.hub)
	v.waitLive()
	v.until(2)
	r.layers[2].off <- true
	v.until(1)
	r.layers[2].off <- false
	oneStream(t, v.until(2), true)
	r.sess.End(ReasonDelete)
	eventually(t, "the end of the push", func() bool { return len(a.hub.Sessions()) == 0 })
}

// A publisher whose highest layer rests is no worse than another one.
func TestLayersKeepTheProgram(t *testing.T) {
	h := newHub(t)
	backup := &Routing{Publishers: PublishBackup}
	first := newRigWith(t, h, backup, threeLayers()...)
	v := newViewer(t, h)
	v.waitLive()
	v.until(2)
	newRigWith(t, h, backup, &rigLayer{width: 960})
	for i := range first.layers[1:] { // all but q, in slot 0
		first.layers[i+1].off <- true
	}
	v.until(0)
	first.layers[0].off <- true // and q itself, while f is sent
	first.layers[2].off <- false
	v.until(2)
	n := len(v.packets(webrtc.RTPCodecTypeVideo, 1))
	for _, p := range v.packets(webrtc.RTPCodecTypeVideo, n+100)[n:] { // two seconds
		if layerOf(p.Payload) != 2 {
			t.Fatalf("layer %d while the highest flows", layerOf(p.Payload))
		}
	}
	if s := h.Streams()[0]; !s.Sources[0].Program || s.Sources[0].Session.ID != first.sess.ID() {
		t.Errorf("sources %+v", s.Sources)
	}
	first.sess.End(ReasonDelete)
	v.until(0) // of the backup
	oneStream(t, v.until(0), false)
}
