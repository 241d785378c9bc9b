package probe

import (
	"bytes"
	"slices"
)

// inOrder sorts by extended sequence number and leaves out empty and repeated
// packets.
func inOrder(got []gotPacket) []gotPacket {
	var list []gotPacket
	var last int64
	for _, p := range got {
		if len(list) == 0 {
			last = int64(p.seq) + 1<<16
		}
		p.ext = last + int64(int16(p.seq-uint16(last)))
		last = max(last, p.ext)
		list = append(list, p)
	}
	slices.SortStableFunc(list, func(a, b gotPacket) int { return int(a.ext - b.ext) })
	list = slices.CompactFunc(list, func(a, b gotPacket) bool { return a.ext == b.ext })
	return slices.DeleteFunc(list, func(p gotPacket) bool { return len(p.payload) == 0 })
}

// matchPackets finds packets by their whole payload, or by what is behind the
// codec's descriptor. Payloads that were sent twice count, but say nothing about
// numbers.
func matchPackets(s *sentLog, got []gotPacket) (list []matchedPacket, same, bare int) {
	const twice = -1
	whole, behind := make(map[string]int), make(map[string]int)
	add := func(m map[string]int, payload []byte, i int) {
		if _, ok := m[string(payload)]; ok {
			i = twice
		}
		m[string(payload)] = i
	}
	for i, p := range s.packets {
		add(whole, p.payload, i)
		add(behind, s.codec.bare(p.payload), i)
	}
	for i := range got {
		p := &got[i]
		k, ok := whole[string(p.payload)]
		if ok {
			same++
		} else if k, ok = behind[string(s.codec.bare(p.payload))]; ok {
			bare++
		}
		if ok && k != twice {
			list = append(list, matchedPacket{k, p})
		}
	}
	slices.SortStableFunc(list, func(a, b matchedPacket) int { return a.sent - b.sent })
	return list, same, bare
}

// matchFrames finds the frames that came whole, in the order of their numbers.
func matchFrames(s *sentLog, got []gotPacket) (list []gotFrame) {
	byNumber := make(map[uint32]*sentFrame, len(s.frames))
	for i := range s.frames {
		byNumber[s.frames[i].n] = &s.frames[i]
	}
	for i := 0; i < len(got); {
		f := gotFrame{ts: got[i].ts, first: got[i].ext}
		var payloads [][]byte
		for ; i < len(got) && got[i].ts == f.ts; i++ {
			payloads = append(payloads, got[i].payload)
			f.last = got[i].ext
			if got[i].at.After(f.at) {
				f.at = got[i].at
			}
		}
		for _, unit := range s.codec.units(payloads) {
			n, ok := stampOf(s.run, unit)
			// The first byte is what some forwarders mark the importance in.
			if f.sent = byNumber[n]; ok && f.sent != nil && bytes.Equal(unit[1:], f.sent.unit[1:]) {
				list = append(list, f)
				break
			}
		}
	}
	slices.SortStableFunc(list, func(a, b gotFrame) int { return int(a.sent.n) - int(b.sent.n) })
	return slices.CompactFunc(list, func(a, b gotFrame) bool { return a.sent == b.sent })
}
