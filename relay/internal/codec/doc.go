// Package codec knows the codecs the gateway can carry and answers one
// question by meaning instead of by text: can this viewer decode what that
// source sends?
//
// A codec in SDP is a name, a clock, channels and a line of format
// parameters. Two entries may be written differently and mean the same
// (42e01f and 42c01f are both H.264 constrained baseline), and two entries
// that look alike may not be interchangeable (packetization-mode 0 and 1).
// The package turns the parameters into the few facts that decide decoding
// (profile, tier, packetization mode, level) and compares those:
//
//   - [CanPlay] says whether one entry of a viewer can take a source.
//   - [Rank] picks the closest such entry of a whole offer.
//   - [Same] says whether two entries are one configuration.
//
// Everything here is a pure function over values; nothing is shared, and all
// of it may be used from any goroutine. It runs at negotiation only, never
// per packet.
package codec
