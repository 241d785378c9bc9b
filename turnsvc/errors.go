package turnsvc

import "errors"

// Errors of this package. They are wrapped with the particulars; test with errors.Is.
var (
	// ErrConfig is returned by New, Apply and SetMediaAddrs for a value out of its range.
	// Nothing has been changed then.
	ErrConfig = errors.New("turnsvc: invalid configuration")
	// ErrClosed is returned after Close of the server, or for an endpoint that was removed.
	ErrClosed = errors.New("turnsvc: closed")
	// ErrTooManyConns is returned by Push when a connection cap is reached.
	ErrTooManyConns = errors.New("turnsvc: too many connections")
	// ErrAddress is returned for a connection or socket whose peer address is not an IP address and port.
	ErrAddress = errors.New("turnsvc: address is not ip:port")
	// ErrUserID is returned by Mint and Revoke for a user id outside [A-Za-z0-9_-]{1,64}.
	ErrUserID = errors.New("turnsvc: user id must be 1 to 64 characters of A-Z a-z 0-9 _ -")
	// ErrTTL is returned by Mint for a lifetime outside (0, Config.MaxTTL].
	ErrTTL = errors.New("turnsvc: credential lifetime out of range")
	// ErrRevoked is returned by Mint for a user id that was revoked and may not come back yet.
	ErrRevoked = errors.New("turnsvc: user id is revoked")
)

// Internal verdicts on what a client sent; they end a connection or a request, never the server.
var (
	errFrame      = errors.New("turnsvc: not a whole TURN frame of acceptable size")
	errExpired    = errors.New("turnsvc: credential expired")
	errCredential = errors.New("turnsvc: unknown credential")
)
