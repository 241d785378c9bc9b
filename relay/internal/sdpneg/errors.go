package sdpneg

import "fmt"

// ErrorKind tells whose rule an offer broke; an HTTP front maps it to a
// status.
type ErrorKind uint8

const (
	// Malformed: the bytes are no usable SDP (400).
	Malformed ErrorKind = iota + 1
	// Unacceptable: valid SDP, but not something this gateway or this stream
	// can serve (422).
	Unacceptable
)

// String returns "malformed" or "unacceptable".
func (k ErrorKind) String() string {
	if k == Malformed {
		return "malformed"
	}
	return "unacceptable"
}

// Error is every refusal of an offer.
type Error struct {
	Kind   ErrorKind
	Detail string // for the author of the offer: what is wrong and what to do
	Err    error  // the cause, if there is one
}

// Error returns the kind and the detail.
func (e *Error) Error() string { return e.Kind.String() + " offer: " + e.Detail }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func malformed(format string, args ...any) *Error {
	return &Error{Kind: Malformed, Detail: fmt.Sprintf(format, args...)}
}

func unacceptable(format string, args ...any) *Error {
	return &Error{Kind: Unacceptable, Detail: fmt.Sprintf(format, args...)}
}
