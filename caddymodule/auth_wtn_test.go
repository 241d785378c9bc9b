package caddymodule

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const testAppKey = "short-app-key"

func wtnToken(t testing.TB, key string, claims map[string]any) string {
	t.Helper()
	raw, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return sign(t, jose.HS256, wtnKey(key), "", string(raw))
}

// TestWTNToken (WTN-80 to WTN-87).
func TestWTNToken(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	type m = map[string]any
	with := func(change m) m {
		c := m{"version": "1.0", "appID": "app", "streamID": "room", "exp": now.Add(time.Hour).Unix(), "action": "pub"}
		for k, v := range change {
			c[k] = v
			if v == nil {
				delete(c, k)
			}
		}
		return c
	}
	cases := []struct {
		name   string
		action string
		stream string
		token  string
		want   error
		guard  bool
	}{
		{name: "publish", token: wtnToken(t, testAppKey, with(nil))},
		{name: "publish, guarding", token: wtnToken(t, testAppKey, with(m{"enableSubAuth": true})), guard: true},
		{name: "play", action: actionPlay, token: wtnToken(t, testAppKey, with(m{"action": "sub"}))},
		{name: "play cannot guard", action: actionPlay, token: wtnToken(t, testAppKey, with(m{"action": "sub", "enableSubAuth": true}))},
		{name: "claims beside", token: wtnToken(t, testAppKey, with(m{"jti": "x", "iat": 1}))},
		{name: "none", want: ErrNoCredentials},
		{name: "garbage", token: "abc", want: ErrTokenMalformed},
		{name: "alg none", token: unsecured(`{"alg":"none"}`, `{"version":"1.0"}`), want: ErrTokenMalformed},
		{name: "HS512", token: sign(t, jose.HS512, []byte(strings.Repeat("k", 64)), "", `{}`), want: ErrTokenMalformed},
		{name: "other key", token: wtnToken(t, "other", with(nil)), want: ErrTokenSignature},
		{name: "pub token for sub", action: actionPlay, token: wtnToken(t, testAppKey, with(nil)), want: ErrForbidden},
		{name: "sub token for pub", token: wtnToken(t, testAppKey, with(m{"action": "sub"})), want: ErrForbidden},
		{name: "capitalised action", token: wtnToken(t, testAppKey, with(m{"action": "Pub"})), want: ErrForbidden},
		{name: "other stream", token: wtnToken(t, testAppKey, with(m{"streamID": "room2"})), want: ErrForbidden},
		{name: "case of the stream", token: wtnToken(t, testAppKey, with(m{"streamID": "Room"})), want: ErrForbidden},
		{name: "other app", token: wtnToken(t, testAppKey, with(m{"appID": "app2"})), want: ErrForbidden},
		{name: "app of nobody", stream: "app3/room", token: wtnToken(t, testAppKey, with(m{"appID": "app3"})), want: ErrForbidden},
		{name: "key of another app", stream: "second/room", token: wtnToken(t, testAppKey, with(m{"appID": "second"})), want: ErrTokenSignature},
		{name: "no app in the path", stream: "room", token: wtnToken(t, testAppKey, with(nil)), want: ErrForbidden},
		{name: "other spelling", token: wtnToken(t, testAppKey, with(m{"streamID": nil, "streamId": "room"})), want: ErrForbidden},
		{name: "version as a number", token: wtnToken(t, testAppKey, with(m{"version": 1.0})), want: ErrTokenMalformed},
		{name: "version 2.0", token: wtnToken(t, testAppKey, with(m{"version": "2.0"})), want: ErrTokenClaims},
		{name: "no version", token: wtnToken(t, testAppKey, with(m{"version": nil})), want: ErrTokenClaims},
		{name: "no exp", token: wtnToken(t, testAppKey, with(m{"exp": nil})), want: ErrTokenClaims},
		{name: "exp as a string", token: wtnToken(t, testAppKey, with(m{"exp": "1900000000"})), want: ErrTokenMalformed},
		{name: "exp in milliseconds", token: wtnToken(t, testAppKey, with(m{"exp": now.Add(time.Hour).UnixMilli()})), want: ErrTokenClaims},
		{name: "expired within leeway", token: wtnToken(t, testAppKey, with(m{"exp": now.Unix() - 59}))},
		{name: "expired", token: wtnToken(t, testAppKey, with(m{"exp": now.Unix() - 60})), want: ErrTokenExpired},
		{name: "expired, for another stream", token: wtnToken(t, testAppKey, with(m{"exp": 1, "streamID": "x"})), want: ErrForbidden},
		{name: "two claims of a name", token: sign(t, jose.HS256, wtnKey(testAppKey), "", `{"exp":1,"exp":2}`), want: ErrTokenMalformed},
		{name: "too long", token: strings.Repeat("a", maxTokenSize+1), want: ErrTokenMalformed},
	}
	for _, generation := range []int{1, 2} {
		a := provisioned(t, &AuthWTN{Apps: map[string]string{"app": testAppKey, "second": "second-key"}, Generation: generation})
		a.now = func() time.Time { return now }
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				req := AuthRequest{Action: c.action, Stream: c.stream, Token: c.token}
				if req.Action == "" {
					req.Action = actionPublish
				}
				if req.Stream == "" {
					req.Stream = "app/room"
				}
				g, err := a.Authorize(nil, req)
				if !errors.Is(err, c.want) || g.ProtectPlay != c.guard {
					t.Errorf("generation %d: %v, guarding %v; want %v, %v", generation, err, g.ProtectPlay, c.want, c.guard)
				}
			})
		}
	}
}

// TestWTNGenerations: who needs a token (WTN-82, WTN-83).
func TestWTNGenerations(t *testing.T) {
	cases := []struct {
		generation int
		action     string
		protected  bool
		want       error
	}{
		{1, actionPublish, false, ErrNoCredentials},
		{1, actionPlay, false, nil},
		{1, actionPlay, true, ErrNoCredentials},
		{2, actionPublish, false, ErrNoCredentials},
		{2, actionPlay, false, ErrNoCredentials},
		{2, actionPlay, true, ErrNoCredentials},
		{0, actionPlay, false, ErrNoCredentials},
	}
	for _, c := range cases {
		a := provisioned(t, &AuthWTN{Apps: map[string]string{"app": testAppKey}, Generation: c.generation})
		_, err := a.Authorize(nil, AuthRequest{Action: c.action, Stream: "app/room", Protected: c.protected})
		if !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestWTNKnownToken pins the format to a token that openssl made:
//
//	printf %s "$head.$claims" | openssl dgst -sha256 -hmac short-app-key -binary
func TestWTNKnownToken(t *testing.T) {
	const token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ2ZXJzaW9uIjoiMS4wIiwiYXBwSUQiOiJhcHAiLCJzdHJlYW1JRCI6InJvb20iLCJleHAiOjQxMDI0NDQ4MDAsImFjdGlvbiI6InB1YiIsImVuYWJsZVN1YkF1dGgiOnRydWV9.-1eIqgeGUCLb777-g8cUsQ_Z3siKrD0l87ReEQgQIgc"
	a := provisioned(t, &AuthWTN{Apps: map[string]string{"app": testAppKey}, EndSessions: true})
	g, err := a.Authorize(nil, AuthRequest{Action: actionPublish, Stream: "app/room", Token: token})
	if err != nil || !g.ProtectPlay || g.Expires.Unix() != 4102444800+60 {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestWTNProvision(t *testing.T) {
	for _, a := range []*AuthWTN{{}, {Apps: map[string]string{"a": ""}}, {Apps: map[string]string{"a": "k"}, Generation: 3}} {
		if err := a.Provision(authContext(t)); err == nil {
			t.Errorf("%+v accepted", a)
		}
	}
}

// FuzzWTNToken gives anything to the parser, and anything that is signed to
// what reads claims.
func FuzzWTNToken(f *testing.F) {
	good := `{"version":"1.0","appID":"app","streamID":"room","exp":4102444800,"action":"pub","enableSubAuth":true}`
	f.Add(sign(f, jose.HS256, wtnKey(testAppKey), "", good), good)
	f.Add(unsecured(`{"alg":"none"}`, good), `{"version":1}`)
	f.Add("..", `{"version":"1.0","exp":1e18,"appID":"app\u0000"}`)
	f.Add("a.b.c", `{"version":"1.0","exp":-1}`)
	a := &AuthWTN{Apps: map[string]string{"app": testAppKey}}
	if err := a.Provision(authContext(f)); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, token, claims string) {
		_, err := a.Authorize(nil, AuthRequest{Action: actionPublish, Stream: "app/room", Token: token})
		if _, _, typed := authProblem(err); err != nil && !typed {
			t.Errorf("%v is no refusal", err)
		}
		if len(claims) > maxTokenSize/2 {
			return
		}
		_, err = a.Authorize(nil, AuthRequest{Action: actionPublish, Stream: "app/room", Token: sign(t, jose.HS256, wtnKey(testAppKey), "", claims)})
		if _, _, typed := authProblem(err); err != nil && !typed {
			t.Errorf("%v is no refusal", err)
		}
		var c wtnClaims
		if err == nil && (json.Unmarshal([]byte(claims), &c) != nil || c.AppID != "app" || c.StreamID != "room" || c.Action != "pub") {
			t.Errorf("accepted %q", claims)
		}
	})
}
