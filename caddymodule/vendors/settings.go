package vendors

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http/httpguts"
)

// streamMark is where a URL of a setting takes the stream's name.
const streamMark = "{stream}"

// settings replaces the placeholders of settings and keeps the first error, so
// that Provision reads like a list. Its errors name settings, not values.
type settings struct {
	vendor string
	repl   *caddy.Replacer
	err    error
}

func newSettings(vendor string) *settings {
	s := &settings{vendor: vendor, repl: caddy.NewReplacer()}
	s.repl.Set("stream", streamMark) // is ours, and stays for later
	return s
}

func (s *settings) fail(name, why string) {
	if s.err == nil {
		s.err = fmt.Errorf("%s of vendor %s %s", name, s.vendor, why)
	}
}

// text is a setting that may be empty. Line ends, which files have, are cut.
func (s *settings) text(name, v string) string {
	if v == "" {
		return ""
	}
	out, err := s.repl.ReplaceOrErr(v, true, true)
	if err != nil {
		s.fail(name, "cannot be resolved: "+err.Error())
		return ""
	}
	if out = strings.TrimRight(out, "\r\n"); out == "" {
		s.fail(name, "is empty")
	}
	return out
}

// need is a setting that must not be empty.
func (s *settings) need(name, v string) string {
	if v == "" {
		s.fail(name, "is missing")
	}
	return s.text(name, v)
}

// sent is a setting that becomes a header value.
func (s *settings) sent(name, v string) string {
	if v = s.text(name, v); !httpguts.ValidHeaderFieldValue(v) {
		s.fail(name, "holds characters that cannot be sent")
		return ""
	}
	return v
}

// keyed are settings by the stream they are for.
func (s *settings) keyed(name string, m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = s.sent(name, v)
	}
	return out
}

// base is a URL that paths are appended to. A user and password in it become
// Basic credentials (RFC 7617).
func (s *settings) base(name, v string) (*url.URL, string) {
	v = s.need(name, v)
	if s.err != nil {
		return new(url.URL), ""
	}
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Fragment != "" || u.RawQuery != "" {
		s.fail(name, "is not usable: write it like https://host/path")
		return new(url.URL), ""
	}
	var auth string
	if u.User != nil {
		password, _ := u.User.Password()
		auth = basic(u.User.Username(), password)
		u.User = nil
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return u, auth
}

// template is a whole URL with a place for the stream's name.
type template struct {
	text string
	auth string
}

func (s *settings) template(name, v string) *template {
	if v == "" || s.err != nil {
		return nil
	}
	t := &template{text: s.text(name, v)}
	if s.err != nil {
		return nil
	}
	a, errA := url.Parse(strings.ReplaceAll(t.text, streamMark, "a"))
	b, errB := url.Parse(strings.ReplaceAll(t.text, streamMark, "b"))
	if errA != nil || errB != nil || a.Scheme != "http" && a.Scheme != "https" ||
		a.Hostname() == "" || a.Host != b.Host || a.User.String() != b.User.String() || a.Fragment != "" {
		s.fail(name, "is not usable: write it like https://host/whip/{stream}")
		return nil
	}
	if a.User != nil {
		password, _ := a.User.Password()
		t.auth = basic(a.User.Username(), password)
	}
	return t
}

// url is the template filled in. In the path each segment of the name is
// escaped by itself, in the query the whole of it.
func (t *template) url(stream string) (*url.URL, error) {
	path, query, ok := strings.Cut(t.text, "?")
	text := strings.ReplaceAll(path, streamMark, strings.Join(escaped(stream), "/"))
	if ok {
		text += "?" + strings.ReplaceAll(query, streamMark, url.QueryEscape(stream))
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("the URL with the stream's name in it cannot be read")
	}
	u.User = nil
	return u, nil
}

// probe is as much of the URL as holds neither a name nor a secret.
func (t *template) probe() *url.URL {
	u, err := t.url("x")
	if err != nil {
		return new(url.URL)
	}
	return origin(u)
}

// origin is the root of u's server.
func origin(u *url.URL) *url.URL { return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/"} }

// under is the URL of segments below base. Segments are escaped.
func under(base *url.URL, query url.Values, segments ...string) *url.URL {
	u := *base
	u.RawPath = base.EscapedPath()
	for _, s := range segments {
		u.Path += "/" + s
		u.RawPath += "/" + url.PathEscape(s)
	}
	u.RawQuery = query.Encode()
	return &u
}

func escaped(stream string) []string {
	list := strings.Split(stream, "/")
	for i, s := range list {
		list[i] = url.PathEscape(s)
	}
	return list
}

// bearer are credentials as RFC 6750 section 2.1 has them, none for no token.
func bearer(token string) http.Header {
	if token == "" {
		return nil
	}
	return authorization("Bearer " + token)
}

func authorization(v string) http.Header {
	if v == "" {
		return nil
	}
	return http.Header{"Authorization": {v}}
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}
