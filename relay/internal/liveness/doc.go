// Package liveness feels the pulse of a source of media.
//
// A [Meter] is told of every packet and answers three questions: how long has
// it been quiet, is that unusual for it, and is what it delivers live.
//
// Quiet is relative to a rhythm. A camera sends a frame each 33 ms, a shared
// screen one a second or none while nothing moves, speech a packet each 20 ms
// and, with discontinuous transmission, one each 400 ms or none while nobody
// speaks. So the meter keeps the arrival times of the last 64 frames (2 s of a
// camera, one minute of a slow screen) and of the last 64 packets of sound, and
// takes two numbers from the distances between them:
//
//   - the interval, their median, is the rhythm as it is felt;
//   - the gap is what the source may well take: the second largest of them, about
//     their 97th percentile. A single freeze is left out of it and never makes
//     the meter deaf; two long distances are a new rhythm, so that a change from
//     30 frames a second to one is followed with the second slow frame, and the
//     way back within 64 frames. There is nothing to tune, and nothing drifts.
//
// Live is more than arriving. Whoever joins a stream often gets a group of
// pictures out of a cache at once, even from a source whose publisher is long
// gone. So media flows only if its own time (RTP timestamps, 90 kHz for all
// video, RFC 3551 section 4) does not run away from the time of arrival.
//
// A Meter is a plain state machine: no I/O, no clock, no goroutine, no lock and
// no allocation. Times are monotonic nanoseconds given by the caller and never
// go back. One value belongs to one goroutine at a time. Zero values are ready
// for use.
package liveness
