// Package harness drives the built gateway from the outside, the way its users
// do: a process with a Caddyfile, HTTP requests, WebRTC peers and a browser.
//
// Nothing here imports a package of the gateway. A Gateway is a child process
// on ports of its own; a Publisher sends numbered, real-shaped media into it; a
// Viewer writes down every packet it gets back. Afterwards the record is judged
// by pure functions: Check (is this one unbroken RTP timeline?), MatchSent (is
// this what was sent, byte for byte?) and ClockOffset (do the sender reports
// put audio and video on one clock?). The judges have unit tests of their own,
// which show for each kind of damage that it is found.
//
// Every Gateway checks itself for leaks when its test ends: the counts of
// goroutines and sockets must come back to what they were before the test
// opened its first session.
//
// Waiting is always for a condition and bounded (Eventually), never for a
// length of time.
package harness
