package leg

import (
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHundredLegsLeaveNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	cert, err := testCertificate()
	if err != nil {
		t.Fatal(err)
	}
	tr, err := NewTransport(Config{Certificate: cert})
	if err != nil {
		t.Fatal(err)
	}
	addr, sock := serveUDP(t, tr, loopback)
	h := hopOf(tr, func(h *hop) bool { return h.sock == sock })
	const legs = 100
	closed := 0
	for i := range legs {
		p := newPeer(t, tr, addr, false)
		switch i % 4 {
		case 0: // nobody comes
		case 1: // only a check
			p.run().bind()
		case 2: // closed in the handshake
			p.run().bind(useCandidate)
			p.write([]byte{22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
			eventually(t, "handshake begun", func() bool {
				p.leg.mu.Lock()
				defer p.leg.mu.Unlock()
				return p.leg.dtls.pipe != nil
			})
		case 3:
			p.connect()
		}
		if i%8 < 4 { // half by their owner, the rest by the transport
			p.leg.Close()
			closed++
		}
		if i%4 == 0 {
			_ = p.conn.Close()
		} else {
			p.close()
		}
		if i%4 == 3 {
			_ = p.conn12.Close()
		}
	}
	if n := tr.Stats().Legs; n != legs-int64(closed) {
		t.Fatalf("%d legs open", n)
	}
	tr.Close()
	tr.Close()
	if n := tr.Stats().Legs; n != 0 || len(tr.ufrags) != 0 || len(h.peers) != 0 || len(tr.hops) != 0 {
		t.Fatalf("left: %d legs, %d ufrags, %d addresses, %d hops", n, len(tr.ufrags), len(h.peers), len(tr.hops))
	}
	goleak.VerifyNone(t, before)
}

func TestCloseWhileLegsAreMade(t *testing.T) {
	tr := newTransport(t)
	var wg sync.WaitGroup
	_, value := tr.Fingerprint()
	for range 8 {
		wg.Go(func() {
			for {
				if _, err := tr.NewLeg(Params{RemoteUfrag: peerUfrag, RemotePwd: peerPwd, Handler: newRecorder(),
					Fingerprints: []Fingerprint{{"sha-256", value}}}); err != nil {
					return
				}
			}
		})
	}
	eventually(t, "legs", func() bool { return tr.Stats().Legs > 10 })
	tr.Close()
	wg.Wait()
	if n := tr.Stats().Legs; n != 0 {
		t.Fatalf("%d legs survived", n)
	}
}

func TestRetireUDPKeepsOldLegsOnly(t *testing.T) {
	tr := newTransport(t)
	addr, sock := serveUDP(t, tr, loopback)
	old := newPeer(t, tr, addr, false).connect()
	tr.RetireUDP(sock)
	tr.RetireUDP(sock)
	late := newPeer(t, tr, addr, false).run()
	late.write(late.check(useCandidate))
	eventually(t, "late leg refused", func() bool { return tr.Stats().UnknownUfrag == 1 })
	exchange(t, old)
	addr2, _ := serveUDP(t, tr, loopback)
	late.to = addr2
	late.bind(useCandidate)
	old.leg.Close()
	eventually(t, "socket closed", func() bool { return hopOf(tr, func(h *hop) bool { return h.sock == sock }) == nil })
	if _, err := net.ListenPacket("udp", addr.String()); err != nil {
		t.Fatalf("port is still taken: %v", err)
	}
	late.bind(useCandidate)
}

// A retired socket that still carries a leg can be put back to use; one that
// was closed cannot.
func TestReviveUDP(t *testing.T) {
	tr := newTransport(t)
	addr, sock := serveUDP(t, tr, loopback)
	old := newPeer(t, tr, addr, false).connect()
	tr.RetireUDP(sock)
	if !tr.HoldsUDP(sock) || !tr.ReviveUDP(sock) {
		t.Fatal("a socket that carries a leg was not revived")
	}
	late := newPeer(t, tr, addr, false).connect()
	old.leg.Close()
	exchange(t, late) // the end of the leg it once waited for is of no concern
	tr.RetireUDP(sock)
	late.leg.Close()
	if tr.HoldsUDP(sock) || tr.ReviveUDP(sock) {
		t.Fatal("a closed socket was revived")
	}
}

func TestRetireWithoutLegsClosesAtOnce(t *testing.T) {
	tr := newTransport(t)
	_, sock := serveUDP(t, tr, loopback)
	tr.RetireUDP(sock)
	eventually(t, "closed", func() bool { return hopOf(tr, func(*hop) bool { return true }) == nil })
}

// memoryConn is a relayed address of a TURN server in this process.
type memoryConn struct{ net.PacketConn }

func TestRelayedPath(t *testing.T) {
	tr := newTransport(t)
	inner, err := net.ListenPacket("udp", loopback)
	if err != nil {
		t.Fatal(err)
	}
	pc := memoryConn{PacketConn: inner}
	tr.ServePacketConn(pc)
	p := newPeer(t, tr, addrPort(inner.LocalAddr()), false).connect()
	exchange(t, p)
	if _, _, network := p.leg.Pair(); network != "relay" || p.leg.Path().Batch() {
		t.Fatalf("network %q", network)
	}
	tr.RetirePacketConn(pc)
	exchange(t, p)
	p.leg.Close()
	eventually(t, "closed", func() bool { return hopOf(tr, func(*hop) bool { return true }) == nil })
}

func TestRestartReplacesTheNewerGeneration(t *testing.T) {
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	p := newPeer(t, tr, addr, false).connect()
	first, firstPwd := p.leg.Ufrag(), p.leg.Pwd()
	second, secondPwd := p.leg.Restart(peerUfrag, peerPwd)
	third, thirdPwd := p.leg.Restart(peerUfrag, peerPwd)
	p.write(buildCheck(second+":"+peerUfrag, secondPwd))
	eventually(t, "second forgotten", func() bool { return tr.Stats().UnknownUfrag == 1 })
	answered := func(ufrag, pwd string, attrs ...func([]byte) []byte) {
		t.Helper()
		p.write(buildCheck(ufrag+":"+peerUfrag, pwd, attrs...))
		var m stunMessage
		if err := m.parse(get(t, p.stun, "an answer")); err != nil || !m.authentic(pwd) {
			t.Fatalf("answer %#x: %v", m.typ, err)
		}
	}
	answered(third, thirdPwd)
	answered(first, firstPwd, useCandidate) // still
	answered(third, thirdPwd, useCandidate) // now the first ends
	p.write(buildCheck(first+":"+peerUfrag, firstPwd))
	eventually(t, "first forgotten", func() bool { return tr.Stats().UnknownUfrag == 2 })
	exchange(t, p)
}

// TestMemoryPerLeg measures connected legs; the peers keep only their socket.
func TestMemoryPerLeg(t *testing.T) {
	if os.Getenv("LEG_MEMORY") == "" {
		t.Skip("SKIPPED: set LEG_MEMORY=1 to measure the memory of 500 connected legs")
	}
	tr := newTransport(t)
	addr, _ := serveUDP(t, tr, loopback)
	const legs = 500
	peers := make([]*net.UDPConn, 0, legs)
	used := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	connect := func() {
		p := newPeer(t, tr, addr, false)
		p.leg.handler.(*recorder).rtp, p.leg.handler.(*recorder).rtcp, p.leg.handler.(*recorder).flushed = nil, nil, nil
		p.t = quiet{t}
		p.run()
		p.bind(useCandidate)
		if err := p.handshake(false); err != nil {
			t.Fatal(err)
		}
		get(t, p.rec.ready, "HandleReady")
		if err := p.conn.SetReadDeadline(time.Unix(1, 0)); err != nil { // ends the reader, sends nothing
			t.Fatal(err)
		}
		<-p.done
		peers = append(peers, p.conn)
	}
	for range 20 { // warm
		connect()
	}
	before := used()
	for range legs {
		connect()
	}
	after := used()
	t.Logf("%d bytes per leg, %d goroutines", (after-before)/legs, runtime.NumGoroutine())
	if per := (after - before) / legs; per > 60<<10 {
		t.Errorf("%d bytes per leg, want at most %d", per, 60<<10)
	}
	for _, c := range peers {
		_ = c.Close()
	}
}

// quiet keeps no cleanups, which would hold the peers.
type quiet struct{ testing.TB }

func (quiet) Cleanup(func()) {}
