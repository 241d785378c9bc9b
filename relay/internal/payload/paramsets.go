package payload

import (
	"bytes"
	"encoding/binary"
	"slices"
)

const (
	maxSets         = 8    // of each kind
	maxSetBytes     = 512  // of one set
	maxPayloadBytes = 1100 // of the packet that repeats them
)

// ParameterSets remembers the newest parameter sets of one H.264 or H.265
// source, so that they can be sent again before an IDR that comes without them.
//
// Sets are kept by identifier, at most 8 of each kind (the oldest gives way)
// and 512 bytes each. A set that arrives split over fragments is not learnt;
// no sender is known to split one. The zero value is ready for use.
type ParameterSets struct {
	codec         string
	vps, sps, pps setList
}

// Update learns the sets in one payload, alone or aggregated. Other payloads
// and other codecs are passed over in a few instructions. A change between
// H264 and H265 forgets everything.
func (s *ParameterSets) Update(codec string, payload []byte) {
	if codec != H264 && codec != H265 || len(payload) == 0 || payload[0]&nalForbidden != 0 {
		return
	}
	if s.codec != codec {
		*s = ParameterSets{codec: codec}
	}

	var body []byte
	switch {
	case codec == H264 && payload[0]&0x1f == h264STAPA:
		body = payload[1:]
	case codec == H265 && h265Type(payload) == h265AP && len(payload) > h265HeaderBytes:
		body = payload[h265HeaderBytes:]
	default:
		s.learn(payload)
		return
	}

	for len(body) > 0 {
		nal, rest, ok := nextUnit(body)
		if !ok {
			return
		}
		s.learn(nal)
		body = rest
	}
}

// Complete reports whether there is at least one set of each kind that the
// codec needs: SPS and PPS, and for H.265 a VPS.
func (s *ParameterSets) Complete() bool {
	return len(s.sps.sets) > 0 && len(s.pps.sets) > 0 && (s.codec != H265 || len(s.vps.sets) > 0)
}

// Payload returns one RTP payload with all sets: a STAP-A (H.264) or an
// aggregation packet (H.265), or the set itself if there is only one. It is
// written over dst, whose array is used if it is large enough. The result is
// nil if no set is known or the packet would be longer than 1100 bytes.
func (s *ParameterSets) Payload(dst []byte) []byte {
	count := len(s.vps.sets) + len(s.sps.sets) + len(s.pps.sets)
	if count == 0 {
		return nil
	}

	header := s.header()
	headerBytes := 1
	if s.codec == H265 {
		headerBytes = h265HeaderBytes
	}
	total := headerBytes + s.vps.size() + s.sps.size() + s.pps.size() + 2*count
	if total > maxPayloadBytes {
		return nil
	}

	if count == 1 {
		for _, l := range s.lists() {
			for _, set := range l.sets {
				return append(dst[:0], set.nal...)
			}
		}
	}

	dst = append(slices.Grow(dst[:0], total), header[:headerBytes]...)
	for _, l := range s.lists() {
		for _, set := range l.sets {
			dst = binary.BigEndian.AppendUint16(dst, uint16(len(set.nal)))
			dst = append(dst, set.nal...)
		}
	}

	return dst
}

// lists is in the order in which a decoder needs them.
func (s *ParameterSets) lists() [3]*setList { return [3]*setList{&s.vps, &s.sps, &s.pps} }

// header makes the payload header of an aggregation: for H.264 the highest
// nal_ref_idc of the units (RFC 6184 5.7), for H.265 the lowest layer and
// temporal id (RFC 7798 4.4.2). Sets of higher layers are never learnt.
func (s *ParameterSets) header() [2]byte {
	if s.codec == H265 {
		tid := byte(7)
		for _, l := range s.lists() {
			for _, set := range l.sets {
				tid = min(tid, set.nal[1]&0x07)
			}
		}
		return [2]byte{h265AP << 1, tid}
	}

	var nri byte
	for _, l := range s.lists() {
		for _, set := range l.sets {
			nri = max(nri, set.nal[0]&0x60)
		}
	}

	return [2]byte{nri | h264STAPA}
}

func (s *ParameterSets) learn(nal []byte) {
	switch {
	case nal[0]&nalForbidden != 0:
	case s.codec == H264:
		s.learnH264(nal)
	default:
		s.learnH265(nal)
	}
}

func (s *ParameterSets) learnH264(nal []byte) {
	r := bitReader{p: nal[1:]}
	switch nal[0] & 0x1f {
	case h264SPS:
		r.bits(24) // profile_idc, constraint flags, level_idc
		s.sps.learn(r.ue(), 31, &r, nal)
	case h264PPS:
		s.pps.learn(r.ue(), 255, &r, nal)
	}
}

func (s *ParameterSets) learnH265(nal []byte) {
	if len(nal) <= h265HeaderBytes || nal[0]&1 != 0 || nal[1]>>3 != 0 {
		return // too short, or of a layer other than 0
	}

	r := bitReader{p: nal[h265HeaderBytes:]}
	switch h265Type(nal) {
	case h265VPS:
		s.vps.learn(r.bits(4), 15, &r, nal)
	case h265SPS:
		s.sps.learn(h265SPSID(&r), 15, &r, nal)
	case h265PPS:
		s.pps.learn(r.ue(), 63, &r, nal)
	}
}

// h265SPSID skips profile_tier_level (H.265 7.3.3) to reach the identifier.
func h265SPSID(r *bitReader) uint32 {
	r.bits(4) // VPS id
	sub := int(r.bits(3))
	r.bit()    // temporal_id_nesting
	r.bits(96) // general profile (88) and level (8)
	if sub == 0 {
		return r.ue()
	}

	present := r.bits(16) // two flags for each of 8 sub-layers
	for i := range sub {
		flags := present >> (14 - 2*i)
		if flags&2 != 0 {
			r.bits(88)
		}
		if flags&1 != 0 {
			r.bits(8)
		}
	}

	return r.ue()
}

// setList holds the sets of one kind, oldest first.
type setList struct{ sets []paramSet }

type paramSet struct {
	id  uint32
	nal []byte
}

func (l *setList) size() (n int) {
	for _, s := range l.sets {
		n += len(s.nal)
	}

	return n
}

// learn stores nal under id, which was read with r. A set that is too long to keep makes an older one
// of that id useless, which is therefore forgotten.
func (l *setList) learn(id, maxID uint32, r *bitReader, nal []byte) {
	if r.bad || id > maxID {
		return
	}

	at := slices.IndexFunc(l.sets, func(s paramSet) bool { return s.id == id })
	switch {
	case len(nal) > maxSetBytes:
		if at >= 0 {
			l.sets = slices.Delete(l.sets, at, at+1)
		}
	case at >= 0:
		if !bytes.Equal(l.sets[at].nal, nal) {
			l.sets[at].nal = append(l.sets[at].nal[:0], nal...)
		}
	default:
		if len(l.sets) == maxSets {
			l.sets = slices.Delete(l.sets, 0, 1)
		}
		l.sets = append(l.sets, paramSet{id: id, nal: bytes.Clone(nal)})
	}
}
