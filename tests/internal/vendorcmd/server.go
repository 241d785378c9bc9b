package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/vendorcmd/behaviour"
)

// server is the WHIP (RFC 9725) and WHEP face.
type server struct {
	controls *controls
	hub      *hub
	scheme   string
	host     string
}

// target is what a request is about.
type target struct {
	role, stream, session string
}

// target reads the path: /whip/NAME and /whep/NAME, with ?session=ID for one
// session, and /session/ID.
func (s *server) target(r *http.Request) (t target, ok bool) {
	kind, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch kind {
	case "whip":
		t = target{behaviour.Publish, name, r.URL.Query().Get("session")}
	case "whep":
		t = target{behaviour.Play, name, r.URL.Query().Get("session")}
	case "session":
		t.session = name
		if v := s.hub.session(name); v != nil {
			t.role, t.stream = v.role, v.stream
		}
	}
	return t, name != "" && (kind == "session" || t.role != "")
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t, ok := s.target(r)
	s.controls.record(behaviour.Request{
		At: time.Now(), Method: r.Method, Path: r.URL.RequestURI(), Role: t.role, Stream: t.stream,
		Auth: behaviour.HashAuth(r.Header.Get("Authorization")),
	})
	head := w.Header()
	head.Set("Access-Control-Allow-Origin", "*")
	head.Set("Access-Control-Allow-Methods", "POST, PATCH, DELETE, OPTIONS")
	head.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match")
	head.Set("Access-Control-Expose-Headers", "Location, Link, Retry-After")
	// Only a body read to its end lets the server see that the client goes.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		return
	}
	b := s.controls.behaviour()
	if !sleep(r, b.HTTPDelay.Duration()) {
		return
	}
	fault := s.controls.fault(t.role, r.Method)
	switch {
	case fault.Hang:
		<-r.Context().Done()
	case fault.Status != 0:
		refuse(w, r, fault)
	case !ok:
		http.NotFound(w, r)
	case r.Method == http.MethodOptions: // without a token, as CORS has it
		head.Set("Accept-Post", "application/sdp")
		w.WriteHeader(http.StatusNoContent)
	case b.Token != "" && r.Header.Get("Authorization") != "Bearer "+b.Token:
		head.Set("WWW-Authenticate", "Bearer")
		http.Error(w, "wrong token", http.StatusUnauthorized)
	case r.Method == http.MethodPost && t.session == "":
		s.post(w, r, t, body, b.Session, fault)
	case r.Method == http.MethodDelete && t.session != "":
		s.delete(w, t.session)
	default:
		http.Error(w, "not here", http.StatusMethodNotAllowed)
	}
}

// sleep waits unless the client goes first.
func sleep(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

func refuse(w http.ResponseWriter, r *http.Request, f behaviour.HTTP) {
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	if f.RedirectTo != "" {
		w.Header().Set("Location", strings.ReplaceAll(f.RedirectTo, "{path}", r.URL.RequestURI()))
	}
	http.Error(w, "as demanded", f.Status)
}

func (s *server) delete(w http.ResponseWriter, id string) {
	v := s.hub.session(id)
	if v == nil {
		http.Error(w, "no such session", http.StatusNotFound)
		return
	}
	v.close()
	w.WriteHeader(http.StatusOK)
}

func (s *server) post(w http.ResponseWriter, r *http.Request, t target, offer []byte, how behaviour.Session, fault behaviour.HTTP) {
	if ct, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); ct != "application/sdp" {
		http.Error(w, "application/sdp, please", http.StatusUnsupportedMediaType)
		return
	}
	v, answer, err := s.hub.create(t, string(offer), how)
	switch {
	case errors.Is(err, errNoStream):
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if at := s.location(v.id, fault.Location); at != "" {
		w.Header().Set("Location", at)
	}
	w.Header().Set("Content-Type", "application/sdp")
	status := http.StatusCreated
	if fault.OKStatus != 0 {
		status = fault.OKStatus
	}
	w.WriteHeader(status)
	if fault.GarbageAnswer {
		answer = "v=0\r\no=- this is\r\n\x00\xff no session description"
	}
	_, _ = io.WriteString(w, answer)
	pad(w, fault.HugeBody-int64(len(answer)))
}

// location is the session's URL, or the wrong one that is demanded.
func (s *server) location(id, demanded string) string {
	switch demanded {
	case "":
		return fmt.Sprintf("%s://%s/session/%s", s.scheme, s.host, id)
	case behaviour.LocationMissing:
		return ""
	}
	return strings.NewReplacer("{id}", id, "{host}", s.host).Replace(demanded)
}

// pad writes n bytes of attribute lines, as long as the client takes them.
func pad(w io.Writer, n int64) {
	block := bytes.Repeat([]byte("a=x-padding:"+strings.Repeat("x", 50)+"\r\n"), 512)
	for n > 0 {
		block = block[:min(int64(len(block)), n)]
		k, err := w.Write(block)
		if err != nil {
			return
		}
		n -= int64(k)
	}
}
