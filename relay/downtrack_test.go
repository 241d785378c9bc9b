package relay

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/ring"
)

// inOrder fails unless the packets have one SSRC and payload type and numbers
// without a gap.
func inOrder(t testing.TB, list []heard) {
	t.Helper()
	for i := 1; i < len(list); i++ {
		a, b := &list[i-1], &list[i]
		if a.SSRC != b.SSRC || a.PT != b.PT || b.Seq != a.Seq+1 || int32(b.TS-a.TS) < 0 {
			t.Fatalf("packet %d: %d/%d/%d/%d after %d/%d/%d/%d", i, b.SSRC, b.PT, b.Seq, b.TS, a.SSRC, a.PT, a.Seq, a.TS)
		}
	}
}

func TestViewersGetTheProgram(t *testing.T) {
	h := newHouse(t)
	a := h.actor("a", codecVP8, codecOpus)
	h.g.want(a.src, CauseReplace)
	x, y := h.seat(rtxVP8, codecOpus), h.seat(plainVP8)
	h.step()
	a.odd = true
	for i := range 20 {
		a.frame(i == 0, 5)
		a.speak()
		h.steps()
	}
	var sound, picture []heard
	for _, p := range x.hears() {
		if p.PT == codecOpus.PT {
			sound = append(sound, p)
		} else {
			picture = append(picture, p)
		}
	}
	plain := y.hears()
	if len(sound) != 20 || len(picture) != 100 || len(plain) != 100 {
		t.Fatalf("%d, %d and %d packets", len(sound), len(picture), len(plain))
	}
	inOrder(t, sound)
	inOrder(t, picture)
	inOrder(t, plain)
	if picture[0].PT != rtxVP8.PT || plain[0].PT != plainVP8.PT {
		t.Error("payload types are not those of the answers")
	}
	if len(picture[0].Extension(3)) != 3 || plain[0].Extension(3) != nil {
		t.Error("the send time belongs where resends have an SSRC of their own, and nowhere else")
	}
	for i := range plain {
		if !bytes.Equal(plain[i].Payload, picture[i].Payload) || plain[i].Marker != picture[i].Marker || plain[i].TS != picture[i].TS {
			t.Fatalf("packet %d differs between viewers", i)
		}
	}
}

func TestSSRCsOfALegDiffer(t *testing.T) {
	seen := map[uint32]bool{}
	s := &subscriber{Session: &Session{}, sink: &sink{}}
	for range 1000 {
		v, a := s.addTrack(codec.Video, []codec.Codec{rtxVP8}, 0), s.addTrack(codec.Audio, []codec.Codec{codecOpus}, 0)
		if v.ssrc&3 == a.ssrc&3 || v.rtxSSRC&3 == a.ssrc&3 || v.ssrc < 4 || a.rtxSSRC != 0 || v.rtxSSRC != v.ssrc+1 {
			t.Fatalf("video %x/%x, audio %x", v.ssrc, v.rtxSSRC, a.ssrc)
		}
		seen[v.ssrc] = true
	}
	if len(seen) < 990 {
		t.Error("SSRCs are not random")
	}
}

// A newcomer gets the cached pictures, paced, and slides into what is live
// without a gap while the program goes on.
func TestCatchUp(t *testing.T) {
	h := newHouse(t)
	h.g.cache.Store(CacheOn)
	a := h.actor("a", codecVP8)
	h.g.want(a.src, CauseReplace)
	h.seat(plainVP8)
	h.step()
	for i := range 20 {
		a.frame(i == 0, 5)
		h.steps()
	}
	s := h.seat(plainVP8)
	start := h.now
	for h.step(); len(h.w.fans[0].tracks[codec.Video].behind) > 0; h.step() {
		if h.now == start+3*ms {
			a.frame(false, 5) // moves the time by a frame
		}
		h.now += ms
	}
	if took := h.now - start; took < 5*ms {
		t.Errorf("100 packets left within %d ns", took)
	}
	a.frame(false, 5)
	h.steps()
	list := s.hears()
	if len(list) != 110 {
		t.Fatalf("%d packets, want 110", len(list))
	}
	inOrder(t, list)
}

func TestSkipLeavesNoGap(t *testing.T) {
	h := newHouse(t)
	a := h.actor("a", codecVP8)
	h.g.want(a.src, CauseReplace)
	s := h.seat(plainVP8)
	h.step()
	a.frame(true, 3)
	h.steps()
	d, asked := s.track(codec.Video), a.asked
	d.skip(h.now)
	d.skip(h.now)
	if a.asked != asked+1 {
		t.Errorf("%d requests for a key frame", a.asked-asked)
	}
	a.frame(false, 3)
	h.steps()
	h.now += 1000 * ms
	a.frame(true, 3)
	a.frame(false, 3)
	h.steps()
	list := s.hears()
	if len(list) != 9 {
		t.Fatalf("%d packets, want 9", len(list))
	}
	inOrder(t, list)
	for seq := list[0].Seq; seq != list[8].Seq+1; seq++ { // the way back works over both spans
		out := d.lastOut - uint64(uint16(d.lastOut)-seq)
		in, _, ok := d.find(out)
		if !ok || !h.g.tracks[codec.Video].ring.Get(in, h.w.batch) || !bytes.Equal(h.w.batch.Packets()[0].Payload(), list[seq-list[0].Seq].Payload) {
			t.Errorf("packet %d is not found again", seq)
		}
	}
}

func TestFind(t *testing.T) {
	d := &downTrack{lastOut: 99}
	at := func(seq uint64, n uint64) { // n packets from seq on
		d.open(&ring.Packet{Meta: ring.Meta{Seq: seq}})
		d.lastOut += n
	}
	if _, _, ok := d.find(50); ok {
		t.Error("found something before anything was sent")
	}
	at(1000, 10)
	at(2000, 5)
	for out, want := range map[uint64]uint64{100: 1000, 109: 1009, 110: 2000, 114: 2004} {
		if in, _, ok := d.find(out); !ok || in != want {
			t.Errorf("%d is %d, %v; want %d", out, in, ok, want)
		}
	}
	for _, out := range []uint64{0, 99, 115, 1 << 60} {
		if in, _, ok := d.find(out); ok {
			t.Errorf("%d is %d", out, in)
		}
	}
	for i := range uint64(8) {
		at(3000+i*100, 2)
	}
	if in, _, ok := d.find(112); ok {
		t.Errorf("a span that was forgotten: %d", in)
	}
	if in, _, ok := d.find(115); !ok || in != 3000 {
		t.Errorf("the oldest span: %d, %v", in, ok)
	}
}

// A packet that is older than what was sent opens no span: the packets between
// would get a second number.
func TestLatePacketOpensNoSpan(t *testing.T) {
	h := newHouse(t)
	a := h.actor("a", codecOpus)
	h.g.want(a.src, CauseReplace)
	s := h.seat(codecOpus)
	h.step()
	a.speak()
	a.seq[codec.Audio]++ // comes late
	a.speak()
	h.steps()
	d := s.track(codec.Audio)
	d.skip(h.now)
	a.packet(codec.Audio, a.seq[codec.Audio]-2, a.ts[codec.Audio]-audioTick, false, []byte("late"))
	a.speak()
	h.steps()
	list := s.hears()
	if len(list) != 3 || list[2].Seq != list[1].Seq+1 || string(list[2].Payload) == "late" {
		t.Fatalf("%d packets, the last %q with number %d after %d", len(list), list[len(list)-1].Payload, list[len(list)-1].Seq, list[1].Seq)
	}
}

// A leg that had no path missed key frames; it asks for one when it is back.
func TestLostPath(t *testing.T) {
	h := newHouse(t)
	a := h.actor("a", codecVP8)
	h.g.want(a.src, CauseReplace)
	s := h.seat(plainVP8)
	h.step()
	a.frame(true, 2)
	h.steps()
	path := s.leg.path.Swap(nil)
	a.frame(false, 2)
	h.steps()
	h.now += 1000 * ms
	a.frame(true, 2)
	h.steps()
	h.now += 1000 * ms
	asked := a.asked
	s.leg.path.Store(path)
	a.frame(false, 2)
	h.steps()
	if a.asked != asked+1 {
		t.Fatalf("%d requests when the path is back", a.asked-asked)
	}
	a.frame(true, 2)
	h.steps()
	if list := s.hears(); len(list) != 4 {
		t.Errorf("%d packets, want 4", len(list))
	} else {
		inOrder(t, list)
	}
}

func TestUnknownCodecIsLeftOut(t *testing.T) {
	h := newHouse(t)
	a, b := h.actor("a", codecVP8), h.actor("b", codecH264)
	h.g.want(a.src, CauseReplace)
	s := h.seat(plainVP8)
	h.step()
	a.frame(true, 2)
	h.g.want(b.src, CauseReplace)
	b.next(codec.Video, true, both)
	b.next(codec.Video, true, idr)
	h.now += frameTime
	h.g.want(a.src, CauseReplace)
	a.frame(true, 2)
	h.steps()
	list := s.hears()
	if len(list) != 4 || list[2].Seq-list[1].Seq != 3 {
		t.Errorf("%d packets", len(list))
	}
}

// Without RTX a resend is the very packet, byte for byte (RFC 7714 9.1).
func TestResendIsIdentical(t *testing.T) {
	h := newHouse(t)
	a := h.actor("a", codecVP8)
	h.g.want(a.src, CauseReplace)
	s := h.seat(plainVP8)
	h.step()
	a.odd = true
	for i := range 10 {
		a.frame(i == 0, 3)
		h.steps()
	}
	sent := s.hears()
	d := s.track(codec.Video)
	h.now += 77 * ms
	s.nacks(d.ssrc, sent[0].Seq, sent[7].Seq, sent[29].Seq)
	h.steps()
	again := s.hears()
	if len(again) != 3 {
		t.Fatalf("%d resends, want 3", len(again))
	}
	for i, n := range []int{0, 7, 29} {
		if !bytes.Equal(again[i].raw, sent[n].raw) {
			t.Errorf("the resend of packet %d differs from it", n)
		}
	}
}

// With RTX a resend has SSRC, payload type and numbers of its own and tells
// which packet it repeats (RFC 4588 4).
func TestRTX(t *testing.T) {
	h := newHouse(t)
	a := h.actor("a", codecVP8)
	h.g.want(a.src, CauseReplace)
	s := h.seat(rtxVP8)
	h.step()
	for i := range 10 {
		a.frame(i == 0, 3)
		h.steps()
	}
	sent, d := s.hears(), s.track(codec.Video)
	s.nacks(d.ssrc, sent[3].Seq, sent[4].Seq, sent[3].Seq, sent[29].Seq+1, sent[0].Seq-1)
	s.nacks(d.ssrc+2, sent[3].Seq) // not ours
	h.steps()
	again := s.hears()
	if len(again) != 3 {
		t.Fatalf("%d resends, want 3", len(again))
	}
	for i, n := range []int{3, 4, 3} {
		p := again[i]
		if p.SSRC != d.ssrc+1 || p.PT != rtxVP8.RTXPT || p.Seq != uint16(i+1) || p.TS != sent[n].TS || p.Marker != sent[n].Marker {
			t.Errorf("resend %d: %+v", i, p.Packet)
		}
		if binary.BigEndian.Uint16(p.Payload) != sent[n].Seq || !bytes.Equal(p.Payload[2:], sent[n].Payload) {
			t.Errorf("resend %d is not packet %d", i, n)
		}
	}
}

// Where a leg has RTX, but not for this codec, nothing is resent: the packet may
// have been padded, or sent at another time.
func TestNoRTXForThisCodec(t *testing.T) {
	h := newHouse(t)
	a := h.actor("a", codecVP8)
	h.g.want(a.src, CauseReplace)
	s := h.seat(rtxVP8)
	h.step()
	a.frame(true, 4)
	h.steps()
	d := s.track(codec.Video)
	d.formats[0].rtxPT = 0
	s.nacks(d.ssrc, uint16(d.lastOut))
	h.steps()
	if d.resent != 0 {
		t.Error("resent under the SSRC of the track")
	}
}

func TestNackBitmap(t *testing.T) {
	h := newHouse(t)
	a := h.actor("a", codecVP8)
	h.g.want(a.src, CauseReplace)
	s := h.seat(rtxVP8)
	h.step()
	a.frame(true, 20)
	h.steps()
	sent, d := s.hears(), s.track(codec.Video)
	d.resendPair(h.w, nackPair{pid: sent[1].Seq, blp: 1 | 1<<15}, h.now)
	_ = h.w.sender.Flush()
	again := s.hears()
	var got []uint16
	for _, p := range again {
		got = append(got, binary.BigEndian.Uint16(p.Payload))
	}
	if want := []uint16{sent[1].Seq, sent[2].Seq, sent[17].Seq}; !equal(got, want) {
		t.Errorf("resent %v, want %v", got, want)
	}
}

// A receiver that asks for everything, again and again, gets its reserve and
// then a quarter of what is sent.
func TestResendBudget(t *testing.T) {
	h := newHouse(t)
	a := h.actor("a", codecVP8)
	h.g.want(a.src, CauseReplace)
	s := h.seat(rtxVP8)
	h.step()
	a.frame(true, 16)
	h.steps()
	d := s.track(codec.Video)
	var all []uint16
	for i := range uint16(16) {
		all = append(all, uint16(d.lastOut)-i)
	}
	flood := func() int {
		before := d.resent
		for range 50 {
			s.nacks(d.ssrc, all...)
			h.steps()
			s.hears()
		}
		return int(d.resent - before)
	}
	if n := flood(); n != resendReserve/resendCost {
		t.Errorf("%d resends from the reserve, want %d", n, resendReserve/resendCost)
	}
	a.frame(false, 40)
	h.steps()
	if n := flood(); n != 10 {
		t.Errorf("%d resends for 40 packets, want 10", n)
	}
}

// One receiver's flood leaves room for the requests of others.
func TestNackFloodIsBounded(t *testing.T) {
	h := newHouse(t)
	a := h.actor("a", codecVP8)
	h.g.want(a.src, CauseReplace)
	bad, good := h.seat(rtxVP8), h.seat(rtxVP8)
	h.step()
	a.frame(true, 4)
	h.steps()
	for range 1000 {
		bad.nacks(bad.track(codec.Video).ssrc, 1)
	}
	if n := len(h.w.nacks); n != maxAsked {
		t.Errorf("%d requests of one receiver wait", n)
	}
	good.nacks(good.track(codec.Video).ssrc, uint16(good.track(codec.Video).lastOut))
	h.steps()
	if good.track(codec.Video).resent != 1 {
		t.Error("the other receiver's request was pushed aside")
	}
	bad.nacks(bad.track(codec.Video).ssrc, uint16(bad.track(codec.Video).lastOut))
	h.steps()
	if bad.track(codec.Video).resent != 1 {
		t.Error("a receiver is not served again after its flood")
	}
}

// Whatever happens to a leg, no SRTP index protects two different packets.
func TestNoNonceTwice(t *testing.T) {
	for _, c := range []codec.Codec{plainVP8, rtxVP8} {
		h := newHouse(t)
		h.g.cache.Store(CacheOn)
		r := rand.New(rand.NewPCG(1, 2))
		a := h.actor("a", codecVP8)
		h.g.want(a.src, CauseReplace)
		a.odd = true
		a.frame(true, 4)
		s := h.seat(c)
		d := s.track(codec.Video)
		sealed := map[[2]uint32][]byte{}
		path := s.leg.path.Load()
		var lost []uint64 // numbers of the source
		check := func() {
			for _, p := range s.hears() {
				key := [2]uint32{binary.BigEndian.Uint32(p.raw[8:]), uint32(binary.BigEndian.Uint16(p.raw[2:]))}
				if old := sealed[key]; old != nil && !bytes.Equal(old, p.raw) {
					t.Fatalf("two packets under SSRC %d, index %d", key[0], key[1])
				}
				sealed[key] = p.raw
			}
		}
		for i := range 1500 {
			switch r.IntN(12) {
			case 0:
				d.skip(h.now)
			case 1:
				lost = nil
				a.renew(codec.Video, uint64(1<<16+r.IntN(1<<16)), r.Uint32())
			case 2:
				b := h.actor("b", codecVP8)
				lost = nil
				b.seq[codec.Video], b.ts[codec.Video] = uint64(1<<16+r.IntN(1<<16)), r.Uint32()
				h.g.want(b.src, CauseReplace)
				a, b.odd = b, true
			case 3:
				s.leg.path.Store(nil)
			case 4:
				for range r.IntN(3) {
					lost = append(lost, a.seq[codec.Video])
					a.seq[codec.Video]++
				}
			case 5: // late, or resent by the source
				if len(lost) > 0 {
					a.packet(codec.Video, lost[0], a.ts[codec.Video], true, vp8Payload(a.id, true, r.IntN(2) == 0))
					lost = lost[1:]
				}
			case 6, 7:
				s.nacks(d.ssrc, uint16(d.lastOut)-uint16(r.IntN(40)), uint16(d.lastOut)-uint16(r.IntN(400)))
			}
			a.frame(r.IntN(4) == 0 || i%9 == 0, 1+r.IntN(5))
			if r.IntN(3) > 0 {
				h.steps()
				check()
			}
			if r.IntN(4) == 0 {
				s.leg.path.Store(path)
			}
		}
		if len(sealed) < 1000 || d.resent < 50 {
			t.Errorf("only %d packets and %d resends", len(sealed), d.resent)
		}
	}
}
