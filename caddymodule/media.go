package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/caddyserver/caddy/v2"

	"github.com/talwtn/caddy-wtn/relay"
)

// defaultMediaPort is the port registered for RTP.
const defaultMediaPort = 5004

// maxMediaSockets bounds what a port range can ask for.
const maxMediaSockets = 64

// mediaAddress is one socket the configuration wants. It is comparable and
// serves as the socket's identity: a reload that names it again keeps it.
type mediaAddress struct {
	network string // udp, udp4, udp6, tcp, tcp4 or tcp6
	host    string // empty: all addresses
	port    uint
}

func (m mediaAddress) udp() bool        { return m.network[0] == 'u' }
func (m mediaAddress) hostPort() string { return net.JoinHostPort(m.host, strconv.Itoa(int(m.port))) }
func (m mediaAddress) String() string   { return m.network + "/" + m.hostPort() }

// parseMedia resolves placeholders and port ranges. An empty list is the default.
func parseMedia(list []string) ([]mediaAddress, error) {
	if len(list) == 0 {
		return []mediaAddress{{"udp", "", defaultMediaPort}, {"tcp", "", defaultMediaPort}}, nil
	}
	var out []mediaAddress
	seen := make(map[mediaAddress]bool)
	repl := caddy.NewReplacer()
	for _, s := range list {
		v, err := repl.ReplaceOrErr(s, true, true)
		if err != nil {
			return nil, fmt.Errorf("media address %q: %w", s, err)
		}
		na, err := caddy.ParseNetworkAddressWithDefaults(v, "udp", defaultMediaPort)
		if err != nil {
			return nil, fmt.Errorf("media address %q: %w", v, err)
		}
		switch na.Network {
		case "udp", "udp4", "udp6", "tcp", "tcp4", "tcp6":
		default:
			return nil, fmt.Errorf("media address %q: network %q cannot carry media: use udp/ or tcp/, for example udp/:%d", v, na.Network, defaultMediaPort)
		}
		if n := na.PortRangeSize(); n > maxMediaSockets {
			return nil, fmt.Errorf("media address %q asks for %d sockets: use at most %d ports, one serves any number of sessions", v, n, maxMediaSockets)
		}
		for _, one := range na.Expand() {
			m := mediaAddress{one.Network, one.Host, one.StartPort}
			if seen[m] {
				return nil, fmt.Errorf("media address %s is given twice", m)
			}
			seen[m] = true
			out = append(out, m)
		}
	}
	if len(out) > maxMediaSockets {
		return nil, fmt.Errorf("%d media sockets are too many: use at most %d, one serves any number of sessions", len(out), maxMediaSockets)
	}
	return out, nil
}

// mediaSocket is an open socket and the number of generations that want it.
// The hub owns the socket itself from the moment it serves it.
type mediaSocket struct {
	addr   mediaAddress
	pc     net.PacketConn // UDP
	ln     net.Listener   // TCP
	refs   int
	served bool // the hub takes new sessions here
	ceded  bool // the hub has it, and closes it
}

// openMedia binds exclusively. Caddy's own listeners share their port with any
// other process of the same user (SO_REUSEPORT); on a media port that would
// silently split the packets of every session between two processes. Sharing
// is not needed here, since a reload keeps the socket instead of opening it again.
func openMedia(m mediaAddress) (*mediaSocket, error) {
	s := &mediaSocket{addr: m}
	var err error
	var lc net.ListenConfig
	if m.udp() {
		s.pc, err = lc.ListenPacket(context.Background(), m.network, m.hostPort())
	} else {
		s.ln, err = lc.Listen(context.Background(), m.network, m.hostPort())
	}
	if err != nil {
		return nil, fmt.Errorf("opening media socket %s: %w: %s", m, err, bindAdvice(m, err))
	}
	return s, nil
}

func bindAdvice(m mediaAddress, err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("another socket holds this port, perhaps a second gateway: stop that process, or choose another address with the media option of the wtn app, for example `media udp/:%d tcp/:%d`", m.port+2, m.port+2)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine has no such address: leave the host out to use all, and tell clients the outer address with public_address"
	case errors.Is(err, syscall.EACCES):
		return "this user may not open that port: choose one above 1023 with the media option of the wtn app"
	}
	return "choose another address with the media option of the wtn app"
}

// serve hands the socket to the hub. A retired one may have been closed, with
// its last session, since it was found open: then it is opened again.
func (s *mediaSocket) serve(h *relay.Hub) error {
	if s.served {
		return nil
	}
	if !s.open() {
		again, err := openMedia(s.addr)
		if err != nil {
			return err
		}
		s.pc, s.ln = again.pc, again.ln
	}
	var err error
	if s.pc != nil {
		err = h.ServeUDP(s.pc)
	} else {
		err = h.ServeTCP(s.ln)
	}
	if err != nil {
		return fmt.Errorf("serving media socket %s: %w", s.addr, err)
	}
	s.served, s.ceded = true, true
	return nil
}

// retire asks the hub to close the socket with its last session; one that the
// hub never served is closed here.
func (s *mediaSocket) retire(h *relay.Hub) {
	switch {
	case !s.served && !s.ceded:
		s.close()
	case !s.served: // retired once already, and not put back to use since
	case s.pc != nil:
		h.RetireUDP(s.pc)
	default:
		h.RetireTCP(s.ln)
	}
	s.served = false
}

func (s *mediaSocket) close() {
	if s.pc != nil {
		s.pc.Close()
	} else {
		s.ln.Close()
	}
}

// open reports whether the socket is still bound, by asking the runtime for
// its descriptor: the hub closes it at a time of its own.
func (s *mediaSocket) open() bool {
	var c any = s.pc
	if s.ln != nil {
		c = s.ln
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := sc.SyscallConn()
	return err == nil && rc.Control(func(uintptr) {}) == nil
}

// bound is the address the socket really has, with the port that was chosen.
func (s *mediaSocket) bound() string {
	if s.pc != nil {
		return s.addr.network + "/" + s.pc.LocalAddr().String()
	}
	return s.addr.network + "/" + s.ln.Addr().String()
}
