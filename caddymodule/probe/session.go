package probe

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/talwtn/caddy-wtn/caddymodule/vendors"
	"github.com/talwtn/caddy-wtn/relay"
)

const (
	requestTimeout = 5 * time.Second
	connectTimeout = 10 * time.Second
	fragmentType   = "application/trickle-ice-sdpfrag"
)

// session is one at the service.
type session struct {
	*peer
	profile *Session
	res     relay.UpstreamResource
	etag    string
	posted  time.Time
	server  string
}

// open makes a session and waits until it is connected. The offer tells no
// candidates, as those of the gateway do not.
func open(ctx context.Context, c *Config, role relay.Role, p *peer) (*session, error) {
	s := &session{peer: p, profile: &Session{Tries: 1}}
	offer, err := p.pc.CreateOffer(nil)
	if err != nil {
		return s, err
	}
	if err := p.pc.SetLocalDescription(offer); err != nil {
		return s, err
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	watched := vendors.Watch(ctx, func(a vendors.Seen) {
		s.profile.Post = Reply{Status: a.Status, Took: ms(a.Took)}
		s.profile.Located, s.profile.ETag, s.etag = a.Located, a.ETag != "", a.ETag
		s.server = a.ServedBy
	})
	watched, cancel := context.WithTimeout(watched, requestTimeout)
	defer cancel()
	s.posted = time.Now()
	s.res, err = c.Upstream.Create(watched, relay.UpstreamRequest{Role: role, Stream: c.Stream, Offer: []byte(offer.SDP), Session: hex.EncodeToString(id[:])})
	if err != nil {
		return s, err
	}
	answer := string(s.res.Answer())
	s.profile.Audio, s.profile.Video = answered(answer)
	since := time.Now()
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		return s, errors.New("the answer does not fit the offer") // the error would show what is in it
	}
	return s, s.connect(ctx, since)
}

// connect waits for the connection.
func (s *session) connect(ctx context.Context, since time.Time) error {
	timer := time.NewTimer(connectTimeout)
	defer timer.Stop()
	var err error
	select {
	case <-s.up:
	case <-s.over:
		err = errors.New("the connection failed")
	case <-timer.C:
		err = fmt.Errorf("no connection within %s: is UDP to the service blocked?", connectTimeout)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ice.IsZero() {
		s.profile.ICE = ms(s.ice.Sub(since))
		if err != nil {
			err = fmt.Errorf("ICE connected, DTLS did not: %w", err)
		}
	}
	if !s.dtls.IsZero() {
		s.profile.DTLS = ms(s.dtls.Sub(since))
	}
	return err
}

// ask sends one more request to the session.
func (s *session) ask(ctx context.Context, method, ctype, match string, body []byte) *Reply {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var a vendors.Seen
	var err error
	if asker, ok := s.res.(vendors.Asker); ok {
		a, err = asker.Ask(ctx, method, ctype, match, body)
	} else {
		err = errors.New("this upstream cannot be asked")
	}
	r := &Reply{Status: a.Status, Took: ms(a.Took)}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

// trickle tells a candidate (RFC 9725 section 4.3.1).
func (s *session) trickle(ctx context.Context) *Reply {
	gathered := webrtc.GatheringCompletePromise(s.pc)
	select {
	case <-gathered:
	case <-ctx.Done():
	}
	d := s.pc.LocalDescription()
	if d == nil {
		return nil
	}
	return s.ask(ctx, http.MethodPatch, fragmentType, s.etag, fragment(d.SDP, nil))
}

// restart tells new credentials of ICE (RFC 9725 section 4.3.2). What the
// service makes of them is not used: it is the last thing before the end.
func (s *session) restart(ctx context.Context) *Reply {
	d := s.pc.LocalDescription()
	if d == nil {
		return nil
	}
	return s.ask(ctx, http.MethodPatch, fragmentType, "*", fragment(d.SDP, []string{
		"a=ice-ufrag:" + rand.Text()[:8], "a=ice-pwd:" + rand.Text(),
	}))
}

// delete ends the session.
func (s *session) delete(ctx context.Context) {
	if s == nil || s.res == nil || s.profile.Delete != nil {
		return
	}
	if !s.profile.Located {
		return
	}
	s.profile.Delete = s.ask(ctx, http.MethodDelete, "", "", nil)
}

// fragment is what is said of the first section of an offer (RFC 8840 section
// 9), with its own credentials or others.
func fragment(offer string, credentials []string) []byte {
	own := credentials == nil
	var media, mid, candidate string
	for line := range strings.Lines(offer) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "m="):
			if media == "" {
				media = line
			}
		case strings.HasPrefix(line, "a=mid:") && mid == "":
			mid = line
		case strings.HasPrefix(line, "a=candidate:") && candidate == "":
			candidate = line
		case own && len(credentials) < 2 && (strings.HasPrefix(line, "a=ice-ufrag:") || strings.HasPrefix(line, "a=ice-pwd:")):
			credentials = append(credentials, line)
		}
	}
	lines := append(slices.Clone(credentials), media, mid)
	if candidate != "" {
		lines = append(lines, candidate)
	}
	lines = append(lines, "a=end-of-candidates", "")
	return []byte(strings.Join(lines, "\r\n"))
}

// answered lists the codecs of an answer, in its order.
func answered(answer string) (audio, video []string) {
	audio, video = []string{}, []string{}
	var d sdp.SessionDescription
	if d.UnmarshalString(answer) != nil {
		return audio, video
	}
	for _, m := range d.MediaDescriptions {
		list := &video
		if m.MediaName.Media == "audio" {
			list = &audio
		}
		if m.MediaName.Port.Value == 0 {
			continue
		}
		for _, a := range m.Attributes {
			if a.Key != "rtpmap" {
				continue
			}
			_, name, _ := strings.Cut(a.Value, " ")
			name, _, _ = strings.Cut(name, "/")
			if !slices.Contains([]string{"rtx", "red", "ulpfec", "flexfec-03", "telephone-event", "CN"}, name) && !slices.Contains(*list, name) && printable(name) {
				*list = append(*list, name)
			}
		}
	}
	return audio, video
}

// printable keeps what a service says from playing with the terminal.
func printable(s string) bool {
	return len(s) < 32 && !strings.ContainsFunc(s, func(c rune) bool { return c < '!' || c > '~' })
}
