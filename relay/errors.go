package relay

import "errors"

// Errors of the control plane. They wrap nothing of the media plane: whoever
// turns them into HTTP needs only errors.Is and errors.As.
var (
	// ErrNoPublisher: a subscriber asked for a stream that nothing publishes now.
	ErrNoPublisher = errors.New("nobody publishes this stream now: start the publisher, or try again in a moment")
	// ErrStreamName: the stream name is empty, too long or holds characters that are not allowed.
	ErrStreamName = errors.New("stream names are 1 to 256 letters, digits, '-', '_', '.', '~' or '@', in segments separated by '/'")
	// ErrPublished: somebody publishes the stream and does not make room.
	ErrPublished = errors.New("somebody else publishes this stream: stop that publisher, or publish under another name")
	// ErrBitrate: the streams published here may not get any bigger.
	ErrBitrate = errors.New("the configured limit of incoming bitrate is reached: try again later")
	// ErrUpstreams: the stream has to come from elsewhere, and every place failed.
	ErrUpstreams = errors.New("no upstream delivers this stream now: try again in a moment")
	// ErrUpstreamTimeout: likewise, and the time for it is over.
	ErrUpstreamTimeout = errors.New("no upstream answered in time: try again in a moment")
	// ErrNoPause: the upstream cannot hold a session without its media.
	ErrNoPause = errors.New("this upstream cannot pause a session")
	// ErrSessionNotFound: no session has this secret; it may have ended.
	ErrSessionNotFound = errors.New("no such session: it has ended or never existed")
	// ErrLimit: a configured limit on publishers or subscribers is reached.
	ErrLimit = errors.New("the configured limit of sessions is reached: try again later")
	// ErrOverloaded: the media plane is busy and would slow down those already admitted.
	ErrOverloaded = errors.New("this gateway is at its capacity: try again later or on another one")
	// ErrNotReady: the hub has no media socket (yet), is draining or closed.
	ErrNotReady = errors.New("the gateway is not accepting sessions now: try again in a moment")

	// ErrFragment: the body of an ICE PATCH is malformed.
	ErrFragment = errors.New("the body is no usable trickle-ICE fragment")
	// ErrFragmentSize: it is too long, or brings too many candidates.
	ErrFragmentSize = errors.New("too many bytes or candidates in trickle-ICE fragments: send fewer")
	// ErrNoPrecondition: an ICE PATCH came without an entity tag where one is needed.
	ErrNoPrecondition = errors.New("this request needs If-Match: send the ETag of the session, or * for an ICE restart")
	// ErrPrecondition: an ICE PATCH is meant for an ICE session that is over.
	ErrPrecondition = errors.New("the ICE session has changed since: use the ETag of the last ICE restart, or restart ICE again")

	// ErrNoLayer: the video has no such simulcast layer.
	ErrNoLayer = errors.New("the video has no such layer: the layers event lists those there are")

	// ErrEventName: there is no such event.
	ErrEventName = errors.New("no such event: choose from active, inactive, layers, viewercount and reconnect")
	// ErrEventStreams: the session has as many event streams as it may have.
	ErrEventStreams = errors.New("the session has too many event streams: delete one")
	// ErrEventsNotFound: no event stream has this id; it may have been deleted.
	ErrEventsNotFound = errors.New("no such event stream: it was deleted or never existed")
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
