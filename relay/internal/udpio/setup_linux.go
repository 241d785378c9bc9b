//go:build !udpio_portable

package udpio

import (
	"os"

	"golang.org/x/sys/unix"
)

// setup sets the options of the socket and learns what it can do.
func (s *Socket) setup(opts Options) error {
	var err error
	if e := s.raw.Control(func(fd uintptr) { err = s.setupFD(int(fd), opts) }); e != nil {
		return e
	}
	return err
}

func (s *Socket) setupFD(fd int, opts Options) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_DOMAIN", err)
	}
	s.inet6 = domain == unix.AF_INET6
	if s.wildcard {
		if err := setPacketInfo(fd, s.inet6); err != nil {
			return err
		}
	}
	s.readBuffer = growBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, opts.ReadBufferBytes)
	s.writeBuffer = growBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, opts.WriteBufferBytes)
	if !opts.DisableGSO {
		_, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		s.gso.Store(err == nil) // before Linux 4.18: ENOPROTOOPT
	}
	return nil
}

// setPacketInfo asks for the local address with every datagram. An IPv6 socket
// reports that of an IPv4 datagram in mapped form.
func setPacketInfo(fd int, inet6 bool) error {
	if inet6 {
		return os.NewSyscallError("setsockopt IPV6_RECVPKTINFO",
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1))
	}
	return os.NewSyscallError("setsockopt IP_PKTINFO",
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1))
}

// growBuffer sets a buffer to size, past the system's limit where we may, and returns
// what was granted. A small buffer is worse, not wrong, so there is no error.
func growBuffer(fd, force, plain, size int) int {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, size)
	}
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, plain)
	if err != nil {
		return 0
	}
	return got / 2 // the kernel doubles it, for its own bookkeeping
}
