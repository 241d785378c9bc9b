package rtcpx

import (
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/pion/rtcp"
)

func marshal(t testing.TB, pkts ...rtcp.Packet) []byte {
	t.Helper()
	b, err := rtcp.Marshal(pkts)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// walk cuts a compound into its packets.
func walk(b []byte) (list []Packet) {
	for {
		p, rest, ok := Next(b)
		if !ok {
			return list
		}
		list, b = append(list, p), rest
	}
}

func TestCompound(t *testing.T) {
	b := marshal(t,
		&rtcp.SenderReport{SSRC: 1, NTPTime: 2 << 32, RTPTime: 3, Reports: []rtcp.ReceptionReport{{SSRC: 9, FractionLost: 7, TotalLost: 0xABCDEF, Jitter: 5, LastSenderReport: 6, Delay: 8}}},
		&rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{Source: 1, Items: []rtcp.SourceDescriptionItem{{Type: 1, Text: "x"}}}}},
		&rtcp.TransportLayerNack{SenderSSRC: 1, MediaSSRC: 4, Nacks: []rtcp.NackPair{{PacketID: 5, LostPackets: 6}}},
		&rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: 10},
		&rtcp.FullIntraRequest{SenderSSRC: 1, FIR: []rtcp.FIREntry{{SSRC: 11, SequenceNumber: 1}}},
		&rtcp.ReceiverReport{SSRC: 1, Reports: []rtcp.ReceptionReport{{SSRC: 12}, {SSRC: 13}}},
	)
	list := walk(b)
	var kinds [][2]uint8
	for _, p := range list {
		kinds = append(kinds, [2]uint8{p.Type, p.Count})
	}
	want := [][2]uint8{{TypeSR, 1}, {202, 1}, {TypeRTPFB, FormatNACK}, {TypePSFB, FormatPLI}, {TypePSFB, FormatFIR}, {TypeRR, 2}}
	if !reflect.DeepEqual(kinds, want) {
		t.Fatalf("%v, want %v", kinds, want)
	}
	if ssrc, ntp, ts, ok := list[0].SenderInfo(); !ok || ssrc != 1 || ntp != 2<<32 || ts != 3 {
		t.Errorf("sender info %d %d %d %v", ssrc, ntp, ts, ok)
	}
	var blocks []Block
	for i := range list {
		list[i].Blocks(func(b Block) { blocks = append(blocks, b) })
	}
	if w := []Block{{SSRC: 9, FractionLost: 7, TotalLost: 0xABCDEF, Jitter: 5, LSR: 6, DLSR: 8}, {SSRC: 12}, {SSRC: 13}}; !reflect.DeepEqual(blocks, w) {
		t.Errorf("blocks %v", blocks)
	}
	if n := &list[2]; n.MediaSSRC() != 4 || binary.BigEndian.Uint32(n.FCI()) != 5<<16|6 {
		t.Errorf("nack about %d: %v", n.MediaSSRC(), n.FCI())
	}
	if list[3].MediaSSRC() != 10 || len(list[3].FCI()) != 0 {
		t.Error("PLI is misread")
	}
	if _, _, _, ok := list[5].SenderInfo(); ok {
		t.Error("a receiver report has sender info")
	}
}

func TestREMB(t *testing.T) {
	for _, bitrate := range []float32{0, 1000, 262143, 8927168, 1 << 40} {
		b := marshal(t, &rtcp.ReceiverEstimatedMaximumBitrate{SenderSSRC: 1, Bitrate: bitrate, SSRCs: []uint32{2}})
		p, _, _ := Next(b)
		got, ok := p.REMB()
		if lost := float64(bitrate) - float64(got); !ok || lost < 0 || lost > float64(bitrate)/1e5 {
			t.Errorf("%v: read %d, %v", bitrate, got, ok)
		}
	}
	good := []byte{0x8F, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 'R', 'E', 'M', 'B', 1, 0x07, 0xFF, 0xFF, 0, 0, 0, 2}
	for name, change := range map[string]func([]byte){
		"another identifier":  func(b []byte) { b[12] = 'X' },
		"another format":      func(b []byte) { b[0] = 0x81 },
		"another type":        func(b []byte) { b[1] = 205 },
		"an absurd exponent":  func(b []byte) { b[17] = 0xFF },
		"no room for bitrate": func(b []byte) { b[3] = 3 },
	} {
		b := append([]byte(nil), good...)
		change(b)
		p, _, ok := Next(b)
		if _, remb := p.REMB(); !ok || remb {
			t.Errorf("%s: taken for an estimate", name)
		}
	}
}

func TestMalformed(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":            nil,
		"short":            {0x80, 200, 0, 1, 0, 0, 0},
		"version 1":        {0x40, 200, 0, 1, 0, 0, 0, 0},
		"no SSRC":          {0x80, 200, 0, 0, 0, 0, 0, 0},
		"longer than sent": {0x80, 200, 0, 2, 0, 0, 0, 0},
		"padding of none":  {0xA0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0},
		"padded too far":   {0xA0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 5},
	} {
		if _, _, ok := Next(b); ok {
			t.Errorf("%s: taken", name)
		}
	}
	// Padding is no entry of a NACK.
	padded := []byte{0xA1, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 7, 0, 0, 0, 0, 0, 4}
	if p, rest, ok := Next(padded); !ok || len(p.FCI()) != 4 || len(rest) != 0 {
		t.Errorf("padded NACK: %v, %v", p, ok)
	}
	short := Packet{Type: TypeSR, Count: 31, Body: make([]byte, 4)}
	short.Blocks(func(Block) { t.Error("a block out of nothing") })
	if _, _, _, ok := short.SenderInfo(); ok || short.MediaSSRC() != 0 || short.FCI() != nil {
		t.Error("fields out of nothing")
	}
	n := 0 // the count lies: only what is there is read
	lying := Packet{Type: TypeRR, Count: 31, Body: make([]byte, 4+24+23)}
	if lying.Blocks(func(Block) { n++ }); n != 1 {
		t.Errorf("%d blocks", n)
	}
}

func TestNoAllocation(t *testing.T) {
	b := marshal(t, &rtcp.ReceiverReport{SSRC: 1, Reports: []rtcp.ReceptionReport{{SSRC: 12}, {SSRC: 13}}}, &rtcp.PictureLossIndication{})
	sum := uint32(0)
	if n := testing.AllocsPerRun(100, func() {
		for rest := b; ; {
			p, next, ok := Next(rest)
			if !ok {
				return
			}
			p.Blocks(func(b Block) { sum += b.SSRC })
			rest = next
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever comes, walking it ends, and what pion understands is read alike.
func FuzzNext(f *testing.F) {
	f.Add(marshal(f, &rtcp.SenderReport{SSRC: 1, Reports: []rtcp.ReceptionReport{{SSRC: 2}}}, &rtcp.PictureLossIndication{MediaSSRC: 3}))
	f.Add(marshal(f, &rtcp.ReceiverEstimatedMaximumBitrate{Bitrate: 1e6, SSRCs: []uint32{2}}))
	f.Add([]byte{0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, size := walk(b), 0
		for i := range list {
			p := &list[i]
			size += 4 + len(p.Body)
			if len(p.Body) < 4 {
				t.Fatal("no room for the sender's SSRC")
			}
			blocks := 0
			p.Blocks(func(Block) { blocks++ })
			if blocks > int(p.Count) || len(p.FCI()) > len(p.Body) {
				t.Fatalf("%d blocks, %d bytes FCI of %+v", blocks, len(p.FCI()), p)
			}
			p.REMB()
			p.SenderInfo()
		}
		if size > len(b) {
			t.Fatal("more was read than came")
		}
		var pli rtcp.PictureLossIndication
		if len(list) == 1 && len(list[0].Body) >= 8 && pli.Unmarshal(b) == nil && list[0].MediaSSRC() != pli.MediaSSRC {
			t.Fatalf("PLI about %d, pion says %d", list[0].MediaSSRC(), pli.MediaSSRC)
		}
	})
}
