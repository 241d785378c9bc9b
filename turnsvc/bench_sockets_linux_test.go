package turnsvc_test

import (
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/talwtn/caddy-wtn/turnsvc"
)

const (
	crowd      = 64 // clients of the benchmark
	crowdBurst = 16 // packets of one of its system calls
)

// BenchmarkSockets floods one address from many clients and tells how many packets a second the
// server takes in with one socket and with a group, alternating in one run, and what of it reaches the
// media side, which is one goroutine. The clients run on the same processors and let the kernel cut
// their packets (UDP_SEGMENT), so that they cost little; what the server does not take is lost in
// receive buffers.
func BenchmarkSockets(b *testing.B) {
	host := hostAddress(b).String()
	one, err := net.ListenPacket("udp4", ":0")
	if err != nil {
		b.Fatal(err)
	}
	group, err := turnsvc.ListenUDP("udp4", ":0")
	if err != nil {
		b.Fatal(err)
	}
	beds := []*flood{newFlood(b, host, one), newFlood(b, host, group...)}
	var taken, reached [2]float64
	const rounds = 4
	for b.Loop() {
		for range rounds {
			for i, f := range beds {
				in, through := f.run(150 * time.Millisecond)
				taken[i], reached[i] = taken[i]+in, reached[i]+through
			}
		}
	}
	n := float64(b.N * rounds)
	b.ReportMetric(taken[0]/n, "one-packets/s")
	b.ReportMetric(taken[1]/n, "group-packets/s")
	b.ReportMetric(taken[1]/taken[0], "ratio")
	b.ReportMetric(reached[1]/reached[0], "delivered-ratio")
}

// flood is a server with a crowd of clients that have a channel each.
type flood struct {
	clients []syscall.RawConn
	server  *turnsvc.Server
	burst   []byte
}

func newFlood(b *testing.B, host string, sockets ...net.PacketConn) *flood {
	conf := config()
	conf.MaxPerIP = 2 * crowd
	s := newServer(b, conf)
	if _, err := s.ServeUDP(sockets...); err != nil {
		b.Fatal(err)
	}
	addr := net.JoinHostPort(host, strconv.Itoa(sockets[0].LocalAddr().(*net.UDPAddr).Port))
	f := &flood{}
	frame := channelData(0x4000, make([]byte, benchPayload), false)
	for range crowdBurst {
		f.burst = append(f.burst, frame...)
	}
	for i := range crowd {
		c := newClient(b, s, "udp", addr, strconv.Itoa(i))
		c.allocate()
		c.bind(0x4000, media4)
		raw, err := c.conn.(*net.UDPConn).SyscallConn()
		if err != nil {
			b.Fatal(err)
		}
		_ = raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, len(frame))
		})
		if err != nil {
			b.Skipf("SKIPPED: this kernel has no UDP_SEGMENT: %v", err)
		}
		f.clients = append(f.clients, raw)
	}
	go func() { // the media side
		p := make([]byte, 2048)
		for {
			if _, _, err := s.MediaConn().ReadFrom(p); err != nil {
				return
			}
		}
	}()
	f.server = s
	return f
}

// run floods for a time and returns the packets per second that were taken in, and delivered.
func (f *flood) run(d time.Duration) (taken, reached float64) {
	stop := time.Now().Add(d)
	before, start := f.server.Stats(), time.Now()
	var wg sync.WaitGroup
	for half := range 2 {
		wg.Go(func() {
			for time.Now().Before(stop) {
				for _, c := range f.clients[half*crowd/2 : (half+1)*crowd/2] {
					_ = c.Write(func(fd uintptr) bool {
						_, _ = syscall.Write(int(fd), f.burst)
						return true
					})
				}
			}
		})
	}
	wg.Wait()
	took, after := time.Since(start).Seconds(), f.server.Stats()
	in := after.Traffic.PacketsIn - before.Traffic.PacketsIn
	lost := after.Dropped["queue_full"] - before.Dropped["queue_full"]
	return float64(in) / took, float64(in-lost) / took
}
