package turnsvc

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

var errDoor = errors.New("turnsvc: the system would let others join the sockets of an address")

// widen makes a group of n sockets that share the address of first by SO_REUSEPORT, or keeps the
// single socket where that cannot be done safely.
//
// SO_REUSEPORT alone would let any process of the same user join: a gateway that is started twice
// would lose half of its clients to the other process without a word. The first socket is therefore
// bound without it, which the kernel refuses if anybody holds the port, and becomes shareable only
// then. Once the group is complete a guard shuts the door: a socket of the same address that is not
// shareable any more. The kernel asks the first socket in its list for the port, so that has to be the
// guard. Packets would find it first as well, so it is bound to the loopback device: there it serves
// clients of this host, and all others are spread over the rest. That the door is shut is not believed
// but tried.
//
// What remains is who shares the port on purpose, by the same user, and on a device of its own
// (SO_REUSEPORT with SO_BINDTODEVICE).
func widen(first net.PacketConn, network string, n int) ([]net.PacketConn, error) {
	address := first.LocalAddr().String()
	sockets, err := openGroup(first, network, address, n)
	if err == nil {
		return sockets, nil
	}
	closeAll(sockets)
	single, err := listenUDP(network, address)
	if err != nil {
		return nil, fmt.Errorf("turnsvc: open %s again: %w", address, err)
	}
	return []net.PacketConn{single}, nil
}

// openGroup returns what it opened even if it failed.
func openGroup(first net.PacketConn, network, address string, n int) ([]net.PacketConn, error) {
	sockets := []net.PacketConn{first}
	add := func(options ...sockOption) error {
		pc, err := listenUDP(network, address, options...)
		if err == nil {
			sockets = append(sockets, pc)
		}
		return err
	}
	inet6, err := isInet6(first)
	if err != nil {
		return sockets, err
	}
	if err := setAfter(first, shareable(1)); err != nil {
		return sockets, err
	}
	// Where the list's head is: an IPv6 socket that is shareable when it is bound is put at the
	// tail, any other at the head. So the guard is the first of the IPv6, the last of the IPv4 sockets.
	if inet6 {
		err = setAfter(first, onLoopback)
	}
	for len(sockets) < n && err == nil {
		err = add(shareable(1))
	}
	switch {
	case err != nil:
		return sockets, err
	case inet6:
		err = add(shareable(1)) // in place of the first
	default:
		err = add(shareable(1), onLoopback)
		slices.Reverse(sockets)
	}
	if err != nil {
		return sockets, err
	}
	return sockets, shutDoor(sockets[0], network, address)
}

// shutDoor makes the guard refuse others, and tries whether it does.
func shutDoor(guard net.PacketConn, network, address string) error {
	if err := setAfter(guard, shareable(0)); err != nil {
		return err
	}
	intruder, err := listenUDP(network, address, shareable(1))
	if err == nil {
		_ = intruder.Close()
		return errDoor
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	return nil
}

func shareable(yes int) sockOption {
	return func(fd uintptr) error {
		return os.NewSyscallError("setsockopt SO_REUSEPORT", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, yes))
	}
}

// onLoopback binds to the loopback device, which anybody may do since Linux 5.7.
func onLoopback(fd uintptr) error {
	return os.NewSyscallError("setsockopt SO_BINDTODEVICE", unix.BindToDevice(int(fd), "lo"))
}

func setAfter(pc net.PacketConn, option sockOption) error {
	raw, err := pc.(*net.UDPConn).SyscallConn()
	if err != nil {
		return err
	}
	return setOptions(raw, []sockOption{option})
}

func isInet6(pc net.PacketConn) (yes bool, err error) {
	err = setAfter(pc, func(fd uintptr) error {
		domain, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
		yes = domain == unix.AF_INET6
		return os.NewSyscallError("getsockopt SO_DOMAIN", err)
	})
	return yes, err
}
