package caddymodule

import (
	"errors"
	"net/http"
)

// Why something is not allowed. What a client reads is the text here; what an
// [Authorizer] wraps around it is for the log.
var (
	// ErrNoCredentials: no token was sent and one is needed.
	ErrNoCredentials = errors.New("this needs a token: send it as Authorization: Bearer <token>")
	// ErrTokenMalformed: the token is too long or not of the expected form.
	ErrTokenMalformed = errors.New("the token is not of the form this gateway takes")
	// ErrTokenSignature: the token is unknown, or signed with another key.
	ErrTokenSignature = errors.New("the token is not one this gateway knows: ask for a new one")
	// ErrTokenClaims: the token is genuine and not made for this gateway.
	ErrTokenClaims = errors.New("the token is not meant for this gateway, or not valid yet")
	// ErrTokenExpired: the token was good once.
	ErrTokenExpired = errors.New("the token has expired: ask for a new one")
	// ErrForbidden: whoever this is has no right to do that on this stream.
	ErrForbidden = errors.New("the credentials do not allow this on this stream")
	// ErrAuthUnavailable: whoever decides could not be asked.
	ErrAuthUnavailable = errors.New("it cannot be checked now whether this is allowed: try again in a moment")
)

// authProblems are the replies to these errors. Malformed tokens and wrong
// signatures differ in the WTN texts, and an expired token is 403 there.
var authProblems = []struct {
	err error
	problem
}{
	{ErrNoCredentials, problem{slug: "token-missing", title: "Token missing", status: http.StatusUnauthorized, wtnText: "Token Missing"}},
	{ErrTokenMalformed, problem{slug: "token-invalid", title: "Invalid token", status: http.StatusUnauthorized, wtnText: "Token Illegal"}},
	{ErrTokenSignature, problem{slug: "token-invalid", title: "Invalid token", status: http.StatusUnauthorized, wtnText: "Token Signature Check Failed"}},
	{ErrTokenClaims, problem{slug: "token-invalid", title: "Invalid token", status: http.StatusUnauthorized, wtnText: "Token Check Failed"}},
	{ErrTokenExpired, problem{slug: "token-expired", title: "Token expired", status: http.StatusUnauthorized, wtnStatus: http.StatusForbidden, wtnText: "Token Expired"}},
	{ErrForbidden, problem{slug: "forbidden", title: "Not allowed", status: http.StatusForbidden, wtnStatus: http.StatusUnauthorized, wtnText: "Token Check Failed"}},
	{ErrAuthUnavailable, problem{slug: "auth-unavailable", title: "Authorisation unavailable", status: http.StatusServiceUnavailable, retryAfter: 2, wtnText: "Service Temporarily Unavailable"}},
}

// authProblem finds the problem of an authorisation error.
func authProblem(err error) (p problem, detail string, ok bool) {
	for _, e := range authProblems {
		if errors.Is(err, e.err) {
			return e.problem, e.err.Error(), true
		}
	}
	return problem{}, "", false
}

// challenge is the WWW-Authenticate header of a reply about err (RFC 6750
// section 3), or empty if the reply is no 401.
func challenge(f face, err error) string {
	p, _, ok := authProblem(err)
	status := p.status
	if f == faceWTN && p.wtnStatus != 0 {
		status = p.wtnStatus
	}
	switch {
	case !ok || status != http.StatusUnauthorized:
		return ""
	case errors.Is(err, ErrNoCredentials):
		return `Bearer realm="wtn"`
	default:
		return `Bearer realm="wtn", error="invalid_token"`
	}
}
