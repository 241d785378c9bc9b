// Package probe finds out what a WHIP and WHEP service does to the media that
// it relays, by publishing a known sequence there and pulling it back.
//
// The sequence is frames whose numbers are written into their payload, in a way
// that survives any new split into packets: VP8, or H.264 where the service takes
// no VP8, and packets of the shape of Opus. Twice the publisher leaves a packet
// out on purpose, numbers and all, to see whether the service hides that.
//
// What was sent and what came back is only kept while the probe runs (a few MB);
// all judgement is passed afterwards, by functions that know no network. They
// compare in two steps: whole payloads, which a plain forwarder leaves as they
// are, and then frames, which also those leave alone that pack anew.
//
//	run.go        the order of events; leave.go, its end; result.go, what came of it
//	session.go    one session at the service, and what else it answers
//	peer.go       a connection; publisher.go sends, player.go takes in
//	frames.go     the codecs; generator.go, the known sequence
//	match.go      which packets and frames are the same
//	compare.go    what that says about the service
//	profile.go    the result, and what is bad about it
//	print.go      the result for people
package probe
