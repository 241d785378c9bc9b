// Package choice decides which of its sources a stream goes on with.
//
// A [Chooser] is asked every [Tick] with all candidates, the preferred first,
// and answers which one it wants. To want is not to switch: the caller goes over
// at the next key frame of the wanted source and keeps the old one until then.
//
// Quiet is not dead. Who stops a stream that was only still does more harm than
// good, so silence by itself is a suspicion, and a second sign is needed:
//
//   - The transport is over: dead at once, nothing else is asked.
//   - Relative: two candidates of one Group carry the media of one publisher. If
//     one is silent while another goes on with frame after frame, it is dead; a
//     quiet publisher silences both. At 30 frames a second this takes about 150
//     ms. What a cache delivers does not count.
//   - Path checks that the peer does not answer, for [PathTimeout].
//   - An independent candidate (another encoder) has live media: enough once the
//     silence is longer than MediaTimeout and 4 of the source's own gaps, or 2 s
//     while there is sound.
//
// A suspicion asks for checks of the path (Probe) and for one more source
// (Start). It ends with the next packet. As long as nobody else delivers live
// media nothing is switched.
//
// Going back to a better source is never urgent: it must have been well without
// interruption for FailbackDelay, and is done once in FailbackDelay at most. A
// candidate with a claim (a publisher of higher priority that just came) waits
// for nobody, once.
//
// A host that does not get its share of processors sleeps between two steps.
// Then it was not the sources that were silent: time that was slept through
// counts for no silence.
//
// A Chooser is a plain state machine: no I/O, no clock, no goroutine, no lock
// and no allocation. One value belongs to one goroutine at a time, which also
// owns the meters while it steps.
package choice
