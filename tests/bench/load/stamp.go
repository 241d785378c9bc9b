package load

import "time"

// A stamp is the send time at the end of a payload: two bytes that mark it and
// ten with seven bits each. The top bit of every byte is set, so that no
// H.264 start code can come to be.
const stampSize = 12

const stampMark0, stampMark1 = 0xb7, 0xe5

// putStamp writes t over the last bytes of payload.
func putStamp(payload []byte, t time.Time) {
	s := payload[len(payload)-stampSize:]
	s[0], s[1] = stampMark0, stampMark1
	ns := uint64(t.UnixNano())
	for i := range s[2:] {
		s[2+i] = 0x80 | byte(ns>>(7*i))
	}
}

// readStamp returns the send time; ok is false when the payload has none.
func readStamp(payload []byte) (t time.Time, ok bool) {
	if len(payload) < stampSize {
		return time.Time{}, false
	}
	s := payload[len(payload)-stampSize:]
	if s[0] != stampMark0 || s[1] != stampMark1 {
		return time.Time{}, false
	}
	var ns uint64
	for i, b := range s[2:] {
		ns |= uint64(b&0x7f) << (7 * i)
	}
	return time.Unix(0, int64(ns)), true
}
