package vendors

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testSDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
	// secretWord has letters only, so that no filter of characters hides it.
	secretWord = "supersecretsentinel"
)

// load makes a provisioned vendor from JSON.
func load(t testing.TB, name, config string) Vendor {
	t.Helper()
	v, err := tryLoad(name, config)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func tryLoad(name, config string) (Vendor, error) {
	info, err := caddy.GetModule(Namespace + "." + name)
	if err != nil {
		return nil, err
	}
	v := info.New().(Vendor)
	if err := caddy.StrictUnmarshalJSON([]byte(config), v); err != nil {
		return nil, err
	}
	return v, v.(caddy.Provisioner).Provision(caddy.Context{})
}

// configs are all vendors, set up for a server of the test.
func configs(url string) map[string]string {
	u, k := quote(url), quote(secretWord)
	return map[string]string{
		"whip":       `{"whip":` + quote(url+"/whip/{stream}") + `,"whep":` + quote(url+"/whep/{stream}") + `,"token":` + k + `,"headers":{"X-Key":` + k + `}}`,
		"wtn":        `{"urls":[` + u + `],"app_id":"app","app_key":` + k + `}`,
		"tencent":    `{"url":` + u + `,"sdk_app_id":"1400000000","secret_key":` + k + `}`,
		"agora":      `{"url":` + u + `,"app_id":"app","app_certificate":` + k + `}`,
		"millicast":  `{"url":` + u + `,"account":"acc","token":` + k + `,"subscribe_token":` + k + `}`,
		"cloudflare": `{"url":` + u + `,"secrets":{"*":` + k + `},"uids":{"*":` + k + `}}`,
		"mediamtx":   `{"url":` + u + `,"user":"bob","password":` + k + `}`,
		"srs":        `{"url":` + u + `,"secret":` + k + `}`,
		"livekit":    `{"url":` + quote(url+"/w") + `,"stream_keys":{"*":` + k + `}}`,
		"gateway":    `{"url":` + quote(url+"/prefix") + `,"token":` + k + `}`,
	}
}

const backupConfig = `{"url":"URL","app_id":"app","app_key":"` + secretWord + `"}`

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// seen is one request that a fake service got.
type seen struct {
	method, path, query, auth, key, ctype, agent, accept, body string
}

// service is a fake vendor. It answers with 201, an SDP and a session URL
// unless reply is set.
type service struct {
	*httptest.Server
	mu    sync.Mutex
	log   []seen
	reply http.HandlerFunc
}

func newService(t testing.TB, reply http.HandlerFunc) *service {
	s := &service{reply: reply}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.log = append(s.log, seen{
		r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("Authorization"), r.Header.Get("X-Key"),
		r.Header.Get("Content-Type"), r.Header.Get("User-Agent"), r.Header.Get("Accept"), string(body),
	})
	s.mu.Unlock()
	if s.reply != nil {
		s.reply(w, r)
		return
	}
	if r.Method == http.MethodPost {
		created(w, "/session/1", testSDP)
	}
}

func (s *service) requests() []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]seen(nil), s.log...)
}

func created(w http.ResponseWriter, location, sdp string) {
	w.Header().Set("Content-Type", sdpType)
	if location != "" {
		w.Header().Set("Location", location)
	}
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, sdp)
}

// status answers everything with one status.
func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

func newClient(t testing.TB, v Vendor) *Client {
	c := New(v, "test", zap.NewNop())
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func request(role relay.Role) relay.UpstreamRequest {
	return relay.UpstreamRequest{Role: role, Stream: "live/room1", Session: "0123456789abcdef", Offer: []byte(testSDP)}
}

// ask makes a session within a time that only something that hangs needs.
func ask(t testing.TB, c *Client, role relay.Role) (relay.UpstreamResource, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return c.Create(ctx, request(role))
}

// mustFail expects an error of the relay's kind.
func mustFail(t testing.TB, err error, action relay.UpstreamAction, status int) *relay.UpstreamError {
	t.Helper()
	var e *relay.UpstreamError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an UpstreamError", err)
	}
	if e.Action != action || e.Status != status || e.Detail == "" {
		t.Fatalf("got %s (%d) %q, want %s (%d)", e.Action, e.Status, e.Detail, action, status)
	}
	return e
}

func plainWHIP(t testing.TB, url string, extra string) Vendor {
	return load(t, "whip", strings.TrimSuffix(configs(url)["whip"], "}")+extra+"}")
}
