package turnsvc

import (
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	defaultLifetime    = 10 * time.Minute // RFC 8656 section 7.2
	maxLifetime        = 50 * time.Minute // below the hour where the library falls back to its default
	permissionLifetime = 5 * time.Minute  // RFC 8656 section 9
	channelLifetime    = 10 * time.Minute // RFC 8656 section 12
	maxLeases          = 64               // permissions, and channels, of one allocation
)

// allocation is one relayed address and what its client may do with it. It is written under the
// judging lock of its clients; the data plane reads it from any goroutine through atomics.
type allocation struct {
	srv      *Server
	guard    *guard
	id       uint32
	user     string // id, for quota, revocation and logs
	username string
	key      []byte // kept, so that the client may refresh after the credential or secret has gone
	client   fiveTuple
	slot     netip.AddrPort // its place in the hub, spelled as an address; the library knows the client by it
	relayed  netip.AddrPort // what the client was told: the slot, or the outside of an open socket
	addr     *net.UDPAddr   // relayed, as MediaConn reports it
	relay    net.PacketConn // what the library holds as the relayed socket
	open     *openSocket    // nil: relayed in memory
	since    time.Time
	txid     [12]byte // of the Allocate that made it, to answer its retransmissions

	leases atomic.Pointer[leases]
	media  atomic.Pointer[netip.AddrPort] // the media address the client spoke to last
	up     bucket
	down   bucket

	packetsIn, bytesIn   atomic.Uint64
	packetsOut, bytesOut atomic.Uint64

	timer    *time.Timer
	lifetime time.Duration
	ended    atomic.Bool
}

// leases is what the library granted, with the ends. It is immutable and replaced as a whole.
type leases struct {
	permissions []permission
	channels    []channel
}

type permission struct {
	peer  netip.Addr
	until int64 // server nanoseconds
}

type channel struct {
	peer   netip.AddrPort
	number uint16
	until  int64
}

func (l *leases) channel(number uint16, now int64) (netip.AddrPort, bool) {
	for i := range l.channels {
		if c := &l.channels[i]; c.number == number {
			return c.peer, now < c.until
		}
	}
	return netip.AddrPort{}, false
}

func (l *leases) channelTo(peer netip.AddrPort, now int64) (uint16, bool) {
	for i := range l.channels {
		if c := &l.channels[i]; c.peer == peer {
			return c.number, now < c.until
		}
	}
	return 0, false
}

func (l *leases) permits(peer netip.Addr, now int64) bool {
	for i := range l.permissions {
		if p := &l.permissions[i]; p.peer == peer {
			return now < p.until
		}
	}
	return false
}

// room tells whether another permission for each of these peers fits the bounds.
func (l *leases) room(now int64, peers ...netip.AddrPort) bool {
	n := len(l.fresh(now).permissions)
	for _, p := range peers {
		if !l.permits(p.Addr(), now) {
			n++
		}
	}
	return n <= maxLeases
}

// fresh returns a copy without what has ended.
func (l *leases) fresh(now int64) *leases {
	n := &leases{}
	for _, p := range l.permissions {
		if now < p.until {
			n.permissions = append(n.permissions, p)
		}
	}
	for _, c := range l.channels {
		if now < c.until {
			n.channels = append(n.channels, c)
		}
	}
	return n
}

// permit records permissions the library granted. The judging lock is held.
func (a *allocation) permit(peers ...netip.AddrPort) {
	now := a.srv.nanos()
	n := a.leases.Load().fresh(now)
	n.permit(now, peers)
	a.leases.Store(n)
}

func (l *leases) permit(now int64, peers []netip.AddrPort) {
	for _, peer := range peers {
		l.permissions = slices.DeleteFunc(l.permissions, func(p permission) bool { return p.peer == peer.Addr() })
		l.permissions = append(l.permissions, permission{peer.Addr(), now + int64(permissionLifetime)})
	}
}

// bind records a channel the library granted; it renews the permission too.
func (a *allocation) bind(number uint16, peer netip.AddrPort) {
	now := a.srv.nanos()
	n := a.leases.Load().fresh(now)
	n.permit(now, []netip.AddrPort{peer})
	n.channels = slices.DeleteFunc(n.channels, func(c channel) bool { return c.number == number })
	n.channels = append(n.channels, channel{peer, number, now + int64(channelLifetime)})
	a.leases.Store(n)
}

// end finishes an allocation once, whoever asks first, and returns when the library has forgotten
// it. It must not be called from inside a call of the library.
func (a *allocation) end(why EndReason) {
	if a.ended.Swap(true) {
		return
	}
	if a.timer != nil {
		a.timer.Stop()
	}
	a.srv.hub.release(a)
	a.srv.engine.release(a)
	a.srv.quota.release(a.user, a.client.Addr())
	a.srv.registry.remove(a)
	a.guard.forget(a)
	info := a.info()
	a.srv.log.Info("turn allocation ended", zap.String("user", a.user), zap.Stringer("client", a.client),
		zap.Stringer("transport", info.Transport), zap.Stringer("relayed", a.relayed),
		zap.String("reason", string(why)), zap.Duration("age", time.Since(a.since)),
		zap.Uint64("bytes_in", info.Traffic.BytesIn), zap.Uint64("bytes_out", info.Traffic.BytesOut))
	if o := a.srv.observer; o != nil {
		o.AllocationEnded(info, why)
	}
}

func (a *allocation) traffic() Traffic {
	return Traffic{
		PacketsIn: a.packetsIn.Load(), BytesIn: a.bytesIn.Load(),
		PacketsOut: a.packetsOut.Load(), BytesOut: a.bytesOut.Load(),
	}
}

func (a *allocation) info() AllocationInfo {
	return AllocationInfo{
		UserID: a.user, Transport: a.guard.port.transport(), Relayed: a.relayed, Since: a.since, Traffic: a.traffic(),
		Client: netip.AddrPortFrom(a.client.Addr().Unmap(), a.client.Port()),
	}
}
