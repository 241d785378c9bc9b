package caddymodule

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay"
)

// maxTokenSize bounds what is parsed for somebody who has shown nothing yet.
const maxTokenSize = 8 << 10

// maxStreamName is the longest name the relay takes.
const maxStreamName = 256

// tokenSum stands for a token in memory. The zero value is no token.
type tokenSum [sha256.Size]byte

func sumOf(token string) tokenSum { return sha256.Sum256([]byte(token)) }

// equal takes the same time wherever the difference is.
func (s tokenSum) equal(o tokenSum) bool { return subtle.ConstantTimeCompare(s[:], o[:]) == 1 }

// authorize decides about a request to an endpoint: action is publish or play,
// stream the name in the URL. The session goes to the stream the grant names,
// and is given to leases.hold with the grant as soon as it exists. OPTIONS is
// answered without it; only the ICE servers in that answer need it.
func (h *Handler) authorize(r *http.Request, action, stream string) (Grant, error) {
	g, err := h.Access.ask(r, AuthRequest{
		Action: action, Stream: stream, Client: clientAddr(r),
		Protected: action == actionPlay && h.leases.protected(stream),
	})
	if err != nil {
		h.logRefusal(r, action, stream, err)
		return Grant{}, err
	}
	return g, nil
}

// authorizeSession decides about a request on a session: nothing sent is
// enough, unless sessions are strict, and so is the token that made it. What
// else is sent must be allowed to do what the session does, and be of the same
// principal.
func (h *Handler) authorizeSession(r *http.Request, s *relay.Session) error {
	action := actionPublish
	if s.Role() == relay.RoleSubscribe {
		action = actionPlay
	}
	err := h.Access.askSession(r, action, s.Stream(), h.leases.of(s))
	if err != nil {
		h.logRefusal(r, action, s.Stream(), err)
	}
	return err
}

// logRefusal tells the operator. Refused clients are no news; a method that
// cannot be asked is.
func (h *Handler) logRefusal(r *http.Request, action, stream string, err error) {
	log := h.logger.Debug
	if errors.Is(err, ErrAuthUnavailable) && r.Context().Err() == nil {
		log = h.logger.Error
	}
	log("not authorised", zap.String("action", action), zap.String("stream", stream),
		zap.Stringer("client", clientAddr(r)), zap.Error(err))
}

// ask takes the token out of the request and asks the method.
func (a *Access) ask(r *http.Request, req AuthRequest) (Grant, error) {
	if len(req.Stream) > maxStreamName {
		return Grant{}, relay.ErrStreamName // before patterns are matched or a hook is sent it
	}
	user := authUser(r)
	method := a.method(req.Action)
	if method == nil {
		return Grant{Stream: req.Stream, Principal: user, requested: req.Stream}, nil
	}
	token, err := a.token(r)
	if err != nil {
		return Grant{}, err
	}
	req.Token = token
	g, err := method.Authorize(r, req)
	if err != nil {
		if _, _, typed := authProblem(err); !typed {
			err = errors.Join(ErrAuthUnavailable, err)
		}
		return Grant{}, err
	}
	if !g.Expires.IsZero() && !time.Now().Before(g.Expires) {
		return Grant{}, ErrTokenExpired
	}
	if g.Stream == "" {
		g.Stream = req.Stream
	}
	if g.Principal == "" {
		g.Principal = user
	}
	g.requested = req.Stream
	if token != "" {
		g.token = sumOf(token)
	}
	return g, nil
}

// askSession compares with the grant the session was made by, if it is known.
// The user Caddy's own authentication found counts as much as a token.
func (a *Access) askSession(r *http.Request, action, stream string, made Grant) error {
	if a.method(action) == nil {
		if user := authUser(r); user != "" && made.Principal != "" && user != made.Principal {
			return ErrForbidden
		}
		return nil
	}
	token, err := a.token(r)
	switch {
	case err != nil:
		return err
	case token == "" && a.StrictSessions:
		return ErrNoCredentials
	case token == "":
		return nil
	case made.token != (tokenSum{}) && made.token.equal(sumOf(token)):
		return nil
	case made.requested != "":
		stream = made.requested
	}
	g, err := a.ask(r, AuthRequest{Action: action, Stream: stream, Client: clientAddr(r)})
	if err != nil {
		return err
	}
	if g.Principal != made.Principal && g.Principal != "" && made.Principal != "" {
		return ErrForbidden
	}
	return nil
}

// token is the bearer token of a request; empty: none. An Authorization header
// of another scheme belongs to a handler in front of us and is none of ours.
func (a *Access) token(r *http.Request) (string, error) {
	fields := r.Header.Values("Authorization")
	if len(fields) > 1 {
		return "", ErrTokenMalformed
	}
	token, sent := "", false
	if len(fields) == 1 {
		scheme, rest, spaced := strings.Cut(strings.TrimSpace(fields[0]), " ")
		switch {
		case strings.EqualFold(scheme, "Bearer"):
			token, sent = strings.TrimSpace(rest), true
		case !spaced && scheme != "" && a.BareToken:
			token, sent = scheme, true
		case !spaced && scheme != "":
			return "", ErrTokenMalformed
		}
	}
	if !sent && a.QueryToken != "" {
		if q := r.URL.Query(); q.Has(a.QueryToken) {
			token, sent = q.Get(a.QueryToken), true
		}
	}
	if sent && !validToken(token) {
		return "", ErrTokenMalformed
	}
	return token, nil
}

// validToken bounds the size and leaves nothing that could break a log or a header.
func validToken(s string) bool {
	if s == "" || len(s) > maxTokenSize {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// authUser is the user that Caddy's authentication in front of us found.
func authUser(r *http.Request) string {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	user, _ := repl.GetString("http.auth.user.id")
	return user
}

// admitted goes on with what a grant says: its stream takes the place of the
// one asked for, and the log learns who it is.
func (x *exchange) admitted(g Grant) {
	x.stream = g.Stream
	if x.stream != g.requested {
		x.note("wtn_stream", x.stream)
	}
	if g.Principal != "" {
		x.note("wtn_principal", g.Principal)
	}
}
