package turnsvc_test

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v3"

	"github.com/talwtn/caddy-wtn/turnsvc"
)

const (
	benchPayload = 1200
	benchBurst   = 32 // packets in flight are one to two bursts: nothing is ever lost
	rusageThread = 1  // RUSAGE_THREAD
)

// bed is a TURN server with a bound channel and a media side, of either kind.
type bed struct {
	client *os.File                               // blocking socket of the client
	recv   func(b []byte) (netip.AddrPort, error) // the media side reads one packet
	send   func(b []byte, relayed netip.AddrPort) // the media side sends one
	to     netip.AddrPort                         // relayed address
	stop   func()                                 // unblocks recv
}

// memoryBed is this package: relayed in memory.
func memoryBed(b *testing.B) *bed {
	s := newServer(b, config())
	addr, _ := serve(b, s, "udp")
	c := newClient(b, s, "udp", addr, "bench")
	relayed := c.allocate()
	c.bind(0x4000, media4)
	mc := s.MediaConn()
	to := net.UDPAddrFromAddrPort(relayed)
	return &bed{
		client: blocking(b, c.conn), to: relayed,
		recv: func(p []byte) (netip.AddrPort, error) { _, _, err := mc.ReadFrom(p); return relayed, err },
		send: func(p []byte, _ netip.AddrPort) { _, _ = mc.WriteTo(p, to) },
		stop: func() { _ = mc.SetReadDeadline(time.Unix(1, 0)) },
	}
}

// plainBed is the library as it comes: a relay socket, and a media side on another socket.
func plainBed(b *testing.B) *bed {
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	quiet := logging.NewDefaultLoggerFactory()
	quiet.DefaultLogLevel = logging.LogLevelDisabled
	srv, err := turn.NewServer(turn.ServerConfig{
		Realm: realm, LoggerFactory: quiet,
		AuthHandler: func(u, r string, _ net.Addr) ([]byte, bool) { return turn.GenerateAuthKey(u, r, "p"), true },
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            pc,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"},
		}},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = srv.Close() })
	media, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = media.Close() })
	c := &client{t: b, conn: dial(b, "udp", pc.LocalAddr().String()), realm: realm, cred: turnsvc.Credential{Username: "u", Password: "p"}}
	relayed := c.allocate()
	c.bind(0x4000, media.LocalAddr().(*net.UDPAddr).AddrPort())
	return &bed{
		client: blocking(b, c.conn), to: relayed,
		recv: func(p []byte) (netip.AddrPort, error) { _, from, err := media.ReadFromUDPAddrPort(p); return from, err },
		send: func(p []byte, to netip.AddrPort) { _, _ = media.WriteToUDPAddrPort(p, to) },
		stop: func() { _ = media.SetReadDeadline(time.Unix(1, 0)) },
	}
}

// blocking takes the client's socket out of the scheduler, so that what the client costs is on its
// own thread and can be left out.
func blocking(b *testing.B, c net.Conn) *os.File {
	f, err := c.(*net.UDPConn).File()
	if err != nil {
		b.Fatal(err)
	}
	_ = syscall.SetNonblock(int(f.Fd()), false)
	tv := syscall.NsecToTimeval(int64(2 * time.Second))
	_ = syscall.SetsockoptTimeval(int(f.Fd()), syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &tv)
	b.Cleanup(func() { _ = f.Close() })
	return f
}

func cpu(b *testing.B, who int) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(who, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// up sends n packets from the client to the media side and returns the CPU time of everything but
// the client, for each.
func (d *bed) up(b *testing.B, n int) time.Duration {
	acks := make(chan struct{}, n/benchBurst+2)
	done := make(chan error, 1)
	start := cpu(b, syscall.RUSAGE_SELF)
	go func() {
		p := make([]byte, 2048)
		for i := 1; i <= n; i++ {
			if _, err := d.recv(p); err != nil {
				done <- err
				return
			}
			if i%benchBurst == 0 {
				acks <- struct{}{}
			}
		}
		done <- nil
	}()
	watchdog := time.AfterFunc(30*time.Second, d.stop)
	defer watchdog.Stop()
	client := make(chan time.Duration)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		began := cpu(b, rusageThread)
		frame := channelData(0x4000, make([]byte, benchPayload), false)
		fd := int(d.client.Fd())
		for i := range n {
			if i >= 2*benchBurst && i%benchBurst == 0 {
				<-acks
			}
			_, _ = syscall.Write(fd, frame)
		}
		client <- cpu(b, rusageThread) - began
	}()
	theirs := <-client
	if err := <-done; err != nil {
		b.Fatal("packets were lost: ", err)
	}
	return (cpu(b, syscall.RUSAGE_SELF) - start - theirs) / time.Duration(n)
}

// down sends n packets from the media side to the client, which reads each burst after it was sent:
// a real client is another machine, and waking it is no work of the server.
func (d *bed) down(b *testing.B, n int) time.Duration {
	bursts := n / benchBurst
	sent, acks, client := make(chan struct{}, 2), make(chan bool, 2), make(chan time.Duration)
	start := cpu(b, syscall.RUSAGE_SELF)
	go func() {
		runtime.LockOSThread()
		began := cpu(b, rusageThread)
		p := make([]byte, 2048)
		fd, ok := int(d.client.Fd()), true
		for range bursts {
			<-sent
			for i := 0; i < benchBurst && ok; i++ {
				_, err := syscall.Read(fd, p)
				for err == syscall.EINTR { // a profile is being taken
					_, err = syscall.Read(fd, p)
				}
				ok = err == nil
			}
			acks <- ok
		}
		client <- cpu(b, rusageThread) - began
	}()
	p := make([]byte, benchPayload)
	ok := true
	for range bursts {
		for range benchBurst {
			d.send(p, d.to)
		}
		sent <- struct{}{}
		ok = <-acks && ok
	}
	theirs := <-client
	if !ok {
		b.Fatal("packets were lost")
	}
	return (cpu(b, syscall.RUSAGE_SELF) - start - theirs) / time.Duration(bursts*benchBurst)
}

// BenchmarkRelay measures the CPU time of a relayed packet, client excluded and media side included,
// for the plain library with sockets and for this package, alternating in one run.
func BenchmarkRelay(b *testing.B) {
	for name, measure := range map[string]func(*bed, *testing.B, int) time.Duration{"up": (*bed).up, "down": (*bed).down} {
		b.Run(name, func(b *testing.B) {
			plain, memory := plainBed(b), memoryBed(b)
			n := max(b.N, 10*benchBurst)
			var p, m time.Duration
			b.ResetTimer()
			for range 5 {
				p += measure(plain, b, n) / 5
				m += measure(memory, b, n) / 5
			}
			b.ReportMetric(float64(p), "plain-cpu-ns/packet")
			b.ReportMetric(float64(m), "memory-cpu-ns/packet")
			b.ReportMetric(float64(m)/float64(p), "ratio")
		})
	}
}

// BenchmarkStream relays over TCP from client to media side.
func BenchmarkStream(b *testing.B) {
	for _, tr := range []string{"tcp", "tls"} {
		b.Run(tr, func(b *testing.B) {
			s := newServer(b, config())
			addr, _ := serve(b, s, tr)
			c := newClient(b, s, tr, addr, "bench")
			c.allocate()
			c.bind(0x4000, media4)
			batch := make([]byte, 0, 16<<10)
			for range 8 {
				batch = append(batch, channelData(0x4000, make([]byte, benchPayload), true)...)
			}
			b.SetBytes(benchPayload)
			b.ReportAllocs()
			p := make([]byte, 2048)
			b.ResetTimer()
			for i := 0; i < b.N; i += 8 {
				c.write(batch)
				for range 8 {
					if _, _, err := s.MediaConn().ReadFrom(p); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkRequest is a whole authenticated request: parse, verify, ask the library, sign, answer.
func BenchmarkRequest(b *testing.B) {
	s := newServer(b, config())
	addr, _ := serve(b, s, "udp")
	c := newClient(b, s, "udp", addr, "bench")
	c.allocate()
	b.ReportAllocs()
	for range b.N {
		c.write(c.signed(stun.MethodCreatePermission, peer(media4)).Raw)
		if c.read(timeout) == nil {
			b.Fatal("no answer")
		}
	}
}
