package vendors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talwtn/caddy-wtn/relay"
)

// echoes are services that send back what they got, wherever that is possible.
func echoes() map[string]http.HandlerFunc {
	list := map[string]http.HandlerFunc{
		"201 elsewhere": func(w http.ResponseWriter, r *http.Request) {
			created(w, "https://evil.example/"+secretWord+"?"+r.URL.RawQuery, testSDP)
		},
		"307 elsewhere": func(w http.ResponseWriter, r *http.Request) {
			status(307, "Location", "https://evil.example/"+secretWord+r.URL.String())(w, r)
		},
		"307 broken": status(307, "Location", "http://"+secretWord+"\x7f.example/%zz"),
		"hang":       func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"headers":    func(w http.ResponseWriter, r *http.Request) { status(503, "Retry-After", secretWord)(w, r) },
		"type": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", secretWord+"/json")
			_, _ = io.WriteString(w, secretWord)
		},
	}
	for _, code := range []int{400, 401, 404, 409, 422, 500} {
		list[fmt.Sprint(code, " dump")] = func(w http.ResponseWriter, r *http.Request) {
			dump, _ := httputil.DumpRequest(r, true)
			http.Error(w, string(dump), code)
		}
		list[fmt.Sprint(code, " words")] = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no "+secretWord, code) }
		list[fmt.Sprint(code, " json")] = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(code)
			_, _ = fmt.Fprintf(w, `{"title":"not %s","error":%q}`, strings.ToUpper(secretWord), secretWord)
		}
	}
	return list
}

// TestSecrets: nothing of what is sent, nor of what signs it, gets into errors
// and logs, whatever the other side does with it.
func TestSecrets(t *testing.T) {
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	go func() { // not even HTTP
		for {
			conn, err := raw.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			b := make([]byte, 4096)
			n, _ := conn.Read(b)
			_, _ = conn.Write(b[:n])
			_ = conn.Close()
		}
	}()
	try := func(what, url string) {
		all := configs(url)
		all["millicast/backup"] = strings.Replace(backupConfig, "URL", url, 1)
		for name, config := range all {
			module, _, _ := strings.Cut(name, "/")
			core, logs := observer.New(zapcore.DebugLevel)
			c := New(load(t, module, config), "test", zap.New(core))
			for _, role := range []relay.Role{relay.RolePush, relay.RolePull} {
				r, _ := c.vendor.Request(call(role, "live/room1"))
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				_, err := c.Create(ctx, request(role))
				cancel()
				if err == nil {
					t.Errorf("%s with %s: no error", name, what)
				}
				secrets := []string{secretWord, strings.ToUpper(secretWord), "evil.example"}
				for _, h := range r.Header {
					secrets = append(secrets, strings.TrimPrefix(strings.TrimPrefix(h[0], "Bearer "), "Basic "))
				}
				if len(r.URLs) > 0 {
					secrets = append(secrets, r.URLs[0].String())
				}
				checkSecrets(t, name+" with "+what, secrets, err, logs.All())
			}
			_ = c.Close()
		}
	}
	for what, reply := range echoes() {
		try(what, newService(t, reply).URL)
	}
	try("an echo", "http://"+raw.Addr().String())
	gone := newService(t, nil)
	gone.Close()
	try("nobody", gone.URL)
}

func checkSecrets(t *testing.T, what string, secrets []string, err error, logs []observer.LoggedEntry) {
	t.Helper()
	var text []string
	for e := err; e != nil; e = errors.Unwrap(e) {
		text = append(text, e.Error(), fmt.Sprintf("%+v", e))
	}
	for _, l := range logs {
		text = append(text, l.Message, fmt.Sprint(l.ContextMap()))
	}
	for _, s := range text {
		for _, secret := range secrets {
			if strings.Contains(s, secret) {
				t.Errorf("%s: %q holds %q", what, s, secret)
			}
		}
	}
}

// TestExplanation: plain words do get through.
func TestExplanation(t *testing.T) {
	for body, want := range map[string]string{
		"Token Signature Check Failed": "Token Signature Check Failed", "Stream Not Exist\n": "Stream Not Exist",
		"": "", "key 4711 is wrong": "", "<html>": "", strings.Repeat("a", 81): "", "see https://x": "", "é": "", "/whip/live/room1": "",
	} {
		s := newService(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, body)
		})
		_, err := ask(t, newClient(t, plainWHIP(t, s.URL, "")), relay.RolePull)
		e := mustFail(t, err, relay.UpstreamAbsent, 409)
		_, got, _ := strings.Cut(strings.TrimSuffix(e.Detail, ")"), " (")
		if got != want {
			t.Errorf("%q: %q", body, e.Detail)
		}
	}
}

// TestProvisionKeepsSecrets: values of placeholders and settings are not in
// what the admin API shows, nor in errors of the configuration.
func TestProvisionKeepsSecrets(t *testing.T) {
	t.Setenv("WTN_TEST_SECRET", secretWord)
	t.Setenv("WTN_TEST_BAD", secretWord+"\x01")
	for name, config := range configs("https://host.example") {
		v := load(t, name, strings.ReplaceAll(config, secretWord, "{env.WTN_TEST_SECRET}"))
		r, err := v.Request(call(relay.RolePush, "live/room1"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"whip", "mediamtx"} {
			if name == want && !strings.Contains(fmt.Sprint(r.Header), secretWord) && r.Header.Get("Authorization") != basic("bob", secretWord) {
				t.Errorf("%s: the placeholder was not replaced: %v", name, r.Header)
			}
		}
		b, err := json.Marshal(v)
		if err != nil || strings.Contains(string(b), secretWord) {
			t.Errorf("%s: %s %v", name, b, err)
		}
		if _, err := tryLoad(name, strings.ReplaceAll(config, secretWord, "{env.WTN_TEST_UNSET}")); err == nil {
			t.Errorf("%s: an unset variable is no error", name)
		}
		for _, bad := range []string{"{env.WTN_TEST_BAD}", secretWord + "\u0001"} {
			text, _ := json.Marshal(bad)
			_, err := tryLoad(name, strings.ReplaceAll(config, quote(secretWord), string(text)))
			if err != nil && strings.Contains(err.Error(), secretWord) {
				t.Errorf("%s: %v", name, err)
			}
		}
		_, err = tryLoad(name, strings.ReplaceAll(config, "https://host.example", "https://bob:"+secretWord+"@host.example:port"))
		if err == nil || strings.Contains(err.Error(), secretWord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
