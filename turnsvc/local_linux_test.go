package turnsvc

import (
	"net"
	"net/netip"
	"testing"
)

// TestLocalAddressAllocatesNothing: to know and to set the local address of a packet costs no garbage.
func TestLocalAddressAllocatesNothing(t *testing.T) {
	for _, network := range []string{"udp4", "udp"} {
		server, err := net.ListenPacket(network, ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = server.Close() }()
		l := newLocalConn(server)
		if l == nil {
			t.Fatalf("%v does not tell local addresses", server.LocalAddr())
		}
		port := server.LocalAddr().(*net.UDPAddr).Port
		client, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2), Port: port})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = client.Close() }()
		var table = newClients(udpShards)
		b := make([]byte, 100)
		if n := testing.AllocsPerRun(200, func() {
			_, _ = client.Write(b)
			n, from, err := l.read(b)
			if n != len(b) || err != nil || from.server.Unmap() != netip.MustParseAddr("127.0.0.2") {
				t.Fatalf("%d bytes at %v, %v", n, from.server, err)
			}
			if table.get(from) != nil {
				t.Fatal("a client out of nothing")
			}
			if err := l.write(b, from); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Read(b); err != nil {
				t.Fatal(err)
			}
		}); n > 0.01 {
			t.Errorf("%s: %v allocations per packet", network, n)
		}
	}
}

// TestLocalConnIsForWildcards only.
func TestLocalConnIsForWildcards(t *testing.T) {
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pc.Close() }()
	if newLocalConn(pc) != nil || newLocalConn(struct{ net.PacketConn }{pc}) != nil {
		t.Error("asked for what is known")
	}
}

// FuzzLocalOf: no control message does harm.
func FuzzLocalOf(f *testing.F) {
	for _, inet6 := range []bool{false, true} {
		var c [localRoom]byte
		n := (&localConn{inet6: inet6}).putLocal(&c, netip.MustParseAddr("192.0.2.7"))
		f.Add(c[:n])
		f.Add(c[:n-3])
		if got := localOf(c[:n]); inet6 && got.Unmap() != netip.MustParseAddr("192.0.2.7") {
			f.Errorf("read back %v", got)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if a := localOf(b); a.IsValid() && len(b) < 20 {
			t.Fatalf("%v out of %x", a, b)
		}
	})
}
