package turnsvc_test

import (
	"context"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReusePort shares one port among sockets that are served in parallel.
func TestReusePort(t *testing.T) {
	s := newServer(t, config())
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		_ = c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return err
	}}
	addr := "127.0.0.1:0"
	for range 4 {
		pc, err := lc.ListenPacket(context.Background(), "udp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		addr = pc.LocalAddr().String()
		if _, err := s.ServeUDP(pc); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		c := newClient(t, s, "udp", addr, "u")
		c.allocate()
		c.bind(0x4000, media4)
		c.write(channelData(0x4000, []byte("in"), false))
		if got, _ := fromMedia(t, s, timeout); string(got) != "in" {
			t.Fatalf("media side got %q", got)
		}
	}
}
