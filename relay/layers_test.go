package relay

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/payload"
	"github.com/talwtn/caddy-wtn/relay/internal/rtpx"
)

// cast is a simulcast source: an actor of several layers that answers every
// request for a key frame with the next frame.
type cast struct {
	s      *stage
	src    *source
	tracks []*sourceTrack
	asked  []int
	wants  []bool // a key frame
	seq    []uint64
	ts     []uint32
	id     []uint16
	widths []int
	deaf   bool // does not answer requests
	still  []bool
	packet rtpx.Packet
	number int // of frames
	tell   bool
}

var rids = []string{"h", "m", "l"}

// cast makes a source with a layer for each width, in the order of its rids.
func (s *stage) cast(id string, names []string, widths ...int) *cast {
	s.t.Helper()
	n := len(widths)
	c := &cast{
		s: s, asked: make([]int, n), wants: make([]bool, n), still: make([]bool, n),
		seq: make([]uint64, n), ts: make([]uint32, n), id: make([]uint16, n), widths: widths, tell: true,
	}
	ask := func(i int) func() bool {
		return func() bool {
			c.asked[i]++
			c.wants[i] = c.wants[i] || !c.deaf
			return true
		}
	}
	list := s.g.assign(names)
	first := 0
	for i, l := range list {
		if l == codec.Video {
			first = i
		}
	}
	c.src = newSource(id, ask(first))
	for i, l := range list {
		var t *sourceTrack
		if l == codec.Video {
			t = c.src.addTrack(codecVP8)
		} else {
			t = c.src.addLayer(l, codecVP8, ask(i))
		}
		t.rid = names[i]
		c.tracks = append(c.tracks, t)
		c.seq[i], c.ts[i], c.id[i] = uint64(1<<16+rand.IntN(1<<15)), rand.Uint32(), uint16(rand.IntN(1<<15))
		c.wants[i] = true // every encoder begins with one
	}
	if !s.g.register(c.src) {
		s.t.Fatal("the program does not take the codecs")
	}
	return c
}

// picture is the payload of a VP8 packet that tells its layer and frame.
func picture(id uint16, start, key bool, width, layer, number int) []byte {
	p := []byte{0x80, 0xf0, 0x80 | byte(id>>8), byte(id), byte(id), 0x20 | byte(id&0x1f)}
	if start {
		p[0] |= 0x10
	}
	body := make([]byte, 16)
	if body[0] = 1; key && start {
		copy(body, []byte{0, 0, 0, 0x9d, 1, 0x2a})
		binary.LittleEndian.PutUint16(body[6:], uint16(width))
		binary.LittleEndian.PutUint16(body[8:], uint16(width*9/16))
	}
	body[10] = byte(layer)
	binary.BigEndian.PutUint32(body[11:], uint32(number))
	return append(p, body...)
}

// layerOf, numberOf and isKey read it.
func layerOf(p []byte) int  { return int(p[16]) }
func numberOf(p []byte) int { return int(binary.BigEndian.Uint32(p[17:])) }
func isKey(p []byte) bool   { return p[0]&0x10 != 0 && p[6]&1 == 0 }

// frame lets the time of a frame pass and writes one of each layer that is not
// still, in n packets, the lower layers first as encoders do.
func (c *cast) frame(n int) {
	c.s.now += frameTime
	c.number++
	for i := len(c.tracks) - 1; i >= 0; i-- {
		c.ts[i] += frameTick
		if c.still[i] {
			continue
		}
		if c.tell && c.number%10 == 1 {
			c.s.g.report(c.tracks[i], ntpTime(c.s.now), c.ts[i])
		}
		for k := range n {
			c.packet = rtpx.Packet{
				Seq: uint16(c.seq[i]), TS: c.ts[i], Marker: k == n-1,
				Payload: picture(c.id[i], k == 0, c.wants[i], c.widths[i], i, c.number),
			}
			c.s.g.write(c.tracks[i], &c.packet, c.seq[i], c.s.now)
			c.seq[i]++
		}
		c.wants[i] = false
		c.id[i]++
	}
}

// steady checks that a viewer saw one stream, whatever layers it came from, and
// returns the layers in the order they were seen.
func steady(t testing.TB, list []heard) (layers []int) {
	t.Helper()
	for i := range list {
		b := &list[i]
		layer := layerOf(b.Payload)
		if i == 0 {
			layers = append(layers, layer)
			continue
		}
		a := &list[i-1]
		if b.SSRC != a.SSRC || b.PT != a.PT || b.Seq != a.Seq+1 {
			t.Fatalf("packet %d: %d/%d/%d after %d/%d/%d", i, b.SSRC, b.PT, b.Seq, a.SSRC, a.PT, a.Seq)
		}
		step := int32(b.TS - a.TS)
		if step < 0 {
			t.Fatalf("packet %d: time goes back by %d", i, -step)
		}
		begins := b.Payload[0]&0x10 != 0
		if begins == (step == 0) {
			t.Fatalf("packet %d: begins a frame is %v, time moves by %d", i, begins, step)
		}
		id := func(p *heard) int { return int(p.Payload[2]&0x7f)<<8 | int(p.Payload[3]) }
		want := 0
		if begins {
			want = 1
		}
		if d := (id(b) - id(a)) & 0x7fff; d != want {
			t.Fatalf("packet %d: picture id %d after %d", i, id(b), id(a))
		}
		if d := int(b.Payload[4] - a.Payload[4]); d != want {
			t.Fatalf("packet %d: TL0PICIDX %d after %d", i, b.Payload[4], a.Payload[4])
		}
		if d := int(b.Payload[5]-a.Payload[5]) & 0x1f; d != want || b.Payload[5]&0xe0 != a.Payload[5]&0xe0 {
			t.Fatalf("packet %d: KEYIDX byte %x after %x", i, b.Payload[5], a.Payload[5])
		}
		if layer != layerOf(a.Payload) {
			layers = append(layers, layer)
			if !isKey(b.Payload) {
				t.Fatalf("packet %d: layer %d begins without a key frame", i, layer)
			}
		}
		// Media time: frames are 40 ms apart, and those of one instant 1 ms.
		if begins {
			due := int32(numberOf(b.Payload)-numberOf(a.Payload)) * frameTick
			if d := step - due; d > 200 || d < -200 {
				t.Fatalf("packet %d: time moves by %d, %d frames passed", i, step, due/frameTick)
			}
		}
	}
	return layers
}

func last(list []int) int { return list[len(list)-1] }

func TestViewersChooseLayers(t *testing.T) {
	for _, c := range []codec.Codec{plainVP8, rtxVP8} {
		h := newHouse(t)
		a := h.cast("a", rids, 1280, 640, 320)
		h.g.want(a.src, CauseReplace)
		s, other := h.seat(c), h.seat(c)
		h.step()
		var all, rest []heard
		run := func(frames int) {
			for range frames {
				a.frame(3)
				h.steps()
			}
			all, rest = append(all, s.hears()...), append(rest, other.hears()...)
		}
		low, high := 0, 2
		for _, step := range []struct {
			choice *LayerChoice
			want   int // index of the rid
		}{
			{nil, 0},
			{&LayerChoice{RID: "l"}, 2}, {&LayerChoice{RID: "m"}, 1}, {nil, 0},
			{&LayerChoice{Spatial: &low}, 2}, {&LayerChoice{Spatial: &high}, 0},
			{&LayerChoice{MaxWidth: 700}, 1}, {&LayerChoice{MaxHeight: 200}, 2}, {&LayerChoice{MaxWidth: 10}, 2},
			{&LayerChoice{MaxSpatial: &high, MaxWidth: 640}, 1}, {&LayerChoice{RID: "gone"}, 0},
		} {
			s.subscriber.choose(step.choice)
			run(10)
			if got := last(steady(t, all)); got != step.want {
				t.Fatalf("%+v: the viewer gets layer %d, want %d", step.choice, got, step.want)
			}
		}
		if layers := steady(t, rest); len(layers) != 1 {
			t.Errorf("the other viewer got %v", layers)
		}
		if rest[len(rest)-1].TS != all[len(all)-1].TS-s.track(codec.Video).shift {
			t.Error("media times differ between viewers")
		}
		if len(all) < 300 {
			t.Errorf("only %d packets", len(all))
		}
	}
}

// Nobody waits for a key frame without a picture: the old layer goes on until
// the new one begins.
func TestLayerIsMadeBeforeItBreaks(t *testing.T) {
	h := newHouse(t)
	a := h.cast("a", rids, 1280, 640, 320)
	h.g.want(a.src, CauseReplace)
	s := h.seat(plainVP8)
	h.step()
	a.frame(2)
	h.steps()
	a.deaf = true
	h.now += 600 * ms
	asked := a.asked[1]
	s.subscriber.choose(&LayerChoice{RID: "m"})
	for range 20 {
		a.frame(2)
		h.steps()
	}
	list := s.hears()
	if layers := steady(t, list[2:]); len(layers) != 1 || layers[0] != 0 || len(list) != 42 {
		t.Fatalf("%d packets of layers %v", len(list), layers)
	}
	if a.asked[1] != asked+1 {
		t.Errorf("%d requests for the other layer", a.asked[1]-asked)
	}
	a.wants[1] = true
	a.frame(2)
	h.steps()
	if list = append(list[len(list)-1:], s.hears()...); last(steady(t, list)) != 1 {
		t.Error("the key frame changed nothing")
	}
}

// A browser stops its upper layers when its uplink shrinks, and begins them
// again.
func TestLayerStops(t *testing.T) {
	h := newHouse(t)
	a := h.cast("a", rids, 1280, 640, 320)
	h.g.want(a.src, CauseReplace)
	s, fixed := h.seat(plainVP8), h.seat(plainVP8)
	fixed.subscriber.choose(&LayerChoice{RID: "h"})
	h.step()
	var all, named []heard
	run := func(n int) {
		for range n {
			a.frame(2)
			h.steps()
		}
		all, named = append(all, s.hears()...), append(named, fixed.hears()...)
	}
	run(30)
	a.still[0] = true
	run(50)
	a.still[1] = true
	run(50)
	a.still[0], a.still[1], a.wants[0], a.wants[1] = false, false, true, true
	run(50)
	for _, list := range [][]heard{all, named} {
		if layers := steady(t, list); len(layers) != 4 || layers[0] != 0 || layers[1] != 1 || layers[2] != 2 || layers[3] != 0 {
			t.Errorf("layers %v", layers)
		}
		for i := 1; i < len(list); i++ {
			if gap := numberOf(list[i].Payload) - numberOf(list[i-1].Payload); int64(gap)*frameTime > layerSilence+layerInterval+2*frameTime {
				t.Errorf("the picture stands for %d frames", gap)
			}
		}
	}
}

// All layers stop together when nothing moves on a shared screen.
func TestAllLayersStop(t *testing.T) {
	h := newHouse(t)
	a := h.cast("a", rids, 1280, 640, 320)
	h.g.want(a.src, CauseReplace)
	s := h.seat(plainVP8)
	h.step()
	for range 40 {
		a.frame(2)
		for range 50 {
			h.now += frameTime
			h.steps()
		}
	}
	if layers := steady(t, s.hears()[2:]); len(layers) != 1 {
		t.Errorf("layers %v", layers)
	}
}

// Where the highest layer is not sent, newcomers get the best that is.
func TestNewcomerGetsWhatFlows(t *testing.T) {
	h := newHouse(t)
	held := h.seat(plainVP8) // before any publisher
	h.step()
	a := h.cast("a", []string{"q", "h", "f"}, 320, 640, 1280) // the lowest first
	a.still[1], a.still[2] = true, true
	h.g.want(a.src, CauseReplace)
	held.payloadTypes(h.g.known())
	run := func(n int) {
		for range n {
			a.frame(2)
			h.steps()
		}
	}
	run(20)
	s := h.seat(plainVP8)
	run(20)
	if layers := steady(t, s.hears()); layers[0] != 0 {
		t.Errorf("layers %v", layers)
	}
	a.still[1], a.wants[1] = false, true
	run(40)
	a.still[2], a.wants[2] = false, true
	run(40)
	if layers := steady(t, held.hears()); len(layers) != 3 || last(layers) != 2 {
		t.Errorf("layers %v", layers)
	}
}

// Packets are resent as they were sent, whatever layer they were of.
func TestResendsOfLayers(t *testing.T) {
	h := newHouse(t)
	a := h.cast("a", rids, 1280, 640, 320)
	h.g.want(a.src, CauseReplace)
	s := h.seat(plainVP8)
	h.step()
	for i := range 60 {
		s.subscriber.choose(&LayerChoice{RID: rids[i/10%3]})
		a.frame(3)
		h.steps()
	}
	sent := s.hears()
	if layers := steady(t, sent); len(layers) < 5 {
		t.Fatalf("layers %v", layers)
	}
	d := s.track(codec.Video)
	for i := range sent {
		d.resend = budget{quarters: resendReserve}
		s.nacks(d.ssrc, sent[i].Seq)
		h.steps()
		if again := s.hears(); len(again) != 1 || !bytes.Equal(again[0].raw, sent[i].raw) {
			t.Fatalf("packet %d of layer %d: %d resends", i, layerOf(sent[i].Payload), len(again))
		}
	}
}

// Sender reports tell the time of what is sent, through changes of layers.
func TestSenderReportsOfLayers(t *testing.T) {
	for _, tell := range []bool{true, false} {
		h := newHouse(t)
		a := h.cast("a", rids, 1280, 640, 320)
		a.tell = tell
		h.g.want(a.src, CauseReplace)
		s := h.seat(plainVP8)
		h.step()
		for i := range 200 {
			s.subscriber.choose(&LayerChoice{RID: rids[i/20%3]})
			a.frame(2)
			h.steps()
			d := s.track(codec.Video)
			sr := d.appendReport(nil, h.now)
			list := s.hears()
			if len(list) == 0 {
				continue
			}
			at, is := binary.BigEndian.Uint32(sr[16:]), list[len(list)-1].TS
			if off := int32(at - is); off > 400 || off < -400 { // frames are written at h.now
				t.Fatalf("frame %d: the report is %d ticks off", i, off)
			}
		}
	}
}

// A publisher with layers, one without and one with others: viewers stay.
func TestTakeoversOfLayers(t *testing.T) {
	h := newHouse(t)
	s, low := h.seat(plainVP8), h.seat(plainVP8)
	low.subscriber.choose(&LayerChoice{RID: "l"})
	h.step()
	var all, lows []heard
	run := func(c *cast, n int) {
		h.g.want(c.src, CauseReplace)
		s.payloadTypes(h.g.known())
		low.payloadTypes(h.g.known())
		for range n {
			c.frame(2)
			h.steps()
		}
		all, lows = append(all, s.hears()...), append(lows, low.hears()...)
	}
	check := func(what string, list []heard, want int) {
		t.Helper()
		if got := int(list[len(list)-1].Payload[16]); got != want {
			t.Errorf("%s: layer %d, want %d", what, got, want)
		}
		for i := 1; i < len(list); i++ {
			a, b := &list[i-1], &list[i]
			if b.SSRC != a.SSRC || b.Seq != a.Seq+1 || int32(b.TS-a.TS) < 0 || b.TS == a.TS && b.Payload[0]&0x10 != 0 {
				t.Fatalf("%s: packet %d: %d/%d after %d/%d", what, i, b.Seq, b.TS, a.Seq, a.TS)
			}
			if layerOf(a.Payload) != layerOf(b.Payload) && !isKey(b.Payload) {
				t.Fatalf("%s: packet %d begins a layer without a key frame", what, i)
			}
		}
	}
	first := h.cast("a", rids, 1280, 640, 320)
	run(first, 20)
	check("simulcast", all, 0)
	check("simulcast, the lowest", lows, 2)
	one := h.cast("b", []string{""}, 960)
	run(one, 20)
	h.g.drop(first.src)
	before := len(lows)
	run(one, 10)
	check("single", all, 0)
	check("single", lows, 0)
	if len(lows)-before < 18 {
		t.Errorf("%d packets of the only layer", len(lows)-before)
	}
	third := h.cast("c", []string{"l", "m", "h"}, 320, 640, 1280) // the other way round
	run(third, 40)
	h.g.drop(one.src)
	run(third, 10)
	check("simulcast again", all, 2)
	check("simulcast again, the lowest", lows, 0)
	if len(h.taken) != 3 {
		t.Errorf("takeovers %v", h.taken)
	}
}

// A publisher that comes back with its layers in another order finds them where
// they were.
func TestLayersKeepTheirLanes(t *testing.T) {
	s := newStage(t)
	s.g.assign([]string{"h", "m", "l"})
	if got := s.g.assign([]string{"l", "h", "m"}); got[0] != codec.Video+2 || got[1] != codec.Video || got[2] != codec.Video+1 {
		t.Errorf("lanes %v", got)
	}
	if got := s.g.assign([]string{"l", "x"}); got[0] != codec.Video || got[1] != codec.Video+1 {
		t.Errorf("lanes %v", got)
	}
}

func TestLadder(t *testing.T) {
	type r = rung
	for _, c := range []struct {
		name string
		in   []r
		want string
	}{
		{"nothing known: the first is the highest", []r{{rid: "a"}, {rid: "b"}, {rid: "c"}}, "cba"},
		{"falling", []r{{rid: "a", width: 9, height: 9}, {rid: "b", width: 5, height: 5}, {rid: "c", width: 2, height: 2}}, "cba"},
		{"rising", []r{{rid: "a", width: 2, height: 2}, {rid: "b", width: 5, height: 5}, {rid: "c", width: 9, height: 9}}, "abc"},
		{"neither", []r{{rid: "a", width: 5, height: 5}, {rid: "b", width: 9, height: 9}, {rid: "c", width: 2, height: 2}}, "cab"},
		{"partly known, rising", []r{{rid: "a", width: 2, height: 2}, {rid: "b", width: 5, height: 5}, {rid: "c"}}, "abc"},
		{"partly known, falling", []r{{rid: "a"}, {rid: "b", width: 5, height: 5}, {rid: "c", width: 2, height: 2}}, "cba"},
		{"one known", []r{{rid: "a"}, {rid: "b", width: 5, height: 5}}, "ba"},
		{"one size, by bitrate", []r{{rid: "a", width: 5, height: 5, peak: 1}, {rid: "b", width: 5, height: 5, peak: 2}}, "ab"},
		{"one size", []r{{rid: "a", width: 5, height: 5}, {rid: "b", width: 5, height: 5}}, "ba"},
	} {
		l := ladder{n: len(c.in)}
		copy(l.rungs[:], c.in)
		l.sort()
		got := ""
		for _, r := range l.rungs[:l.n] {
			got += r.rid
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// What one viewer's picture ids are moved by, others do not get; and it costs no
// allocation.
func TestSendingLayersDoesNotAllocate(t *testing.T) {
	h := newHouse(t)
	a := h.cast("a", rids, 1280, 640, 320)
	h.g.want(a.src, CauseReplace)
	s := h.seat(rtxVP8)
	h.seat(rtxVP8)
	h.step()
	for i := range 700 {
		s.subscriber.choose(&LayerChoice{RID: rids[i/20%3]})
		a.frame(4)
		h.steps()
		s.hears()
	}
	if s.track(codec.Video).ids == (payload.Shift{}) {
		t.Fatal("nothing is moved")
	}
	pkt := rtpx.Packet{Payload: picture(1, true, false, 1280, 0, 0)}
	now := h.now
	if n := testing.AllocsPerRun(100, func() {
		h.now = now
		h.w.fans[0].choseAt = 0
		for i, tr := range a.tracks {
			a.seq[i]++
			pkt.Seq, pkt.TS = uint16(a.seq[i]), a.ts[i]
			h.g.write(tr, &pkt, a.seq[i], now)
		}
		h.g.flush()
		h.now += burstGap
		h.w.step(h.now)
	}); n != 0 {
		t.Errorf("%v allocations for a packet of each layer", n)
	}
}

// ns/op is per packet and viewer. The viewers have come from another layer, so
// that timestamps and picture ids are moved for each of them.
func BenchmarkSendMoved(b *testing.B) {
	h := newHouse(b)
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	a := h.cast("a", rids, 1280, 640, 320)
	h.g.want(a.src, CauseReplace)
	for range 200 {
		s := h.sink(conn, rtxVP8)
		h.w.add(s.subscriber.sink, h.now)
		s.subscriber.choose(&LayerChoice{RID: "m"})
	}
	for i := range 20 {
		if i == 10 {
			for _, k := range h.w.sinks {
				k.downs[0].choice = nil
			}
		}
		a.frame(1)
		h.steps()
	}
	if h.w.sinks[0].downs[0].ids == (payload.Shift{}) {
		b.Fatal("nothing is moved")
	}
	pkt := rtpx.Packet{Payload: append(picture(1, true, false, 1280, 0, 0), make([]byte, 1174)...)}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += 200 * 12 {
		for range 12 {
			a.seq[0]++
			pkt.Seq, pkt.TS = uint16(a.seq[0]), a.ts[0]
			h.g.write(a.tracks[0], &pkt, a.seq[0], h.now)
		}
		h.g.flush()
		h.now += burstGap
		h.w.step(h.now)
	}
}
