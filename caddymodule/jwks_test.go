package caddymodule

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/zap"
)

// issuer serves a key set that can be changed.
type issuer struct {
	*httptest.Server
	fetches atomic.Int32
	set     atomic.Value // []byte
	status  atomic.Int32
	gate    chan struct{} // if not nil, each fetch waits for it
}

func newIssuer(t *testing.T, gate chan struct{}) *issuer {
	i := &issuer{gate: gate}
	i.status.Store(http.StatusOK)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.fetches.Add(1)
		if i.gate != nil {
			select {
			case <-i.gate:
			case <-r.Context().Done():
			}
		}
		w.Header().Set("Cache-Control", "public, max-age=120")
		w.WriteHeader(int(i.status.Load()))
		raw, _ := i.set.Load().([]byte)
		w.Write(raw)
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) publish(t *testing.T, keys map[string]crypto.Signer) {
	t.Helper()
	var set jose.JSONWebKeySet
	for id, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public(), KeyID: id, Use: "sig"})
	}
	raw, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	i.set.Store(raw)
}

// testClock is a clock that only moves when told to.
type testClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func newP256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestJWKSRotation(t *testing.T) {
	one, two := newP256(t), newP256(t)
	server := newIssuer(t, nil)
	server.publish(t, map[string]crypto.Signer{"one": one})
	a := provisioned(t, &AuthJWT{JWKS: server.URL})
	clock := &testClock{t: time.Now()}
	a.now, a.set.now = clock.now, clock.now
	ask := func(id string, key *ecdsa.PrivateKey) error {
		token := sign(t, jose.ES256, key, id, claimsJSON(t, clock.now(), nil))
		_, err := a.Authorize(withUser(""), AuthRequest{Action: actionPublish, Stream: "live/a", Token: token})
		return err
	}
	step := func(what string, got, want error, fetches int32) {
		t.Helper()
		if !errors.Is(got, want) || server.fetches.Load() != fetches {
			t.Fatalf("%s: %v after %d fetches, want %v after %d", what, got, server.fetches.Load(), want, fetches)
		}
	}
	if server.fetches.Load() != 0 {
		t.Fatal("fetched before anybody asked")
	}
	step("first use", ask("one", one), nil, 1)
	step("cached", ask("one", one), nil, 1)
	step("key without id in the token", ask("", one), nil, 1)
	step("id with another key", ask("one", two), ErrTokenSignature, 1)
	step("unknown id, just fetched", ask("two", two), ErrTokenSignature, 1)

	server.publish(t, map[string]crypto.Signer{"one": one, "two": two})
	clock.advance(keySetPause)
	step("rotated in", ask("two", two), nil, 2)
	step("made-up id", ask("three", two), ErrTokenSignature, 2)

	server.publish(t, map[string]crypto.Signer{"two": two})
	clock.advance(121 * time.Second)
	if err := ask("one", one); err != nil {
		t.Fatalf("an old key is not used while newer ones are fetched: %v", err)
	}
	eventually(t, "the key that was withdrawn is gone", func() bool { return errors.Is(ask("one", one), ErrTokenSignature) })
	step("the other stays", ask("two", two), nil, 3)

	server.status.Store(http.StatusInternalServerError)
	clock.advance(121 * time.Second)
	if err := ask("two", two); err != nil {
		t.Fatalf("with the server failing: %v", err)
	}
	eventually(t, "the failing server is asked", func() bool { return server.fetches.Load() == 4 })
	a.set.wait.Wait()
	step("stale key after the failure", ask("two", two), nil, 4)
}

// TestJWKSUnavailable: nothing can be decided without keys, and the failing
// server is left alone for a while.
func TestJWKSUnavailable(t *testing.T) {
	for name, set := range map[string]string{
		"no JSON": "hello", "no keys": `{"keys":[]}`, "too large": `{"keys":[],"x":"` + strings.Repeat("a", maxKeySetSize) + `"}`,
		"too many": `{"keys":[` + strings.Repeat("{},", maxKeys) + `{}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			server := newIssuer(t, nil)
			server.set.Store([]byte(set))
			k, err := newKeySet(server.URL, zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			defer k.close()
			for range 3 {
				if _, err := k.find(t.Context(), jose.ES256, "x"); !errors.Is(err, ErrAuthUnavailable) {
					t.Errorf("%v", err)
				}
			}
			if n := server.fetches.Load(); n != 1 {
				t.Errorf("fetched %d times", n)
			}
		})
	}
}

// TestJWKSSingleFlight: many who wait are one fetch, and one who hangs up does
// not end it.
func TestJWKSSingleFlight(t *testing.T) {
	gate := make(chan struct{})
	server := newIssuer(t, gate)
	key := newP256(t)
	server.publish(t, map[string]crypto.Signer{"one": key})
	k, err := newKeySet(server.URL, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	if _, err := k.find(gone, jose.ES256, "one"); !errors.Is(err, ErrAuthUnavailable) {
		t.Errorf("who hung up got %v", err)
	}
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() {
			if keys, err := k.find(t.Context(), jose.ES256, "one"); err != nil || len(keys) != 1 {
				t.Errorf("%d keys, %v", len(keys), err)
			}
		})
	}
	close(gate)
	wait.Wait()
	if n := server.fetches.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

// TestJWKSClose: a configuration that goes does not wait for a server that hangs.
func TestJWKSClose(t *testing.T) {
	server := newIssuer(t, make(chan struct{}))
	k, err := newKeySet(server.URL, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	k.find(gone, jose.ES256, "one")
	began := time.Now()
	k.close()
	if d := time.Since(began); d > keySetTimeout/2 {
		t.Errorf("took %v", d)
	}
	k.find(gone, jose.ES256, "two") // a late request starts nothing
	k.wait.Wait()
}

func TestJWKSRedirect(t *testing.T) {
	server := httptest.NewServer(http.RedirectHandler("http://192.0.2.1/keys", http.StatusFound))
	defer server.Close()
	k, err := newKeySet(server.URL, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	if _, _, err := k.fetch(); err == nil || !strings.Contains(err.Error(), "not safe") {
		t.Errorf("%v", err)
	}
}

func TestSecureURL(t *testing.T) {
	for raw, want := range map[string]bool{
		"https://example.com/k": true, "http://example.com/k": false, "http://localhost:1/k": true, "http://127.0.0.1/k": true,
		"http://[::1]:80/k": true, "http://localhost.example.com/k": false, "ftp://localhost/k": false, "https:///k": false, "file:///k": false,
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if (secureURL(u) == nil) != want {
			t.Errorf("%s: %v", raw, secureURL(u))
		}
	}
}

func TestKeySetLifetime(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": keySetTTL, "max-age=300": 5 * time.Minute, "public, MAX-AGE=\"300\"": 5 * time.Minute, "max-age=1": minKeySetTTL,
		"max-age=99999999": maxKeySetTTL, "max-age=-1": keySetTTL, "max-age=x": keySetTTL, "no-store": minKeySetTTL,
		"max-age=300, no-cache": minKeySetTTL, "max-age=99999999999999999999": keySetTTL,
	} {
		if got := keySetLifetime(http.Header{"Cache-Control": {value}}); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}
