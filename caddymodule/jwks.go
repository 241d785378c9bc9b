package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/zap"
)

// Times of a key set that lives behind a URL.
const (
	keySetTimeout = 3 * time.Second  // the longest a request waits, and a fetch takes
	keySetPause   = 10 * time.Second // between fetches that a token asks for
	keySetTTL     = 10 * time.Minute // if the reply says nothing
	minKeySetTTL  = time.Minute
	maxKeySetTTL  = 24 * time.Hour
)

// keySet is a JSON Web Key Set behind a URL. One goroutine at a time fetches
// it, detached from the requests that wait, so that neither many strangers
// with made-up key ids nor one who hangs up can make it fetch more, or fail.
type keySet struct {
	url    string
	client *http.Client
	logger *zap.Logger
	now    func() time.Time
	ctx    context.Context // ends with the configuration
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	keys    []verifyKey
	expires time.Time     // of keys; they stay in use until there are newer ones
	tried   time.Time     // when the last fetch began
	running chan struct{} // closed when the fetch under way ends; nil: none
}

func newKeySet(raw string, logger *zap.Logger) (*keySet, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("jwks: %w", err)
	}
	if err := secureURL(u); err != nil {
		return nil, fmt.Errorf("jwks: %w", err)
	}
	k := &keySet{url: raw, logger: logger, now: time.Now, client: &http.Client{
		Timeout:   keySetTimeout,
		Transport: authTransport(),
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 3 {
				return errors.New("too many redirects")
			}
			return secureURL(r.URL)
		},
	}}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	return k, nil
}

// authTransport is for the few requests authorisation makes to one server.
func authTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		ForceAttemptHTTP2:      true,
		MaxConnsPerHost:        64,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        time.Minute,
		TLSHandshakeTimeout:    keySetTimeout,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// secureURL refuses what somebody on the way could change.
func secureURL(u *url.URL) error {
	host := u.Hostname()
	addr, err := netip.ParseAddr(host)
	local := strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
	if host == "" || u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return fmt.Errorf("%s is not safe to take keys from: use an https URL, or http on this machine", u.Redacted())
	}
	return nil
}

// find returns the keys for an algorithm and a key id. It waits for a fetch if
// there are no keys yet or none of that id, at most 3 seconds. Old keys serve
// while newer ones are fetched.
func (k *keySet) find(ctx context.Context, alg jose.SignatureAlgorithm, id string) ([]verifyKey, error) {
	k.mu.Lock()
	found := matching(k.keys, alg, id)
	running := k.running
	if (len(found) == 0 || k.now().After(k.expires)) && running == nil {
		running = k.start()
	}
	k.mu.Unlock()
	if len(found) > 0 {
		return found, nil
	}
	if running != nil {
		timer := time.NewTimer(keySetTimeout)
		defer timer.Stop()
		select {
		case <-running:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys == nil {
		return nil, fmt.Errorf("%w: no keys from the key set yet", ErrAuthUnavailable)
	}
	return matching(k.keys, alg, id), nil
}

// start begins a fetch unless the last one was just now. The lock is held.
func (k *keySet) start() chan struct{} {
	now := k.now()
	if k.closed || !k.tried.IsZero() && now.Sub(k.tried) < keySetPause {
		return nil
	}
	k.tried = now
	done := make(chan struct{})
	k.running = done
	k.wait.Go(func() {
		keys, ttl, err := k.fetch()
		k.mu.Lock()
		defer k.mu.Unlock()
		defer close(done)
		k.running = nil
		if err != nil {
			k.logger.Warn("fetching the key set failed; the keys of before stay in use", zap.Int("keys", len(k.keys)), zap.Error(err))
			return
		}
		k.keys, k.expires = keys, k.now().Add(ttl)
	})
	return done
}

func (k *keySet) fetch() ([]verifyKey, time.Duration, error) {
	ctx, cancel := context.WithTimeout(k.ctx, keySetTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, 0, withoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("the answer is %s", resp.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySetSize+1))
	if err != nil {
		return nil, 0, err
	}
	keys, err := parseKeySet(raw)
	return keys, keySetLifetime(resp.Header), err
}

// keySetLifetime reads Cache-Control, in bounds that spare the server and let
// withdrawn keys go within a day.
func keySetLifetime(h http.Header) time.Duration {
	ttl := keySetTTL
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, arg, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return minKeySetTTL
		case "max-age":
			if s, err := strconv.ParseUint(strings.Trim(arg, `"`), 10, 31); err == nil {
				ttl = time.Duration(s) * time.Second
			}
		}
	}
	return min(max(ttl, minKeySetTTL), maxKeySetTTL)
}

// close stops a fetch that is under way, and waits for it.
func (k *keySet) close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.cancel()
	k.wait.Wait()
	k.client.CloseIdleConnections()
}

// withoutURL takes the URL out of an error of the HTTP client, since it may
// hold the operator's secrets.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
