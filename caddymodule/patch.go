package caddymodule

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/talwtn/caddy-wtn/relay"
)

const fragmentType = "application/trickle-ice-sdpfrag"

var (
	errFragmentType = errors.New("the body must be a trickle-ICE fragment: send it with Content-Type: " + fragmentType)
	errComplete     = errors.New("the session has its offer and its answer, which cannot be changed: end it and make another one")
)

// patch takes candidates, which is 204, or an ICE restart, which is 200 with our
// side of it (RFC 9725 section 4.3.1). Which of the two is told by the body
// alone: clients send If-Match: * with either.
func (x *exchange) patch() error {
	if c, err := x.pending(); err != nil {
		return err
	} else if c != nil {
		return x.answered(c)
	}
	s, err := x.session()
	if err != nil {
		return err
	}
	if hasType(x.r, sdpType) {
		return errComplete
	}
	if !hasType(x.r, fragmentType) {
		x.w.Header().Set("Accept-Patch", fragmentType)
		return errFragmentType
	}
	body, err := x.readBody(relay.MaxFragment)
	if err != nil {
		return err
	}
	reply, err := s.PatchICE(relay.ICEPatch{
		Fragment: body,
		IfMatch:  entityTags(x.r.Header.Values("If-Match")),
		Strict:   x.h.StrictETags,
	})
	switch {
	case err != nil:
		return err
	case reply == nil:
		x.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	h := x.w.Header()
	h.Set("ETag", quoteTag(reply.ETag))
	x.reply(http.StatusOK, fragmentType, reply.Fragment)
	return nil
}

// entityTags reads If-Match (RFC 9110 section 13.1.1). Our tags hold no comma
// and are strong, so weak ones can only be wrong. Tags without quotes and the
// star with quotes are taken too: the figures of RFC 9725, and clients after
// them, have these.
func entityTags(fields []string) []string {
	var tags []string
	for _, f := range fields {
		for part := range strings.SplitSeq(f, ",") {
			tag := strings.TrimSpace(part)
			if unquoted, err := strconv.Unquote(tag); err == nil && tag[0] == '"' {
				tag = unquoted
			}
			tags = append(tags, tag) // an empty one matches nothing, which is right for an If-Match that is there
		}
	}
	return tags
}

func quoteTag(tag string) string { return `"` + tag + `"` }
