package turnsvc

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	firstPort  = 49152 // RFC 8656 section 7.2: relayed ports come from here up
	portBits   = 14
	hosts      = 254
	mediaQueue = 2048 // packets to the media side that wait to be read
)

// relayNet4 and relayNet6 are where relayed addresses come from: TEST-NET-1 (RFC 5737) and the
// discard prefix (RFC 6666). Nothing is ever routed to or from them on the internet, so whoever else
// tries to send to a relayed address reaches nobody. A private network may use them all the same: a
// relayed address means something at MediaConn only, and is never that of the media.
var (
	relayNet4 = netip.MustParsePrefix("192.0.2.0/24")
	relayNet6 = netip.MustParsePrefix("100::/64")
)

// IsRelayed tells whether an address is one of those given to allocations in memory, so that a
// packet to it belongs to MediaConn and not to a socket.
func IsRelayed(a netip.Addr) bool {
	a = a.Unmap()
	return relayNet4.Contains(a) || relayNet6.Contains(a)
}

// relayedAddr spells the id of an allocation as an address: the low 14 bits are the port, the rest
// the host. Even ids have even ports.
func relayedAddr(id uint32, family int) netip.AddrPort {
	host := byte(1 + (id>>portBits)%hosts)
	port := uint16(firstPort + id&(1<<portBits-1))
	if family == 4 {
		b := relayNet4.Addr().As4()
		b[3] = host
		return netip.AddrPortFrom(netip.AddrFrom4(b), port)
	}
	b := relayNet6.Addr().As16()
	b[15] = host
	return netip.AddrPortFrom(netip.AddrFrom16(b), port)
}

func relayedID(a netip.AddrPort) (uint32, bool) {
	ip := a.Addr().Unmap()
	if !IsRelayed(ip) || a.Port() < firstPort {
		return 0, false
	}
	b := ip.As16()
	return uint32(b[15]-1)<<portBits | uint32(a.Port()-firstPort), true
}

// hub is the in-memory hop between allocations and the media side. A relayed address is an index:
// finding its allocation is one load, without a lock.
type hub struct {
	srv   *Server
	in    chan *packet
	done  chan struct{}
	once  sync.Once
	mu    sync.Mutex // serialises reserve
	next  uint32
	slots [maxAllocations]atomic.Pointer[allocation]
}

func newHub(s *Server) *hub {
	return &hub{srv: s, in: make(chan *packet, mediaQueue), done: make(chan struct{})}
}

// reserve gives an allocation an id, and by that a relayed address, that was not used for the last
// four million allocations unless it is long forgotten. It fails only when all slots are taken.
func (h *hub) reserve(a *allocation, family int, even bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	const ids = hosts << portBits
	for range maxAllocations {
		h.next = (h.next + 1) % ids
		if even && h.next%2 != 0 {
			continue
		}
		a.id, a.slot = h.next, relayedAddr(h.next, family)
		if slices.Contains(h.srv.settings.Load().MediaAddrs, a.slot) {
			continue // a network that is built of documentation addresses
		}
		if h.slots[h.next%maxAllocations].CompareAndSwap(nil, a) {
			return true
		}
	}
	return false
}

func (h *hub) release(a *allocation) { h.slots[a.id%maxAllocations].CompareAndSwap(a, nil) }

func (h *hub) lookup(addr netip.AddrPort) *allocation {
	id, ok := relayedID(addr)
	if !ok {
		return nil
	}
	if a := h.slots[id%maxAllocations].Load(); a != nil && a.slot.Port() == addr.Port() && a.slot.Addr() == addr.Addr().Unmap() {
		return a
	}
	return nil
}

// push queues a packet of a client for the media side, or drops it.
func (h *hub) push(a *allocation, p []byte) {
	k := newPacket()
	k.n, k.rel = copy(k.buf[:], p), a
	select {
	case h.in <- k:
	default:
		k.free()
		h.srv.counts.add(dropQueue)
	}
}

func (h *hub) close() { h.once.Do(func() { close(h.done) }) }

// mediaConn is the media side of the hub.
type mediaConn struct {
	hub      *hub
	mu       sync.Mutex
	deadline time.Time
	changed  chan struct{} // closed when the deadline changes
}

// MediaConn returns the in-memory socket of the media side; every call returns the same one.
//
// ReadFrom gives the packets clients sent to a media address; the source is the relayed address of
// the allocation, a *net.UDPAddr that must not be modified. It blocks, obeys SetReadDeadline, and
// returns net.ErrClosed after Close of the server. WriteTo to a relayed address delivers to its
// client, from the media address the client spoke to last; it never blocks on a queue, never
// fails, and drops (counted) what has no allocation, no permission or no room. Use IsRelayed to tell
// which destinations belong here. Close is a no-op: the socket lives as long as the server.
// All methods are safe for concurrent use.
func (s *Server) MediaConn() net.PacketConn { return s.media }

func (m *mediaConn) ReadFrom(p []byte) (int, net.Addr, error) {
	select { // the fast path: no parking, no timer
	case k := <-m.hub.in:
		return deliver(p, k)
	default:
	}
	for {
		m.mu.Lock()
		deadline, changed := m.deadline, m.changed
		m.mu.Unlock()
		var expired <-chan time.Time
		if !deadline.IsZero() {
			left := time.Until(deadline)
			if left <= 0 {
				return 0, nil, os.ErrDeadlineExceeded
			}
			expired = time.After(left)
		}
		select {
		case k := <-m.hub.in:
			return deliver(p, k)
		case <-m.hub.done:
			return 0, nil, net.ErrClosed
		case <-expired:
			return 0, nil, os.ErrDeadlineExceeded
		case <-changed:
		}
	}
}

func deliver(p []byte, k *packet) (int, net.Addr, error) {
	n, addr := copy(p, k.b()), k.rel.addr
	k.free()
	return n, addr, nil
}

func (m *mediaConn) WriteTo(p []byte, to net.Addr) (int, error) {
	select {
	case <-m.hub.done:
		return 0, net.ErrClosed
	default:
	}
	if u, ok := to.(*net.UDPAddr); ok {
		if a := m.hub.lookup(u.AddrPort()); a != nil {
			a.toClient(p, *a.media.Load())
			return len(p), nil
		}
	}
	m.hub.srv.counts.add(dropNoAllocation)
	return len(p), nil
}

func (m *mediaConn) Close() error { return nil }

// LocalAddr is the first media address, or the unspecified one when there is none.
func (m *mediaConn) LocalAddr() net.Addr {
	if set := m.hub.srv.settings.Load(); len(set.MediaAddrs) > 0 {
		return net.UDPAddrFromAddrPort(set.MediaAddrs[0])
	}
	return &net.UDPAddr{IP: net.IPv4zero}
}

func (m *mediaConn) SetDeadline(t time.Time) error    { return m.SetReadDeadline(t) }
func (m *mediaConn) SetWriteDeadline(time.Time) error { return nil }

func (m *mediaConn) SetReadDeadline(t time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deadline = t
	close(m.changed)
	m.changed = make(chan struct{})
	return nil
}

// memSocket is what the library holds as the relayed socket of an allocation in memory. It is
// inert: packets of the media side go straight to the client, so there is nothing to read, and
// the one thing that can be written to is a media address.
type memSocket struct {
	a    *allocation
	done chan struct{}
	once sync.Once
}

func (m *memSocket) ReadFrom([]byte) (int, net.Addr, error) {
	<-m.done
	return 0, nil, net.ErrClosed
}

// WriteTo relays to a media address and silently drops everything else: an error would only make
// the library log one line per packet.
func (m *memSocket) WriteTo(p []byte, to net.Addr) (int, error) {
	if u, ok := to.(*net.UDPAddr); ok {
		peer := u.AddrPort()
		m.a.toPeer(p, netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()))
	}
	return len(p), nil
}

func (m *memSocket) Close() error {
	m.once.Do(func() { close(m.done) })
	return nil
}

func (m *memSocket) LocalAddr() net.Addr              { return m.a.addr }
func (m *memSocket) SetDeadline(time.Time) error      { return nil }
func (m *memSocket) SetReadDeadline(time.Time) error  { return nil }
func (m *memSocket) SetWriteDeadline(time.Time) error { return nil }
