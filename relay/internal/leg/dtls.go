package leg

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"
	"go.uber.org/zap"

	"github.com/talwtn/caddy-wtn/relay/internal/seal"
	"github.com/talwtn/caddy-wtn/relay/internal/udpio"
)

const (
	handshakeTimeout = 20 * time.Second
	flightInterval   = 100 * time.Millisecond // doubles with each repetition
	// What a peer may send before the handshake is done. An honest one needs
	// about 3 KiB in 3 to 10 datagrams, plus repetitions.
	handshakeBytes   = 64 << 10
	handshakePackets = 128
	// Media that overtakes the end of the handshake is kept up to here.
	maxEarly = 64
)

// profiles is our order of preference: GCM costs an eighth of SHA1.
var profiles = []dtls.SRTPProtectionProfile{
	dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80,
}

type earlyPacket struct {
	from    *candidate
	data    []byte
	arrival int64
}

// dtls gives a DTLS datagram to the leg's connection.
func (in *inbound) dtls(h *hop, peer udpio.Peer, b []byte, now int64) {
	c := h.lookup(peer)
	if c == nil {
		in.t.stats.unknownAddress.Add(1)
		return
	}
	l := c.leg
	in.lock(l)
	if l.closed || !l.takeDTLS(c, b, now) {
		in.t.stats.dtlsDropped.Add(1)
	}
}

func (l *Leg) takeDTLS(c *candidate, b []byte, now int64) bool {
	d := &l.dtls
	if d.ready {
		// Records of epoch 0 are not protected: after the handshake an alert in
		// one can only be a forgery that wants to end the session.
		b = protectedRecords(b)
		return len(b) > 0 && d.pipe.push(b)
	}
	d.bytes += len(b)
	d.packets++
	if d.bytes > handshakeBytes || d.packets > handshakePackets {
		return false
	}
	c.rx += len(b)
	c.dtls = true
	if l.selected == nil {
		l.provisional = c
	}
	l.consider(c, now, false)
	l.startDTLS()
	return d.pipe != nil && d.pipe.push(append([]byte(nil), b...))
}

// protectedRecords is a copy of the records that have an epoch above 0.
func protectedRecords(b []byte) []byte {
	const header = 13 // RFC 6347 4.1: type, version, epoch, sequence number, length
	var out []byte
	for len(b) >= header {
		size := header + int(b[11])<<8 + int(b[12])
		if size > len(b) {
			break
		}
		if b[3] != 0 || b[4] != 0 {
			out = append(out, b[:size]...)
		}
		b = b[size:]
	}
	return out
}

// startDTLS starts the handshake, once. The leg's lock is held.
func (l *Leg) startDTLS() {
	if l.dtls.pipe != nil || l.closed || l.cause != nil {
		return
	}
	l.dtls.pipe = newPipe(l)
	l.wg.Add(1)
	l.t.wg.Add(1)
	go l.runDTLS(l.dtls.pipe)
}

// runDTLS is the leg's goroutine: handshake, then wait for the peer's end.
// While a callback runs it does not count as one of the leg's goroutines, so
// that the callback may close the leg.
func (l *Leg) runDTLS(p *pipe) {
	defer l.t.wg.Done()
	err := l.connect(p)
	l.wg.Done()
	if err != nil {
		l.t.stats.failedHandshakes.Add(1)
		l.end(fmt.Errorf("DTLS handshake: %w", err))
		return
	}
	l.t.stats.handshakes.Add(1)
	l.handler.HandleReady()
	if !l.enter() {
		return
	}
	l.releaseEarly()
	l.drain()
	l.wg.Done()
	l.end(ErrPeerClosed)
}

func (l *Leg) end(cause error) {
	l.mu.Lock()
	quiet := l.closed || l.dtls.over
	l.dtls.over = true
	if l.cause != nil {
		cause = l.cause
	}
	l.mu.Unlock()
	if !quiet {
		l.log.Debug("leg ended by peer", zap.Error(cause))
		l.handler.HandleEnd(cause)
	}
}

// connect performs the handshake and derives the keys.
func (l *Leg) connect(p *pipe) error {
	defer p.handshakeDone()
	conn, err := l.newConn(p)
	if err != nil {
		_ = p.Close()
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.t.handshakeTimeout)
	defer cancel()
	if err = conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		_ = p.Close()
		return err
	}
	opener, keys, err := deriveKeys(conn, l.active)
	if err != nil {
		_ = conn.Close()
		return err
	}
	if !l.connected(conn, opener, keys) {
		_ = conn.Close()
		return ErrClosed
	}
	return nil
}

func (l *Leg) newConn(p *pipe) (*dtls.Conn, error) {
	verify := func(certs [][]byte, _ [][]*x509.Certificate) error {
		if len(certs) == 0 {
			return errWrongCert
		}
		return verifyCertificate(certs[0], l.digests)
	}
	shared := []dtls.Option{
		dtls.WithCertificates(l.t.certificate),
		dtls.WithSRTPProtectionProfiles(profiles...),
		dtls.WithFlightInterval(flightInterval),
		// There is no authority to ask: the fingerprint is the identity.
		dtls.WithInsecureSkipVerify(true),
		dtls.WithVerifyPeerCertificate(verify),
		dtls.WithLoggerFactory(pionLog{l.log}),
	}
	if l.active {
		opts := make([]dtls.ClientOption, 0, len(shared))
		for _, o := range shared {
			opts = append(opts, o)
		}
		return dtls.ClientWithOptions(p, pipeAddr{}, opts...)
	}
	opts := []dtls.ServerOption{
		dtls.WithClientAuth(dtls.RequireAnyClientCert),
		// The cookie's work is done by the authentic check and the byte budget.
		dtls.WithInsecureSkipVerifyHello(true),
	}
	for _, o := range shared {
		opts = append(opts, o)
	}
	return dtls.ServerWithOptions(p, pipeAddr{}, opts...)
}

// deriveKeys exports the SRTP keys (RFC 5764 4.2).
func deriveKeys(conn *dtls.Conn, client bool) (*seal.Opener, *outKeys, error) {
	var config srtp.Config
	keys := &outKeys{}
	switch chosen, _ := conn.SelectedSRTPProtectionProfile(); chosen {
	case dtls.SRTP_AEAD_AES_128_GCM:
		config.Profile, keys.profile = srtp.ProtectionProfileAeadAes128Gcm, seal.AES128GCM
	case dtls.SRTP_AES128_CM_HMAC_SHA1_80:
		config.Profile, keys.profile = srtp.ProtectionProfileAes128CmHmacSha1_80, seal.AES128CMSHA1
	default:
		return nil, nil, errors.New("peer agreed to no SRTP profile of ours (use_srtp)")
	}
	state, ok := conn.ConnectionState()
	if !ok {
		return nil, nil, errors.New("no DTLS state to export SRTP keys from")
	}
	if err := config.ExtractSessionKeysFromDTLS(&state, client); err != nil {
		return nil, nil, fmt.Errorf("export SRTP keys: %w", err)
	}
	k := &config.Keys
	opener, err := seal.NewOpener(keys.profile, k.RemoteMasterKey, k.RemoteMasterSalt)
	if err != nil {
		return nil, nil, err
	}
	if keys.rtp, err = seal.NewSealer(keys.profile, k.LocalMasterKey, k.LocalMasterSalt); err != nil {
		return nil, nil, err
	}
	if keys.rtcp, err = seal.NewRTCPSealer(keys.profile, k.LocalMasterKey, k.LocalMasterSalt); err != nil {
		return nil, nil, err
	}
	return opener, keys, nil
}

// connected publishes the keys. If all of our handshake went to one address,
// only somebody there could complete it: the address has proven itself.
func (l *Leg) connected(conn *dtls.Conn, opener *seal.Opener, keys *outKeys) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	d := &l.dtls
	d.conn, d.ready = conn, true
	d.opener = opener
	l.keys.Store(keys)
	now := Now()
	if d.via != nil && !d.mixed {
		d.via.proven.Store(true)
		if l.selected == nil {
			l.pick(d.via)
		}
		l.restarts(d.via, now)
	}
	for _, c := range l.candidates {
		l.consider(c, now, false)
	}
	return true
}

// sendDTLS sends on the selected path, or before there is one to where the
// peer nominated or spoke DTLS last.
func (l *Leg) sendDTLS(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.selected
	if c == nil {
		c = l.provisional
	}
	if c == nil {
		return
	}
	d := &l.dtls
	if !d.ready {
		d.mixed = d.mixed || d.via != nil && d.via != c
		d.via = c
	}
	c.send(b)
}

// keepEarly holds media that arrives between the peer's end of the handshake
// and ours. The leg's lock is held.
func (l *Leg) keepEarly(c *candidate, b []byte, now int64) {
	if l.closed || l.dtls.pipe == nil || len(l.early) >= maxEarly {
		l.t.stats.badMedia.Add(1)
		return
	}
	l.early = append(l.early, earlyPacket{c, append([]byte(nil), b...), now})
}

// releaseEarly opens the way for media, what was kept goes first.
func (l *Leg) releaseEarly() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.opener = l.dtls.opener
	if len(l.early) == 0 {
		return
	}
	for _, p := range l.early {
		if !l.deliver(p.from, p.data, p.arrival) {
			l.t.stats.badMedia.Add(1)
		}
	}
	l.early = nil
	l.handler.HandleFlush()
}

// drain returns when the connection has ended: close_notify, a fatal alert or
// our own Close. Application data is not for us and dropped.
func (l *Leg) drain() {
	var buf [16]byte
	for {
		if _, err := l.dtls.conn.Read(buf[:]); errors.Is(err, io.EOF) {
			return
		}
	}
}
