package caddymodule

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

func (s *secureSite) addr() string { return fmt.Sprintf("localhost:%d", s.port) }

// dialTLS connects with this ALPN list; the certificate is verified.
func dialTLS(t *testing.T, addr, name string, alpn ...string) *tls.Conn {
	t.Helper()
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", addr, &tls.Config{ServerName: name, NextProtos: alpn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// binding asks who we are, in writes of at most step bytes, and checks the answer.
func binding(t *testing.T, c net.Conn, step int) {
	t.Helper()
	m := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	for b := m.Raw; len(b) > 0; {
		n := min(step, len(b))
		if _, err := c.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
	buf := make([]byte, 1500)
	n, err := io.ReadAtLeast(c, buf, 20)
	if err != nil {
		t.Fatal(err)
	}
	got := &stun.Message{Raw: buf[:n]}
	if err := got.Decode(); err != nil || got.Type != stun.BindingSuccess || got.TransactionID != m.TransactionID {
		t.Fatalf("%v, %v", got, err)
	}
}

func pong(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(body) != "pong" {
		t.Fatalf("%d %q", resp.StatusCode, body)
	}
}

// Everything that speaks HTTPS goes on as if nobody looked, everything that
// speaks TURN is served, on one port.
func TestSharedPort(t *testing.T) {
	s := newSecureSite(t)
	s.mustLoad(loopbackTURN, "\t\t\tturn\n\t\t\ttls\n\t\t\tturn", "")
	t.Run("turns without ALPN", func(t *testing.T) { binding(t, dialTLS(t, s.addr(), "localhost"), 1500) })
	t.Run("turns in drips", func(t *testing.T) { binding(t, dialTLS(t, s.addr(), "localhost"), 3) })
	t.Run("turns with stun.turn", func(t *testing.T) {
		c := dialTLS(t, s.addr(), "localhost", "stun.turn")
		if p := c.ConnectionState().NegotiatedProtocol; p != "stun.turn" {
			t.Errorf("negotiated %q", p)
		}
		binding(t, c, 1500)
	})
	t.Run("turns with http/1.1", func(t *testing.T) { binding(t, dialTLS(t, s.addr(), "localhost", "http/1.1"), 1500) })
	t.Run("TURN without TLS", func(t *testing.T) {
		c, err := net.Dial("tcp", s.addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		binding(t, c, 5)
	})
	t.Run("HTTPS without ALPN", func(t *testing.T) { pong(t, dialTLS(t, s.addr(), "localhost")) })
	t.Run("HTTPS with http/1.1", func(t *testing.T) { pong(t, dialTLS(t, s.addr(), "localhost", "http/1.1")) })
	t.Run("HTTP to the HTTPS port", func(t *testing.T) {
		resp, err := http.Get("http://" + s.addr() + "/ping")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("status %d, want that of net/http", resp.StatusCode)
		}
	})
	for _, h2 := range []bool{true, false} {
		t.Run(fmt.Sprintf("client with h2 %v", h2), func(t *testing.T) {
			p := new(http.Protocols)
			p.SetHTTP1(true)
			p.SetHTTP2(h2)
			client := &http.Client{Transport: &http.Transport{Protocols: p}}
			defer client.CloseIdleConnections()
			for range 3 {
				resp, err := client.Get(s.url("/ping"))
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != 200 || (resp.ProtoMajor == 2) != h2 {
					t.Errorf("%s %d", resp.Proto, resp.StatusCode)
				}
			}
		})
	}
	if st := livingState().turn.server.Load().Stats(); st.Rejected["bad_frame"]+st.Rejected["garbage"] != 0 {
		t.Errorf("HTTP reached the TURN server: %v", st.Rejected)
	}
}

// r.TLS is what the client negotiated, although bytes of the connection were read before.
func TestConnectionStateIsKept(t *testing.T) {
	s := newSecureSite(t)
	s.mustLoad(loopbackTURN, "\t\t\tturn", "")
	c := dialTLS(t, s.addr(), "localhost", "http/1.1")
	if _, err := io.WriteString(c, "OPTIONS /whip/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	// With HTTP/3 the server says so to clients that came over TLS, and only to them.
	if resp.Header.Get("Alt-Svc") == "" {
		t.Errorf("the server does not know of TLS: %v", resp.Header)
	}
}

// Clients that connect and say nothing, before TLS or after it, keep nobody
// waiting; when they speak at last it is HTTP.
func TestSilentClients(t *testing.T) {
	s := newSecureSite(t)
	s.mustLoad(loopbackTURN, "\t\t\tturn\n\t\t\ttls\n\t\t\tturn", "")
	preconnected := dialTLS(t, s.addr(), "localhost")
	_ = preconnected.SetDeadline(time.Now().Add(20 * time.Second))
	for range 50 {
		c, err := net.Dial("tcp", s.addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		dialTLS(t, s.addr(), "localhost")
	}
	begin := time.Now()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { pong(t, dialTLS(t, s.addr(), "localhost")) })
	}
	binding(t, dialTLS(t, s.addr(), "localhost"), 1500)
	wg.Wait()
	if d := time.Since(begin); d > silenceTimeout/2 {
		t.Errorf("others waited %s for silent clients", d)
	}
	// More of them than are looked at: HTTP goes on all the same.
	f := oneFront(t, true)
	for range cap(f.slots) - len(f.slots) {
		f.slots <- struct{}{}
	}
	pong(t, dialTLS(t, s.addr(), "localhost"))
	for len(f.slots) > 0 {
		<-f.slots
	}
	wait := time.NewTimer(time.Until(begin.Add(silenceTimeout + time.Second)))
	<-wait.C // the time the silence lasts is what is tested
	pong(t, preconnected)
}

func oneFront(t *testing.T, secure bool) *front {
	t.Helper()
	p := livingState().turn
	p.mu.Lock()
	defer p.mu.Unlock()
	for f := range p.fronts {
		if f.secure.Load() == secure {
			return f
		}
	}
	t.Fatal("TURN shares no port")
	return nil
}

// A connection that is undecided during a reload is served by what comes after.
func TestUndecidedDuringReload(t *testing.T) {
	s := newSecureSite(t)
	s.mustLoad(loopbackTURN, "\t\t\tturn", "")
	web, turn := dialTLS(t, s.addr(), "localhost"), dialTLS(t, s.addr(), "localhost")
	old := oneFront(t, true)
	eventually(t, "both are undecided", func() bool { return len(old.slots) == 2 })
	s.mustLoad(loopbackTURN+"\n\t\tgop_cache on", "\t\t\tturn", "")
	eventually(t, "the old listener is closed", old.closed)
	pong(t, web)
	binding(t, turn, 1500)
}

func TestWrapperNeedsTURN(t *testing.T) {
	s := newSecureSite(t)
	if err := s.load("\t\tturn off", "\t\t\tturn", ""); err == nil || !strings.Contains(err.Error(), "leads nowhere") {
		t.Errorf("error is %v", err)
	}
}

// Listeners of their own with certificates of Caddy: by its own CA, by hand,
// and for clients that name no server.
func TestTLSListener(t *testing.T) {
	s := newSecureSite(t)
	port := freePort(t, "tcp")
	block := func(host string) string {
		return fmt.Sprintf("\t\tturn {\n\t\t\tlisten tls/127.0.0.1:%d\n\t\t\thost %s\n\t\t}", port, host)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	trusted := func(name string, alpn ...string) error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		c, err := (&tls.Dialer{Config: &tls.Config{ServerName: name, NextProtos: alpn}}).DialContext(ctx, "tcp", addr)
		if err == nil {
			c.Close()
		}
		return err
	}
	s.mustLoad(block("turn.internal"), "\t\t\tturn", "")
	eventually(t, "a certificate of the internal CA", func() bool { return trusted("turn.internal") == nil })
	c := dialTLS(t, addr, "turn.internal", "stun.turn")
	binding(t, c, 1500)
	if name := c.ConnectionState().PeerCertificates[0].DNSNames[0]; name != "turn.internal" {
		t.Errorf("certificate of %s", name)
	}
	if got := livingState().turn.live.Load().tls; got != port {
		t.Errorf("offered at port %d", got)
	}
	// One that lives through the change of certificates.
	s.mustLoad(block("localhost"), "\t\t\tturn", "")
	eventually(t, "the certificate given by hand", func() bool { return trusted("localhost") == nil })
	binding(t, c, 1500)
	// Without SNI the certificate is that of the first host.
	nameless, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer nameless.Close()
	if got := nameless.ConnectionState().PeerCertificates[0].Subject.CommonName; got != "localhost" {
		t.Errorf("without SNI: certificate of %s", got)
	}
	if err := trusted("localhost", "http/1.1"); err != nil {
		t.Errorf("ALPN of an HTTP client: %v", err)
	}
}
