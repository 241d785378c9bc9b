// Package seqmap renumbers RTP packets.
//
// Inside the relay sequence numbers are extended to 64 bits and never wrap:
// [Unwrapper] makes them from the 16 bits on the wire, [TimestampUnwrapper] does
// the same for 32-bit timestamps.
//
// A [Map] relates the numbers of one source to the numbers that leave. The
// relation is a staircase: between changes, out = in + offset. It changes when a
// packet is left out on purpose (its number must not look like a loss), when the
// relay adds packets of its own, and when the source is replaced. Losses are not
// a change: a hole in the input stays a hole in the output, so that the receiver
// asks for it. The last 64 steps are remembered, so that a late packet gets the
// number that was kept for it, and a NACK finds its way back.
//
// The types are plain state machines: no I/O, no clock, no goroutine, no lock
// and no allocation. One value belongs to one goroutine at a time. Zero values
// are ready for use.
package seqmap
