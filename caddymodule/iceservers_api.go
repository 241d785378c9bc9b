package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

const (
	maxICEServerAPIs = 4
	iceAPITimeout    = 2 * time.Second // a client waits for it with its offer
	iceAPIRetry      = 5 * time.Second // after a failure: no session waits meanwhile
	iceAPIWarnEvery  = time.Minute
	maxICEAPIAnswer  = 64 << 10
	maxICEAPIURLs    = 16
	maxICEAPIText    = 512 // of a URL, a username, a credential: they become headers
	// iceAPIShare is the part of its lifetime a credential is handed out in; a
	// client gets one that is good for the rest at least.
	iceAPIShare = 10
)

// ICEServerAPI is a service that gives out STUN and TURN servers with
// credentials that expire, as Cloudflare's and others do. It gets a POST with
//
//	{"ttl": 43200}
//
// and answers with
//
//	{"iceServers": {"urls": ["turn:..."], "username": "...", "credential": "..."}}
//
// or with a list of such objects. An answer serves all sessions for a tenth of
// the ttl. A service that fails, or takes more than two seconds, costs a client
// its servers and nothing else.
type ICEServerAPI struct {
	// The URL. It must be https, unless it is on this machine. Redirects are not
	// followed. Placeholders are replaced.
	URL string `json:"url"`

	// Sent as `Authorization: Bearer`. Placeholders are replaced.
	Token string `json:"token,omitempty"`

	// How long the credentials are to be valid, at least one minute.
	// Default: `12h`.
	TTL caddy.Duration `json:"ttl,omitempty"`

	// Headers to send. Placeholders are replaced.
	Headers map[string]string `json:"headers,omitempty"`
}

// resolve checks the options. Nothing is asked yet.
func (a ICEServerAPI) resolve(logger *zap.Logger) (*iceSource, error) {
	target, err := secretOf("url of ice_server_api", a.URL)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the url of ice_server_api is not an https URL")
	}
	if secureURL(u) != nil {
		return nil, fmt.Errorf("the url of ice_server_api at %s gets a token and gives credentials: use https, or http on this machine", u.Host)
	}
	ttl := time.Duration(a.TTL)
	if ttl == 0 {
		ttl = sessionTTL
	}
	if ttl < time.Minute {
		return nil, fmt.Errorf("ttl of ice_server_api is %v: use one minute or more", ttl)
	}
	s := &iceSource{url: target, host: u.Host, ttl: ttl, logger: logger, now: time.Now}
	s.header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}
	for name, v := range a.Headers {
		if v, err = secretOf("header "+name+" of ice_server_api", v); err != nil {
			return nil, err
		}
		s.header.Set(name, v)
	}
	if a.Token != "" {
		token, err := secretOf("token of ice_server_api", a.Token)
		if err != nil {
			return nil, err
		}
		s.header.Set("Authorization", "Bearer "+token)
	}
	s.client = &http.Client{
		Timeout:       iceAPITimeout,
		Transport:     authTransport(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

// iceSource asks one service and remembers what it said.
type iceSource struct {
	url    string
	host   string // for the log: the rest of a URL may be secret
	header http.Header
	ttl    time.Duration
	client *http.Client
	logger *zap.Logger
	now    func() time.Time

	mu      sync.Mutex
	asking  chan struct{} // closed when the question under way is answered; nil: none is
	servers []ICEServer
	until   time.Time // when to ask again
	warned  time.Time
}

// askAll are the servers of all sources, each asked at the same time, in their
// order.
func askAll(sources []*iceSource) (out []ICEServer) {
	answers := make([][]ICEServer, len(sources))
	var wg sync.WaitGroup
	for i, s := range sources {
		wg.Go(func() { answers[i] = s.get() })
	}
	wg.Wait()
	for _, a := range answers {
		out = append(out, a...)
	}
	return out
}

// get is what the service said lately, or says now. Whoever comes while it is
// asked waits for the same answer, which takes iceAPITimeout at most.
func (s *iceSource) get() []ICEServer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now().Before(s.until) {
		return s.servers
	}
	if asking := s.asking; asking != nil {
		s.mu.Unlock()
		<-asking
		s.mu.Lock()
		return s.servers
	}
	done := make(chan struct{})
	s.asking = done
	s.mu.Unlock()
	servers, err := s.ask()
	s.mu.Lock()
	defer close(done)
	s.asking = nil
	now := s.now()
	s.servers, s.until = servers, now.Add(s.ttl/iceAPIShare)
	if err != nil {
		s.until = now.Add(iceAPIRetry)
		s.warn(now, err)
	}
	return s.servers
}

// warn says it once a minute. The lock is held.
func (s *iceSource) warn(now time.Time, err error) {
	if !s.warned.IsZero() && now.Sub(s.warned) < iceAPIWarnEvery {
		return
	}
	s.warned = now
	s.logger.Warn("no ICE servers from the ice_server_api: clients are told of the others only", zap.String("host", s.host), zap.Error(err))
}

func (s *iceSource) ask() ([]ICEServer, error) {
	body, err := json.Marshal(map[string]int64{"ttl": int64(s.ttl / time.Second)})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, s.url, bytes.NewReader(body)) //nolint:noctx // the client has a timeout, and several wait for one answer
	if err != nil {
		return nil, withoutURL(err)
	}
	req.Header = s.header.Clone()
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, fmt.Errorf("it answered %d", resp.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxICEAPIAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading its answer: %w", withoutURL(err))
	}
	if len(raw) > maxICEAPIAnswer {
		return nil, fmt.Errorf("its answer is larger than %d KiB", maxICEAPIAnswer>>10)
	}
	return parseICEServers(raw)
}

// oneOrMany is a T or a list of them.
type oneOrMany[T any] []T

func (l *oneOrMany[T]) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("[")) {
		return json.Unmarshal(b, (*[]T)(l))
	}
	*l = make([]T, 1)
	return json.Unmarshal(b, &(*l)[0])
}

// parseICEServers reads an answer. It is refused as a whole if any of it could
// not stand in a header. Placeholders in it are not replaced.
func parseICEServers(raw []byte) ([]ICEServer, error) {
	var answer struct {
		ICEServers oneOrMany[struct {
			URLs       oneOrMany[string] `json:"urls"`
			Username   string            `json:"username"`
			Credential string            `json:"credential"`
		}] `json:"iceServers"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("its answer is not the expected JSON: %w", err)
	}
	var out []ICEServer
	urls := 0
	for _, a := range answer.ICEServers {
		s := ICEServer{URLs: a.URLs, Username: a.Username, Credential: a.Credential}
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("in its answer: %w", err)
		}
		for _, text := range append([]string{s.Username, s.Credential}, s.URLs...) {
			if len(text) > maxICEAPIText {
				return nil, fmt.Errorf("its answer has a URL, username or credential of more than %d bytes", maxICEAPIText)
			}
		}
		if urls += len(s.URLs); urls > maxICEAPIURLs {
			return nil, fmt.Errorf("its answer has more than %d URLs", maxICEAPIURLs)
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, errors.New("its answer has no iceServers")
	}
	return out, nil
}
