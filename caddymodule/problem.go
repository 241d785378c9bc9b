package caddymodule

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/talwtn/caddy-wtn/relay"
)

// Errors of the HTTP side, beside those of the relay.
var (
	errMediaType  = errors.New("the body must be an SDP offer: send it with Content-Type: application/sdp")
	errTooLarge   = errors.New("the body is too large: an SDP offer may have 64 KiB, a trickle-ICE fragment 8 KiB, JSON 4 KiB")
	errBody       = errors.New("the body could not be read to its end: send the request again")
	errNoStream   = errors.New("the path names no stream: append its name, for example whip/room1, or pub/app/room1 for the WTN form")
	errNotServed  = errors.New("this stream does not exist here")
	errNoResource = errors.New("nothing is here: session URLs are used exactly as the Location header gave them")
	errMethod     = errors.New("this URL does not take that method: see the Allow header")
	errNoPublish  = errors.New("publishing is switched off at this address")
	errNoPlay     = errors.New("playing is switched off at this address")
	errEmptyOffer = &relay.OfferError{Malformed: true, Detail: "the body is empty: send an SDP offer"}
)

// problem is what a client is told about an error: as problem details (RFC
// 9457) on the WHIP and WHEP faces, as the fixed text of the WTN documents on
// theirs. Slugs are part of the interface; they never change their meaning.
type problem struct {
	slug       string // urn:wtn:error:<slug>
	title      string
	status     int
	retryAfter int // seconds; 0: no header
	wtnStatus  int // 0: as status
	wtnText    string
}

// problems maps errors to problems. The first match counts.
var problems = []struct {
	err error
	problem
}{
	{relay.ErrNoPublisher, problem{"no-publisher", "Nobody publishes this stream", http.StatusConflict, 2, 0, "Stream Not Exist"}},
	{relay.ErrStreamName, problem{"stream-name", "Invalid stream name", http.StatusBadRequest, 0, 0, "Unknown Request"}},
	{relay.ErrSessionNotFound, problem{"session-not-found", "No such session", http.StatusNotFound, 0, 0, "Resource Not Exist"}},
	{relay.ErrLimit, problem{"limit", "Limit reached", http.StatusServiceUnavailable, 10, 0, "Service Temporarily Unavailable"}},
	{relay.ErrOverloaded, problem{"overloaded", "At capacity", http.StatusServiceUnavailable, 5, 0, "Service Temporarily Unavailable"}},
	{relay.ErrBitrate, problem{"bitrate", "Limit reached", http.StatusServiceUnavailable, 10, 0, "Service Temporarily Unavailable"}},
	{relay.ErrPublished, problem{"published", "Already published", http.StatusConflict, 0, 0, "Stream Already Exist"}},
	{relay.ErrUpstreams, problem{"upstreams", "No upstream delivers", http.StatusBadGateway, 2, http.StatusServiceUnavailable, "Service Temporarily Unavailable"}},
	{relay.ErrUpstreamTimeout, problem{"upstream-timeout", "No upstream answered", http.StatusGatewayTimeout, 2, 0, "Gateway Timeout"}},
	{relay.ErrNotReady, problem{"not-ready", "Not accepting sessions", http.StatusServiceUnavailable, 2, 0, "Service Temporarily Unavailable"}},
	{errMediaType, problem{"media-type", "Unsupported media type", http.StatusUnsupportedMediaType, 0, 0, "Content-Type Illegal"}},
	{errTooLarge, problem{"too-large", "Body too large", http.StatusRequestEntityTooLarge, 0, 0, "Request Entity Too Large"}},
	{errBody, problem{"body", "Incomplete request body", http.StatusBadRequest, 0, 0, "Unknown Request"}},
	{errNoStream, problem{"not-found", "Not found", http.StatusNotFound, 0, 0, "Not Found"}},
	{errNotServed, problem{"not-found", "Not found", http.StatusNotFound, 0, 0, "Not Found"}},
	{errFragmentType, problem{"media-type", "Unsupported media type", http.StatusUnsupportedMediaType, 0, 0, "Content-Type Illegal"}},
	{relay.ErrFragment, problem{"malformed-fragment", "Malformed trickle-ICE fragment", http.StatusBadRequest, 0, 0, "Unknown Request"}},
	{relay.ErrFragmentSize, problem{"too-large", "Fragment too large", http.StatusRequestEntityTooLarge, 0, 0, "Request Entity Too Large"}},
	{relay.ErrNoPrecondition, problem{"precondition-required", "Precondition required", http.StatusPreconditionRequired, 0, 0, "Precondition Required"}},
	{relay.ErrPrecondition, problem{"precondition-failed", "Precondition failed", http.StatusPreconditionFailed, 0, 0, "Precondition Failed"}},
	{errComplete, problem{"complete", "The session is complete", http.StatusUnprocessableEntity, 0, http.StatusUnsupportedMediaType, "Content-Type Illegal"}},
	{errPriority, problem{"priority", "Invalid priority", http.StatusBadRequest, 0, 0, "Unknown Request"}},
	{errAnswerType, problem{"media-type", "Unsupported media type", http.StatusUnsupportedMediaType, 0, 0, "Content-Type Illegal"}},
	{errUnanswered, problem{"unanswered", "The offer is not answered yet", http.StatusConflict, 0, 0, "Unknown Request"}},
	{errJSONType, problem{"media-type", "Unsupported media type", http.StatusUnsupportedMediaType, 0, 0, "Content-Type Illegal"}},
	{errJSON, problem{"malformed-json", "Malformed JSON", http.StatusBadRequest, 0, 0, "Unknown Request"}},
	{errQuery, problem{"query", "Invalid query parameter", http.StatusBadRequest, 0, 0, "Unknown Request"}},
	{relay.ErrNoLayer, problem{"layer", "No such layer", http.StatusNotFound, 0, http.StatusBadRequest, "Invalid RID"}},
	{errNoLayer, problem{"layer", "No such layer", http.StatusNotFound, 0, 0, "Not Found"}},
	{errEventsBody, problem{"malformed-json", "Malformed JSON", http.StatusBadRequest, 0, 0, "Unknown Request"}},
	{relay.ErrEventName, problem{"event", "No such event", http.StatusBadRequest, 0, 0, "Unknown Request"}},
	{relay.ErrEventStreams, problem{"limit", "Limit reached", http.StatusTooManyRequests, 10, 0, "Service Temporarily Unavailable"}},
	{relay.ErrEventsNotFound, problem{"not-found", "Not found", http.StatusNotFound, 0, 0, "Not Found"}},
	{errRate, problem{"rate", "Too many requests", http.StatusTooManyRequests, 1, 0, "Too Many Requests"}},
	{errNoResource, problem{"not-found", "Not found", http.StatusNotFound, 0, 0, "Not Found"}},
	{errMethod, problem{"method", "Method not allowed", http.StatusMethodNotAllowed, 0, 0, "Method Not Allowed"}},
	{errNoPublish, problem{"publish-off", "Publishing is off", http.StatusForbidden, 0, 0, "Forbidden"}},
	{errNoPlay, problem{"play-off", "Playing is off", http.StatusForbidden, 0, 0, "Forbidden"}},
}

var (
	malformedOffer    = problem{"malformed-offer", "Malformed SDP offer", http.StatusBadRequest, 0, 0, "Unknown Request"}
	unacceptableOffer = problem{"unacceptable-offer", "Unacceptable SDP offer", http.StatusUnprocessableEntity, 0, http.StatusBadRequest, "Unknown Request"}
	internalError     = problem{"internal", "Internal error", http.StatusInternalServerError, 0, 0, "Internal Error"}
)

// internalDetail replaces the text of errors that were not made for clients.
const internalDetail = "the gateway failed in a way it did not expect: its log says more"

// problemOf finds the problem of an error and the sentence for whoever reads
// the reply. known is false for errors nobody foresaw.
func problemOf(err error) (p problem, detail string, known bool) {
	var offer *relay.OfferError
	if errors.As(err, &offer) {
		if offer.Malformed {
			return malformedOffer, offer.Detail, true
		}
		return unacceptableOffer, offer.Detail, true
	}
	for _, e := range problems {
		if errors.Is(err, e.err) {
			detail = e.err.Error()
			if e.err == relay.ErrFragment || e.err == relay.ErrFragmentSize { // says what is wrong, in our words
				detail = err.Error()
			}
			return e.problem, detail, true
		}
	}
	if p, detail, ok := authProblem(err); ok {
		return p, detail, true
	}
	return internalError, internalDetail, false
}

// face is the wording of one dialect.
type face int

const (
	faceProblem face = iota // WHIP, WHEP: problem details
	faceWTN                 // WTN: its status codes and texts
)

// write sends p. It overwrites nothing but the headers of the body.
func (f face) write(w http.ResponseWriter, p problem, detail string) {
	h := w.Header()
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	status, body, contentType := p.status, []byte(nil), "application/problem+json"
	if f == faceWTN {
		contentType = "text/plain; charset=utf-8"
		body = []byte(p.wtnText)
		if p.wtnStatus != 0 {
			status = p.wtnStatus
		}
	} else {
		body, _ = json.Marshal(struct { // of strings and a number: cannot fail
			Type   string `json:"type"`
			Title  string `json:"title"`
			Status int    `json:"status"`
			Detail string `json:"detail"`
		}{"urn:wtn:error:" + p.slug, p.title, p.status, detail})
	}
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}
