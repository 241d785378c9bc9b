package caddymodule

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const testSecret = "0123456789abcdef0123456789abcdef"

// testKeys are made once: RSA keys take a while.
var testKeys = sync.OnceValue(func() (k struct {
	rsa, weak *rsa.PrivateKey
	ec, ec384 *ecdsa.PrivateKey
	ed        ed25519.PrivateKey
}) {
	k.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	k.weak, _ = rsa.GenerateKey(rand.Reader, 1024)
	k.ec, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.ec384, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, k.ed, _ = ed25519.GenerateKey(rand.Reader)
	return k
})

// sign makes a token of any claims. kid may be empty.
func sign(t testing.TB, alg jose.SignatureAlgorithm, key any, kid, claims string) string {
	t.Helper()
	o := new(jose.SignerOptions).WithType("JWT")
	if kid != "" {
		o = o.WithHeader("kid", kid)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := s.Sign([]byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	out, err := sig.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func publicPEM(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func writeFile(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// claimsJSON are claims that allow everything under live/, with changes.
func claimsJSON(t testing.TB, now time.Time, change map[string]any) string {
	t.Helper()
	c := map[string]any{
		"sub": "alice", "exp": now.Add(time.Hour).Unix(),
		"wtn": map[string]any{"action": []string{"publish", "play"}, "stream": []string{"live/*"}},
	}
	for k, v := range change {
		if v == nil {
			delete(c, k)
			continue
		}
		c[k] = v
	}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func unsecured(header, claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(header)) + "." + enc([]byte(claims)) + "."
}

func TestJWTClaims(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	type m = map[string]any
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	cases := []struct {
		name   string
		change m
		stream string
		auth   AuthJWT
		want   error
	}{
		{name: "good"},
		{name: "no exp", change: m{"exp": nil}, want: ErrTokenClaims},
		{name: "exp is a string", change: m{"exp": "1900000000"}, want: ErrTokenClaims},
		{name: "exp in milliseconds", change: m{"exp": at(time.Hour) * 1000}, want: ErrTokenClaims},
		{name: "exp with a fraction", change: m{"exp": float64(at(time.Hour)) + 0.5}},
		{name: "expired within leeway", change: m{"exp": at(-59 * time.Second)}},
		{name: "expired at leeway", change: m{"exp": at(-60 * time.Second)}, want: ErrTokenExpired},
		{name: "not yet, within leeway", change: m{"nbf": at(60 * time.Second)}},
		{name: "not yet", change: m{"nbf": at(61 * time.Second)}, want: ErrTokenClaims},
		{name: "nbf is a string", change: m{"nbf": "x"}, want: ErrTokenClaims},
		{name: "wrong stream", stream: "other/room", want: ErrForbidden},
		{name: "prefix is no path", stream: "live", want: ErrForbidden},
		{name: "deep stream", stream: "live/a/b"},
		{name: "wrong action", change: m{"wtn": m{"action": []string{"play"}, "stream": []string{"*"}}}, want: ErrForbidden},
		{name: "any action", change: m{"wtn": m{"action": "*", "stream": "*"}}},
		{name: "strings with spaces", change: m{"wtn": m{"action": "play publish", "stream": "a b live/room"}}},
		{name: "no rights", change: m{"wtn": nil}, want: ErrForbidden},
		{name: "no stream right", change: m{"wtn": m{"action": "publish"}}, want: ErrForbidden},
		{name: "rights of a wrong type", change: m{"wtn": m{"action": 1, "stream": true}}, want: ErrForbidden},
		{name: "rights in the 65th place", change: m{"wtn": m{"action": "publish", "stream": append(make([]string, 64), "*")}}, want: ErrForbidden},
		{name: "issuer", auth: AuthJWT{Issuers: []string{"a", "b"}}, change: m{"iss": "b"}},
		{name: "wrong issuer", auth: AuthJWT{Issuers: []string{"a"}}, change: m{"iss": "b"}, want: ErrTokenClaims},
		{name: "no issuer", auth: AuthJWT{Issuers: []string{"a"}}, want: ErrTokenClaims},
		{name: "audience", auth: AuthJWT{Audiences: []string{"gw"}}, change: m{"aud": "gw"}},
		{name: "one of the audiences", auth: AuthJWT{Audiences: []string{"gw"}}, change: m{"aud": []string{"x", "gw"}}},
		{name: "wrong audience", auth: AuthJWT{Audiences: []string{"gw"}}, change: m{"aud": "gw2"}, want: ErrTokenClaims},
		{name: "no audience", auth: AuthJWT{Audiences: []string{"gw"}}, want: ErrTokenClaims},
		{
			name: "own claim names", auth: AuthJWT{ActionClaim: "scope", StreamClaim: "https://example.com/streams"},
			change: m{"wtn": nil, "scope": "openid publish", "https://example.com/streams": []string{"live/*"}},
		},
		{name: "nested claim names", auth: AuthJWT{ActionClaim: "a.b.c"}, change: m{"a": m{"b": m{"c": "publish"}}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := c.auth
			a.Secret = testSecret
			provisioned(t, &a)
			a.now = func() time.Time { return now }
			stream := c.stream
			if stream == "" {
				stream = "live/room"
			}
			token := sign(t, jose.HS256, []byte(testSecret), "", claimsJSON(t, now, c.change))
			g, err := a.Authorize(withUser(""), AuthRequest{Action: actionPublish, Stream: stream, Token: token})
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err == nil && (g.Principal != "alice" || !g.Expires.IsZero()) {
				t.Errorf("%+v", g)
			}
		})
	}
}

// TestJWTSignatures: a key works for its own algorithm and no other.
func TestJWTSignatures(t *testing.T) {
	k := testKeys()
	now := time.Now()
	claims := claimsJSON(t, now, nil)
	rsaPEM := publicPEM(t, k.rsa)
	files := []string{
		writeFile(t, "rsa.pem", rsaPEM), writeFile(t, "ec.pem", publicPEM(t, k.ec)), writeFile(t, "ed.pem", publicPEM(t, k.ed)),
	}
	all := provisioned(t, &AuthJWT{Secret: testSecret, KeyFiles: files})
	public := provisioned(t, &AuthJWT{KeyFiles: files})
	secret := provisioned(t, &AuthJWT{Secret: testSecret})
	good := sign(t, jose.HS256, []byte(testSecret), "", claims)
	parts := strings.Split(good, ".")
	other, _ := rsa.GenerateKey(rand.Reader, 2048)
	cases := []struct {
		name  string
		auth  *AuthJWT
		token string
		want  error
	}{
		{"HS256", all, good, nil},
		{"RS256", all, sign(t, jose.RS256, k.rsa, "any", claims), nil},
		{"ES256", all, sign(t, jose.ES256, k.ec, "", claims), nil},
		{"EdDSA", all, sign(t, jose.EdDSA, k.ed, "", claims), nil},
		{"none sent", all, "", ErrNoCredentials},
		{"other RSA key", all, sign(t, jose.RS256, other, "", claims), ErrTokenSignature},
		{"other secret", all, sign(t, jose.HS256, []byte(strings.Repeat("x", 32)), "", claims), ErrTokenSignature},
		{"PEM of the RSA key as secret", all, sign(t, jose.HS256, rsaPEM, "", claims), ErrTokenSignature},
		{"PEM of the RSA key as secret, public keys only", public, sign(t, jose.HS256, rsaPEM, "", claims), ErrTokenMalformed},
		{"DER of the RSA key as secret", all, sign(t, jose.HS256, x509.MarshalPKCS1PublicKey(&k.rsa.PublicKey), "", claims), ErrTokenSignature},
		{"RS384", all, sign(t, jose.RS384, k.rsa, "", claims), ErrTokenMalformed},
		{"PS256", all, sign(t, jose.PS256, k.rsa, "", claims), ErrTokenMalformed},
		{"HS512", all, sign(t, jose.HS512, []byte(testSecret+testSecret), "", claims), ErrTokenMalformed},
		{"RS256 without such a key", secret, sign(t, jose.RS256, k.rsa, "", claims), ErrTokenMalformed},
		{"alg none", all, unsecured(`{"alg":"none","typ":"JWT"}`, claims), ErrTokenMalformed},
		{"alg None", all, unsecured(`{"alg":"None"}`, claims), ErrTokenMalformed},
		{"alg empty", all, unsecured(`{"alg":""}`, claims), ErrTokenMalformed},
		{"no alg", all, unsecured(`{}`, claims), ErrTokenMalformed},
		{"HS256 with no signature", all, unsecured(`{"alg":"HS256"}`, claims), ErrTokenSignature},
		{"signature of other claims", all, parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(claims, "live/", "*", 1))) + "." + parts[2], ErrTokenSignature},
		{"no dots", all, "abc", ErrTokenMalformed},
		{"repeated names", all, sign(t, jose.HS256, []byte(testSecret), "", `{"exp":1,"exp":9999999999}`), ErrTokenMalformed},
		{"claims are a list", all, sign(t, jose.HS256, []byte(testSecret), "", `[1]`), ErrTokenMalformed},
		{"claims are null", all, sign(t, jose.HS256, []byte(testSecret), "", `null`), ErrTokenMalformed},
		{"too long", all, strings.Repeat("a", maxTokenSize+1), ErrTokenMalformed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.auth.Authorize(withUser(""), AuthRequest{Action: actionPublish, Stream: "live/a", Token: c.token})
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

// TestJWTEmbeddedKey: a key that a token brings along proves nothing.
func TestJWTEmbeddedKey(t *testing.T) {
	k := testKeys()
	a := provisioned(t, &AuthJWT{KeyFiles: []string{writeFile(t, "ec.pem", publicPEM(t, k.ec))}})
	mine, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: mine}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	sig, _ := s.Sign([]byte(claimsJSON(t, time.Now(), nil)))
	token, _ := sig.CompactSerialize()
	if _, err := a.Authorize(withUser(""), AuthRequest{Action: actionPublish, Stream: "live/a", Token: token}); !errors.Is(err, ErrTokenSignature) {
		t.Errorf("%v", err)
	}
}

func TestJWTGrant(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	a := provisioned(t, &AuthJWT{Secret: testSecret, EndSessions: true})
	a.now = func() time.Time { return now }
	token := sign(t, jose.HS256, []byte(testSecret), "", claimsJSON(t, now, map[string]any{
		"wtn": map[string]any{"action": "publish", "stream": "*", "priority": 7, "max_viewers": 100, "max_bitrate": 4e6},
	}))
	g, err := a.Authorize(withUser(""), AuthRequest{Action: actionPublish, Stream: "x", Token: token})
	if want := now.Add(time.Hour + jwtLeeway); err != nil || g.Priority != 7 || !g.HasPriority || g.MaxViewers != 100 || g.MaxBitrate != 4e6 || !g.Expires.Equal(want) {
		t.Errorf("%+v, %v", g, err)
	}
}

// What is no limit limits nothing; a priority that is no number is the lowest
// claim to be believed, not leave to choose one.
func TestJWTNumbers(t *testing.T) {
	for want, list := range map[uint64][]any{0: {nil, "8M", -1.0, 0.0, 1e300, true}, 8e6: {8e6}, 1: {1.9}} {
		for _, v := range list {
			if got := (jwtClaims{"wtn.max_bitrate": v}).bitrate("wtn.max_bitrate"); got != want {
				t.Errorf("bitrate %v: %d, want %d", v, got, want)
			}
		}
	}
	a := provisioned(t, &AuthJWT{Secret: testSecret})
	for v, want := range map[any]bool{nil: false, 0: true, "high": true, -4: true} {
		claims := map[string]any{"action": "publish", "stream": "*"}
		if v != nil {
			claims["priority"] = v
		}
		token := sign(t, jose.HS256, []byte(testSecret), "", claimsJSON(t, time.Now(), map[string]any{"wtn": claims}))
		g, err := a.Authorize(withUser(""), AuthRequest{Action: actionPublish, Stream: "x", Token: token})
		if err != nil || g.HasPriority != want || want && g.Priority != map[any]int{0: 0, "high": 0, -4: -4}[v] {
			t.Errorf("priority %v: %+v, %v", v, g, err)
		}
	}
}

func TestJWTProvision(t *testing.T) {
	k := testKeys()
	priv, _ := x509.MarshalPKCS8PrivateKey(k.ec)
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: priv})
	cases := map[string]*AuthJWT{
		"no key":            {},
		"shorter than 32":   {Secret: "short"},
		"no such file":      {KeyFiles: []string{"/nonexistent.pem"}},
		"no public key":     {KeyFiles: []string{writeFile(t, "p.pem", private)}},
		"1024 bits":         {KeyFiles: []string{writeFile(t, "p.pem", publicPEM(t, k.weak))}},
		"P-384":             {KeyFiles: []string{writeFile(t, "p.pem", publicPEM(t, k.ec384))}},
		"0 PEM blocks":      {KeyFiles: []string{writeFile(t, "p.pem", []byte("hello"))}},
		"is not safe":       {JWKS: "http://example.com/keys"},
		"is not safe ":      {JWKS: "/keys"},
		"WTN_TEST_NOTHING":  {Secret: "{env.WTN_TEST_NOTHING}"},
		"key set has no ke": {KeyFiles: []string{writeFile(t, "k.json", []byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`))}},
	}
	for want, a := range cases {
		if err := a.Provision(authContext(t)); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestMatchStream(t *testing.T) {
	cases := []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", "ab", false}, {"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "a/b", true},
		{"live/*", "live/", true}, {"live/*", "live/a/b", true}, {"live/*", "live", false}, {"live/*", "xlive/a", false},
		{"*/cam", "a/b/cam", true}, {"*/cam", "a/cam2", false}, {"a*b*c", "aXbYbZc", true}, {"a*b*c", "aXbY", false}, {"a**", "a", true},
		{"[a]", "a", false}, {"?", "a", false}, {"A", "a", false},
	}
	for _, c := range cases {
		if matchStream(c.pattern, c.name) != c.want {
			t.Errorf("%q %q is not %v", c.pattern, c.name, c.want)
		}
	}
}

// FuzzJWT gives anything to the parser, and anything that is signed to what
// reads claims.
func FuzzJWT(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	claims := claimsJSON(f, now, nil)
	f.Add(sign(f, jose.HS256, []byte(testSecret), "k", claims), claims, "live/a")
	f.Add(unsecured(`{"alg":"none"}`, claims), `{"exp":1e400}`, "*")
	f.Add("..", `{"exp":1800000001,"nbf":-1,"aud":[[]],"wtn":{"action":["*",{}],"stream":["a*b*"]}}`, "aab")
	f.Add(`{"payload":"","signatures":[]}`, `{"exp":1800000001,"wtn":[]}`, "")
	f.Add("a.b.c.d.e", strings.Repeat(`{"wtn":`, 2000), "x")
	a := &AuthJWT{Secret: testSecret, Audiences: []string{"gw"}}
	if err := a.Provision(authContext(f)); err != nil {
		f.Fatal(err)
	}
	a.now = func() time.Time { return now }
	r := httptest.NewRequest("POST", "/whip/a", nil)
	f.Fuzz(func(t *testing.T, token, claims, stream string) {
		if _, err := a.Authorize(r, AuthRequest{Action: actionPlay, Stream: stream, Token: token}); err == nil && !strings.HasPrefix(token, "ey") {
			t.Errorf("accepted %q", token)
		} else if _, _, typed := authProblem(err); err != nil && !typed {
			t.Errorf("%v is no refusal", err)
		}
		if len(claims) > maxTokenSize/2 || len(stream) > maxStreamName {
			return
		}
		g, err := a.Authorize(r, AuthRequest{Action: actionPlay, Stream: stream, Token: sign(t, jose.HS256, []byte(testSecret), "", claims)})
		if _, _, typed := authProblem(err); err != nil && !typed {
			t.Errorf("%v is no refusal", err)
		}
		if err == nil && (!strings.Contains(claims, "exp") || len(g.Principal) > maxPrincipal) {
			t.Errorf("accepted %q", claims)
		}
	})
}

func BenchmarkJWT(b *testing.B) {
	a := &AuthJWT{Secret: testSecret}
	if err := a.Provision(authContext(b)); err != nil {
		b.Fatal(err)
	}
	req := AuthRequest{Action: actionPlay, Stream: "live/a", Token: sign(b, jose.HS256, []byte(testSecret), "", claimsJSON(b, time.Now(), nil))}
	r := httptest.NewRequest("POST", "/whip/a", nil)
	for b.Loop() {
		if _, err := a.Authorize(r, req); err != nil {
			b.Fatal(err)
		}
	}
}
