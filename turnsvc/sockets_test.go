package turnsvc_test

import (
	"go/parser"
	"go/token"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pion/stun/v4"
)

// TestSockets serves the kinds of UDP socket there are: dual-stack, IPv6, and one behind an
// interface that hides the fast methods.
func TestSockets(t *testing.T) {
	listen := func(network, addr string) net.PacketConn {
		pc, err := net.ListenPacket(network, addr)
		if err != nil {
			t.Skipf("SKIPPED, no %s here: %v", network, err)
		}
		return pc
	}
	for name, c := range map[string]struct {
		pc   func() net.PacketConn
		dial string
	}{
		"dual stack":   {func() net.PacketConn { return listen("udp", "[::]:0") }, "127.0.0.1"},
		"ipv6":         {func() net.PacketConn { return listen("udp6", "[::1]:0") }, "[::1]"},
		"wrapped":      {func() net.PacketConn { return struct{ net.PacketConn }{listen("udp4", "127.0.0.1:0")} }, "127.0.0.1"},
		"wrapped dual": {func() net.PacketConn { return struct{ net.PacketConn }{listen("udp", "[::]:0")} }, "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, config())
			pc := c.pc()
			if _, err := s.ServeUDP(pc); err != nil {
				t.Fatal(err)
			}
			conn, err := net.Dial("udp", c.dial+":"+strconv.Itoa(pc.LocalAddr().(*net.UDPAddr).Port))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			cred, _ := s.Mint("u", 3600e9)
			cl := &client{t: t, conn: conn, cred: cred, realm: realm}
			m := cl.do(stun.MethodAllocate, transport(17))
			var mapped stun.XORMappedAddress
			if err := mapped.GetFrom(m); err != nil || mapped.String() != conn.LocalAddr().String() {
				t.Fatalf("mapped %v, %v; client is %v", mapped, err, conn.LocalAddr())
			}
			cl.bind(0x4000, media4)
			cl.write(channelData(0x4000, []byte("in"), false))
			got, from := fromMedia(t, s, timeout)
			if string(got) != "in" {
				t.Fatalf("media side got %q", got)
			}
			_, _ = s.MediaConn().WriteTo([]byte("out"), from)
			if b := cl.read(timeout); string(b[4:]) != "out" {
				t.Fatalf("client got %x", b)
			}
			if a := s.Allocations(); len(a) != 1 || a[0].Client.String() != conn.LocalAddr().String() {
				t.Errorf("allocations %+v", a)
			}
		})
	}
}

// TestDependencies keeps the library behind one file and the package free of the rest of the gateway.
func TestDependencies(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal("no files: ", err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if strings.Contains(i.Path.Value, "github.com/pion/turn/") && name != "library.go" {
				t.Errorf("%s imports %s", name, i.Path.Value)
			}
		}
	}
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, dep := range strings.Fields(string(out)) {
		for _, bad := range []string{"caddyserver", "pion/webrtc", "pion/ice", "caddy-wtn/relay", "caddy-wtn/caddymodule", "prometheus"} {
			if strings.Contains(dep, bad) {
				t.Errorf("depends on %s", dep)
			}
		}
	}
}
