//go:build !linux

package turnsvc

import "net"

// localConn is for Linux. Elsewhere the system chooses the address an answer leaves from.
type localConn struct{}

func newLocalConn(net.PacketConn) *localConn { return nil }

func (*localConn) read([]byte) (n int, from fiveTuple, err error) { return 0, from, net.ErrClosed }
func (*localConn) write([]byte, fiveTuple) error                  { return net.ErrClosed }
