// Package receiver is the receiving side of one RTP source stream: it accounts
// for every packet, asks for the missing ones, and says how reception goes.
//
// One [Receiver] watches one SSRC. Packet numbers are extended to 64 bits and
// never go back, so that the rest of the relay needs no modular arithmetic; the
// low 16 bits stay those of the wire. Around the newest number it keeps
//
//   - a window of 1024 numbers that tells a late packet from a duplicate,
//   - the list of holes of the last 500 numbers, with what was asked when,
//   - the counters of RFC 3550 6.4.1 and A.8, and a bit rate over one second.
//
// A source that starts over with other numbers (an encoder was restarted) is
// noticed by a jump, and reported as [Restart].
//
// All times are int64 nanoseconds of one monotonic clock of the caller. Nothing
// here reads a clock, does I/O, locks, or allocates after [New]; all methods of
// one Receiver must be called by one goroutine at a time.
package receiver
