package lab

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	middleboxEnv  = "WTN_LAB_MIDDLEBOX" // the address it leads to
	middleboxAddr = "10.77.0.1:8443"    // the router's, towards the client
)

// onlyTLS lets nothing cross the router. What goes to TCP port 443 ends at the
// middlebox instead, and the rest is dropped.
const onlyTLS = `table inet lab {
	chain forward {
		type filter hook forward priority 0; policy drop;
	}
	chain input {
		type filter hook input priority 0; policy accept;
		iifname "in" tcp dport 8443 accept
		iifname "in" drop
	}
}
table ip lab {
	chain pre {
		type nat hook prerouting priority dstnat
		iifname "in" tcp dport 443 redirect to :8443
	}
}
`

// startMiddlebox runs the middlebox on the router until the test ends, and
// returns what it says.
func (b *lab) startMiddlebox() *logBuffer {
	b.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", b.router, exe)
	cmd.Env = append(os.Environ(), middleboxEnv+"="+gateway4+":443")
	log, ready := new(logBuffer), make(chan struct{})
	log.await("middlebox ready", ready)
	b.background(cmd, log)
	select {
	case <-ready:
	case <-time.After(30 * time.Second):
		b.t.Fatalf("the middlebox does not start:\n%s", log)
	}
	return log
}

// middleboxMain is the process in the router's namespace. It ends at SIGTERM.
func middleboxMain(to string) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	l, err := net.Listen("tcp4", middleboxAddr)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("middlebox ready")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			go inspect(c.(*net.TCPConn), to)
		}
	}()
	<-stop
	os.Exit(0)
}

// inspect lets a connection pass that begins with a TLS record of a handshake
// whose first message is a ClientHello (RFC 8446 section 5.1), and closes others.
func inspect(c *net.TCPConn, to string) {
	defer c.Close()
	var first [6]byte
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := io.ReadFull(c, first[:]); err != nil || first[0] != 0x16 || first[1] != 3 || first[5] != 1 {
		fmt.Printf("refused % x\n", first[:n])
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	fmt.Println("passed TLS")
	up, err := net.DialTimeout("tcp4", to, 5*time.Second)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer up.Close()
	if _, err := up.Write(first[:]); err != nil {
		return
	}
	done := make(chan struct{}, 2)
	for _, way := range [][2]*net.TCPConn{{c, up.(*net.TCPConn)}, {up.(*net.TCPConn), c}} {
		go func() {
			_, _ = io.Copy(way[1], way[0])
			_ = way[1].CloseWrite()
			done <- struct{}{}
		}()
	}
	<-done
	<-done
}

// plainSTUN asks for a Binding on the HTTPS port without TLS, which the gateway
// answers where nothing is in the way.
func plainSTUN(addr string) error {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	request := append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...)
	if _, err := c.Write(request); err != nil {
		return err
	}
	reply := make([]byte, 20)
	if _, err := io.ReadFull(c, reply); err != nil {
		return err
	}
	if !bytes.HasPrefix(reply, []byte{1, 1}) {
		return fmt.Errorf("the reply is % x", reply)
	}
	return nil
}

// The strictest network that still is one: TLS to port 443, by something that
// looks whether it is TLS, and nothing else.
func TestOnlyTLS(t *testing.T) {
	requireLab(t)
	for _, c := range []struct {
		name  string
		order order
	}{
		{"all that is offered", order{}},
		{"only turns offered", order{RelayOnly: true, Transport: "tls"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newLab(t, layout{rules: onlyTLS, plain: true})
			ca := b.start(gateway4, false)
			box := b.startMiddlebox()
			c.order.URL, c.order.Packets, c.order.Plain = "https://"+gateway4, 200, gateway4+":443"
			r := b.send(c.order, ca)
			if r.Error != "" {
				t.Fatalf("%s\n%+v\n%s", r.Error, r, box)
			}
			t.Logf("publish connected in %4d ms by %s", r.Publish.Connected.Milliseconds(), r.Publish.Pair)
			t.Logf("play    connected in %4d ms by %s; %d packets, %d lost", r.Play.Connected.Milliseconds(), r.Play.Pair, r.Received, r.Lost)
			for _, s := range []side{r.Publish, r.Play} {
				if !strings.HasPrefix(s.Pair, "relay/udp") {
					t.Errorf("pair is %s, want one of the relay", s.Pair)
				}
			}
			if r.Lost > 0 {
				t.Errorf("%d packets were lost", r.Lost)
			}
			if r.Plain == "" || !strings.Contains(box.String(), "refused 00 01 ") {
				t.Errorf("STUN without TLS: %q, and the middlebox says\n%s", r.Plain, box)
			}
			if n := strings.Count(box.String(), "passed TLS"); n < 3 { // HTTPS, and TURN of each side
				t.Errorf("%d connections passed:\n%s", n, box)
			}
		})
	}
	t.Run("STUN passes where nobody looks", func(t *testing.T) {
		b := newLab(t, layout{rules: only443, plain: true})
		ca := b.start(gateway4, false)
		r := b.send(order{URL: "https://" + gateway4, Packets: 1, Plain: gateway4 + ":443"}, ca)
		if r.Error != "" || r.Plain != "" {
			t.Errorf("%s %s", r.Error, r.Plain)
		}
	})
}
