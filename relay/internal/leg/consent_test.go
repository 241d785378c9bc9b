package leg

import (
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

// deaf is a vendor that can be made to answer nothing any more.
func deaf(t testing.TB) (*vendor, *atomic.Bool) {
	var off atomic.Bool
	return newVendor(t, func(m *stunMessage, from netip.AddrPort) []byte {
		if off.Load() {
			return nil
		}
		return success(m, from)
	}), &off
}

func TestConsentIsCheckedOnTheSelectedPair(t *testing.T) {
	tr := newTransport(t)
	serveUDP(t, tr, loopback)
	v, off := deaf(t)
	c := call(t, tr, v.addr())
	eventually(t, "path", func() bool { return c.Path() != nil })
	first := v.message(t, stunRequest)
	began := Now()
	for range 2 {
		m := v.message(t, stunRequest)
		if string(m.tid) == string(first.tid) || !m.controlling || !m.useCandidate || !m.authentic(peerPwd) {
			t.Fatalf("consent check %+v", m)
		}
	}
	if took := Now() - began; took < second*14/10 || took > second*3 {
		t.Fatalf("two checks took %d ms", took/millisecond)
	}
	eventually(t, "answered", func() bool { return c.Unanswered(Now()) == 0 })
	off.Store(true)
	last := c.LastReceived()
	eventually(t, "silence noticed", func() bool { return c.Unanswered(Now()) > time.Second })
	if c.LastReceived() != last {
		t.Fatal("LastReceived moved in silence")
	}
	off.Store(false)
	c.Probe()
	eventually(t, "life noticed", func() bool { return c.Unanswered(Now()) == 0 && c.LastReceived() > last })
}

func TestProbe(t *testing.T) {
	tr := newTransport(t)
	at, _ := serveUDP(t, tr, loopback)
	v, off := deaf(t)
	c := call(t, tr, v.addr())
	eventually(t, "path", func() bool { return c.Path() != nil })
	v.message(t, stunRequest)
	began := Now()
	for range 10 { // a living one, faster than by the timer
		before := c.LastReceived()
		eventually(t, "probe answered", func() bool {
			c.Probe()
			return c.LastReceived() > before
		})
	}
	if took := Now() - began; took < 9*probeDistance {
		t.Fatalf("10 probes within %d ms", took/millisecond)
	}
	off.Store(true)
	eventually(t, "death noticed", func() bool {
		c.Probe()
		return c.Unanswered(Now()) > 200*time.Millisecond
	})
	if n := testing.AllocsPerRun(100, func() { c.Unanswered(Now()) }); n != 0 {
		t.Fatalf("Unanswered: %v allocations", n)
	}
	server := newPeer(t, tr, at, false).connect()
	checks := len(server.stun)
	if n := testing.AllocsPerRun(100, server.leg.Probe); n != 0 || server.leg.Unanswered(Now()) != 0 || len(server.stun) != checks {
		t.Fatal("the server side probes")
	}
}

// A Handler may probe: it holds the receive lock.
func TestProbeFromHandlerAndClosed(t *testing.T) {
	tr := newTransport(t)
	serveUDP(t, tr, loopback)
	v, _ := deaf(t)
	c := call(t, tr, v.addr())
	eventually(t, "path", func() bool { return c.Path() != nil })
	c.mu.Lock()
	c.Probe()
	c.Unanswered(Now())
	c.mu.Unlock()
	c.Close()
	c.Probe()
}

func TestPeerGoesAway(t *testing.T) {
	client, server := newTransport(t), newTransport(t)
	client.consentExpiry = 1500 * time.Millisecond
	serveUDP(t, client, loopback)
	to, sock := serveUDP(t, server, loopback)
	c, s := offerTo(t, client, server, Params{Active: true, Candidates: []netip.AddrPort{to}})
	ready(t, c, s)
	c.rec.do(nil, c.Close) // allowed
	_ = sock.Close()
	eventually(t, "silence noticed", func() bool {
		c.Probe()
		return c.Unanswered(Now()) > 100*time.Millisecond
	})
	if err := get(t, c.rec.ended, "HandleEnd"); !errors.Is(err, ErrLost) {
		t.Fatal(err)
	}
	eventually(t, "leg gone", func() bool { return client.Stats().Legs == 0 })
}

// Before DTLS has begun there is nobody else to tell the handler.
func TestConsentExpiresBeforeDTLS(t *testing.T) {
	tr := newTransport(t)
	tr.consentExpiry = 100 * time.Millisecond
	serveUDP(t, tr, loopback)
	v, off := deaf(t)
	c := call(t, tr, v.addr())
	eventually(t, "path", func() bool { return c.Path() != nil })
	off.Store(true)
	c.rec.do(nil, c.Close)
	if err := get(t, c.rec.ended, "HandleEnd"); !errors.Is(err, ErrLost) {
		t.Fatal(err)
	}
	if c.Path() != nil {
		t.Fatal("a path without consent")
	}
}

func TestConsentRing(t *testing.T) {
	l := &Leg{t: &Transport{}}
	l.ctl = newController(l, Params{})
	l.newest.Store(newCredentials(l, peerUfrag, peerPwd))
	tr := newTransport(t)
	_, sock := serveUDP(t, tr, loopback)
	v := newVendor(t, nil)
	h := hopOf(tr, func(h *hop) bool { return h.sock == sock })
	l.path.Store(h.path(peerOf(v.addr())))
	c := &l.ctl.consent
	var tids [][]byte
	for i := range int64(maxAsked + 5) {
		c.mu.Lock()
		c.send(100 + i)
		tids = append(tids, append([]byte(nil), c.out[len(c.out)-1].tid[:]...))
		c.mu.Unlock()
	}
	if got := l.Unanswered(1100); got != 1000 || len(c.out) != maxAsked {
		t.Fatalf("unanswered for %v, %d waiting", got, len(c.out))
	}
	if c.asked(tids[0]) || !c.asked(tids[5]) {
		t.Fatal("the ring lost the wrong ones")
	}
	c.answered(tids[10], 2000)
	if got := l.Unanswered(1111); got != 1000 || c.asked(tids[9]) {
		t.Fatalf("after an answer: %v", got)
	}
	c.answered(tids[len(tids)-1], 2000)
	if l.Unanswered(5000) != 0 || len(c.out) != 0 {
		t.Fatal("the newest answer left something")
	}
}

func peerOf(a netip.AddrPort) udpio.Peer { return udpio.PeerFrom(a, netip.Addr{}) }
