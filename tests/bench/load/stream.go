package load

import (
	"encoding/binary"
	"time"
)

// maxGap is the largest step forward of sequence numbers that counts as loss;
// beyond it the sender is taken to have begun anew.
const maxGap = 3000

// stream counts the packets of one SSRC.
type stream struct {
	ssrc     uint32
	video    bool
	high     uint32 // highest sequence number, with the wraps above
	base     uint32 // high at the start of the window
	received uint64 // in the window
}

// count takes a packet into account.
func (s *stream) count(seq uint16) {
	s.received++
	d := int16(seq - uint16(s.high))
	if d <= 0 {
		return // out of order, or a copy
	}
	s.high += uint32(d)
	if d > maxGap {
		s.base += uint32(d) - 1
	}
}

// expected is how many packets the window should have had.
func (s *stream) expected() uint64 { return uint64(s.high - s.base) }

func (s *stream) restart() { s.base, s.received = s.high, 0 }

func (v *viewer) stream(ssrc uint32, pt uint8, seq uint16) *stream {
	for _, s := range v.streams {
		if s.ssrc == ssrc {
			return s
		}
	}
	high := 1<<16 | uint32(seq) - 1
	s := &stream{ssrc: ssrc, video: pt == videoPT, high: high, base: high}
	v.streams = append(v.streams, s)
	return s
}

// rtp counts a packet and, if there is a reason to, decrypts it.
func (v *viewer) rtp(b []byte, at time.Time) {
	pt := b[1] & 0x7f
	if pt != videoPT && pt != audioPT {
		return
	}
	s := v.stream(binary.BigEndian.Uint32(b[8:]), pt, binary.BigEndian.Uint16(b[2:]))
	s.count(binary.BigEndian.Uint16(b[2:]))
	searching := s.video && v.joined.IsZero()
	if !v.sampled && !searching {
		return
	}
	var err error
	if v.clear, err = v.keys.in.DecryptRTP(v.clear[:0], b, nil); err != nil {
		v.load.undecryptable.Add(1)
		return
	}
	p := &v.rtpPacket
	if p.Unmarshal(v.clear) != nil {
		v.load.undecryptable.Add(1)
		return
	}
	if searching && v.search.complete(p.Payload, p.SequenceNumber, p.Timestamp, p.Marker) {
		v.joined = at
		close(v.keyDone)
	}
	if v.sampled && v.load.measuring {
		if sent, ok := readStamp(p.Payload); ok {
			v.latencies = append(v.latencies, at.Sub(sent))
		}
	}
}

// keySearch looks for the first complete key frame.
type keySearch struct {
	open  bool
	idr   bool
	ts    uint32
	first uint16
	n     uint16 // packets of the frame
}

// complete takes the next packet of video and says whether it completes a key
// frame of which parameter sets, IDR picture and all between have come.
func (k *keySearch) complete(payload []byte, seq uint16, ts uint32, marker bool) bool {
	hasSPS, hasIDR := inspect(payload)
	switch {
	case k.open && ts == k.ts:
		k.n++
	case hasSPS:
		*k = keySearch{open: true, ts: ts, first: seq, n: 1}
	default:
		return false
	}
	k.idr = k.idr || hasIDR
	if !marker {
		return false
	}
	k.open = false
	return k.idr && k.n == seq-k.first+1
}
