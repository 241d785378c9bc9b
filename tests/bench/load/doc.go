// Package load is one publisher and many light viewers for measuring a WHIP
// and WHEP server over loopback. It needs Linux.
//
// The publisher is a complete peer (pion). It sends H.264-shaped video, in the
// sizes and the rhythm of an encoder with a fixed key frame interval, and Opus.
// Each packet carries the time at which it was sent.
//
// A viewer is the least a server takes for a browser: it posts an offer, does
// the checks of ICE and the DTLS handshake, keeps its consent fresh and sends
// receiver reports. It reads the headers of all packets, which are not
// encrypted, and so knows what was lost. One viewer in SampleEvery also
// decrypts all it gets; these tell the latency. All viewers decrypt until they
// have their first complete key frame, which is when their join ends.
//
// All viewers share one UDP socket but have an address each, 127.64.x.y: the
// server sees as many different peers, the generator pays for one read loop.
// Arrival times come from the kernel, so that a late generator does not count
// as a slow server.
//
// Lost packets are not asked for again: what is reported as lost was lost once.
package load
