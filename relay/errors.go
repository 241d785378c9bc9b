package relay

import "errors"

// Errors of the control plane. They wrap nothing of the media plane: whoever
// turns them into HTTP needs only errors.Is and errors.As.
var (
	// ErrNoPublisher: a subscriber asked for a stream that nothing publishes now.
	ErrNoPublisher = errors.New("nobody publishes this stream now: start the publisher, or try again in a moment")
	// ErrStreamName: the stream name is empty, too long or holds characters that are not allowed.
	ErrStreamName = errors.New("stream names are 1 to 256 letters, digits, '-', '_', '.', '~' or '@', in segments separated by '/'")
	// ErrSessionNotFound: no session has this secret; it may have ended.
	ErrSessionNotFound = errors.New("no such session: it has ended or never existed")
	// ErrLimit: a configured limit on publishers or subscribers is reached.
	ErrLimit = errors.New("the configured limit of sessions is reached: try again later")
	// ErrOverloaded: the media plane is busy and would slow down those already admitted.
	ErrOverloaded = errors.New("this gateway is at its capacity: try again later or on another one")
	// ErrNotReady: the hub has no media socket (yet), is draining or closed.
	ErrNotReady = errors.New("the gateway is not accepting sessions now: try again in a moment")
)

// OfferError says why an SDP offer cannot be answered.
type OfferError struct {
	// Malformed is true when the offer is not valid SDP, false when it is valid
	// but asks for something that cannot be given.
	Malformed bool
	// Detail is one sentence for the person who reads the reply.
	Detail string
}

func (e *OfferError) Error() string { return e.Detail }
