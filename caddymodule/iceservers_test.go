package caddymodule

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// poolWith is the TURN part of a gateway that serves TURN at these ports, and
// shares TLS ports of HTTP servers.
func poolWith(live turnLive, fronts ...*front) *turnPool {
	p := &turnPool{fronts: map[*front]struct{}{}}
	live.on = true
	p.live.Store(&live)
	for _, f := range fronts {
		p.fronts[f] = struct{}{}
	}
	return p
}

type listenerAt struct {
	net.Listener
	port int
}

func (l listenerAt) Addr() net.Addr { return &net.TCPAddr{Port: l.port} }

func frontAt(port int, secure, https bool) *front {
	f := &front{Listener: listenerAt{port: port}, https: https}
	f.secure.Store(secure)
	return f
}

func TestURLs(t *testing.T) {
	std := turnLive{udp: 3478, tcp: 3478}
	for _, c := range []struct {
		name, host string
		pool       *turnPool
		want       string
	}{
		{"by default", "live.example.com", poolWith(std), "turn:live.example.com:3478?transport=udp turn:live.example.com:3478?transport=tcp"},
		{"on the HTTPS port", "live.example.com", poolWith(std, frontAt(443, true, true)), "turn:live.example.com:3478?transport=udp turn:live.example.com:3478?transport=tcp turns:live.example.com:443?transport=tcp"},
		{"HTTPS mapped from 443", "live.example.com", poolWith(turnLive{}, frontAt(8443, true, true)), "turns:live.example.com:443?transport=tcp"},
		{"a port in the request", "live.example.com:8443", poolWith(turnLive{}, frontAt(8443, true, true), frontAt(443, true, false)), "turns:live.example.com:8443?transport=tcp"},
		{"the HTTPS port before tls/", "a", poolWith(turnLive{tls: 5349}, frontAt(443, true, true)), "turns:a:443?transport=tcp"},
		{"tls/ alone", "a", poolWith(turnLive{tls: 5349}), "turns:a:5349?transport=tcp"},
		{"TURN without TLS on the HTTPS port", "a", poolWith(turnLive{}, frontAt(443, false, true)), "turn:a:443?transport=tcp"},
		{"at most three", "a", poolWith(turnLive{udp: 1, tcp: 2, tls: 3}, frontAt(443, false, true), frontAt(443, true, true)), "turn:a:1?transport=udp turn:a:2?transport=tcp turns:a:443?transport=tcp"},
		{"IPv6", "[2001:db8::1]:8080", poolWith(turnLive{udp: 3478}), "turn:[2001:db8::1]:3478?transport=udp"},
		{"IPv6 without port", "[2001:db8::1]", poolWith(turnLive{udp: 3478}), "turn:[2001:db8::1]:3478?transport=udp"},
		{"a configured host", "10.0.0.1", poolWith(turnLive{udp: 3478, hosts: []string{"turn.example.com", "b"}}), "turn:turn.example.com:3478?transport=udp"},
		{"one of them", "B:80", poolWith(turnLive{udp: 3478, hosts: []string{"turn.example.com", "b"}}), "turn:B:3478?transport=udp"},
		{"a host that is none", `a";x="`, poolWith(std), ""},
		{"no host", "", poolWith(std), ""},
	} {
		if got := strings.Join(c.pool.urls(c.pool.live.Load(), c.host), " "); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
	}
}

// WHIP-120..124: servers of the operator's own, static and with a shared secret.
func TestOwnICEServers(t *testing.T) {
	t.Setenv("WTN_TEST_SECRET", "shared")
	s := newSite(t)
	s.mustLoad("\twtn {\n\t\tmedia udp/127.0.0.1:0\n\t\tturn off\n\t\tice_server stun:stun.example.com\n\t\tice_server turn:a.example.com {\n\t\t\tusername alice\n\t\t\tcredential pa+ss/=\n\t\t}\n\t\tice_server turns:b.example.com:443?transport=tcp {\n\t\t\tsecret {env.WTN_TEST_SECRET}\n\t\t\tttl 1h\n\t\t}\n\t}", "\twtn")
	status, header, body := do(t, http.MethodPost, s.url("/whip/x"), publisherOffer(t))
	if status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	links := slices.DeleteFunc(header.Values("Link"), func(l string) bool { return !strings.Contains(l, "ice-server") })
	if len(links) != 3 || links[0] != `<stun:stun.example.com>; rel="ice-server"` ||
		links[1] != `<turn:a.example.com>; rel="ice-server"; username="alice"; credential="pa+ss/="; credential-type="password"` {
		t.Fatalf("links: %q", links)
	}
	m := linkForm.FindStringSubmatch(links[2])
	if m == nil {
		t.Fatalf("link: %s", links[2])
	}
	id := livingState().hub.Sessions()[0].ID
	mac := hmac.New(sha1.New, []byte("shared"))
	mac.Write([]byte(m[2]))
	var expiry int64
	if _, err := fmt.Sscanf(m[2], "%d:"+id, &expiry); err != nil || m[3] != base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
		t.Errorf("credential %s %s of session %s: %v", m[2], m[3], id, err)
	}
	if left := time.Until(time.Unix(expiry, 0)); left < 59*time.Minute || left > time.Hour {
		t.Errorf("valid for %s", left)
	}
}

func TestICEServerIsChecked(t *testing.T) {
	for want, s := range map[string]ICEServer{
		"has no URL":           {},
		"no URL of such":       {URLs: []string{"http://x"}},
		"is no URL":            {URLs: []string{"stun:a,b"}},
		"needs a username":     {URLs: []string{"turn:x"}, Username: "a"},
		"give one of them":     {URLs: []string{"turn:x"}, Username: "a", Credential: "b", Secret: "c"},
		"cannot hold":          {URLs: []string{"turn:x"}, Username: "a;b", Credential: "c"},
		"cannot hold blanks, ": {URLs: []string{"turn:x"}, Username: "a", Credential: `c"`},
		"ttl is negative":      {URLs: []string{"stun:x"}, TTL: -1},
	} {
		if _, err := s.resolve(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q in it", s, err, want)
		}
	}
}

// WHIP-43, 44: OPTIONS names the servers, but not to a preflight.
func TestOptionsLinks(t *testing.T) {
	s := newSite(t)
	s.mustLoad("\twtn {\n\t\tmedia udp/127.0.0.1:0\n"+loopbackTURN+"\n\t}", "\twtn")
	ask := func(header http.Header) http.Header {
		req, err := http.NewRequest(http.MethodOptions, s.url("/whip/x"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = header
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.Header
	}
	if got := iceServers(t, ask(http.Header{})); len(got) != 2 || !strings.Contains(got[0].Username, ":visitor-") {
		t.Errorf("servers: %v", got)
	}
	if got := ask(http.Header{"Origin": {"https://x"}, "Access-Control-Request-Method": {"POST"}}).Values("Link"); len(got) != 0 {
		t.Errorf("a preflight is told of %v", got)
	}
}

func TestTURNSettings(t *testing.T) {
	for want, c := range map[string]TURN{
		"udp/:3478 tcp/:3478":             {},
		"udp/:3478 tls/:5349":             {Listen: []string{":3478", "tls/"}},
		"udp4/10.0.0.1:1 tls/[::1]:2":     {Listen: []string{"udp4/10.0.0.1:1", "tls/[::1]:2"}},
		"error: use udp/, tcp/ or tls/":   {Listen: []string{"unix//x"}},
		"error: use udp/":                 {Listen: []string{"tls/udp/:1"}},
		"error: given twice":              {Listen: []string{"udp/:1", "udp/:1"}},
		"error: too many":                 {Listen: []string{"udp/:1-17"}},
		"error: neither a name nor an IP": {Hosts: []string{"https://x"}},
		"error: previous secrets":         {PreviousSecrets: []string{"1", "2", "3", "4"}},
		"error: a turn secret is empty":   {PreviousSecrets: []string{""}},
		"error: turn quota is -1":         {Quota: -1},
		"error: turn bandwidth is -1":     {Bandwidth: -1},
		"error: printable ASCII":          {Realm: `a"b`},
		"error: WTN_TEST_UNSET_VARIABLE":  {Secret: "{env.WTN_TEST_UNSET_VARIABLE}"},
	} {
		s, err := c.settings()
		if part, ok := strings.CutPrefix(want, "error: "); ok {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%+v: error %v, want %q in it", c, err, part)
			}
			continue
		}
		if err != nil || fmt.Sprint(s.listen) != "["+want+"]" {
			t.Errorf("%+v: %v, %v; want %s", c, s, err, want)
		}
	}
	if s, err := (&TURN{Off: true}).settings(); s != nil || err != nil {
		t.Errorf("off: %v, %v", s, err)
	}
}

// Gateways that share a storage agree on a secret, and a reload keeps it; one
// that is configured is used instead.
func TestStoredSecret(t *testing.T) {
	s := newSite(t)
	credential := func() string {
		t.Helper()
		status, header, _ := do(t, http.MethodPost, s.url("/whip/x"), publisherOffer(t))
		if status != 201 {
			t.Fatal(status)
		}
		server := iceServers(t, header)[0]
		for _, secret := range []string{storedTestSecret(t, s), "configured"} {
			mac := hmac.New(sha1.New, []byte(secret))
			mac.Write([]byte(server.Username))
			if server.Credential == base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
				return secret
			}
		}
		return ""
	}
	with := func(option string) string {
		return "\twtn {\n\t\tmedia udp/127.0.0.1:0\n" + strings.Replace(loopbackTURN, "listen", option+"\n\t\t\tlisten", 1) + "\n\t}"
	}
	s.mustLoad(with("realm a"), "\twtn")
	first := credential()
	if len(first) != 64 {
		t.Fatalf("the secret is %q", first)
	}
	s.mustLoad("", "\trespond gone")
	s.mustLoad(with("realm b"), "\twtn")
	if got := credential(); got != first {
		t.Errorf("another gateway has the secret %q", got)
	}
	s.mustLoad(with("secret configured"), "\twtn")
	if got := credential(); got != "configured" {
		t.Errorf("the secret is %q", got)
	}
}

func storedTestSecret(t *testing.T, s *site) string {
	t.Helper()
	storage := caddy.ActiveContext().Storage()
	b, err := storage.Load(t.Context(), secretKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A default port that is taken is left out; one that is configured is an error.
func TestBusyTURNPort(t *testing.T) {
	s := newSite(t)
	s.mustLoad(loopbackMedia, "\twtn") // holds the defaults, or finds them taken: both will do
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	at := pc.LocalAddr().(*net.UDPAddr).Port
	err = s.load(fmt.Sprintf("\twtn {\n\t\tmedia udp/127.0.0.1:0 tcp/127.0.0.1:0\n\t\tturn {\n\t\t\tlisten tcp/127.0.0.1:0 udp/127.0.0.1:%d\n\t\t}\n\t}", at), "\twtn")
	if err == nil || !strings.Contains(err.Error(), "listen option of turn") {
		t.Fatalf("error is %v", err)
	}
	if references() != 1 || len(livingState().media()) != 2 {
		t.Errorf("a refused reload changed something: %d references, media %v", references(), livingState().media())
	}
	p := newTURNPool(livingState().hub)
	implied := &turnSettings{implied: true, listen: []turnAddress{{network: "udp", host: "127.0.0.1", port: uint(at)}, {network: "tcp", host: "127.0.0.1"}}}
	if err := p.acquire(implied, caddy.Log()); err != nil || len(implied.held) != 1 || implied.held[0].network != "tcp" {
		t.Fatalf("of the defaults, one taken: %v, %v", implied.held, err)
	}
	p.release(implied)
	if len(p.sockets) != 0 {
		t.Errorf("sockets are left: %v", p.sockets)
	}
}

// Whatever Host a client sends, the header that comes of it is one link.
func FuzzURLs(f *testing.F) {
	for _, s := range []string{"a", "a:1", "[::1]:1", "[::1%eth0]:5", "::1", `a"; x`, "a,b", "a\r\nb", "[", "]:", ":", "1.2.3.4:99999"} {
		f.Add(s)
	}
	p := poolWith(turnLive{udp: 1, tcp: 2, tls: 3}, frontAt(443, true, true))
	f.Fuzz(func(t *testing.T, host string) {
		urls := p.urls(p.live.Load(), host)
		if len(urls) != 0 && len(urls) != 3 {
			t.Fatalf("%q: %q", host, urls)
		}
		for _, u := range urls {
			if l := iceLink(u, "1:u", "p"); !linkForm.MatchString(l) {
				t.Fatalf("%q: %s", host, l)
			}
		}
	})
}
