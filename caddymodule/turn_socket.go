package caddymodule

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/turnsvc"
)

// turnSocket is an open address for TURN clients and the number of generations
// that want it: a reload that names it again keeps it, with all its sockets. The
// server owns them from the moment it serves them.
type turnSocket struct {
	addr     turnAddress
	pcs      []net.PacketConn // UDP: the sockets of the one address
	ln       net.Listener     // TCP
	refs     int
	endpoint *turnsvc.Endpoint // nil until served
}

func openTURN(a turnAddress) (*turnSocket, error) {
	s := &turnSocket{addr: a}
	var err error
	m := a.mediaAddress()
	if m.udp() {
		s.pcs, err = turnsvc.ListenUDP(m.network, m.hostPort())
	} else {
		s.ln, err = new(net.ListenConfig).Listen(noContext, m.network, m.hostPort())
	}
	if err != nil {
		return nil, fmt.Errorf("opening turn listener %s: %w: stop the process that holds the port, or choose another with the listen option of turn, for example `listen udp/:%d`", a, err, a.port+2)
	}
	return s, nil
}

func (s *turnSocket) serve(p *turnPool) (err error) {
	server := p.server.Load()
	switch {
	case s.endpoint != nil:
	case s.pcs != nil:
		s.endpoint, err = server.ServeUDP(s.pcs...)
	case s.addr.tls:
		s.endpoint, err = server.Serve(tls.NewListener(s.ln, &tls.Config{GetConfigForClient: p.tlsConfig}))
	default:
		s.endpoint, err = server.Serve(s.ln)
	}
	return err
}

// retire stops arrivals. Allocations stay until their clients leave, and with
// them the sockets of a UDP address.
func (s *turnSocket) retire() {
	switch {
	case s.endpoint != nil:
		s.endpoint.Drain()
	case s.pcs != nil:
		for _, pc := range s.pcs {
			pc.Close()
		}
	default:
		s.ln.Close()
	}
}

// gone reports whether a retired socket does not hold its port any more.
func (s *turnSocket) gone() bool {
	if s.ln != nil || s.endpoint == nil {
		return true
	}
	select {
	case <-s.endpoint.Done():
		return true
	default:
		return false
	}
}

func (s *turnSocket) localAddr() net.Addr {
	if s.ln != nil {
		return s.ln.Addr()
	}
	return s.pcs[0].LocalAddr()
}

func (s *turnSocket) port() int { return portOf(s.localAddr()) }

func (s *turnSocket) bound() string { return s.addr.kind() + "/" + s.localAddr().String() }

func portOf(a net.Addr) int {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.Port
	case *net.TCPAddr:
		return a.Port
	}
	return 0
}

// acquire opens what t wants and is not open yet, and counts t as one that
// wants it. On error nothing is kept. The state's lock is held.
func (p *turnPool) acquire(t *turnSettings, logger *zap.Logger) error {
	if t == nil {
		return nil
	}
	p.forgetGone()
	for _, a := range t.listen {
		sock, err := p.socket(a)
		if err != nil && t.implied {
			logger.Warn("TURN is not reached at its default port: this is left out", zap.String("address", a.String()), zap.Error(err))
			continue
		}
		if err != nil {
			p.release(t)
			return err
		}
		sock.refs++
		t.held = append(t.held, a)
	}
	return nil
}

func (p *turnPool) socket(a turnAddress) (*turnSocket, error) {
	if sock := p.sockets[a]; sock != nil {
		if sock.refs > 0 || sock.endpoint.Resume() {
			return sock, nil
		}
		<-sock.endpoint.Done() // it is just being closed
	}
	sock, err := openTURN(a)
	if err != nil {
		return nil, err
	}
	p.sockets[a] = sock
	caddy.Log().Named("wtn").Info("turn listener opened", zap.String("address", sock.bound()))
	return sock, nil
}

// release gives back what t holds. The state's lock is held.
func (p *turnPool) release(t *turnSettings) {
	if t == nil {
		return
	}
	for _, a := range t.held {
		sock := p.sockets[a]
		if sock.refs--; sock.refs == 0 {
			sock.retire()
		}
	}
	t.held = nil
	p.forgetGone()
}

func (p *turnPool) forgetGone() {
	for a, sock := range p.sockets {
		if sock.refs == 0 && sock.gone() {
			delete(p.sockets, a)
		}
	}
}

// listeners are the bound addresses that take new clients. The state's lock is held.
func (p *turnPool) listeners() []string {
	out := []string{}
	for _, sock := range p.sockets {
		if sock.refs > 0 && sock.endpoint != nil {
			out = append(out, sock.bound())
		}
	}
	slices.Sort(out)
	return out
}
