//go:build !udpio_portable

package udpio

import (
	"encoding/binary"
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr. Go pads it as C does, on 32 and 64 bits.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// readControlLen holds one in_pktinfo or in6_pktinfo, in 8-byte words.
const readControlLen = 6

// ReadBuffer holds one batch of datagrams. It belongs to one reader.
type ReadBuffer struct {
	peers [ReadBatch]Peer
	slots [ReadBatch]uint8 // where the packets that were kept lie
	lens  [ReadBatch]uint16

	msgs    [ReadBatch]mmsghdr
	iovs    [ReadBatch]unix.Iovec
	names   [ReadBatch]unix.RawSockaddrInet6
	control [ReadBatch][readControlLen]uint64 // words, for the alignment of cmsghdr
	data    [ReadBatch][MaxPacket]byte

	n     int
	errno syscall.Errno
	fn    func(fd uintptr) bool // b.recvmmsg, made once
}

// NewReadBuffer returns an empty buffer of about 150 KiB.
func NewReadBuffer() *ReadBuffer {
	b := new(ReadBuffer)
	for i := range b.msgs {
		b.iovs[i].Base = &b.data[i][0]
		b.iovs[i].SetLen(MaxPacket)
		h := &b.msgs[i].hdr
		h.Iov = &b.iovs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
	}
	b.fn = b.recvmmsg
	return b
}

func (b *ReadBuffer) packet(i int) []byte { return b.data[b.slots[i]][:b.lens[i]] }

// recv waits for datagrams and keeps the good ones.
func (b *ReadBuffer) recv(s *Socket) (int, error) {
	for i := range b.msgs {
		h := &b.msgs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.Flags = 0
		if s.wildcard {
			h.Control = (*byte)(unsafe.Pointer(&b.control[i][0]))
			h.SetControllen(readControlLen * 8)
		} else {
			h.Control = nil
			h.SetControllen(0)
		}
	}
	b.n, b.errno = 0, 0
	if err := s.raw.Read(b.fn); err != nil {
		return 0, err
	}
	if b.errno != 0 {
		return 0, b.errno
	}
	return b.keep(s), nil
}

// recvmmsg is called by the netpoller until it returns true.
func (b *ReadBuffer) recvmmsg(fd uintptr) bool {
	for {
		n, _, e := syscall.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.msgs[0])), ReadBatch, unix.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			b.n = int(n)
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			b.errno = e
			return true
		}
	}
}

func (b *ReadBuffer) keep(s *Socket) int {
	kept := 0
	for i := range b.n {
		m := &b.msgs[i]
		if m.len == 0 || m.hdr.Flags&unix.MSG_TRUNC != 0 {
			continue
		}
		p := &b.peers[kept]
		if !p.setRemote(&b.names[i]) {
			continue
		}
		if s.wildcard {
			p.local = localOf(&b.control[i], int(m.hdr.Controllen))
		} else {
			p.local = s.local.Addr().As16()
		}
		b.slots[kept], b.lens[kept] = uint8(i), uint16(m.len)
		kept++
	}
	return kept
}

// setRemote takes over the address of a datagram.
func (p *Peer) setRemote(name *unix.RawSockaddrInet6) bool {
	switch name.Family {
	case unix.AF_INET:
		n4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		copy(p.remote[:12], mapped4[:])
		copy(p.remote[12:], n4.Addr[:])
		p.port, p.scope = uint32(swap16(n4.Port)), 0
	case unix.AF_INET6:
		p.remote = name.Addr
		p.port, p.scope = uint32(swap16(name.Port)), name.Scope_id
	default:
		return false
	}
	return true
}

// localOf finds the address a datagram was sent to in its control messages.
func localOf(control *[readControlLen]uint64, n int) (local [16]byte) {
	const hdrLen = unix.SizeofCmsghdr
	buf := unsafe.Slice((*byte)(unsafe.Pointer(control)), readControlLen*8)[:min(n, readControlLen*8)]
	for len(buf) >= hdrLen {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&buf[0]))
		end := int(h.Len)
		if end < hdrLen || end > len(buf) {
			return local
		}
		body := buf[unix.CmsgLen(0):end]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(body) >= unix.SizeofInet4Pktinfo:
			copy(local[:], mapped4[:])
			copy(local[12:], body[4:8]) // ipi_spec_dst: the address to answer from, for broadcasts too
			return local
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(body) >= unix.SizeofInet6Pktinfo:
			if body[0] != 0xff { // a multicast group is no address to answer from
				copy(local[:], body[:16])
			}
			return local
		}
		buf = buf[min(len(buf), unix.CmsgSpace(end-hdrLen)):]
	}
	return local
}

// transient tells the errors that belong to an earlier datagram or to one peer and
// that the next read does not meet again.
func transient(err error) bool {
	var e syscall.Errno
	if !errors.As(err, &e) {
		return false
	}
	switch e {
	case unix.ECONNREFUSED, unix.ECONNRESET, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN,
		unix.ENETDOWN, unix.EMSGSIZE, unix.EPERM, unix.EACCES, unix.ENOPROTOOPT, unix.EPROTO:
		return true
	}
	return false
}

// swap16 turns a port from network order to ours or back.
func swap16(v uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], v)
	return binary.BigEndian.Uint16(b[:])
}
