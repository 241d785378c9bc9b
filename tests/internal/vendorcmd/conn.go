package main

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// delayedConn is the media socket. It holds outgoing datagrams up for the wire
// delay of the rules, in order.
//
// It is a plain net.PacketConn on purpose: were it to show the methods of
// *net.UDPConn, pion would use those and go round the delay.
type delayedConn struct {
	net.PacketConn
	controls *controls
	queue    chan datagram
	waiting  atomic.Int64
	done     chan struct{}
	once     sync.Once
}

type datagram struct {
	b   []byte
	to  net.Addr
	due time.Time
}

func listenMedia(addr string, c *controls) (*delayedConn, error) {
	at, err := net.ResolveUDPAddr("udp4", addr)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp4", at)
	if err != nil {
		return nil, err
	}
	_ = conn.SetReadBuffer(8 << 20) // as much as the system permits
	_ = conn.SetWriteBuffer(8 << 20)
	d := &delayedConn{PacketConn: conn, controls: c, queue: make(chan datagram, 16384), done: make(chan struct{})}
	go d.run()
	return d, nil
}

func (d *delayedConn) WriteTo(b []byte, to net.Addr) (int, error) {
	delay := d.controls.media.Load().WireDelay.Duration()
	if delay <= 0 && d.waiting.Load() == 0 {
		return d.PacketConn.WriteTo(b, to)
	}
	d.waiting.Add(1)
	select {
	case d.queue <- datagram{append([]byte(nil), b...), to, time.Now().Add(delay)}:
	default:
		d.waiting.Add(-1)
		d.controls.overflowed.Add(1)
	}
	return len(b), nil
}

func (d *delayedConn) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-d.done:
			return
		case g := <-d.queue:
			if wait := time.Until(g.due); wait > 0 {
				timer.Reset(wait)
				select {
				case <-timer.C:
				case <-d.done:
					return
				}
			}
			_, _ = d.PacketConn.WriteTo(g.b, g.to)
			d.waiting.Add(-1)
		}
	}
}

// Close may be called more than once: pion closes the socket as well.
func (d *delayedConn) Close() (err error) {
	d.once.Do(func() {
		close(d.done)
		err = d.PacketConn.Close()
	})
	return err
}
