// Package payload reads what one RTP payload says about its frame, and keeps
// what has to survive a change of source: the parameter sets of H.264 and
// H.265, and the running picture numbers of VP8 and VP9.
//
// Nothing here decodes video. A relay needs five answers only: may a viewer
// start here, does a frame start here, must parameter sets be put in front, how
// large is the picture, and which numbers did the last packet carry. All of them
// are in the first bytes of a payload, and are read without copying.
//
//   - [Parse] answers for one packet, without memory of the packets before it.
//   - [Size] reads the size of the picture where a key frame begins.
//   - [ParameterSets] remembers the sets of one source, for a viewer who joins
//     or is switched at an IDR that comes without them.
//   - [PictureIDs] rewrites VP8 and VP9 picture numbers so that a receiver sees
//     one unbroken run whichever source feeds it.
//
// Payloads come from strangers. Every reader is bounds-checked, a malformed
// payload gives the zero answer, and nothing is kept beyond fixed limits.
//
// The types are plain state machines: no I/O, no clock, no goroutine and no
// lock. One value belongs to one goroutine at a time. Nothing allocates once
// the parameter sets of a source have been seen.
package payload
