package leg

import (
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

const dialTimeout = 3 * time.Second

// dialAll connects to the peer's passive TCP candidates (RFC 6544 4.1). The
// leg's lock is held.
func (k *controller) dialAll() {
	for _, to := range k.tcp {
		k.leg.wg.Add(1)
		go k.leg.dial(to)
	}
}

// dial makes a pair of a new connection. Checks go over it as over UDP: they
// tell the peer whose connection this is.
func (l *Leg) dial(to netip.AddrPort) {
	defer l.wg.Done()
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(l.ctl.ctx, "tcp", to.String())
	if err != nil {
		l.log.Debug("ICE-TCP candidate of the peer not reached", zap.Error(err))
		return
	}
	h := newHop("tcp")
	h.conn, h.owner = newTCPConn(conn), l.number
	peer := udpio.PeerFrom(to, netip.Addr{})
	if !l.t.serveConn(h, &tcpReader{peer: peer, proven: true}) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.selected != nil || l.ctl.add(h, to, peer, Now()) == nil {
		h.conn.finish()
		return
	}
	l.ctl.wake()
}
