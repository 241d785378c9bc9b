//go:build !linux

package turnsvc

import "net"

// widen leaves it at one socket: other systems do not spread packets over those that share an address.
func widen(first net.PacketConn, _ string, _ int) ([]net.PacketConn, error) {
	return []net.PacketConn{first}, nil
}
