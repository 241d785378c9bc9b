package turnsvc

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// localConn is a socket that is bound to no address. On a host with several, the kernel answers from the
// one it would choose for a connection of its own, and a client that asked another takes no notice of
// it. So each packet is read with the address it was sent to, and the answer leaves from there.
type localConn struct {
	udp   *net.UDPConn
	inet6 bool // an AF_INET6 socket, which has IPv4 addresses in mapped form
}

// localRoom holds an in6_pktinfo with its header; an in_pktinfo is shorter. Should the socket have
// options that bring more, what comes later is cut off.
const localRoom = 64

// newLocalConn returns nil for a socket to which this does not apply.
func newLocalConn(pc net.PacketConn) *localConn {
	udp, ok := pc.(*net.UDPConn)
	if !ok {
		return nil
	}
	if a, ok := udp.LocalAddr().(*net.UDPAddr); !ok || !a.IP.IsUnspecified() {
		return nil
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return nil
	}
	l := &localConn{udp: udp}
	if e := raw.Control(func(fd uintptr) { err = l.ask(int(fd)) }); e != nil || err != nil {
		return nil
	}
	return l
}

// ask makes the kernel tell the address with each datagram. An IPv6 socket is told that of an IPv4
// datagram in mapped form, and takes it in that form too.
func (l *localConn) ask(fd int) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_DOMAIN", err)
	}
	if l.inet6 = domain == unix.AF_INET6; l.inet6 {
		return os.NewSyscallError("setsockopt IPV6_RECVPKTINFO", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1))
	}
	return os.NewSyscallError("setsockopt IP_PKTINFO", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1))
}

func (l *localConn) read(b []byte) (n int, from fiveTuple, err error) {
	var control [localRoom]byte
	n, c, _, addr, err := l.udp.ReadMsgUDPAddrPort(b, control[:])
	if err != nil {
		return 0, from, err
	}
	return n, fiveTuple{addr, localOf(control[:c])}, nil
}

func (l *localConn) write(b []byte, to fiveTuple) error {
	var control [localRoom]byte
	_, _, err := l.udp.WriteMsgUDPAddrPort(b, control[:l.putLocal(&control, to.server)], to.AddrPort)
	return err
}

// localOf finds the address a datagram was sent to.
func localOf(control []byte) netip.Addr {
	for len(control) >= unix.SizeofCmsghdr {
		h, body, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			break
		}
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(body) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4([4]byte(body[4:8])) // ipi_spec_dst, to answer from for broadcasts too
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(body) >= unix.SizeofInet6Pktinfo:
			if a := netip.AddrFrom16([16]byte(body[:16])); !a.IsMulticast() { // a group is nothing to answer from
				return a
			}
		}
		control = rest
	}
	return netip.Addr{}
}

// putLocal writes the message that makes a datagram leave from an address and returns its length. The
// interface is left to the routes, and to the zone of a link-local client.
func (l *localConn) putLocal(control *[localRoom]byte, local netip.Addr) int {
	switch {
	case !local.IsValid():
		return 0
	case l.inet6:
		a := local.As16()
		copy(putHeader(control, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo), a[:])
		return unix.CmsgSpace(unix.SizeofInet6Pktinfo)
	default:
		a := local.As4()
		copy(putHeader(control, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)[4:], a[:])
		return unix.CmsgSpace(unix.SizeofInet4Pktinfo)
	}
}

// putHeader writes a cmsghdr and returns where its body goes. Its length is of the size of a pointer.
func putHeader(control *[localRoom]byte, level, kind uint32, n int) []byte {
	const word = unix.SizeofCmsghdr - 8
	if length := unix.CmsgLen(n); word == 8 {
		binary.NativeEndian.PutUint64(control[:], uint64(length))
	} else {
		binary.NativeEndian.PutUint32(control[:], uint32(length))
	}
	binary.NativeEndian.PutUint32(control[word:], level)
	binary.NativeEndian.PutUint32(control[word+4:], kind)
	return control[unix.CmsgLen(0):]
}
