package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const (
	jsonType    = "application/json"
	maxJSONSize = 4 << 10
)

// hasType compares the media type of a request, whatever its case and
// parameters.
func hasType(r *http.Request, want string) bool {
	mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(mediaType), want)
}

// readBody reads a body within its limit.
func (x *exchange) readBody(limit int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, limit))
	var (
		tooLarge *http.MaxBytesError
		theirs   caddyhttp.HandlerError // of a tighter limit around us
	)
	switch {
	case errors.As(err, &theirs):
		return nil, theirs
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case err != nil:
		return nil, errors.Join(err, errBody)
	}
	return body, nil
}

// readJSON reads one object into v. Unknown fields are passed over.
func (x *exchange) readJSON(v any) error {
	if !hasType(x.r, jsonType) {
		return errJSONType
	}
	body, err := x.readBody(maxJSONSize)
	if err != nil {
		return err
	}
	if body = bytes.TrimSpace(body); len(body) == 0 || body[0] != '{' || json.Unmarshal(body, v) != nil {
		return errJSON
	}
	return nil
}

// reply sends a body.
func (x *exchange) reply(status int, contentType string, body []byte) {
	h := x.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.w.WriteHeader(status)
	x.w.Write(body)
}
