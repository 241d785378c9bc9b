// Package discipline is patience with a vendor that fails.
//
// Four things are kept apart. A [Backoff] is how long one stream waits before it
// asks one vendor again. A [Bucket] is how many sessions a second a vendor is
// asked for by all streams together, so that it is not trampled by those that
// another vendor lost. A [Breaker] leaves a vendor alone that fails several
// streams; one stream that fails says something of the stream. [Health] is what
// checks without a stream have found.
//
// All are plain state machines: no I/O, no clock, no goroutine and no lock.
// Times are monotonic nanoseconds given by the caller and never go back. One
// value belongs to one goroutine at a time. Zero values are ready for use.
package discipline
