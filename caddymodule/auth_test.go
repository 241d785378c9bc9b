package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talwtn/caddy-wtn/relay"
)

// authContext provisions a module outside of a configuration.
func authContext(t testing.TB) caddy.Context {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	return ctx
}

func provisioned[T caddy.Provisioner](t *testing.T, m T) T {
	t.Helper()
	if err := m.Provision(authContext(t)); err != nil {
		t.Fatal(err)
	}
	if c, ok := any(m).(caddy.CleanerUpper); ok {
		t.Cleanup(func() { c.Cleanup() })
	}
	return m
}

// verdict answers everything with one grant or error, and keeps the question.
type verdict struct {
	grant Grant
	err   error
	got   AuthRequest
	calls int
}

func (v *verdict) Authorize(_ *http.Request, req AuthRequest) (Grant, error) {
	v.got = req
	v.calls++
	return v.grant, v.err
}

func TestAuthToken(t *testing.T) {
	long := strings.Repeat("a", maxTokenSize)
	cases := []struct {
		name   string
		access Access
		header []string
		query  string
		want   string
		err    error
	}{
		{name: "nothing"},
		{name: "bearer", header: []string{"Bearer abc"}, want: "abc"},
		{name: "lower case", header: []string{"bearer abc"}, want: "abc"},
		{name: "upper case and spaces", header: []string{"  BEARER   abc  "}, want: "abc"},
		{name: "basic is none of ours", header: []string{"Basic YTpi"}},
		{name: "no token", header: []string{"Bearer"}, err: ErrTokenMalformed},
		{name: "two tokens", header: []string{"Bearer a b"}, err: ErrTokenMalformed},
		{name: "control character", header: []string{"Bearer a\x01b"}, err: ErrTokenMalformed},
		{name: "two headers", header: []string{"Bearer a", "Bearer b"}, err: ErrTokenMalformed},
		{name: "largest", header: []string{"Bearer " + long}, want: long},
		{name: "too large", header: []string{"Bearer " + long + "a"}, err: ErrTokenMalformed},
		{name: "bare without the option", header: []string{"abc"}, err: ErrTokenMalformed},
		{name: "bare", access: Access{BareToken: true}, header: []string{"abc"}, want: "abc"},
		{name: "bearer beside bare", access: Access{BareToken: true}, header: []string{"Bearer abc"}, want: "abc"},
		{name: "query without the option", query: "token=abc"},
		{name: "query", access: Access{QueryToken: "token"}, query: "token=abc", want: "abc"},
		{name: "empty query", access: Access{QueryToken: "token"}, query: "token=", err: ErrTokenMalformed},
		{name: "header before query", access: Access{QueryToken: "token"}, header: []string{"Bearer abc"}, query: "token=def", want: "abc"},
		{name: "query beside basic", access: Access{QueryToken: "token"}, header: []string{"Basic YTpi"}, query: "token=def", want: "def"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/whip/a?"+c.query, nil)
			r.Header["Authorization"] = c.header
			got, err := c.access.token(r)
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("%q, %v; want %q, %v", got, err, c.want, c.err)
			}
		})
	}
}

// TestAuthReplies: each refusal on each face, with its header (WHIP-144, WTN-71, WTN-87).
func TestAuthReplies(t *testing.T) {
	const plain, invalid = `Bearer realm="wtn"`, `Bearer realm="wtn", error="invalid_token"`
	cases := []struct {
		err              error
		status           int
		challenge        string
		wtnStatus        int
		wtnText, wtnChal string
	}{
		{ErrNoCredentials, 401, plain, 401, "Token Missing", plain},
		{ErrTokenMalformed, 401, invalid, 401, "Token Illegal", invalid},
		{ErrTokenSignature, 401, invalid, 401, "Token Signature Check Failed", invalid},
		{ErrTokenClaims, 401, invalid, 401, "Token Check Failed", invalid},
		{ErrTokenExpired, 401, invalid, 403, "Token Expired", ""},
		{ErrForbidden, 403, "", 401, "Token Check Failed", invalid},
		{ErrAuthUnavailable, 503, "", 503, "Service Temporarily Unavailable", ""},
		{errors.New("a guest's own error"), 503, "", 503, "Service Temporarily Unavailable", ""},
		{fmt.Errorf("wrapped: %w", ErrForbidden), 403, "", 401, "Token Check Failed", invalid},
	}
	for _, c := range cases {
		for _, path := range []string{"/whip/a/b", "/whep/a/b", "/pub/a/b", "/sub/a/b"} {
			t.Run(c.err.Error()+path, func(t *testing.T) {
				v := &verdict{err: c.err}
				fake := &fakeGateway{err: relay.ErrNoPublisher}
				w, _, err := call(t, &Handler{gateway: fake, Access: Access{publish: v, play: v}}, offerTo(path))
				if err != nil {
					t.Fatal(err)
				}
				status, chal := c.status, c.challenge
				if strings.Contains(path, "ub/") {
					status, chal = c.wtnStatus, c.wtnChal
					if w.Body.String() != c.wtnText {
						t.Errorf("body %q, want %q", w.Body, c.wtnText)
					}
				}
				if w.Code != status || w.Header().Get("WWW-Authenticate") != chal {
					t.Errorf("%d %q, want %d %q", w.Code, w.Header().Get("WWW-Authenticate"), status, chal)
				}
				if (status == 503) != (w.Header().Get("Retry-After") != "") {
					t.Errorf("Retry-After is %q with %d", w.Header().Get("Retry-After"), status)
				}
				if strings.Contains(w.Body.String(), "guest") {
					t.Error("the reply tells what was for the log")
				}
				if fake.got.Stream != "" {
					t.Error("the offer was given to the gateway")
				}
			})
		}
	}
}

func TestAuthSeparateActions(t *testing.T) {
	publish, play := &verdict{err: ErrNoCredentials}, &verdict{}
	h := &Handler{gateway: &fakeGateway{err: relay.ErrNoPublisher}, Access: Access{publish: publish, play: play}}
	if w, _, _ := call(t, h, offerTo("/whip/a")); w.Code != 401 || publish.got.Action != "publish" || publish.got.Stream != "a" {
		t.Errorf("publishing: %d, asked %+v", w.Code, publish.got)
	}
	if w, _, _ := call(t, h, offerTo("/whep/a")); w.Code != 409 || play.got.Action != "play" {
		t.Errorf("playing: %d, asked %+v", w.Code, play.got)
	}
}

// TestAuthOptions: neither a preflight nor discovery is refused (WHIP-141).
func TestAuthOptions(t *testing.T) {
	v := &verdict{err: ErrNoCredentials}
	h := &Handler{gateway: &fakeGateway{}, Access: Access{publish: v, play: v, StrictSessions: true}}
	for _, path := range []string{"/whip/a", "/whep/a", "/pub/a/b", "/session/x"} {
		r := httptest.NewRequest(http.MethodOptions, path, nil)
		r.Header.Set("Access-Control-Request-Method", "POST")
		if w, _, _ := call(t, h, r); w.Code/100 != 2 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestAuthLongStream(t *testing.T) {
	v := &verdict{}
	h := &Handler{gateway: &fakeGateway{err: relay.ErrNoPublisher}, Access: Access{publish: v}}
	if w, _, _ := call(t, h, offerTo("/whip/"+strings.Repeat("a", 257))); w.Code != 400 || v.calls != 0 {
		t.Errorf("%d after asking %d times", w.Code, v.calls)
	}
}

func TestAuthRename(t *testing.T) {
	v := &verdict{grant: Grant{Stream: "secret/name", Principal: "alice"}}
	fake := &fakeGateway{err: relay.ErrNoPublisher}
	_, vars, _ := call(t, &Handler{gateway: fake, Access: Access{play: v}}, offerTo("/whep/public"))
	if fake.got.Stream != "secret/name" || vars["wtn_stream"] != "secret/name" || vars["wtn_principal"] != "alice" {
		t.Errorf("asked for %q with variables %v", fake.got.Stream, vars)
	}
}

func TestAuthSession(t *testing.T) {
	made := Grant{Principal: "alice", requested: "public", token: sumOf("good")}
	cases := []struct {
		name   string
		header string
		strict bool
		made   Grant
		answer verdict
		want   error
		calls  int
		stream string
	}{
		{name: "no header", made: made},
		{name: "no header, strict", made: made, strict: true, want: ErrNoCredentials},
		{name: "token that made it", header: "Bearer good", made: made, answer: verdict{err: ErrTokenExpired}},
		{name: "token that made it, strict", header: "Bearer good", made: made, strict: true},
		{name: "wrong token", header: "Bearer bad", made: made, answer: verdict{err: ErrTokenSignature}, want: ErrTokenSignature, calls: 1, stream: "public"},
		{name: "malformed header", header: "Bearer", made: made, want: ErrTokenMalformed},
		{name: "newer token", header: "Bearer new", made: made, answer: verdict{grant: Grant{Principal: "alice"}}, calls: 1, stream: "public"},
		{name: "somebody else", header: "Bearer other", made: made, answer: verdict{grant: Grant{Principal: "bob"}}, want: ErrForbidden, calls: 1, stream: "public"},
		{name: "session of before", header: "Bearer new", answer: verdict{grant: Grant{Principal: "bob"}}, calls: 1, stream: "real"},
		{name: "method fails", header: "Bearer new", made: made, answer: verdict{err: errors.New("no")}, want: ErrAuthUnavailable, calls: 1, stream: "public"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := Access{publish: &c.answer, StrictSessions: c.strict}
			r := httptest.NewRequest(http.MethodDelete, "/session/x", nil)
			if c.header != "" {
				r.Header.Set("Authorization", c.header)
			}
			if err := a.askSession(r, actionPublish, "real", c.made); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if c.answer.calls != c.calls || c.answer.got.Stream != c.stream {
				t.Errorf("asked %d times about %q, want %d about %q", c.answer.calls, c.answer.got.Stream, c.calls, c.stream)
			}
		})
	}
}

// withUser is a request that Caddy's authentication has let through.
func withUser(user string) *http.Request {
	repl := caddy.NewReplacer()
	r := caddyhttp.PrepareRequest(httptest.NewRequest(http.MethodPost, "/whip/a", nil), repl, httptest.NewRecorder(), new(caddyhttp.Server))
	if user != "" {
		repl.Set("http.auth.user.id", user)
	}
	return r
}

func TestAuthFrontUser(t *testing.T) {
	var open Access
	if g, err := open.ask(withUser("bob"), AuthRequest{Action: actionPublish, Stream: "a"}); err != nil || g.Principal != "bob" || g.Stream != "a" {
		t.Errorf("%+v, %v", g, err)
	}
	keyed := Access{publish: &verdict{}}
	if g, err := keyed.ask(withUser("bob"), AuthRequest{Action: actionPublish, Stream: "a"}); err != nil || g.Principal != "bob" {
		t.Errorf("%+v, %v", g, err)
	}
	for user, want := range map[string]error{"bob": nil, "": nil, "eve": ErrForbidden} {
		if err := open.askSession(withUser(user), actionPublish, "a", Grant{Principal: "bob"}); !errors.Is(err, want) {
			t.Errorf("%q on bob's session: %v, want %v", user, err, want)
		}
	}
}

func TestAuthExpiredGrant(t *testing.T) {
	a := Access{publish: &verdict{grant: Grant{Expires: time.Now().Add(-time.Second)}}}
	if _, err := a.ask(withUser(""), AuthRequest{Action: actionPublish, Stream: "a"}); !errors.Is(err, ErrTokenExpired) {
		t.Error(err)
	}
}

// fakeSession is a session without media.
type fakeSession struct {
	id, stream string
	done       chan struct{}
	reason     chan relay.Reason
}

func newFakeSession(id, stream string) *fakeSession {
	return &fakeSession{id, stream, make(chan struct{}), make(chan relay.Reason, 1)}
}

func (s *fakeSession) ID() string            { return s.id }
func (s *fakeSession) Stream() string        { return s.stream }
func (s *fakeSession) Done() <-chan struct{} { return s.done }
func (s *fakeSession) End(r relay.Reason) {
	s.reason <- r
	close(s.done)
}

func TestLeasesExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeases()
		s := newFakeSession("1", "a")
		began := time.Now()
		l.hold(s, Grant{Principal: "alice", Expires: began.Add(time.Hour), requested: "a"})
		if l.of(s).Principal != "alice" {
			t.Error("the grant is not remembered")
		}
		<-s.done
		if d := time.Since(began); d != time.Hour {
			t.Errorf("ended after %v", d)
		}
		if r := <-s.reason; r != relay.ReasonExpired {
			t.Errorf("reason %s", r)
		}
		l.close()
		if len(l.grants) != 0 {
			t.Error("the grant outlived its session")
		}
	})
}

func TestLeasesForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeases()
		first, second := newFakeSession("1", "a"), newFakeSession("2", "a")
		l.hold(first, Grant{ProtectPlay: true, Expires: time.Now().Add(time.Hour)})
		l.hold(second, Grant{ProtectPlay: true})
		close(first.done)
		synctest.Wait()
		if !l.protected("a") || l.protected("b") || len(l.grants) != 1 {
			t.Errorf("after the first: %v %v", l.guarded, l.grants)
		}
		close(second.done)
		synctest.Wait()
		if l.protected("a") || len(l.guarded) != 0 || len(l.grants) != 0 {
			t.Errorf("after both: %v %v", l.guarded, l.grants)
		}
		third := newFakeSession("3", "a")
		l.hold(third, Grant{requested: "a"})
		if len(l.grants) != 0 {
			t.Error("a grant that says nothing costs a goroutine")
		}
		l.hold(third, Grant{Principal: "alice"})
		l.close() // with a session that never ends
		l.hold(third, Grant{Principal: "alice"})
		if len(l.grants) != 0 || len(third.reason) != 0 {
			t.Error("closing remembers or ends something")
		}
	})
}

func TestAuthKeys(t *testing.T) {
	t.Setenv("WTN_TEST_KEY", "second-key\n")
	a := provisioned(t, &AuthKeys{Keys: []string{"first-key", "{env.WTN_TEST_KEY}"}})
	for token, want := range map[string]string{"first-key": "key-1", "second-key": "key-2"} {
		if g, err := a.Authorize(nil, AuthRequest{Token: token}); err != nil || g.Principal != want {
			t.Errorf("%s: %+v, %v", token, g, err)
		}
	}
	for token, want := range map[string]error{"": ErrNoCredentials, "first-ke": ErrTokenSignature, "first-keyx": ErrTokenSignature, "FIRST-KEY": ErrTokenSignature} {
		if _, err := a.Authorize(nil, AuthRequest{Token: token}); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", token, err, want)
		}
	}
	for _, keys := range [][]string{nil, {""}, {"{env.WTN_TEST_MISSING}"}, {"with space"}} {
		if err := (&AuthKeys{Keys: keys}).Provision(authContext(t)); err == nil {
			t.Errorf("%q accepted", keys)
		}
	}
}

func TestAuthAny(t *testing.T) {
	cases := []struct {
		name    string
		methods []Authorizer
		want    error
	}{
		{"first allows", []Authorizer{&verdict{}, &verdict{err: ErrForbidden}}, nil},
		{"last allows", []Authorizer{&verdict{err: ErrForbidden}, &verdict{}}, nil},
		{"known before unknown", []Authorizer{&verdict{err: ErrTokenSignature}, &verdict{err: ErrForbidden}, &verdict{err: ErrTokenMalformed}}, ErrForbidden},
		{"unavailable before all", []Authorizer{&verdict{err: ErrAuthUnavailable}, &verdict{err: ErrForbidden}}, ErrAuthUnavailable},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if _, err := (&AuthAny{methods: c.methods}).Authorize(nil, AuthRequest{}); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestAuthModulesRegistered(t *testing.T) {
	var names []string
	for _, m := range caddy.GetModules(authNamespace) {
		names = append(names, m.ID.Name())
		if _, ok := m.New().(Authorizer); !ok {
			t.Errorf("%s is no Authorizer", m.ID)
		}
	}
	if want := []string{"any", "hook", "jwt", "keys", "none", "wtn"}; !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
}
