package turnsvc

import (
	"context"
	"net"
	"runtime"
	"syscall"
)

// maxSockets bounds what ListenUDP opens: beyond a few, the media side is what has too little of the
// processor.
const maxSockets = 4

// ListenUDP opens the sockets of one listening address for ServeUDP: on Linux as many as there are
// processors to read them, up to 4, and one more that lets nobody else join them; elsewhere, for a
// loopback address, or where the system has not what it takes, a single one. In any case the address
// is taken as exclusively as by net.ListenPacket: whoever holds it already is a reason to fail,
// and whoever wants it later is refused. The network is udp, udp4 or udp6; port 0 chooses one.
func ListenUDP(network, address string) ([]net.PacketConn, error) {
	first, err := listenUDP(network, address)
	if err != nil {
		return nil, err
	}
	n := min(runtime.GOMAXPROCS(0), maxSockets)
	if a, ok := first.LocalAddr().(*net.UDPAddr); n == 1 || !ok || a.IP.IsLoopback() {
		return []net.PacketConn{first}, nil
	}
	return widen(first, network, n)
}

// listenUDP opens a socket with options that are set before it is bound.
func listenUDP(network, address string, options ...sockOption) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error { return setOptions(raw, options) }}
	return lc.ListenPacket(context.Background(), network, address)
}

type sockOption func(fd uintptr) error

func setOptions(raw syscall.RawConn, options []sockOption) (err error) {
	for _, set := range options {
		if e := raw.Control(func(fd uintptr) { err = set(fd) }); e != nil {
			return e
		}
		if err != nil {
			return err
		}
	}
	return nil
}
