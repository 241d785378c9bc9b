package relay

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

// path drives a viewer's choice of layers by what it reports.
type pathTest struct {
	t   *testing.T
	d   *downTrack
	l   ladder
	now int64
}

func newPathTest(t *testing.T) *pathTest {
	p := &pathTest{t: t, d: &downTrack{viewer: &subscriber{}, lane: codec.Video}, now: 1000 * ms}
	p.d.packets = 1
	p.l = ladder{n: 3}
	for i, rate := range []float64{150e3, 500e3, 2e6} {
		p.l.rungs[i] = rung{lane: codec.Video + lane(2-i), bitrate: rate, flows: true, steady: true}
	}
	p.d.movedAt = p.now
	return p
}

// runs lets time pass with these reports and says in which layer the viewer is.
func (p *pathTest) runs(seconds float64, remb float64, lost uint32) int {
	p.d.viewer.remb.Store(uint64(remb))
	p.d.viewer.lost.Store(lost)
	for end := p.now + int64(seconds*1e9); p.now < end; p.now += layerInterval {
		if to := p.d.pick(&p.l, p.now); to != p.d.lane {
			p.d.lane, p.d.movedAt, p.d.estimated = to, p.now, 0
		}
	}
	return p.l.find(p.d.lane)
}

func (p *pathTest) want(what string, got, want int) {
	p.t.Helper()
	if got != want {
		p.t.Fatalf("%s: layer %d, want %d", what, got, want)
	}
}

func TestPathCarriesLess(t *testing.T) {
	p := newPathTest(t)
	p.want("no estimate", p.runs(30, 0, 255), 2)
	p.want("it fits", p.runs(10, 3e6, 0), 2)
	p.want("a dip", p.runs(1, 1.9e6, 0), 2)
	p.want("falls", p.runs(0.5, 700e3, 0), 1)
	p.want("stays for a while", p.runs(9, 740e3, 0), 1)
	p.want("is tried again", p.runs(3, 740e3, 0), 2)
	p.want("fails with losses", p.runs(3, 850e3, 80), 1)
	p.want("waits longer", p.runs(15, 740e3, 0), 1)
	p.want("and is tried again", p.runs(10, 740e3, 0), 2)
	p.want("an estimate that rises slowly is no congestion", p.runs(20, 900e3, 0), 2)
	p.want("all the way down", p.runs(3, 100e3, 100), 0)
	p.want("no losses, but no room", p.runs(60, 160e3, 0), 0)
	p.want("room for one more", p.runs(25, 220e3, 0), 1)
}

// Named layers are sent whatever the path carries, bounded ones are not.
func TestPathAndChoice(t *testing.T) {
	p := newPathTest(t)
	p.l.rungs[2].rid = "h"
	p.d.choice = &LayerChoice{RID: "h"}
	p.runs(5, 3e6, 0)
	p.want("named", p.runs(30, 100e3, 200), 2)
	one := 1
	p.d.choice = &LayerChoice{MaxSpatial: &one}
	p.want("bounded", p.runs(3, 3e6, 0), 1)
	p.want("bounded and narrow", p.runs(10, 100e3, 200), 0)
}

// Whatever happens to layers and legs, no SRTP index protects two packets.
func TestNoNonceTwiceWithLayers(t *testing.T) {
	for _, c := range []codec.Codec{plainVP8, rtxVP8} {
		h := newHouse(t)
		h.g.cache.Store(CacheOn)
		r := rand.New(rand.NewPCG(3, 4))
		a := h.cast("a", rids, 1280, 640, 320)
		h.g.want(a.src, CauseReplace)
		a.frame(3)
		s := h.seat(c)
		d := s.track(codec.Video)
		sealed := map[[2]uint32][]byte{}
		path := s.leg.path.Load()
		moves, was := 0, d.lane
		for i := range 3000 {
			switch r.IntN(14) {
			case 0:
				d.skip(h.now)
			case 1:
				k := r.IntN(len(a.tracks))
				a.tracks[k] = h.g.renew(a.tracks[k])
				a.seq[k], a.ts[k], a.wants[k] = uint64(1<<16+r.IntN(1<<16)), r.Uint32(), r.IntN(2) == 0
			case 2:
				if i%5 == 0 {
					old := a
					names := [][]string{rids, {"l", "h"}, {""}}[r.IntN(3)]
					a = h.cast("b", names, []int{1280, 640, 320}[:len(names)]...)
					h.g.want(a.src, CauseReplace)
					if r.IntN(2) == 0 {
						h.g.drop(old.src)
					}
				}
			case 3:
				s.leg.path.Store(nil)
			case 4, 5, 6:
				s.subscriber.choose(&LayerChoice{RID: []string{"h", "m", "l", ""}[r.IntN(4)]})
			case 7:
				a.still[r.IntN(len(a.still))] = r.IntN(2) == 0
			case 8, 9:
				s.nacks(d.ssrc, uint16(d.lastOut)-uint16(r.IntN(40)), uint16(d.lastOut)-uint16(r.IntN(400)))
			case 10:
				d.mute(r.IntN(3) == 0, h.now)
			}
			a.frame(1 + r.IntN(4))
			if r.IntN(3) > 0 {
				h.steps()
				for _, p := range s.hears() {
					key := [2]uint32{binary.BigEndian.Uint32(p.raw[8:]), uint32(binary.BigEndian.Uint16(p.raw[2:]))}
					if old := sealed[key]; old != nil && !bytes.Equal(old, p.raw) {
						t.Fatalf("two packets under SSRC %d, index %d", key[0], key[1])
					}
					sealed[key] = p.raw
				}
			}
			if d.lane != was {
				moves, was = moves+1, d.lane
			}
			if r.IntN(3) == 0 {
				s.leg.path.Store(path)
			}
		}
		if len(sealed) < 1000 || d.resent < 100 || moves < 50 {
			t.Errorf("only %d packets, %d resends and %d changes of lanes", len(sealed), d.resent, moves)
		}
	}
}
