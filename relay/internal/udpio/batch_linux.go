//go:build !udpio_portable

package udpio

import (
	"fmt"
	"math"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlLen is the room for in6_pktinfo and UDP_SEGMENT, in 8-byte words.
const controlLen = 8

// batch is a list of messages for one sendmmsg.
type batch struct {
	n       int
	msgs    []mmsghdr
	iovs    []unix.Iovec
	names   []unix.RawSockaddrInet6
	control [][controlLen]uint64 // words, for the alignment of cmsghdr
	counts  []uint8              // packets in the message
	sizes   []uint16             // of a packet
	split   *batch               // the packets of one message that was refused

	// One call at a time. It runs in RawConn.Control, which keeps the descriptor
	// open but, other than RawConn.Write, takes no lock: the kernel needs none.
	sys    func(fd uintptr, msgs []mmsghdr) (int, syscall.Errno)
	fn     func(fd uintptr) // b.call, made once
	window []mmsghdr
	sent   int
	errno  syscall.Errno
	pollFn func(fd uintptr)
	pollMS int
}

func newBatch(n int) *batch {
	b := &batch{
		msgs:    make([]mmsghdr, n),
		iovs:    make([]unix.Iovec, n),
		names:   make([]unix.RawSockaddrInet6, n),
		control: make([][controlLen]uint64, n),
		counts:  make([]uint8, n),
		sizes:   make([]uint16, n),
		sys:     sendmmsg,
	}
	for i := range b.msgs {
		h := &b.msgs[i].hdr
		h.Iov = &b.iovs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
	}
	b.fn, b.pollFn = b.call, b.poll
	return b
}

// add appends data as one message of count packets that are size bytes long, the
// last maybe shorter. It reports false if the peer is not of the socket's family.
func (b *batch) add(s *Socket, p *Peer, data []byte, size, count int) bool {
	i := b.n
	h := &b.msgs[i].hdr
	if *p == (Peer{}) || !s.setName(&b.names[i], h, p) {
		return false
	}
	b.setData(i, data, size, count)
	n := 0
	if s.wildcard && p.hasLocal() && is4In6(&p.local) == p.is4() {
		n = putPacketInfo(&b.control[i], s.inet6, p)
	}
	if count > 1 {
		n += putSegment(&b.control[i], n, uint16(size))
	}
	b.setControl(i, n)
	b.n++
	return true
}

func (b *batch) setData(i int, data []byte, size, count int) {
	b.iovs[i].Base = unsafe.SliceData(data)
	b.iovs[i].SetLen(len(data))
	b.counts[i], b.sizes[i] = uint8(count), uint16(min(size, math.MaxUint16))
}

func (b *batch) setControl(i, n int) {
	h := &b.msgs[i].hdr
	h.Control = nil
	if n > 0 {
		h.Control = (*byte)(unsafe.Pointer(&b.control[i][0]))
	}
	h.SetControllen(n)
}

// setName writes the address of p as the socket's family has it.
func (s *Socket) setName(name *unix.RawSockaddrInet6, h *unix.Msghdr, p *Peer) bool {
	port := swap16(uint16(p.port))
	if s.inet6 {
		*name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: p.remote, Scope_id: p.scope}
		h.Namelen = unix.SizeofSockaddrInet6
		return true
	}
	if !p.is4() {
		return false
	}
	n4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
	*n4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: [4]byte(p.remote[12:])}
	h.Namelen = unix.SizeofSockaddrInet4
	return true
}

// putPacketInfo makes the message leave from the peer's local address. An IPv6 socket
// takes the IPv6 form for IPv4 too.
func putPacketInfo(c *[controlLen]uint64, inet6 bool, p *Peer) int {
	if inet6 {
		body := putHeader(c, 0, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
		*(*unix.Inet6Pktinfo)(body) = unix.Inet6Pktinfo{Addr: p.local, Ifindex: p.scope}
		return unix.CmsgSpace(unix.SizeofInet6Pktinfo)
	}
	body := putHeader(c, 0, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
	*(*unix.Inet4Pktinfo)(body) = unix.Inet4Pktinfo{Spec_dst: [4]byte(p.local[12:])}
	return unix.CmsgSpace(unix.SizeofInet4Pktinfo)
}

// putSegment asks for the message to be cut into packets of size bytes. It comes last,
// so that it can be cut off again.
func putSegment(c *[controlLen]uint64, at int, size uint16) int {
	body := putHeader(c, at, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)
	*(*uint16)(body) = size
	return unix.CmsgSpace(2)
}

func putHeader(c *[controlLen]uint64, at int, level, kind int32, n int) unsafe.Pointer {
	buf := unsafe.Slice((*byte)(unsafe.Pointer(c)), controlLen*8)[at : at+unix.CmsgSpace(n)]
	h := (*unix.Cmsghdr)(unsafe.Pointer(&buf[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(n))
	return unsafe.Pointer(&buf[unix.CmsgLen(0)])
}

// send sends the batch and empties it. The error is that of the socket.
func (b *batch) send(s *Socket, t *tally) error {
	wait := fullWait
	err := b.drain(s, t, &wait)
	b.n = 0
	return err
}

// drain sends message after message. One that fails on its own account is skipped.
func (b *batch) drain(s *Socket, t *tally, wait *time.Duration) error {
	for off := 0; off < b.n; {
		n, errno, err := b.try(s, off)
		t.syscalls++
		switch {
		case err != nil:
			t.dropped += b.packets(off, b.n)
			return err
		case errno == 0:
			b.account(s, t, off, off+n)
			off += n
		case errno == unix.EAGAIN:
			if !b.waitWritable(s, wait) {
				t.dropped += b.packets(off, b.n)
				return nil
			}
		case b.counts[off] > 1 && (errno == unix.EIO || errno == unix.EINVAL || errno == unix.EMSGSIZE):
			if err := b.resend(s, off, errno, t, wait); err != nil {
				t.dropped += b.packets(off+1, b.n)
				return err
			}
			off++
		default:
			t.errors += uint64(b.counts[off])
			off++
		}
	}
	return nil
}

// try makes one system call for the messages from off on. It returns how many were
// taken, or the error number of the first of them.
func (b *batch) try(s *Socket, off int) (int, syscall.Errno, error) {
	if s.closed.Load() { // a wrapper may have left the inner socket open
		return 0, 0, net.ErrClosed
	}
	b.window, b.sent, b.errno = b.msgs[off:b.n], 0, 0
	if err := s.raw.Control(b.fn); err != nil {
		return 0, 0, socketError(s, err)
	}
	return b.sent, b.errno, nil
}

func (b *batch) call(fd uintptr) { b.sent, b.errno = b.sys(fd, b.window) }

func sendmmsg(fd uintptr, msgs []mmsghdr) (int, syscall.Errno) {
	for {
		n, _, e := syscall.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
		if e != unix.EINTR {
			return int(n), e
		}
	}
}

// resend sends the packets of message i one by one, after it was refused with errno
// as a whole. If they pass, segmentation was the reason. EMSGSIZE, and EINVAL where
// segmentation has worked before, come from the path of this peer alone: a peer must
// not be able to switch off for all what it cannot have itself.
func (b *batch) resend(s *Socket, i int, errno syscall.Errno, t *tally, wait *time.Duration) error {
	if b.split == nil {
		b.split = newBatch(maxSegments)
		b.split.sys = b.sys
	}
	single, size := b.split, int(b.sizes[i])
	data := unsafe.Slice(b.iovs[i].Base, int(b.iovs[i].Len))
	control := int(b.msgs[i].hdr.Controllen) - unix.CmsgSpace(2) // without UDP_SEGMENT
	for single.n = 0; len(data) > 0; single.n++ {
		n := min(size, len(data))
		k := single.n
		single.names[k], single.control[k] = b.names[i], b.control[i]
		single.msgs[k].hdr.Namelen = b.msgs[i].hdr.Namelen
		single.setData(k, data[:n], n, 1)
		single.setControl(k, control)
		data = data[n:]
	}
	before := t.packets
	if err := single.drain(s, t, wait); err != nil {
		return err
	}
	if t.packets > before && (errno == unix.EIO || errno == unix.EINVAL && !s.gsoProven.Load()) {
		s.gso.Store(false)
	}
	return nil
}

func (b *batch) account(s *Socket, t *tally, from, to int) {
	t.messages += uint64(to - from)
	for i := from; i < to; i++ {
		t.packets += uint64(b.counts[i])
		t.bytes += uint64(b.msgs[i].len)
		if b.counts[i] > 1 && !s.gsoProven.Load() {
			s.gsoProven.Store(true)
		}
	}
}

func (b *batch) packets(from, to int) (n uint64) {
	for _, c := range b.counts[from:to] {
		n += uint64(c)
	}
	return n
}

// waitWritable waits for room in the socket's buffer for what is left of the time. It
// uses poll(2) and not Go's netpoller: a write deadline would be one for all who write
// to the socket.
func (b *batch) waitWritable(s *Socket, left *time.Duration) bool {
	if *left <= 0 {
		return false
	}
	start := time.Now()
	b.pollMS, b.errno = int((*left+time.Millisecond-1)/time.Millisecond), 0
	if s.raw.Control(b.pollFn) != nil || b.errno != 0 {
		return false
	}
	*left -= time.Since(start)
	return true
}

func (b *batch) poll(fd uintptr) {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds[:], b.pollMS)
	if n == 0 && err == nil {
		b.errno = unix.EAGAIN
	}
	// An error, like EINTR, leaves it to the next send to find out.
}

var singles = sync.Pool{New: func() any { return newBatch(1) }}

// WriteTo sends one datagram to a peer, from the peer's local address. It may be
// called from any goroutine and waits at most some milliseconds. Errors:
// [net.ErrClosed], [ErrBufferFull], [ErrFamily], or what the system reports.
func (s *Socket) WriteTo(data []byte, p Peer) error {
	b := singles.Get().(*batch)
	err := s.writeWith(b, data, p)
	b.n, b.iovs[0].Base = 0, nil // do not keep the caller's memory
	singles.Put(b)
	return err
}

func (s *Socket) writeWith(b *batch, data []byte, p Peer) error {
	if !b.add(s, &p, data, len(data), 1) {
		return ErrFamily
	}
	for wait := fullWait; ; {
		_, errno, err := b.try(s, 0)
		switch {
		case err != nil:
			return err
		case errno == 0:
			return nil
		case errno != unix.EAGAIN:
			return fmt.Errorf("udpio: write to %v: %w", p, os.NewSyscallError("sendmmsg", errno))
		case !b.waitWritable(s, &wait):
			return ErrBufferFull
		}
	}
}

// socketError is the error of a socket that cannot be used at all.
func socketError(s *Socket, err error) error {
	if s.closed.Load() {
		return net.ErrClosed
	}
	return fmt.Errorf("udpio: write %v: %w", s.local, err)
}
