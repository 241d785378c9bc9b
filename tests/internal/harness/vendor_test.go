package harness

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/talwtn/caddy-wtn/tests/internal/vendorcmd/behaviour"
)

// offerOf is an SDP that a vendor would accept.
func offerOf(t *testing.T) string {
	t.Helper()
	return (&Gateway{client: NewHTTPClient(t, HTTP1)}).PublisherOffer(t, PublisherConfig{})
}

// What a client gets for a POST, for each way of refusing.
func TestVendorRefuses(t *testing.T) {
	v := StartVendor(t, VendorOptions{})
	client := NewHTTPClient(t, HTTP1)
	offer := offerOf(t)
	for _, c := range []struct {
		fault  HTTPFault
		header string
		want   string
	}{
		{HTTPFault{Status: 500}, "Retry-After", ""},
		{HTTPFault{Status: 503, RetryAfter: 7}, "Retry-After", "7"},
		{HTTPFault{Status: 429, RetryAfter: 2}, "Retry-After", "2"},
		{HTTPFault{Status: 401}, "", ""}, {HTTPFault{Status: 403}, "", ""}, {HTTPFault{Status: 404}, "", ""},
		{HTTPFault{Status: 409}, "", ""}, {HTTPFault{Status: 400}, "", ""}, {HTTPFault{Status: 415}, "", ""},
		{HTTPFault{Status: 307, RedirectTo: "http://192.0.2.1{path}"}, "Location", "http://192.0.2.1/whip/a"},
		{HTTPFault{Status: 308, RedirectTo: "/whip/b"}, "Location", "/whip/b"},
		{HTTPFault{Status: 302, RedirectTo: "/whip/b"}, "Location", "/whip/b"},
	} {
		c.fault.Times = 1
		v.Set(Behaviour{HTTP: c.fault})
		r := PostOffer(t, client, v.WHIP("a"), offer)
		if r.Status != c.fault.Status || c.header != "" && r.Header.Get(c.header) != c.want {
			t.Errorf("%+v: status %d, %s %q", c.fault, r.Status, c.header, r.Header.Get(c.header))
		}
		if n := len(v.State().Sessions); n != 0 {
			t.Fatalf("%+v: %d sessions", c.fault, n)
		}
		r = PostOffer(t, client, v.WHIP("a"), offer) // the fault was for one request
		if r.Status != http.StatusCreated {
			t.Fatalf("after %+v: %d: %s", c.fault, r.Status, r.Body)
		}
		if d := Do(t, client, http.MethodDelete, r.Header.Get("Location"), ""); d.Status != http.StatusOK {
			t.Errorf("DELETE: %d", d.Status)
		}
	}
	if r := PostOffer(t, client, v.WHEP("nobody"), offer); r.Status != http.StatusNotFound {
		t.Errorf("a stream nobody publishes: %d", r.Status)
	}
}

// Faults are for a role and a method, and last until they are changed.
func TestVendorFaultsAreLimited(t *testing.T) {
	v := StartVendor(t, VendorOptions{})
	client := NewHTTPClient(t, HTTP1)
	offer := offerOf(t)
	v.Set(Behaviour{HTTP: HTTPFault{Role: behaviour.Play, Status: 500}})
	at := ""
	for range 3 {
		r := PostOffer(t, client, v.WHIP("a"), offer)
		if at = r.Header.Get("Location"); r.Status != http.StatusCreated {
			t.Errorf("publish: %d", r.Status)
		}
		if r := PostOffer(t, client, v.WHEP("a"), offer); r.Status != http.StatusInternalServerError {
			t.Errorf("play: %d", r.Status)
		}
	}
	v.Set(Behaviour{HTTP: HTTPFault{Method: "*", Status: 503}})
	for _, method := range []string{http.MethodDelete, http.MethodPatch, http.MethodOptions} {
		if r := Do(t, client, method, at, ""); r.Status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d", method, r.Status)
		}
	}
	v.Set(Behaviour{})
	if r := Do(t, client, http.MethodOptions, v.WHIP("a"), ""); r.Status != http.StatusNoContent || r.Header.Get("Accept-Post") != "application/sdp" {
		t.Errorf("OPTIONS: %d, %v", r.Status, r.Header)
	}
	if r := Do(t, client, http.MethodDelete, at, ""); r.Status != http.StatusOK {
		t.Errorf("DELETE: %d", r.Status)
	}
}

func TestVendorHangs(t *testing.T) {
	v := StartVendor(t, VendorOptions{})
	client := NewHTTPClient(t, HTTP1)
	client.Timeout = 300 * time.Millisecond
	v.Set(Behaviour{HTTP: HTTPFault{Hang: true, Times: 1}})
	_, err := Try(client, http.MethodPost, v.WHIP("a"), offerOf(t), "Content-Type", "application/sdp")
	if e := (*url.Error)(nil); !errors.As(err, &e) || !e.Timeout() {
		t.Errorf("the request ended with %v", err)
	}
	if s := v.State(); len(s.Posts(behaviour.Publish)) != 1 || len(s.Sessions) != 0 {
		t.Errorf("%+v", s)
	}
}

func TestVendorDelaysHTTP(t *testing.T) {
	v := StartVendor(t, VendorOptions{})
	v.Set(Behaviour{HTTPDelay: 150})
	start := time.Now()
	Do(t, NewHTTPClient(t, HTTP1), http.MethodOptions, v.WHIP("a"), "")
	if took := time.Since(start); took < 150*time.Millisecond {
		t.Errorf("answered after %s", took)
	}
}

// Answers that are wrong in form.
func TestVendorAnswersBadly(t *testing.T) {
	v := StartVendor(t, VendorOptions{TLS: true})
	client := NewHTTPClient(t, H2TLS)
	offer := offerOf(t)
	post := func(f HTTPFault) (Reply, string) {
		t.Helper()
		v.Set(Behaviour{HTTP: f})
		r := PostOffer(t, client, v.WHIP("a"), offer)
		live := v.State().Live(behaviour.Publish, "a")
		if len(live) != 1 {
			t.Fatalf("%+v: sessions %+v", f, live)
		}
		return r, live[0].ID
	}
	for demanded, want := range map[string]string{
		"":                              v.Origin() + "/session/{id}",
		behaviour.LocationMissing:       "",
		behaviour.LocationOtherHost:     "https://vendor.invalid/session/{id}",
		behaviour.LocationPlainHTTP:     "http://" + v.Addr() + "/session/{id}",
		behaviour.LocationLinkLocal:     "http://169.254.169.254/session/{id}",
		behaviour.LocationPath:          "/session/{id}",
		behaviour.LocationRelative:      "../session/{id}",
		behaviour.LocationRelativeQuery: "?session={id}",
	} {
		r, id := post(HTTPFault{Location: demanded})
		got, ok := r.Header["Location"]
		if want = strings.ReplaceAll(want, "{id}", id); r.Status != http.StatusCreated || ok != (want != "") || ok && got[0] != want {
			t.Errorf("location %q: status %d, %q", demanded, r.Status, got)
		}
		// Those that lead to the vendor are the session's.
		base, _ := url.Parse(v.WHIP("a"))
		at, err := base.Parse(r.Header.Get("Location"))
		if err != nil || at.Host != v.Addr() || at.Scheme != "https" || demanded == behaviour.LocationMissing {
			continue
		}
		if d := Do(t, client, http.MethodDelete, at.String(), ""); d.Status != http.StatusOK {
			t.Errorf("location %q: DELETE %s: %d", demanded, at, d.Status)
		}
	}
	if r, _ := post(HTTPFault{OKStatus: 200}); r.Status != http.StatusOK || !strings.HasPrefix(r.Body, "v=0") {
		t.Errorf("status %d", r.Status)
	}
	if r, _ := post(HTTPFault{GarbageAnswer: true}); r.Status != http.StatusCreated || strings.Contains(r.Body, "m=") {
		t.Errorf("status %d, body %q", r.Status, r.Body)
	}
	const huge = 16 << 20
	v.Set(Behaviour{HTTP: HTTPFault{HugeBody: huge}})
	res, err := client.Post(v.WHIP("a"), "application/sdp", strings.NewReader(offer))
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if n != huge || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// The certificate is good for who trusts the file.
func TestVendorCertificate(t *testing.T) {
	v := StartVendor(t, VendorOptions{TLS: true})
	pem, err := os.ReadFile(v.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer tr.CloseIdleConnections()
	if r := Do(t, &http.Client{Transport: tr}, http.MethodOptions, v.WHIP("a"), ""); r.Status != http.StatusNoContent {
		t.Errorf("OPTIONS: %d", r.Status)
	}
}

func TestVendorWantsItsToken(t *testing.T) {
	v := StartVendor(t, VendorOptions{})
	client := NewHTTPClient(t, HTTP1)
	offer := offerOf(t)
	v.Set(Behaviour{Token: "s3cret"})
	for header, want := range map[string]int{"": 401, "Bearer wrong": 401, "Bearer s3cret": 201} {
		args := []string{"Content-Type", "application/sdp"}
		if header != "" {
			args = append(args, "Authorization", header)
		}
		if r := Do(t, client, http.MethodPost, v.WHIP("a"), offer, args...); r.Status != want {
			t.Errorf("%q: %d", header, r.Status)
		}
		log := v.State().Log
		if got := log[len(log)-1].Auth; got != behaviour.HashAuth(header) || strings.Contains(got, "s3cret") {
			t.Errorf("%q is remembered as %q", header, got)
		}
	}
	if a, b := behaviour.HashAuth("Bearer a"), behaviour.HashAuth("Bearer b"); a == b || a == "" {
		t.Error("the hash tells nothing")
	}
}

func TestVendorRecords(t *testing.T) {
	v := StartVendor(t, VendorOptions{})
	before := time.Now()
	p := v.Publish(t, "a", PublisherConfig{})
	v.AwaitStream("a")
	w := v.View(t, "a", ViewerConfig{})
	w.AwaitVideo(t, 20, 5*time.Second)
	s := v.State()
	if s.Connected(behaviour.Publish, "a") != 1 || s.Connected(behaviour.Play, "a") != 1 || len(s.Sessions) != 2 {
		t.Errorf("sessions %+v", s.Sessions)
	}
	posts := s.Posts("")
	if len(posts) != 2 || posts[0].Role != behaviour.Publish || posts[1].Role != behaviour.Play || posts[1].Stream != "a" ||
		posts[0].At.Before(before) || posts[1].At.After(time.Now()) || !posts[0].At.Before(posts[1].At) {
		t.Errorf("posts %+v", posts)
	}
	w.Close()
	p.Close()
	s = v.Await(5*time.Second, "no sessions", func(s VendorState) bool { return len(s.Sessions) == 0 })
	if s.Requests["DELETE"] != 2 || s.Requests["POST"] != 2 || s.Requests["PATCH"] != 0 {
		t.Errorf("requests %v", s.Requests)
	}
}

func TestVendorForwardsPLIUnlessTold(t *testing.T) {
	v := StartVendor(t, VendorOptions{})
	p := v.Publish(t, "a", PublisherConfig{KeyframeEvery: -1})
	v.AwaitStream("a")
	w := v.View(t, "a", ViewerConfig{})
	w.AwaitVideo(t, 20, 5*time.Second)
	ask := func() {
		t.Helper()
		n := v.State().PLI
		if err := w.SendPLI(); err != nil {
			t.Fatal(err)
		}
		v.Await(5*time.Second, "the PLI is counted", func(s VendorState) bool { return s.PLI == n+1 })
	}
	n := len(p.PLIs())
	ask()
	Eventually(t, 5*time.Second, "the PLI at the publisher", func() bool { return len(p.PLIs()) == n+1 })
	forwarded := v.Set(Behaviour{Media: MediaFault{IgnorePLI: true}}).PLIForwarded
	ask()
	if got := v.State().PLIForwarded; got != forwarded {
		t.Errorf("%d requests were forwarded", got-forwarded)
	}
}

func TestVendorAcceptsAndSendsNothing(t *testing.T) {
	v := StartVendor(t, VendorOptions{})
	v.Publish(t, "a", PublisherConfig{})
	v.AwaitStream("a")
	v.Set(Behaviour{Session: SessionFault{Silent: true}})
	silent := v.View(t, "a", ViewerConfig{}) // connects
	v.Set(Behaviour{})
	w := v.View(t, "a", ViewerConfig{})
	w.AwaitVideo(t, 200, 10*time.Second)
	if v.State().Connected(behaviour.Play, "a") != 2 {
		t.Error("the silent session is not connected")
	}
	if n := len(silent.Video()) + len(silent.Audio()); n != 0 {
		t.Errorf("%d packets on the silent session", n)
	}
}

func TestVendorNeverConnects(t *testing.T) {
	v := StartVendor(t, VendorOptions{})
	v.Publish(t, "a", PublisherConfig{})
	v.AwaitStream("a")
	v.Set(Behaviour{Session: SessionFault{NeverConnect: true}})
	client := NewHTTPClient(t, HTTP1)
	w, err := (&Gateway{client: client}).newViewer(t, ViewerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	offer, err := w.offer(PeerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := PostOffer(t, client, v.WHEP("a"), offer)
	if err := w.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: r.Body}); err != nil {
		t.Fatalf("status %d, the answer should be good: %v", r.Status, err)
	}
	Stays(t, 2*time.Second, "a session that does not connect", func() bool {
		s := v.State()
		return w.pc.ICEConnectionState() == webrtc.ICEConnectionStateChecking &&
			s.Connected(behaviour.Play, "a") == 0 && len(s.Live(behaviour.Play, "a")) == 1
	})
	if d := Do(t, client, http.MethodDelete, r.Header.Get("Location"), ""); d.Status != http.StatusOK {
		t.Errorf("DELETE: %d", d.Status)
	}
	if n := len(v.State().Live(behaviour.Play, "a")); n != 0 {
		t.Errorf("%d sessions after DELETE", n)
	}
}

func TestVendorStopContKillRestart(t *testing.T) {
	v := StartVendor(t, VendorOptions{})
	cfg := PublisherConfig{KeyframeEvery: time.Second}
	p := v.Publish(t, "a", cfg)
	v.AwaitStream("a")
	w := v.View(t, "a", ViewerConfig{})
	m := Measure(w, p)
	m.Window = 300 * time.Millisecond
	w.AwaitVideo(t, 100, 10*time.Second)

	v.Stop()
	stopped := time.Now()
	Stays(t, 700*time.Millisecond, "no media of a stopped vendor", func() bool {
		pkts := w.Video()
		return pkts[len(pkts)-1].Arrival.Before(stopped.Add(50 * time.Millisecond))
	})
	if got := m.Interruption(stopped); !got.Video.Open || got.Video.Length() < 200*time.Millisecond || !got.Audio.Open {
		t.Errorf("stopped: %s", got)
	}
	v.Cont()
	w.AwaitVideo(t, 100, 10*time.Second)

	pid := v.PID()
	v.Kill()
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
		t.Error("the process is still there")
	}
	v.Restart()
	if v.PID() == pid {
		t.Error("no new process")
	}
	if s := v.State(); len(s.Sessions) != 0 || len(s.Log) != 0 {
		t.Errorf("a new process remembers %+v", s)
	}
	w.Vanish()
	p.Vanish()
	v.Publish(t, "a", cfg)
	v.AwaitStream("a")
	w = v.View(t, "a", ViewerConfig{})
	w.AwaitVideo(t, 100, 10*time.Second)

	// A polite end is told to those connected.
	v.Close()
	select {
	case <-w.Ended():
	case <-time.After(5 * time.Second):
		t.Error("the viewer was not told")
	}
}

// Media and HTTP cross the cable, until it is cut.
func TestVendorInNamespace(t *testing.T) {
	ns := NewNamespace(t)
	v := StartVendor(t, VendorOptions{Host: ns.Host, Namespace: ns.Name})
	client := NewHTTPClient(t, HTTP1)
	client.Timeout = time.Second

	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{}) // on all interfaces
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeAudio); err != nil {
		t.Fatal(err)
	}
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(offer); err != nil {
		t.Fatal(err)
	}
	<-gathered
	r := PostOffer(t, client, v.WHIP("a"), pc.LocalDescription().SDP)
	if r.Status != http.StatusCreated || !strings.Contains(r.Body, " "+strings.ReplaceAll(v.MediaAddr(), ":", " ")+" typ host") {
		t.Fatalf("status %d, no candidate %s in\n%s", r.Status, v.MediaAddr(), r.Body)
	}
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: r.Body}); err != nil {
		t.Fatal(err)
	}
	v.Await(10*time.Second, "connected through the cable", func(s VendorState) bool { return s.Connected(behaviour.Publish, "a") == 1 })

	ns.Cut()
	if _, err := Try(client, http.MethodOptions, v.WHIP("a"), ""); err == nil {
		t.Error("HTTP crosses a cable that is cut")
	}
	Eventually(t, 15*time.Second, "the peer misses the vendor", func() bool {
		return pc.ICEConnectionState() == webrtc.ICEConnectionStateDisconnected
	})
	ns.Mend()
	Eventually(t, 10*time.Second, "HTTP works again", func() bool {
		r, err := Try(client, http.MethodOptions, v.WHIP("a"), "")
		return err == nil && r.Status == http.StatusNoContent
	})
}
