package relay

import (
	"bytes"
	"encoding/base64"
	"testing"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/ring"
	"github.com/talwtn/caddy-wtn/relay/internal/rtpx"
)

// numbers are the sequence numbers relative to the first.
func numbers(list []shown) (out []uint64) {
	for _, p := range list {
		out = append(out, p.seq-list[0].seq)
	}
	return out
}

// What the relay leaves out is closed, what the network lost stays a hole.
func TestPaddingIsClosedAndLossIsNot(t *testing.T) {
	s := newStage(t)
	a := s.actor("a", codecVP8)
	s.g.want(a.src, CauseReplace)
	a.frame(true, 1)
	a.next(codec.Video, false, nil)
	a.next(codec.Video, false, nil)
	a.frame(false, 1)
	a.seq[codec.Video] += 2 // lost
	a.frame(false, 1)
	a.next(codec.Video, false, nil)
	a.frame(false, 1)
	a.packet(codec.Video, a.seq[codec.Video]-4, a.ts[codec.Video]-2*frameTick, false, vp8Payload(a.id-2, true, false)) // one came late
	got := numbers(s.shows(codec.Video))
	if want := []uint64{0, 1, 4, 5, 3}; !equal(got, want) {
		t.Errorf("numbers %v, want %v", got, want)
	}
}

func equal[T comparable](a, b []T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// A packet before the takeover point is not of this program.
func TestOlderThanTheTakeoverIsRefused(t *testing.T) {
	s := newStage(t)
	a := s.actor("a", codecVP8)
	s.g.want(a.src, CauseReplace)
	a.frame(true, 2)
	first := s.shows(codec.Video)[0].seq
	a.packet(codec.Video, 1<<16-1, 0, true, vp8Payload(0, true, false))
	if got := s.shows(codec.Video); len(got) != 0 {
		t.Errorf("packet %d before the first", first-got[0].seq)
	}
}

func TestPictureIDsContinueOverWidths(t *testing.T) {
	s := newStage(t)
	a, b := s.actor("a", codecVP8), s.actor("b", codecVP8)
	s.g.want(a.src, CauseReplace)
	a.id = 0x7fff
	a.frame(true, 1)
	a.frame(false, 1)
	s.g.want(b.src, CauseReplace)
	narrow := []byte{0x90, 0x80, 0x05, 0x00, 'x'} // a picture id of 7 bits
	b.next(codec.Video, true, narrow)
	list := s.shows(codec.Video)
	if len(list) != 3 || list[2].id() != 1 || len(list[2].pay) != len(narrow)+1 {
		t.Errorf("picture id %d in %x", list[2].id(), list[2].pay)
	}
}

var (
	sps   = []byte{0x67, 0x42, 0xe0, 0x1f, 0x8c, 0x8d, 0x40}
	pps   = []byte{0x68, 0xce, 0x3c, 0x80}
	idr   = []byte{0x65, 0x88, 0x84, 0x00}
	slice = []byte{0x65, 0x40, 0x84, 0x00} // a further slice of the same picture
	delta = []byte{0x41, 0x9a, 0x00}
	both  = append(append([]byte{0x78, 0, byte(len(sps))}, sps...), append([]byte{0, byte(len(pps))}, pps...)...)
)

// An IDR picture that comes without its parameter sets gets them, once, in a
// packet of its own; one that has them is left alone.
func TestParameterSets(t *testing.T) {
	for _, c := range []struct {
		name   string
		frames [][][]byte // packets of frames
		want   [][]byte
	}{
		{"in the same frame", [][][]byte{{sps, pps, idr, slice}}, [][]byte{sps, pps, idr, slice}},
		{"aggregated", [][][]byte{{both, idr}}, [][]byte{both, idr}},
		{"once only", [][][]byte{{both, idr}, {delta}, {idr, slice}, {delta}}, [][]byte{both, idr, delta, both, idr, slice, delta}},
		{"each time", [][][]byte{{both, idr}, {idr}, {idr}}, [][]byte{both, idr, both, idr, both, idr}},
		{"nothing known", [][][]byte{{idr}, {delta}}, [][]byte{idr, delta}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			a := s.actor("a", codecH264)
			s.g.want(a.src, CauseReplace)
			for _, f := range c.frames {
				for i, p := range f {
					a.next(codec.Video, i == len(f)-1, p)
				}
				a.ts[codec.Video] += frameTick
				s.now += frameTime
			}
			list := s.shows(codec.Video)
			if len(list) != len(c.want) {
				t.Fatalf("%d packets, want %d", len(list), len(c.want))
			}
			keys := map[uint32]int{}
			for i, p := range list {
				if !bytes.Equal(p.pay, c.want[i]) || p.seq != list[0].seq+uint64(i) {
					t.Errorf("packet %d is %x with number %d", i, p.pay, p.seq-list[0].seq)
				}
				if p.flags&ring.Keyframe != 0 {
					if keys[p.ts]++; i > 0 && list[i-1].ts == p.ts {
						t.Errorf("packet %d is marked as a key frame in the middle of one", i)
					}
				}
			}
			for ts, n := range keys {
				if n != 1 {
					t.Errorf("%d beginnings of the key frame at %d", n, ts)
				}
			}
		})
	}
}

// The sets of the offer serve a source that never sends any, and a takeover
// brings those of the new source.
func TestParameterSetsOfTheOffer(t *testing.T) {
	c := codecH264
	c.FMTP += ";sprop-parameter-sets=" + base64.StdEncoding.EncodeToString(sps) + "," + base64.StdEncoding.EncodeToString(pps)
	s := newStage(t)
	a, b := s.actor("a", codecVP8), s.actor("b", c)
	s.g.want(a.src, CauseReplace)
	a.frame(true, 1)
	s.g.want(b.src, CauseReplace)
	b.next(codec.Video, true, idr)
	list := s.shows(codec.Video)
	if len(list) != 3 || !bytes.Equal(list[1].pay, both) || list[1].flags&ring.Keyframe == 0 || list[2].flags&ring.Keyframe != 0 {
		t.Fatalf("%d packets, the second %x", len(list), list[1].pay)
	}
	if got := numbers(list); !equal(got, []uint64{0, 1, 2}) {
		t.Errorf("numbers %v", got)
	}
	b.renew(codec.Video, 1<<18, 5) // the sets survive the source's restart
	b.next(codec.Video, true, idr)
	if list = s.shows(codec.Video); len(list) != 2 || !bytes.Equal(list[0].pay, both) {
		t.Errorf("%d packets after the restart", len(list))
	}
}

// The first packet of an older key frame that was resent must not become the
// place where newcomers start.
func TestResentKeyframeIsNotTheNewest(t *testing.T) {
	s := newStage(t)
	a := s.actor("a", codecVP8)
	s.g.want(a.src, CauseReplace)
	a.frame(true, 1)
	lost, ts := a.seq[codec.Video], a.ts[codec.Video]
	a.seq[codec.Video]++
	a.ts[codec.Video] += frameTick
	a.frame(true, 1)
	want, _ := s.g.cached(codec.Video)
	a.packet(codec.Video, lost, ts, true, vp8Payload(1, true, true))
	list := s.shows(codec.Video)
	if key, ok := s.g.cached(codec.Video); !ok || key != want || len(list) != 3 {
		t.Errorf("newcomers start at %d of %d", key, len(list))
	}
}

// A track that starts anew keeps the sets that its source sent so far.
func TestParameterSetsSurviveARestart(t *testing.T) {
	s := newStage(t)
	a := s.actor("a", codecH264)
	s.g.want(a.src, CauseReplace)
	a.next(codec.Video, false, both)
	a.next(codec.Video, true, idr)
	a.renew(codec.Video, 1<<18, 5)
	a.next(codec.Video, true, idr)
	if list := s.shows(codec.Video); len(list) != 4 || !bytes.Equal(list[2].pay, both) {
		t.Errorf("%d packets, want the sets before each picture", len(list))
	}
}

func TestOversizeIsCounted(t *testing.T) {
	s := newStage(t)
	a := s.actor("a", codecOpus)
	s.g.want(a.src, CauseReplace)
	a.next(codec.Audio, false, make([]byte, ring.MaxPayload))
	a.next(codec.Audio, false, make([]byte, ring.MaxPayload+1))
	if m := &s.g.tracks[codec.Audio].meter; m.oversize != 1 || m.packets != 1 {
		t.Errorf("%d oversize, %d packets", m.oversize, m.packets)
	}
}

func TestWriteDoesNotAllocate(t *testing.T) {
	s := newStage(t)
	a := s.actor("a", codecVP8, codecOpus)
	s.g.want(a.src, CauseReplace)
	a.frame(true, 1)
	pay := [2][]byte{vp8Payload(1, true, false), []byte("sound")}
	a.speak()
	for range videoSlots { // memory comes with first use
		a.next(codec.Video, true, pay[0])
		a.next(codec.Audio, true, pay[1])
	}
	p := &rtpx.Packet{}
	if n := testing.AllocsPerRun(1000, func() {
		for i, kind := range []codec.Kind{codec.Video, codec.Audio} {
			a.seq[kind]++
			p.Seq, p.TS, p.Payload = uint16(a.seq[kind]), p.TS+1, pay[i]
			s.g.write(a.track[kind], p, a.seq[kind], s.now)
		}
		s.g.flush()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOutTrackWrite(b *testing.B) {
	s := newStage(b)
	x, y := s.actor("x", codecVP8), s.actor("a", codecVP8)
	s.g.want(x.src, CauseReplace)
	x.id = 500
	x.frame(true, 1)
	s.g.want(y.src, CauseReplace) // from the second source on, picture ids are rewritten
	y.frame(true, 1)
	p := &rtpx.Packet{Payload: append(vp8Payload(1, true, false), make([]byte, 1200)...)}
	b.SetBytes(int64(len(p.Payload)))
	b.ReportAllocs()
	for b.Loop() {
		y.seq[codec.Video]++
		p.Seq, p.TS = uint16(y.seq[codec.Video]), p.TS+1
		s.g.write(y.track[codec.Video], p, y.seq[codec.Video], s.now)
	}
}
