package caddymodule

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestMint(t *testing.T) {
	now := time.Now()
	wtn := provisioned(t, &AuthWTN{Apps: map[string]string{"app": "k"}})
	jwt := provisioned(t, &AuthJWT{Secret: testSecret, Issuers: []string{"me"}, Audiences: []string{"gw"}})
	cases := []struct {
		name string
		o    mintOptions
		key  string
		auth Authorizer
		req  AuthRequest
	}{
		{
			"wtn publish", mintOptions{kind: "wtn", streams: []string{"app/room"}, actions: []string{"publish"}, protect: true, lifetime: time.Minute},
			"k", wtn, AuthRequest{Action: actionPublish, Stream: "app/room"},
		},
		{
			"wtn play", mintOptions{kind: "wtn", streams: []string{"app/room"}, actions: []string{"play"}, lifetime: time.Minute},
			"k", wtn, AuthRequest{Action: actionPlay, Stream: "app/room"},
		},
		{
			"jwt", mintOptions{kind: "jwt", streams: []string{"x", "live/*"}, actions: []string{"publish", "play"}, issuer: "me", audiences: []string{"gw"}, subject: "alice", lifetime: time.Minute},
			testSecret, jwt, AuthRequest{Action: actionPlay, Stream: "live/room"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			token, err := c.o.mint([]byte(c.key), now)
			if err != nil {
				t.Fatal(err)
			}
			c.req.Token = token
			g, err := c.auth.Authorize(withUser(""), c.req)
			if err != nil || g.ProtectPlay != c.o.protect || g.Principal != c.o.subject {
				t.Errorf("%+v, %v", g, err)
			}
		})
	}
}

func TestMintRefuses(t *testing.T) {
	base := mintOptions{kind: "wtn", streams: []string{"a/b"}, actions: []string{"play"}, lifetime: time.Hour}
	cases := map[string]func(*mintOptions){
		"no stream":     func(o *mintOptions) { o.streams = nil },
		"no action":     func(o *mintOptions) { o.actions = nil },
		"other action":  func(o *mintOptions) { o.actions = []string{"pub"} },
		"two actions":   func(o *mintOptions) { o.actions = []string{"publish", "play"} },
		"no app":        func(o *mintOptions) { o.streams = []string{"b"} },
		"three parts":   func(o *mintOptions) { o.streams = []string{"a/b/c"} },
		"protect play":  func(o *mintOptions) { o.protect = true },
		"subject":       func(o *mintOptions) { o.subject = "alice" },
		"no lifetime":   func(o *mintOptions) { o.lifetime = 0 },
		"other type":    func(o *mintOptions) { o.kind = "paseto" },
		"jwt short key": func(o *mintOptions) { o.kind = "jwt" },
	}
	for name, change := range cases {
		o := base
		change(&o)
		if token, err := o.mint([]byte("k"), time.Now()); err == nil {
			t.Errorf("%s: %s", name, token)
		}
	}
}

func TestInspect(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	o := mintOptions{kind: "wtn", streams: []string{"app/room"}, actions: []string{"publish"}, lifetime: time.Hour}
	token, err := o.mint([]byte("k"), now)
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name, token, key string
		after            time.Duration
		want             []string
		fails            bool
	}{
		{"with its key", token, "k", 0, []string{"HS256", `"room"`, "1800003600", "2027-01-15T09:00:00Z, in 1h0m0s", "signature  good"}, false},
		{"without a key", token, "", 0, []string{"signature  not checked"}, false},
		{"with another key", token, "x", 0, []string{`"room"`}, true},
		{"expired", token, "k", 2 * time.Hour, []string{"1h0m0s ago"}, false},
		{"alg none", unsecured(`{"alg":"none"}`, "{}"), "", 0, nil, true},
		{"garbage", "a b", "", 0, nil, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			var key []byte
			if c.key != "" {
				key = []byte(c.key)
			}
			if err := inspect(&out, c.token, key, now.Add(c.after)); (err != nil) != c.fails {
				t.Errorf("%v", err)
			}
			for _, w := range c.want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("%q is not in\n%s", w, out.String())
				}
			}
		})
	}
}

// TestTokenCommand goes the way through the flags.
func TestTokenCommand(t *testing.T) {
	t.Setenv("WTN_TEST_KEY", "k")
	token := wtnToken(t, "k", map[string]any{"exp": 4102444800})
	for _, c := range []struct {
		args  []string
		fails bool
	}{
		{[]string{"mint", "--key-env", "WTN_TEST_KEY", "--stream", "a/b", "--action", "play"}, false},
		{[]string{"mint", "--key-file", writeFile(t, "key", []byte("k\n")), "--stream", "a/b", "--action", "publish", "--lifetime", "5m"}, false},
		{[]string{"mint", "--stream", "a/b", "--action", "play"}, true},
		{[]string{"mint", "--key-env", "WTN_TEST_NOTHING", "--stream", "a/b", "--action", "play"}, true},
		{[]string{"inspect", token}, false},
		{[]string{"inspect", "--key-env", "WTN_TEST_KEY", token}, false},
		{[]string{"inspect", "--key-file", writeFile(t, "other", []byte("x")), token}, true},
		{[]string{"inspect", "x"}, true},
	} {
		cmd := tokenCommand()
		cmd.SetArgs(c.args)
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		if err := cmd.Execute(); (err != nil) != c.fails {
			t.Errorf("%v: %v", c.args, err)
		}
	}
}
