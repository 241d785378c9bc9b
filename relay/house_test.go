package relay

import (
	"bytes"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
	"github.com/talwtn/caddy-wtn/relay/internal/leg"
	"github.com/talwtn/caddy-wtn/relay/internal/rtpx"
	"github.com/talwtn/caddy-wtn/relay/internal/seal"
	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

// house is a stage with seats: one sending loop, whose steps the test takes,
// and subscribers on loopback sockets. Time is the stage's.
type house struct {
	*stage
	w    *worker
	hub  *Hub
	sock *udpio.Socket
}

func newHouse(t testing.TB) *house {
	t.Helper()
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sock, err := udpio.New(pc, udpio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sock.Close() })
	return &house{stage: newStage(t), w: idleWorker(), hub: &Hub{}, sock: sock}
}

// step lets the loop work once.
func (h *house) step() { h.w.step(h.now) }

// steps lets it work until nothing is due any more.
func (h *house) steps() {
	for h.step(); h.w.due != 0; h.step() {
		h.now = max(h.now, h.w.due)
	}
}

// fakeLeg is a link to a loopback socket.
type fakeLeg struct {
	path   atomic.Pointer[leg.Path]
	sealer *seal.Sealer
	rtcp   [][]byte
}

func (l *fakeLeg) Path() *leg.Path      { return l.path.Load() }
func (l *fakeLeg) Sealer() *seal.Sealer { return l.sealer }
func (l *fakeLeg) WriteRTCP(b []byte) error {
	l.rtcp = append(l.rtcp, bytes.Clone(b))
	return nil
}

// seat is a subscriber and what it receives.
type seat struct {
	*subscriber
	h      *house
	leg    *fakeLeg
	conn   *net.UDPConn
	opener *seal.Opener
	got    uint64 // datagrams so far
}

// heard is one decrypted packet.
type heard struct {
	rtpx.Packet
	raw []byte // as sealed
}

// sink makes a subscriber that sends to conn.
func (h *house) sink(conn *net.UDPConn, accepted ...codec.Codec) *seat {
	h.t.Helper()
	key, salt := make([]byte, 16), make([]byte, 12)
	for i := range key {
		key[i] = byte(rand.Uint32())
	}
	s := &seat{h: h, conn: conn, leg: &fakeLeg{}}
	var err error
	if s.leg.sealer, err = seal.NewSealer(seal.AES128GCM, key, salt); err != nil {
		h.t.Fatal(err)
	}
	if s.opener, err = seal.NewOpener(seal.AES128GCM, key, salt); err != nil {
		h.t.Fatal(err)
	}
	to := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	s.leg.path.Store(&leg.Path{Socket: h.sock, Peer: udpio.PeerFrom(to, to.Addr())})
	s.subscriber = newSubscriber(&Session{hub: h.hub, id: "0123456789abcdef"}, h.w, h.g)
	for _, c := range accepted {
		s.addTrack(c.Kind, []codec.Codec{c}, 3)
	}
	s.subscriber.sink.leg = s.leg
	for _, d := range s.subscriber.sink.downs {
		d.leg = s.leg
	}
	s.payloadTypes(h.g.known())
	return s
}

// seat makes a subscriber with a socket of its own and lets it in.
func (h *house) seat(accepted ...codec.Codec) *seat {
	h.t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadBuffer(4 << 20)
	s := h.sink(conn, accepted...)
	s.added.Store(true)
	h.w.add(s.subscriber.sink, h.now)
	return s
}

func (s *seat) track(kind codec.Kind) *downTrack {
	for _, d := range s.subscriber.sink.downs {
		if d.kind == kind {
			return d
		}
	}
	return nil
}

// hears returns everything that was sent to the seat since the last call.
func (s *seat) hears() (list []heard) {
	s.h.t.Helper()
	sent := uint64(0)
	for _, d := range s.subscriber.sink.downs {
		sent += d.sentPackets.Load() + d.resent
	}
	buf := make([]byte, 2048)
	_ = s.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	for ; s.got < sent; s.got++ {
		n, err := s.conn.Read(buf)
		if err != nil {
			s.h.t.Fatalf("%d of %d packets: %v", s.got, sent, err)
		}
		p := heard{raw: bytes.Clone(buf[:n])}
		clear := make([]byte, 2048)
		out, err := s.opener.OpenRTP(clear[:0], p.raw)
		if err != nil { // a resend that came before: decrypt it as somebody new
			list = append(list, p)
			continue
		}
		if !p.Parse(out) {
			s.h.t.Fatalf("no RTP: %x", out)
		}
		list = append(list, p)
	}
	return list
}

// nacks asks for packets again.
func (s *seat) nacks(ssrc uint32, seqs ...uint16) {
	s.h.t.Helper()
	for len(seqs) > 0 {
		n := min(len(seqs), maxPairs)
		b := []byte{0x81, 205, 0, byte(2 + n), 0, 0, 0, 1, byte(ssrc >> 24), byte(ssrc >> 16), byte(ssrc >> 8), byte(ssrc)}
		for _, q := range seqs[:n] {
			b = append(b, byte(q>>8), byte(q), 0, 0)
		}
		s.HandleRTCP(b, s.h.now)
		seqs = seqs[n:]
	}
}

var (
	rtxVP8   = codec.Codec{Kind: codec.Video, Name: "VP8", ClockRate: 90000, PT: 120, RTXPT: 121, NACK: true, PLI: true}
	plainVP8 = codec.Codec{Kind: codec.Video, Name: "VP8", ClockRate: 90000, PT: 100, NACK: true, PLI: true}
)
