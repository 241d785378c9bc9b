package vendors

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/talwtn/caddy-wtn/relay"
)

// maxRetryAfter is the longest pause a service can ask for.
const maxRetryAfter = 10 * time.Minute

// refusal is why something came to nothing.
type refusal struct {
	relay.UpstreamError
	resign bool // a fresh signature may help
}

func broken(detail string) *refusal {
	return &refusal{UpstreamError: relay.UpstreamError{Action: relay.UpstreamBroken, Detail: detail}}
}

// unasked is for what the vendor's module refuses by itself.
func unasked(err error) *relay.UpstreamError {
	e := &relay.UpstreamError{Action: relay.UpstreamBroken, Detail: err.Error(), Err: err}
	if errors.Is(err, ErrStream) {
		e.Action = relay.UpstreamAbsent
	}
	return e
}

// verdicts are the actions and what to say about them.
var verdicts = map[Verdict]struct {
	action relay.UpstreamAction
	detail string
}{
	VerdictNext:   {relay.UpstreamNext, "the service is failing"},
	VerdictAbsent: {relay.UpstreamAbsent, "the service does not have the stream"},
	VerdictBusy:   {relay.UpstreamBusy, "somebody else publishes the stream there"},
	VerdictBroken: {relay.UpstreamBroken, "the service refuses the request: check the address, the names and the codecs"},
	VerdictResign: {relay.UpstreamBroken, "the service refuses the credentials: check keys, tokens and the clock"},
}

// refused reads a status that is no success.
func (c *Client) refused(role relay.Role, p *reply) *refusal {
	v := c.vendor.Classify(role, p.status)
	said, ok := verdicts[v]
	if !ok {
		v, said = VerdictNext, verdicts[VerdictNext]
	}
	no := &refusal{resign: v == VerdictResign}
	no.Action, no.Detail, no.Status = said.action, said.detail, p.status
	no.RetryAfter = retryAfter(p.header.Get("Retry-After"), c.now())
	if words := explanation(p); words != "" {
		no.Detail += " (" + words + ")"
	}
	return no
}

// retryAfter is how long a service wants to be left alone, 0 to 10 minutes: a
// number of seconds or a date (RFC 9110 section 10.2.3). What is neither is 0.
func retryAfter(v string, now time.Time) time.Duration {
	v = strings.TrimSpace(v)
	if v == "" {
		return 0
	}
	var wait time.Duration
	if strings.Trim(v, "0123456789") == "" {
		s, err := strconv.ParseInt(v, 10, 64)
		if err != nil || s > int64(maxRetryAfter/time.Second) {
			s = int64(maxRetryAfter / time.Second)
		}
		wait = time.Duration(s) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// unreachable words a failure below HTTP. The original text may hold the URL,
// so none of it is kept.
func unreachable(err error) *refusal {
	no := &refusal{}
	no.Action = relay.UpstreamNext
	no.Detail, no.Err = describe(err)
	return no
}

func describe(err error) (string, error) {
	var (
		timeout net.Error
		dns     *net.DNSError
		cert    *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		alert   tls.AlertError
		host    x509.HostnameError
		errno   syscall.Errno
	)
	switch {
	case errors.Is(err, errPrivate):
		return errPrivate.Error(), errPrivate
	case errors.Is(err, context.Canceled):
		return "given up before there was an answer", context.Canceled
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time", context.DeadlineExceeded
	case errors.As(err, &dns):
		return "the host name cannot be resolved", nil
	case errors.As(err, &host):
		return "the certificate is for another host", nil
	case errors.As(err, &cert):
		return "the certificate is not trusted", nil
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "the server does not speak TLS at this port", nil
	case errors.As(err, &alert):
		return "the server refuses TLS", nil
	case errors.As(err, &errno):
		return errno.Error(), errno
	}
	return "the connection broke", nil
}
