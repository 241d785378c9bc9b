package load

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"sync"
	"sync/atomic"
	"time"
)

// Config says where the load goes.
type Config struct {
	WHIP, WHEP string // endpoints of one stream

	// Obey makes the publisher answer a picture loss indication with a key
	// frame, as browsers do. Without it key frames come at their interval only,
	// as from hardware encoders and most software for streaming.
	Obey bool

	// SampleEvery is how many viewers there are for each that decrypts all.
	SampleEvery int

	// JoinRate is how many viewers join in a second.
	JoinRate int
}

// joinTimeout bounds the join of one viewer, its wait for a key frame included.
const joinTimeout = 15 * time.Second

// Load is a publisher and its viewers. Its methods are for one goroutine.
type Load struct {
	cfg         Config
	http        *client
	sock        *socket
	pub         *publisher
	viewers     []*viewer
	cert        tls.Certificate
	fingerprint string
	stop        chan struct{}
	ticking     sync.WaitGroup

	undecryptable atomic.Uint64
	measuring     bool // guarded by the socket's lock
}

// Publish connects the publisher and starts its media. Close the load.
func Publish(ctx context.Context, cfg Config) (*Load, error) {
	l := &Load{cfg: cfg, http: newClient(), stop: make(chan struct{})}
	var err error
	if l.cert, err = newCertificate(); err != nil {
		return nil, err
	}
	l.fingerprint = fingerprint(l.cert.Certificate[0])
	if l.sock, err = newSocket(); err != nil {
		return nil, err
	}
	l.ticking.Go(l.tick)
	if l.pub, err = publish(ctx, l.http, cfg.WHIP, cfg.Obey); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Joins is how a number of viewers came in.
type Joins struct {
	OK    int
	Times []time.Duration // POST to the last packet of the first key frame
	Err   error           // the first one
}

// Join adds n viewers at the configured rate and waits until each has a
// picture or has failed.
func (l *Load) Join(ctx context.Context, n int) (j Joins) {
	first := len(l.viewers)
	n = min(n, maxViewers-first)
	sample := min(max(l.cfg.SampleEvery, 1), n) // at least one; the middle of each group
	errs := make([]error, n)
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range n {
		if !sleep(ctx, time.Until(begin.Add(time.Duration(i)*time.Second/time.Duration(max(l.cfg.JoinRate, 1))))) {
			errs[i] = ctx.Err()
			continue
		}
		v := newViewer(l, first+i, i%sample == sample/2)
		l.sock.mu.Lock()
		l.sock.table[v.index] = v
		l.sock.mu.Unlock()
		l.viewers = append(l.viewers, v)
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, joinTimeout)
			defer cancel()
			errs[i] = v.join(ctx)
		})
	}
	wg.Wait()
	for i, err := range errs {
		switch {
		case err == nil:
			v := l.viewers[first+i]
			j.OK++
			j.Times = append(j.Times, v.joined.Sub(v.posted))
		case j.Err == nil:
			j.Err = fmt.Errorf("viewer %d: %w", first+i, err)
		}
	}
	return j
}

func (l *Load) tick() {
	t := time.NewTicker(tickInterval)
	defer t.Stop()
	for {
		select {
		case <-l.stop:
			return
		case now := <-t.C:
			l.sock.mu.Lock()
			for _, v := range l.sock.table {
				if v != nil {
					v.tick(now)
				}
			}
			l.sock.mu.Unlock()
		}
	}
}

// Close ends all sessions and gives everything back.
func (l *Load) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	room := make(chan struct{}, 16)
	for _, v := range l.viewers {
		room <- struct{}{}
		wg.Go(func() { v.leave(ctx); <-room })
	}
	wg.Wait()
	if l.pub != nil {
		if l.pub.resource != "" {
			l.http.remove(ctx, l.pub.resource)
		}
		l.pub.close()
	}
	close(l.stop)
	l.ticking.Wait()
	l.sock.close()
	l.http.CloseIdleConnections()
}

// sleep returns false when ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func newCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "bench"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
