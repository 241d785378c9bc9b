// Package slate makes what viewers get while a stream has no source: a still
// picture, or a short loop, in the codec that the viewers already decode, and
// silence.
//
// A viewer's session cannot change its codec without a new negotiation, so the
// slate has to come in the codec of the stream. A relay does not encode; the
// picture is therefore encoded beforehand, one file for each codec.
//
//   - [Read] takes an operator's file apart into a [Clip]: a list of coded
//     pictures, checked to be something that can be sent. [Default] has a built-in
//     Clip for each video codec.
//   - [Player] turns a Clip into RTP payloads, one picture after another, for
//     ever. The caller has the clock: it waits for the duration that came with a
//     picture, and owns sequence numbers, timestamps and the marker.
//   - [Silence] and [SilenceOf] are the sound to it.
//
// A slate is one more source of a stream: its payloads go the way of all others,
// and the stream enters and leaves it at a key frame. That is why each key frame
// carries its parameter sets, and VP8 and VP9 have picture numbers of 15 bits,
// which the stream goes on counting.
//
// A file is trusted no more than a packet: sizes and counts are bounded, and a
// malformed file is an error that says what to do about it. There is no clock
// and no goroutine here, and no I/O but reading that file.
package slate
