package leg

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay/internal/seal"
)

var (
	// ErrClosed is returned for a closed Transport or Leg.
	ErrClosed = errors.New("leg is closed")
	// ErrNotReady is returned by sends before HandleReady or without a path.
	ErrNotReady = errors.New("leg is not connected yet, send after HandleReady")
	// ErrPeerClosed is the cause that HandleEnd gets when the peer ended DTLS.
	ErrPeerClosed = errors.New("peer closed the DTLS connection")
	// ErrLost is the cause that HandleEnd gets on a controlling leg when the TCP
	// connection of its path is gone or consent expired.
	ErrLost = errors.New("the peer cannot be reached any more")
)

// Handler gets what arrives at one leg.
//
// HandleRTP, HandleRTCP and HandleFlush are called with the leg's receive lock
// held, never two at once: they must not block and must not call a method of
// the leg that takes that lock (Restart, Close). HandleReady and HandleEnd are called
// without it, from the leg's own goroutine; they may call Close.
type Handler interface {
	// HandleReady: the handshake is done, the fingerprint verified, Sealer and
	// WriteRTCP work. Once, before the first HandleRTP. Packets that arrive
	// while it runs are kept up to a small bound, so it should return soon.
	HandleReady()
	// HandleRTP gets an authentic, decrypted packet that is valid until return.
	// arrival is the time of the socket read on the clock of Now.
	HandleRTP(pkt []byte, arrival int64)
	// HandleRTCP gets an authentic, decrypted compound packet, as HandleRTP.
	HandleRTCP(pkt []byte, arrival int64)
	// HandleFlush follows the last packet of one socket read that brought
	// something for this leg.
	HandleFlush()
	// HandleEnd: the peer closed DTLS or the handshake failed, or a controlling
	// leg lost its peer (ErrLost). Once, and not after Close. The leg still has
	// to be closed by its owner.
	HandleEnd(cause error)
}

// Params describe the peer of a new leg.
type Params struct {
	ID                     string // for logs
	RemoteUfrag, RemotePwd string // RFC 8445 5.3: 4..256 and 22..256 characters
	Ufrag, Pwd             string // ours, from DrawCredentials; empty: new ones
	Fingerprints           []Fingerprint
	Active                 bool // we are the DTLS client
	Handler                Handler

	// Controlling makes the leg the controlling ICE agent (RFC 8445 6.1.1): it
	// belongs to who made the offer. Otherwise the peer has to find us.
	Controlling bool
	// Candidates are the UDP candidates of the peer's answer, the preferred
	// first, and TCPCandidates its passive ICE-TCP ones (RFC 6544), which are
	// dialed when UDP is not answered. Names have been resolved. What cannot be
	// a peer's address, and what exceeds 16 and 2, is left out. Only for
	// Controlling.
	Candidates, TCPCandidates []netip.AddrPort
}

// Leg is one peer's transport. Its methods are safe for concurrent use.
type Leg struct {
	t       *Transport
	number  int64
	active  bool
	handler Handler
	digests []digest
	log     *zap.Logger
	ctl     *controller // nil: the peer has to find us

	newest       atomic.Pointer[credentials]
	path         atomic.Pointer[Path]
	keys         atomic.Pointer[outKeys]
	lastReceived atomic.Int64

	rtcpMu  sync.Mutex // guards rtcpBuf and the RTCP sealer
	rtcpBuf []byte

	wg   sync.WaitGroup // own goroutines, callbacks not counted
	done chan struct{}

	mu          sync.Mutex // the receive lock: all below
	closed      bool
	current     *credentials
	pending     *credentials // of a restart under way
	candidates  []*candidate
	selected    *candidate
	provisional *candidate // where DTLS goes before anything is selected
	retry       *time.Timer
	grant       int // bytes left of legGrant
	opener      *seal.Opener
	early       []earlyPacket
	dtls        dtlsState
	cause       error // why we hung up, nil: we did not
}

// outKeys is what seals toward the peer.
type outKeys struct {
	profile seal.Profile
	rtp     *seal.Sealer
	rtcp    *seal.RTCPSealer
}

// dtlsState is the leg's side of DTLS.
type dtlsState struct {
	pipe    *pipe // nil: not started
	conn    *dtls.Conn
	ready   bool
	over    bool       // HandleEnd was or is being called
	bytes   int        // received before ready
	packets int        // received before ready
	via     *candidate // where all of the handshake went to
	mixed   bool       // it went to several
	opener  *seal.Opener
}

// Ufrag and Pwd are the local ICE credentials for the SDP, after a Restart the
// new ones.
func (l *Leg) Ufrag() string { return l.newest.Load().ufrag }
func (l *Leg) Pwd() string   { return l.newest.Load().pwd }

// Path is where to send, nil before an address has proven itself, after Close
// and when a controlling leg lost its peer. Load it for each burst: it changes when the peer moves.
func (l *Leg) Path() *Path { return l.path.Load() }

// Sealer seals RTP toward the peer, nil before HandleReady.
func (l *Leg) Sealer() *seal.Sealer {
	if k := l.keys.Load(); k != nil {
		return k.rtp
	}
	return nil
}

// Profile is the negotiated SRTP profile, the zero value before HandleReady.
func (l *Leg) Profile() seal.Profile {
	if k := l.keys.Load(); k != nil {
		return k.profile
	}
	var none seal.Profile
	return none
}

// LastReceived is when the last authentic packet of any kind came (STUN with
// integrity, SRTP, SRTCP) on the clock of Now; before that, when the leg was
// made. It is the base for consent (RFC 7675) and liveness.
func (l *Leg) LastReceived() int64 { return l.lastReceived.Load() }

// WriteRTCP seals a compound packet and sends it. It does not keep compound.
func (l *Leg) WriteRTCP(compound []byte) error {
	k, p := l.keys.Load(), l.path.Load()
	if k == nil || p == nil {
		return ErrNotReady
	}
	l.rtcpMu.Lock()
	defer l.rtcpMu.Unlock()
	out, err := k.rtcp.SealRTCP(l.rtcpBuf[:0], compound)
	if err != nil {
		return fmt.Errorf("seal RTCP: %w", err)
	}
	l.rtcpBuf = out
	return p.Write(out)
}

// Pair is the selected pair: both ends and "udp", "tcp" or "relay". All are
// zero while nothing is selected.
func (l *Leg) Pair() (local, remote netip.AddrPort, network string) {
	p := l.path.Load()
	if p == nil {
		return netip.AddrPort{}, netip.AddrPort{}, ""
	}
	return p.local, p.remote, p.network
}

// enter counts the caller as one of the leg's goroutines, false when closed.
func (l *Leg) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.wg.Add(1)
	return true
}

// Close ends the leg: no check is answered any more, DTLS ends with
// close_notify, and the leg's goroutines have returned when Close does. A
// HandleReady or HandleEnd under way may outlast it. Idempotent.
func (l *Leg) Close() {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		<-l.done
		return
	}
	l.closed = true
	l.path.Store(nil)
	conn, pipe := l.dtls.conn, l.dtls.pipe
	l.t.dropUfrag(l.current)
	l.t.dropUfrag(l.pending)
	l.mu.Unlock()

	if conn != nil {
		_ = conn.Close() // sends close_notify; its error is that of a dead path
	}
	if pipe != nil {
		_ = pipe.Close()
	}
	l.mu.Lock()
	if l.retry != nil {
		l.retry.Stop()
	}
	if l.ctl != nil {
		l.ctl.end()
	}
	l.mu.Unlock()
	l.wg.Wait()
	l.mu.Lock()
	if l.ctl != nil {
		l.ctl.release(nil)
	}
	for _, c := range l.candidates {
		c.release()
	}
	l.candidates, l.early = nil, nil
	l.mu.Unlock()
	l.t.forget(l)
	close(l.done)
}
