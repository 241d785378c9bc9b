package leg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

func serveTCP(t testing.TB, tr *Transport) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", loopback)
	if err != nil {
		t.Fatal(err)
	}
	tr.ServeTCP(l)
	return l
}

func dialTCP(t testing.TB, l net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

func frame(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

func readFrame(t testing.TB, r io.Reader) []byte {
	t.Helper()
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint16(head[:]))
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTCPFirstFrameMustBeAuthenticCheck(t *testing.T) {
	tr := newTransport(t)
	l := serveTCP(t, tr)
	p := newPeer(t, tr, netip.MustParseAddrPort(loopback), false).run()
	for name, b := range map[string][]byte{
		"unknown ufrag": frame(buildCheck("unknown1:x", "pwd")),
		"bad integrity": frame(buildCheck(p.leg.Ufrag()+":"+peerUfrag, "wrong")),
		"media":         frame(append([]byte{0x80, 96}, make([]byte, 50)...)),
		"DTLS":          frame(append([]byte{22, 254, 253}, make([]byte, 50)...)),
		"HTTP":          []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"too long":      binary.BigEndian.AppendUint16(nil, maxDatagram+1),
	} {
		c := dialTCP(t, l)
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 10)); n != 0 || err == nil {
			t.Errorf("%s: read %d bytes, %v; want the end", name, n, err)
		}
	}
	eventually(t, "nothing pending", func() bool { return tr.Stats().Pending == 0 })
}

func TestTCPConnectionBecomesPath(t *testing.T) {
	tr := newTransport(t)
	l := serveTCP(t, tr)
	p := newPeer(t, tr, netip.MustParseAddrPort(loopback), false).run()
	c := dialTCP(t, l)
	check := frame(p.check(useCandidate))
	for _, part := range [][]byte{check[:1], check[1:30], check[30:]} { // in pieces
		if _, err := c.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	var m stunMessage
	if err := m.parse(readFrame(t, c)); err != nil || m.typ != stunSuccess || !m.authentic(p.leg.Pwd()) {
		t.Fatalf("answer %#x, %v", m.typ, err)
	}
	path := p.leg.Path()
	if path == nil || path.Batch() || path.Remote() != addrPort(c.LocalAddr()) {
		t.Fatalf("path %+v", path)
	}
	for i := range 3 {
		if err := path.Write(bytes.Repeat([]byte{byte(i)}, 100+i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		if b := readFrame(t, c); len(b) != 100+i || b[0] != byte(i) {
			t.Fatalf("frame %d of %d bytes", i, len(b))
		}
	}
	// The end of the leg is the end of the connection.
	p.leg.Close()
	if _, err := c.Read(make([]byte, 10)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

func TestTCPQueueIsBoundedAndNeverBlocks(t *testing.T) {
	tr := newTransport(t)
	l := serveTCP(t, tr)
	p := newPeer(t, tr, netip.MustParseAddrPort(loopback), false).run()
	c := dialTCP(t, l)
	if _, err := c.Write(frame(p.check(useCandidate))); err != nil {
		t.Fatal(err)
	}
	readFrame(t, c)
	eventually(t, "path", func() bool { return p.leg.Path() != nil }) // the answer leaves first
	b, path, wrote := make([]byte, 1200), p.leg.Path(), 0
	for ; wrote < 1<<30; wrote += len(b) { // nobody reads
		if err := path.Write(b); err != nil {
			if !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
			break
		}
	}
	if wrote == 1<<30 {
		t.Fatal("the queue has no bound")
	}
	// It is not broken: what is read makes room again.
	go func() { _, _ = io.Copy(io.Discard, c) }()
	eventually(t, "room in the queue", func() bool { return path.Write(b) == nil })
	p.leg.Close()
	if err := path.Write(b); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("write after close: %v", err)
	}
}

func TestTCPConnectionsWithoutLegAreBounded(t *testing.T) {
	tr := newTransport(t)
	l := serveTCP(t, tr)
	for range tcpPerHost + 4 {
		dialTCP(t, l)
	}
	eventually(t, "4 rejected", func() bool { return tr.Stats().RejectedConnections == 4 })
	if n := tr.Stats().Pending; n != tcpPerHost {
		t.Fatalf("%d pending", n)
	}
	var limit connLimit
	for i := range tcpPending + 1 {
		host := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		if ok := limit.take(host); ok != (i < tcpPending) {
			t.Fatalf("connection %d: %v", i, ok)
		}
	}
	limit.give(netip.AddrFrom4([4]byte{10, 0, 0, 1}))
	if !limit.take(netip.AddrFrom4([4]byte{10, 9, 9, 9})) {
		t.Fatal("a place that was given back is lost")
	}
	a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2:3")
	if hostOf(a) != hostOf(b) || hostOf(netip.MustParseAddr("::ffff:10.0.0.1")) != netip.MustParseAddr("10.0.0.1") {
		t.Fatal("hosts are not told apart by IPv4 address and IPv6 /64")
	}
}

func TestTCPReconnectTakesOver(t *testing.T) {
	tr := newTransport(t)
	l := serveTCP(t, tr)
	p := newPeer(t, tr, netip.MustParseAddrPort(loopback), false).run()
	connect := func(attrs ...func([]byte) []byte) net.Conn {
		c := dialTCP(t, l)
		if _, err := c.Write(frame(p.check(attrs...))); err != nil {
			t.Fatal(err)
		}
		readFrame(t, c)
		return c
	}
	first := connect(useCandidate)
	eventually(t, "path", func() bool { return p.leg.Path() != nil })
	_ = first.Close()
	eventually(t, "loss seen", func() bool { return p.leg.Path().gone() })
	second := connect()
	eventually(t, "new path", func() bool { return p.leg.Path().Remote() == addrPort(second.LocalAddr()) })
}

func TestRetireTCP(t *testing.T) {
	tr := newTransport(t)
	l := serveTCP(t, tr)
	p := newPeer(t, tr, netip.MustParseAddrPort(loopback), false).run()
	c := dialTCP(t, l)
	if _, err := c.Write(frame(p.check(useCandidate))); err != nil {
		t.Fatal(err)
	}
	readFrame(t, c)
	tr.RetireTCP(l)
	if extra, err := net.Dial("tcp", l.Addr().String()); err == nil {
		_ = extra.Close()
		t.Fatal("still accepting")
	}
	if _, err := c.Write(frame(p.check())); err != nil {
		t.Fatal(err)
	}
	readFrame(t, c) // the connection lives on
}

func TestTCPConnectionThatSaysNothingIsClosed(t *testing.T) {
	tr := newTransport(t)
	tr.tcpFirst = 50 * time.Millisecond
	c := dialTCP(t, serveTCP(t, tr))
	if _, err := c.Write([]byte{0}); err != nil { // half a length
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	eventually(t, "nothing pending", func() bool { return tr.Stats().Pending == 0 })
}
