package load

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/rtp"
)

// maxEarly bounds the packets kept that come before the keys.
const maxEarly = 2048

// viewer is one WHEP session. What is below the line is guarded by the
// socket's lock.
type viewer struct {
	load       *Load
	index      int
	addr       netip.Addr
	local      credentials
	tieBreaker uint64
	resource   string
	pipe       *pipe
	dtls       *dtls.Conn
	done       sync.WaitGroup

	iceDone     chan struct{}
	connectOnce sync.Once
	keyDone     chan struct{} // closed with the first complete key frame
	posted      time.Time

	// ---

	remote    answer // written once, before hasRemote
	hasRemote bool
	keys      *keys
	early     []earlyPacket
	sampled   bool
	streams   []*stream
	search    keySearch
	joined    time.Time // arrival of the first key frame's last packet
	latencies []time.Duration
	nextCheck time.Time
	nextRR    time.Time
	clear     []byte
	rtpPacket rtp.Packet
}

type earlyPacket struct {
	data []byte
	at   time.Time
}

func newViewer(l *Load, index int, sampled bool) *viewer {
	v := &viewer{
		load: l, index: index, addr: viewerAddr(index), sampled: sampled,
		local:      credentials{ufrag: randomHex(4), pwd: randomHex(12)},
		tieBreaker: uint64(index)<<32 | 0x5a5a,
		iceDone:    make(chan struct{}), keyDone: make(chan struct{}),
	}
	v.pipe = newPipe(v)
	return v
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// join runs until the first key frame is complete.
func (v *viewer) join(ctx context.Context) error {
	v.posted = time.Now()
	sdp, resource, err := v.load.http.post(ctx, v.load.cfg.WHEP, v.offer())
	if err != nil {
		return err
	}
	v.resource = resource
	remote, err := parseAnswer(sdp)
	if err != nil {
		return err
	}
	v.load.sock.mu.Lock()
	v.remote, v.hasRemote = remote, true
	v.load.sock.mu.Unlock()
	if err := v.connect(ctx); err != nil {
		return fmt.Errorf("ICE: %w", err)
	}
	k, err := v.handshake(ctx)
	if err != nil {
		return fmt.Errorf("DTLS: %w", err)
	}
	v.start(k)
	select {
	case <-v.keyDone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("no complete key frame: %w", ctx.Err())
	}
}

// connect sends checks until one is answered.
func (v *viewer) connect(ctx context.Context) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		v.load.sock.send(v.addr, v.remote.addr, v.check())
		select {
		case <-v.iceDone:
			return nil
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// start takes the keys into use, first for what came before them.
func (v *viewer) start(k *keys) {
	v.done.Go(func() { // the server's alert, and what it repeats
		b := make([]byte, 2048)
		for {
			if _, err := v.dtls.Read(b); err != nil {
				return
			}
		}
	})
	v.load.sock.mu.Lock()
	defer v.load.sock.mu.Unlock()
	v.keys = k
	for _, e := range v.early {
		v.rtp(e.data, e.at)
	}
	v.early = nil
	now := time.Now()
	v.nextCheck, v.nextRR = now.Add(consentInterval), now.Add(reportInterval/10)
}

// packet sorts what comes in by its first byte (RFC 7983). The socket's lock
// is held.
func (v *viewer) packet(b []byte, from netip.AddrPort, at time.Time) {
	switch {
	case len(b) < 12:
	case b[0] < 4:
		v.stun(b, from)
	case b[0] >= 20 && b[0] < 64:
		v.pipe.put(b)
	case b[0] >= 128 && b[0] < 192:
		if b[1] >= 192 && b[1] <= 223 {
			return // RTCP: a viewer has no use for sender reports
		}
		if v.keys != nil {
			v.rtp(b, at)
		} else if len(v.early) < maxEarly {
			v.early = append(v.early, earlyPacket{append([]byte(nil), b...), at})
		}
	}
}

// leave ends the session at the server and here.
func (v *viewer) leave(ctx context.Context) {
	if v.resource != "" {
		v.load.http.remove(ctx, v.resource)
	}
	if v.dtls != nil {
		_ = v.dtls.Close()
	}
	_ = v.pipe.Close()
	v.done.Wait()
}
