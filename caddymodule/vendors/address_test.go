package vendors

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/talwtn/caddy-wtn/relay"
)

func TestLocation(t *testing.T) {
	other := newService(t, nil)
	otherHost := strings.TrimPrefix(other.URL, "http://")
	for location, want := range map[string]string{ // "": refused
		"/session/1":                         "/session/1",
		"session/1":                          "/whip/live/session/1",
		"./session/1":                        "/whip/live/session/1",
		"../session/1":                       "/whip/session/1",
		"/rtc/?action=delete&token=a%2Fb&x=": "/rtc/?action=delete&token=a%2Fb&x=",
		"?token=1":                           "/whip/live/room1?token=1",
		"SELF/session/1?a=b#frag":            "/session/1?a=b",
		"http://bob:pw@HOST/session/1":       "/session/1",
		"//HOST/session/1":                   "/session/1",

		"http://" + otherHost + "/session/1":          "",
		"//" + otherHost + "/session/1":               "",
		"https://evil.example/session/1":              "",
		"http://169.254.169.254/latest/meta-data":     "",
		"http://[fe80::1]/x":                          "",
		"http://localhost/x":                          "",
		"http://127.0.0.1/x":                          "",
		"http://10.0.0.1/x":                           "",
		"http://0x7f.1/x":                             "",
		"https://HOSTNAME/x":                          "",
		"ftp://HOST/x":                                "",
		"mailto:bob@example.com":                      "",
		"file:///etc/passwd":                          "",
		"http:///x":                                   "",
		"http://HOST.evil.example/x":                  "",
		"http://\u0131.example/x":                     "",
		"/" + strings.Repeat("x", maxLocation):        "",
		"http://HOST:1/x":                             "",
		"javascript:alert(1)":                         "",
		"http://evil.example\\@HOST/x":                "",
		"http://HOST@evil.example/x":                  "",
		"https://metadata.google.internal/v1/account": "",
	} {
		t.Run(location[:min(len(location), 60)], func(t *testing.T) {
			s := newService(t, nil)
			host := strings.TrimPrefix(s.URL, "http://")
			name, _, _ := strings.Cut(host, ":")
			location := strings.NewReplacer("SELF", s.URL, "HOSTNAME", name, "HOST", host).Replace(location)
			s.reply = func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					created(w, location, testSDP)
				}
			}
			res, err := ask(t, newClient(t, plainWHIP(t, s.URL, "")), relay.RolePush)
			if want == "" {
				mustFail(t, err, relay.UpstreamBroken, 201)
				if len(s.requests()) != 1 || len(other.requests()) != 0 {
					t.Fatalf("something was sent: %+v %+v", s.requests(), other.requests())
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := res.Delete(t.Context()); err != nil {
				t.Fatal(err)
			}
			r := s.requests()[1]
			got := r.path
			if r.query != "" {
				got += "?" + r.query
			}
			if r.method != http.MethodDelete || got != want || r.auth != "Bearer "+secretWord || r.key != secretWord {
				t.Errorf("got %+v, want DELETE %s", r, want)
			}
		})
	}
}

// TestLocationElsewhere: a listed host gets the DELETE, but no credentials.
func TestLocationElsewhere(t *testing.T) {
	other := newService(t, nil)
	s := newService(t, func(w http.ResponseWriter, _ *http.Request) { created(w, other.URL+"/session/1", testSDP) })
	v := plainWHIP(t, s.URL, `,"hosts":[`+quote(strings.TrimPrefix(other.URL, "http://"))+`]`)
	res, err := ask(t, newClient(t, v), relay.RolePull)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if log := other.requests(); len(log) != 1 || log[0].method != http.MethodDelete || log[0].auth+log[0].key != "" {
		t.Fatalf("%+v", log)
	}
}

// secured is a service with TLS, and a client that trusts it.
func secured(t *testing.T, reply http.HandlerFunc, extra string) (*service, *Client) {
	s := &service{reply: reply}
	s.Server = httptest.NewTLSServer(s)
	t.Cleanup(s.Close)
	c := newClient(t, plainWHIP(t, s.URL, extra))
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	c.transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	return s, c
}

func TestDowngrade(t *testing.T) {
	plain := newService(t, nil)
	hosts := `,"hosts":[` + quote(strings.TrimPrefix(plain.URL, "http://")) + `]`
	_, c := secured(t, func(w http.ResponseWriter, _ *http.Request) { created(w, plain.URL+"/session/1", testSDP) }, hosts)
	_, err := ask(t, c, relay.RolePush)
	mustFail(t, err, relay.UpstreamBroken, 201)
	_, c = secured(t, status(307, "Location", plain.URL+"/whip"), hosts)
	_, err = ask(t, c, relay.RolePush)
	mustFail(t, err, relay.UpstreamBroken, 307)
	if n := len(plain.requests()); n != 0 {
		t.Errorf("%d requests left HTTPS", n)
	}
	_, c = secured(t, nil, "")
	if _, err = ask(t, c, relay.RolePush); err != nil {
		t.Errorf("over TLS: %v", err)
	}
}

func TestRedirect(t *testing.T) {
	for _, code := range []int{301, 302, 303} {
		s := newService(t, status(code, "Location", "/elsewhere"))
		_, err := ask(t, newClient(t, plainWHIP(t, s.URL, "")), relay.RolePush)
		if e := mustFail(t, err, relay.UpstreamBroken, code); len(s.requests()) != 1 || !strings.Contains(e.Detail, "307") {
			t.Errorf("%d: %+v", code, e)
		}
	}
	for _, code := range []int{307, 308} {
		s := newService(t, nil)
		s.reply = func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/c":
				created(w, "session", testSDP)
			case "/b":
				status(code, "Location", "/c")(w, r)
			case "/a":
				status(code, "Location", "b")(w, r)
			default:
				status(code, "Location", "/a")(w, r)
			}
		}
		res, err := ask(t, newClient(t, plainWHIP(t, s.URL, "")), relay.RolePush)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Delete(t.Context())
		log := s.requests()
		if len(log) != 5 || log[3].body != testSDP || log[3].auth == "" || log[3].ctype != sdpType || log[4].path != "/session" {
			t.Errorf("%d: %+v", code, log)
		}
	}
	loop := newService(t, status(307, "Location", "/a"))
	_, err := ask(t, newClient(t, plainWHIP(t, loop.URL, "")), relay.RolePush)
	mustFail(t, err, relay.UpstreamNext, 307)
	if n := len(loop.requests()); n != maxRedirects+1 {
		t.Errorf("%d requests", n)
	}
	nowhere := newService(t, status(307))
	_, err = ask(t, newClient(t, plainWHIP(t, nowhere.URL, "")), relay.RolePush)
	mustFail(t, err, relay.UpstreamBroken, 307)
}

// TestRedirectElsewhere: the other host gets the offer if it is listed, and
// never the credentials.
func TestRedirectElsewhere(t *testing.T) {
	other := newService(t, nil)
	s := newService(t, status(307, "Location", other.URL+"/whip"))
	_, err := ask(t, newClient(t, plainWHIP(t, s.URL, "")), relay.RolePush)
	mustFail(t, err, relay.UpstreamBroken, 307)
	if len(other.requests()) != 0 {
		t.Fatal("a host that is not listed was asked")
	}
	v := plainWHIP(t, s.URL, `,"hosts":[`+quote(strings.TrimPrefix(other.URL, "http://"))+`]`)
	res, err := ask(t, newClient(t, v), relay.RolePush)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	log := other.requests()
	if len(log) != 2 || log[0].body != testSDP {
		t.Fatalf("%+v", log)
	}
	for _, r := range log {
		if r.auth != "" || r.key != "" {
			t.Errorf("credentials leaked: %+v", r)
		}
	}
}

func TestPatterns(t *testing.T) {
	for pattern, cases := range map[string]map[string]bool{
		"a.example":        {"https://a.example/": true, "http://A.example./": true, "https://a.example:8443/": false, "https://b.a.example/": false},
		"a.example:8443":   {"https://a.example:8443/": true, "https://a.example/": false},
		"*.a.example":      {"https://b.a.example/": true, "https://c.b.a.example/": true, "https://a.example/": false, "https://xa.example/": false, "https://b.a.example:1/": false},
		"*.a.example:8443": {"https://b.a.example:8443/": true},
		"[::1]:8443":       {"https://[::1]:8443/": true, "https://[::1]/": false},
	} {
		p, err := parsePattern(pattern)
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
		}
		for raw, want := range cases {
			if u, _ := url.Parse(raw); p.matches(u) != want {
				t.Errorf("%s and %s: not %v", pattern, raw, want)
			}
		}
	}
	for _, bad := range []string{"", "*", "*.", "*.com", "a/b", "a:b", "https://a", "bob@a", "a?b", "*.*.a.b", "é.example", "*.[::1]"} {
		if _, err := parsePattern(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestBelowADomain: what only matches a domain may not lead to private
// addresses, whatever DNS says.
func TestBelowADomain(t *testing.T) {
	base, _ := url.Parse("https://director.millicast.com/x")
	tr := newTrust([]*url.URL{base}, parsePatterns([]string{"*.millicast.com", "edge.millicast.com"}))
	for location, want := range map[string]bool{
		"https://live.millicast.com/s": true, "https://edge.millicast.com/s": false, "/s": false,
	} {
		if _, public, err := tr.resolve(base, location); err != nil || public != want {
			t.Errorf("%s: public %v, %v", location, public, err)
		}
	}
	s := newService(t, nil)
	addr := s.Listener.Addr().String()
	u := &url.URL{Scheme: "http", Host: addr}
	if _, err := dial(toPublic(t.Context(), u), "tcp", addr); !errors.Is(err, errPrivate) {
		t.Errorf("a private address was dialed: %v", err)
	}
	conn, err := dial(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()

	c := newClient(t, plainWHIP(t, s.URL, ""))
	_, no := c.do(t.Context(), exchange{method: http.MethodDelete, url: u, public: true})
	if no == nil || !errors.Is(no.Err, errPrivate) || len(s.requests()) != 0 {
		t.Errorf("through the transport: %+v", no)
	}
}

func TestIsPublic(t *testing.T) {
	for a, want := range map[string]bool{
		"93.184.216.34": true, "2606:2800:220:1::1": true, "64:ff9b::5db8:d822": true,
		"127.0.0.1": false, "10.1.2.3": false, "192.168.1.1": false, "172.16.0.1": false, "169.254.169.254": false,
		"100.100.100.200": false, "0.0.0.0": false, "0.1.2.3": false, "224.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "fe80::1": false, "fc00::1": false, "::ffff:127.0.0.1": false, "64:ff9b::7f00:1": false,
	} {
		if isPublic(netip.MustParseAddr(a)) != want {
			t.Errorf("%s: not %v", a, want)
		}
	}
}
