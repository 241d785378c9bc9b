package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"
)

// keys protect the media in both directions.
type keys struct{ in, out *srtp.Context }

// handshake makes the keys. The cipher is AES-128-GCM, which browsers prefer,
// whichever server it is: else ciphers would be compared.
func (v *viewer) handshake(ctx context.Context) (*keys, error) {
	opts := []dtls.Option{
		dtls.WithCertificates(v.load.cert),
		dtls.WithInsecureSkipVerify(true), // peers trust fingerprints, and this is a load
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM),
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithFlightInterval(200 * time.Millisecond),
	}
	var err error
	if v.remote.client {
		client := make([]dtls.ClientOption, len(opts))
		for i, o := range opts {
			client[i] = o
		}
		v.dtls, err = dtls.ClientWithOptions(v.pipe, v.pipe.LocalAddr(), client...)
	} else {
		server := []dtls.ServerOption{dtls.WithClientAuth(dtls.RequireAnyClientCert)}
		for _, o := range opts {
			server = append(server, o)
		}
		v.dtls, err = dtls.ServerWithOptions(v.pipe, v.pipe.LocalAddr(), server...)
	}
	if err != nil {
		return nil, err
	}
	unread := context.AfterFunc(ctx, func() { _ = v.pipe.Close() }) // the handshake waits for its reader
	defer unread()
	if err := v.dtls.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	profile, ok := v.dtls.SelectedSRTPProtectionProfile()
	if !ok || profile != dtls.SRTP_AEAD_AES_128_GCM {
		return nil, errors.New("the server does not know AES-128-GCM")
	}
	state, ok := v.dtls.ConnectionState()
	if !ok {
		return nil, errors.New("the handshake left no keys")
	}
	return deriveKeys(&state, v.remote.client)
}

func deriveKeys(state *dtls.State, client bool) (*keys, error) {
	cfg := srtp.Config{Profile: srtp.ProtectionProfileAeadAes128Gcm}
	if err := cfg.ExtractSessionKeysFromDTLS(state, client); err != nil {
		return nil, fmt.Errorf("the keys: %w", err)
	}
	in, err := srtp.CreateContext(cfg.Keys.RemoteMasterKey, cfg.Keys.RemoteMasterSalt, cfg.Profile)
	if err != nil {
		return nil, err
	}
	out, err := srtp.CreateContext(cfg.Keys.LocalMasterKey, cfg.Keys.LocalMasterSalt, cfg.Profile)
	if err != nil {
		return nil, err
	}
	return &keys{in, out}, nil
}

// pipe is the DTLS part of a viewer's traffic as a net.PacketConn.
type pipe struct {
	v    *viewer
	in   chan []byte
	done chan struct{}
	once sync.Once
}

func newPipe(v *viewer) *pipe {
	return &pipe{v: v, in: make(chan []byte, 32), done: make(chan struct{})}
}

// put hands over a packet; a full queue loses it, and DTLS sends it again.
func (p *pipe) put(b []byte) {
	select {
	case p.in <- append([]byte(nil), b...):
	default:
	}
}

func (p *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-p.in:
		return copy(b, d), p.LocalAddr(), nil
	case <-p.done:
		return 0, nil, net.ErrClosed
	}
}

func (p *pipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	p.v.load.sock.send(p.v.addr, p.v.remote.addr, b)
	return len(b), nil
}

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipe) LocalAddr() net.Addr { return &net.UDPAddr{IP: p.v.addr.AsSlice(), Port: 1} }

// Deadlines are not needed: Close ends a read.
func (p *pipe) SetDeadline(time.Time) error      { return nil }
func (p *pipe) SetReadDeadline(time.Time) error  { return nil }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }
