package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	maxViewers    = 1 << 14
	batchSize     = 32
	receiveBuffer = 64 << 20 // bytes; less if the system does not permit it
)

// viewerAddr is the address of one viewer: 127.64.0.1 and up.
func viewerAddr(index int) netip.Addr {
	n := uint32(0x7f400001 + index)
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// socket is the one UDP socket of all viewers. Viewers are told apart by the
// address a packet was sent to.
//
// It takes what the server sent as one burst (generic segmentation offload) as
// one burst, as it would stay one as far as a network card: else the kernel
// would cut it up on loopback, at the server's expense.
type socket struct {
	conn  *net.UDPConn
	pc    *ipv4.PacketConn
	port  int
	mu    sync.Mutex // held while packets and timers are handled
	table [maxViewers]*viewer
	drops atomic.Uint32 // packets this socket lost for want of room
	done  sync.WaitGroup
}

func newSocket() (*socket, error) {
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return nil, err
	}
	s := &socket{conn: conn, pc: ipv4.NewPacketConn(conn), port: conn.LocalAddr().(*net.UDPAddr).Port}
	if err := s.setOptions(); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("the viewers' socket: %w", err)
	}
	s.done.Go(s.read)
	return s, nil
}

func (s *socket) setOptions() error {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return err
	}
	var opt error
	err = raw.Control(func(fd uintptr) {
		f := int(fd)
		if unix.SetsockoptInt(f, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
			_ = unix.SetsockoptInt(f, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // losses here are counted
		}
		opt = errors.Join(
			unix.SetsockoptInt(f, unix.IPPROTO_IP, unix.IP_PKTINFO, 1),
			unix.SetsockoptInt(f, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptInt(f, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1),
			unix.SetsockoptInt(f, unix.IPPROTO_UDP, unix.UDP_GRO, 1),
		)
	})
	return errors.Join(err, opt)
}

// send writes one packet from a viewer's own address.
func (s *socket) send(from netip.Addr, to netip.AddrPort, b []byte) {
	cm := ipv4.ControlMessage{Src: from.AsSlice()}
	_, _ = s.pc.WriteTo(b, &cm, net.UDPAddrFromAddrPort(to)) // a lost packet, as on any network
}

func (s *socket) read() {
	msgs := make([]ipv4.Message, batchSize)
	for i := range msgs {
		msgs[i].Buffers = [][]byte{make([]byte, 1<<16)}
		msgs[i].OOB = make([]byte, 192)
	}
	for {
		n, err := s.pc.ReadBatch(msgs, 0)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // an ICMP error of one viewer's packet
		}
		s.mu.Lock()
		for i := range msgs[:n] {
			s.handle(&msgs[i])
		}
		s.mu.Unlock()
	}
}

// handle gives each packet of a message to its viewer.
func (s *socket) handle(m *ipv4.Message) {
	a := s.parseControl(m.OOB[:m.NN])
	from, ok := m.Addr.(*net.UDPAddr)
	if !ok || a.viewer < 0 || a.viewer >= maxViewers || s.table[a.viewer] == nil {
		return
	}
	v, b := s.table[a.viewer], m.Buffers[0][:m.N]
	if a.segment <= 0 {
		a.segment = len(b)
	}
	src := from.AddrPort()
	for len(b) > 0 {
		n := min(a.segment, len(b))
		v.packet(b[:n], src, a.time)
		b = b[n:]
	}
}

// arrival is what the kernel says of a message.
type arrival struct {
	viewer  int // index; -1: unknown
	time    time.Time
	segment int // bytes of each packet but the last; 0: there is one only
}

func (s *socket) parseControl(oob []byte) arrival {
	a := arrival{viewer: -1, time: time.Now()}
	for len(oob) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		oob = rest
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= 12:
			a.viewer = int(int64(binary.BigEndian.Uint32(data[8:])) - 0x7f400001)
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_TIMESTAMPNS && len(data) >= 16:
			sec, ns := binary.NativeEndian.Uint64(data), binary.NativeEndian.Uint64(data[8:])
			a.time = time.Unix(int64(sec), int64(ns))
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			s.drops.Store(binary.NativeEndian.Uint32(data))
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			a.segment = int(int32(binary.NativeEndian.Uint32(data)))
		}
	}
	return a
}

func (s *socket) close() {
	_ = s.conn.Close()
	s.done.Wait()
}
