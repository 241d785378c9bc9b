package relay

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/pion/webrtc/v4"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
	"github.com/talwtn/caddy-wtn/relay/internal/sdpneg"
)

// offers makes the offers of a publisher and of a subscriber, whose peers never
// connect.
func offers(t testing.TB) (publish, subscribe []byte) {
	t.Helper()
	for _, d := range []webrtc.RTPTransceiverDirection{webrtc.RTPTransceiverDirectionSendonly, webrtc.RTPTransceiverDirectionRecvonly} {
		p := newPeer(t, vp8)
		if _, err := p.pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: d}); err != nil {
			t.Fatal(err)
		}
		publish, subscribe = subscribe, p.offer()
	}
	return publish, subscribe
}

func parsed(t testing.TB, sdp []byte) *sdpneg.Offer {
	t.Helper()
	o, err := sdpneg.ParseOffer(sdp)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// enterAs puts a publisher on the stream "test", as far as connected.
func enterAs(t testing.TB, h *Hub, connected bool) *publisher {
	t.Helper()
	s := newSession(h, request(nil), RolePublish)
	c := codecVP8
	before := others(h)
	p, err := h.enter(s, &OfferRequest{}, inbound{codecs: []codec.Codec{c}})
	if err != nil {
		t.Fatal(err)
	}
	if connected {
		ready(h, p)
	}
	after := others(h)
	for _, replaced := range before {
		if !slices.Contains(after, replaced) {
			await(t, replaced.Done(), "end of the replaced candidate")
		}
	}
	return p
}

// others are the publishers of the stream "test" that do not have it.
func others(h *Hub) []*publisher {
	h.mu.Lock()
	defer h.mu.Unlock()
	if st := h.streams["test"]; st != nil {
		return slices.Clone(st.others)
	}
	return nil
}

func ready(h *Hub, p *publisher) {
	p.readyAt.Store(leg.Now())
	h.publisherReady(p)
}

func wantedOf(p *publisher) *source {
	p.prog.mu.Lock()
	defer p.prog.mu.Unlock()
	return p.prog.wanted
}

// Who gets the program, whatever order publishers come, connect and go in.
func TestWhoIsWanted(t *testing.T) {
	type players struct{ a, b, c *publisher }
	for _, c := range []struct {
		name string
		play func(h *Hub, p *players)
		want func(p *players) *publisher // nil: nobody
	}{
		{"one that does not connect", func(*Hub, *players) {}, func(*players) *publisher { return nil }},
		{"one", func(h *Hub, p *players) { ready(h, p.a) }, func(p *players) *publisher { return p.a }},
		{"a candidate that does not connect", func(h *Hub, p *players) {
			ready(h, p.a)
			p.b = enterAs(t, h, false)
		}, func(p *players) *publisher { return p.a }},
		{"a candidate", func(h *Hub, p *players) {
			ready(h, p.a)
			p.b = enterAs(t, h, true)
		}, func(p *players) *publisher { return p.b }},
		{"the candidate connects first", func(h *Hub, p *players) {
			p.b = enterAs(t, h, true)
			ready(h, p.a)
		}, func(p *players) *publisher { return p.b }},
		{"a connected candidate is replaced", func(h *Hub, p *players) {
			ready(h, p.a)
			p.b = enterAs(t, h, true)
			p.c = enterAs(t, h, false)
		}, func(p *players) *publisher { return p.a }},
		{"and the next connects", func(h *Hub, p *players) {
			ready(h, p.a)
			p.b = enterAs(t, h, true)
			p.c = enterAs(t, h, true)
		}, func(p *players) *publisher { return p.c }},
		{"a candidate gives up", func(h *Hub, p *players) {
			ready(h, p.a)
			p.b = enterAs(t, h, true)
			p.b.End(ReasonDelete)
		}, func(p *players) *publisher { return p.a }},
		{"the old one is deleted during the takeover", func(h *Hub, p *players) {
			ready(h, p.a)
			p.b = enterAs(t, h, true)
			p.a.End(ReasonDelete)
		}, func(p *players) *publisher { return p.b }},
		{"the old one is deleted before the new one connects", func(h *Hub, p *players) {
			ready(h, p.a)
			p.b = enterAs(t, h, false)
			p.a.End(ReasonDelete)
			ready(h, p.b)
		}, func(p *players) *publisher { return p.b }},
		{"an ended one connects late", func(h *Hub, p *players) {
			p.b = enterAs(t, h, false)
			p.b.End(ReasonDelete)
			ready(h, p.b)
		}, func(*players) *publisher { return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHub(t)
			p := &players{a: enterAs(t, h, false)}
			c.play(h, p)
			var want *source
			if w := c.want(p); w != nil {
				want = w.src
			}
			if wantedOf(p.a) != want {
				t.Error("the program waits for another one")
			}
			for _, x := range []*publisher{p.a, p.b, p.c} {
				if x != nil {
					x.End(ReasonDelete)
				}
			}
			if n := len(h.Streams()); n != 0 {
				t.Errorf("%d streams left", n)
			}
		})
	}
}

// A session can end while its offer is being answered: it never shows up, and
// is given back once.
func TestEndWhileBeingAnswered(t *testing.T) {
	h := newHub(t)
	publish, subscribe := offers(t)
	po, so := parsed(t, publish), parsed(t, subscribe)
	p := enterAs(t, h, true)
	r := request(subscribe)
	s := newSession(h, r, RoleSubscribe)
	sub, choices, tracks, err := h.join(s, so, &r, func(st *stream) ([]sdpneg.Choice, error) { return st.play(so) })
	if err != nil {
		t.Fatal(err)
	}
	late := enterAs(t, h, false)
	_ = enterAs(t, h, false) // replaces it, before it has a leg
	await(t, late.Done(), "end of the replaced candidate")
	pc, err := sdpneg.Publish(po, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := h.answer(late.Session, po, late, sdpneg.AnswerParams{Role: sdpneg.Recv, Choices: pc}, true); err == nil || !errors.Is(err, ErrNotReady) {
		t.Errorf("answered %v, %v", a, err)
	}
	others(h)[0].End(ReasonDelete)
	p.End(ReasonDelete) // ends the subscriber as well, before it has a leg
	await(t, s.Done(), "end of the subscriber")
	if a, err := h.answer(s, so, sub, sdpneg.AnswerParams{Role: sdpneg.Send, Choices: choices, StreamID: s.id, Tracks: tracks}, true); !errors.Is(err, ErrNoPublisher) {
		t.Errorf("answered %v, %v", a, err)
	}
	s.End(ReasonHandshake)
	if n := sub.sink.worker.subscribers.Load(); n != 0 {
		t.Errorf("the loop counts %d subscribers", n)
	}
	st := h.Stats()
	if len(h.Sessions()) != 0 || st.Streams != 0 || len(st.SessionsEnded) != 0 {
		t.Errorf("%d sessions, %d streams, ended %v", len(h.Sessions()), st.Streams, st.SessionsEnded)
	}
}

// DTLS that completes while the session ends must leave nothing in the loops.
func TestReadyAfterTheEnd(t *testing.T) {
	h := newHub(t)
	_, subscribe := offers(t)
	p := enterAs(t, h, false)
	a, err := h.Subscribe(t.Context(), request(subscribe))
	if err != nil {
		t.Fatal(err)
	}
	sub := a.Session.owner.(*subscriber)
	a.Session.End(ReasonDelete)
	sub.HandleReady()
	p.End(ReasonDelete)
	p.HandleReady()
	done := make(chan int)
	w := sub.sink.worker
	w.post(func(int64) { done <- len(w.sinks) + len(w.fresh) + len(w.fans) })
	if n := <-done; n != 0 {
		t.Errorf("%d things left in the loop", n)
	}
	p.loop.Wait() // and no goroutine of the publisher's, see TestMain
}

// Sessions that are still being answered count: a limit is never passed.
func TestLimitsUnderConcurrency(t *testing.T) {
	h := newHub(t)
	publish, subscribe := offers(t)
	if err := h.Apply(Config{MaxPublishers: 2, MaxSubscribers: 5, MaxSubscribersPerStream: 4}); err != nil {
		t.Fatal(err)
	}
	count := func(n int, ask func(i int) error) (ok int) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				err := ask(i)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					ok++
				} else if !errors.Is(err, ErrLimit) {
					t.Errorf("request %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		return ok
	}
	name := []string{"one", "two", "three", "four"}
	if n := count(4, func(i int) error {
		r := request(publish)
		r.Stream = name[i]
		_, err := h.Publish(t.Context(), r)
		return err
	}); n != 2 {
		t.Errorf("%d publishers, want 2", n)
	}
	var live []string
	for _, s := range h.Streams() {
		live = append(live, s.Name)
	}
	ask := func(stream string) func(int) error {
		return func(int) error {
			r := request(subscribe)
			r.Stream = stream
			_, err := h.Subscribe(t.Context(), r)
			return err
		}
	}
	if n := count(16, ask(live[0])); n != 4 {
		t.Errorf("%d subscribers of one stream, want 4", n)
	}
	if n := count(16, ask(live[1])); n != 1 {
		t.Errorf("%d more subscribers, want 1", n)
	}
	if st := h.Stats(); st.JoinsRefused != 12+15 {
		t.Errorf("%d joins refused", st.JoinsRefused)
	}
}

// A busy loop gets no newcomers while another one has time; when none has, the
// answer is a clear no.
func TestAdmission(t *testing.T) {
	h := newHub(t)
	for len(h.workers) < 2 {
		h.workers = append(h.workers, newWorker())
	}
	p := enterAs(t, h, false)
	defer p.End(ReasonDelete)
	h.mu.Lock()
	defer h.mu.Unlock()
	st := h.streams["test"]
	busy := func(w *worker, permille int32) {
		w.load.busyPermille.Store(permille)
		w.load.closedAt.Store(leg.Now())
	}
	h.workers[0].subscribers.Store(1)
	for _, w := range h.workers[1:] {
		w.subscribers.Store(5)
	}
	if w, err := h.admit(st, &OfferRequest{}); err != nil || w != h.workers[0] {
		t.Errorf("not the loop with the fewest: %v", err)
	}
	busy(h.workers[0], 990)
	if w, err := h.admit(st, &OfferRequest{}); err != nil || w == h.workers[0] {
		t.Errorf("the busy loop, or %v", err)
	}
	for _, w := range h.workers {
		busy(w, 990)
	}
	if _, err := h.admit(st, &OfferRequest{}); !errors.Is(err, ErrOverloaded) {
		t.Errorf("admitted by busy loops: %v", err)
	}
	for _, w := range h.workers {
		busy(w, 0)
		w.subscribers.Store(0)
	}
}

// Close in the middle of everything ends everything, exactly once, and waits.
func TestCloseUnderLoad(t *testing.T) {
	publish, subscribe := offers(t)
	for range 3 {
		h := newHub(t)
		var wg sync.WaitGroup
		stop, enough := make(chan struct{}), make(chan struct{})
		var mu sync.Mutex
		var sessions []*Session
		for i := range 6 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					var a *Answer
					var err error
					if i < 3 {
						a, err = h.Publish(t.Context(), request(publish))
					} else {
						a, err = h.Subscribe(t.Context(), request(subscribe))
					}
					if err != nil {
						continue
					}
					mu.Lock()
					if sessions = append(sessions, a.Session); len(sessions) == 60 {
						close(enough)
					}
					mu.Unlock()
					switch rand.IntN(3) {
					case 0:
						go a.Session.owner.(leg.Handler).HandleEnd(nil)
					case 1:
						a.Session.End(ReasonDelete)
					}
					h.Stats()
					h.Streams()
				}
			})
		}
		await(t, enough, "60 sessions")
		wg.Go(func() { h.Close(ReasonExit) })
		h.Close(ReasonExit)
		close(stop)
		wg.Wait()
		for _, s := range sessions {
			await(t, s.Done(), "end of a session")
		}
		if n := len(h.Sessions()) + len(h.Streams()); n != 0 {
			t.Errorf("%d sessions and streams left", n)
		}
	}
}

// Counters never go back, also not while a publisher ends.
func TestCountersOnlyGrow(t *testing.T) {
	h := newHub(t)
	publish, _ := offers(t)
	a, err := h.Publish(t.Context(), request(publish))
	if err != nil {
		t.Fatal(err)
	}
	p := a.Session.owner.(*publisher)
	p.packets.Store(1000)
	p.bytes.Store(1_000_000)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if s := h.Stats(); s.PacketsIn != 1000 || s.BytesIn != 1_000_000 {
				t.Errorf("%d packets, %d bytes", s.PacketsIn, s.BytesIn)
				return
			}
		}
	}()
	a.Session.End(ReasonDelete)
	close(stop)
	<-done
	if s := h.Stats(); s.PacketsIn != 1000 || s.SessionsEnded["publish/delete"] != 1 {
		t.Errorf("%+v", s)
	}
}
