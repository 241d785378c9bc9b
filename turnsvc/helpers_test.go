package turnsvc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"go.uber.org/goleak"

	"github.com/talwtn/caddy-wtn/turnsvc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	realm   = "test.example"
	secret  = "correct horse battery staple"
	timeout = 5 * time.Second
)

var (
	media4 = netip.MustParseAddrPort("203.0.113.99:5004") // exists on no interface
	media6 = netip.MustParseAddrPort("[2001:db8:1::99]:5004")
)

func config() turnsvc.Config {
	return turnsvc.Config{
		Realm: realm, Secrets: []string{secret}, MediaAddrs: []netip.AddrPort{media4, media6},
		UnauthReplies: 10000,
	}
}

func newServer(t testing.TB, c turnsvc.Config, opts ...turnsvc.Option) *turnsvc.Server {
	t.Helper()
	s, err := turnsvc.New(c, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// serve starts one endpoint of a transport and returns its address.
func serve(t testing.TB, s *turnsvc.Server, transport string) (string, *turnsvc.Endpoint) {
	t.Helper()
	if transport == "udp" {
		pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		e, err := s.ServeUDP(pc)
		if err != nil {
			t.Fatal(err)
		}
		return pc.LocalAddr().String(), e
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if transport == "tls" {
		ln = tls.NewListener(ln, serverTLS(t))
	}
	e, err := s.Serve(ln)
	if err != nil {
		t.Fatal(err)
	}
	return ln.Addr().String(), e
}

func serverTLS(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func dial(t testing.TB, transport, addr string) net.Conn {
	t.Helper()
	var c net.Conn
	var err error
	if transport == "tls" {
		c, err = tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	} else {
		c, err = net.Dial(transport+"4", addr)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// client is a hand-made TURN client: it sends exactly what a test says.
type client struct {
	t      testing.TB
	conn   net.Conn
	stream bool
	cred   turnsvc.Credential
	realm  string
	nonce  stun.Nonce
}

func newClient(t testing.TB, s *turnsvc.Server, transport, addr, user string) *client {
	t.Helper()
	cred, err := s.Mint(user, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return &client{t: t, conn: dial(t, transport, addr), stream: transport != "udp", cred: cred, realm: realm}
}

func (c *client) key() stun.MessageIntegrity {
	sum := md5.Sum([]byte(c.cred.Username + ":" + c.realm + ":" + c.cred.Password))
	return sum[:]
}

func (c *client) write(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// read returns the next datagram or frame, or nil after the given time.
func (c *client) read(wait time.Duration) []byte {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(wait))
	b := make([]byte, 4096)
	if !c.stream {
		n, err := c.conn.Read(b)
		return c.checked(b[:n], err)
	}
	if _, err := io.ReadFull(c.conn, b[:4]); err != nil {
		return c.checked(nil, err)
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	n := 4 + (size+3)&^3
	if b[0] < 0x40 {
		n = 20 + size
	}
	_, err := io.ReadFull(c.conn, b[4:n])
	return c.checked(b[:n], err)
}

func (c *client) checked(b []byte, err error) []byte {
	c.t.Helper()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return b
}

func (c *client) message(wait time.Duration) *stun.Message {
	c.t.Helper()
	b := c.read(wait)
	if b == nil {
		return nil
	}
	m := &stun.Message{Raw: b}
	if err := m.Decode(); err != nil {
		c.t.Fatalf("decode %x: %v", b, err)
	}
	return m
}

func build(t testing.TB, setters ...stun.Setter) *stun.Message {
	t.Helper()
	m, err := stun.Build(setters...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func attr(t stun.AttrType, v ...byte) stun.Setter { return stun.RawAttribute{Type: t, Value: v} }

func transport(n byte) stun.Setter { return attr(stun.AttrRequestedTransport, n, 0, 0, 0) }

func lifetime(d time.Duration) stun.Setter {
	return attr(stun.AttrLifetime, binary.BigEndian.AppendUint32(nil, uint32(d/time.Second))...)
}

func channel(n uint16) stun.Setter {
	return attr(stun.AttrChannelNumber, byte(n>>8), byte(n), 0, 0)
}

type setter func(*stun.Message) error

func (f setter) AddTo(m *stun.Message) error { return f(m) }

// peer spells an address in the family of its text: ::ffff:127.0.0.1 goes out as IPv6.
func peer(a netip.AddrPort) stun.Setter {
	return setter(func(m *stun.Message) error {
		ip := a.Addr().AsSlice()
		v := []byte{0, 1, 0, 0}
		if len(ip) == 16 {
			v[1] = 2
		}
		binary.BigEndian.PutUint16(v[2:], a.Port()^0x2112)
		mask := append([]byte{0x21, 0x12, 0xa4, 0x42}, m.TransactionID[:]...)
		for i := range ip {
			v = append(v, ip[i]^mask[i])
		}
		m.Add(stun.AttrXORPeerAddress, v)
		return nil
	})
}

func (c *client) signed(method stun.Method, attrs ...stun.Setter) *stun.Message {
	c.t.Helper()
	all := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, attrs...)
	return build(c.t, append(all, stun.NewUsername(c.cred.Username), stun.NewRealm(c.realm), c.nonce, c.key(), stun.Fingerprint)...)
}

// challenge fetches a nonce.
func (c *client) challenge() *stun.Message {
	c.t.Helper()
	m := c.exchange(build(c.t, stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), transport(17)))
	if got := code(m); got != 401 {
		c.t.Fatalf("challenge answered %d", got)
	}
	if err := c.nonce.GetFrom(m); err != nil {
		c.t.Fatal(err)
	}
	return m
}

func (c *client) exchange(m *stun.Message) *stun.Message {
	c.t.Helper()
	c.write(m.Raw)
	r := c.message(timeout)
	switch {
	case r == nil:
		c.t.Fatal("no answer")
	case r.TransactionID != m.TransactionID:
		c.t.Fatalf("answer %v to another request", r)
	}
	return r
}

func (c *client) do(method stun.Method, attrs ...stun.Setter) *stun.Message {
	c.t.Helper()
	if c.nonce == nil {
		c.challenge()
	}
	return c.exchange(c.signed(method, attrs...))
}

// want does a request and checks its code; 0 is success. Every answer to an authenticated request
// must be signed.
func (c *client) want(expect int, method stun.Method, attrs ...stun.Setter) *stun.Message {
	c.t.Helper()
	m := c.do(method, attrs...)
	if got := code(m); got != expect {
		c.t.Fatalf("%v answered %d, want %d", method, got, expect)
	}
	if expect != 401 && expect != 438 && c.key().Check(m) != nil {
		c.t.Fatalf("%v: answer %d is not signed", method, expect)
	}
	return m
}

func code(m *stun.Message) int {
	if m.Type.Class == stun.ClassSuccessResponse {
		return 0
	}
	var e stun.ErrorCodeAttribute
	if e.GetFrom(m) != nil {
		return -1
	}
	return int(e.Code)
}

// allocate makes an allocation and returns its relayed address.
func (c *client) allocate(attrs ...stun.Setter) netip.AddrPort {
	c.t.Helper()
	m := c.want(0, stun.MethodAllocate, append([]stun.Setter{transport(17)}, attrs...)...)
	var x stun.XORMappedAddress
	if err := x.GetFromAs(m, stun.AttrXORRelayedAddress); err != nil {
		c.t.Fatal(err)
	}
	ip, _ := netip.AddrFromSlice(x.IP)
	return netip.AddrPortFrom(ip.Unmap(), uint16(x.Port))
}

func (c *client) bind(n uint16, to netip.AddrPort) {
	c.t.Helper()
	c.want(0, stun.MethodChannelBind, channel(n), peer(to))
}

func channelData(n uint16, p []byte, pad bool) []byte {
	b := binary.BigEndian.AppendUint16(nil, n)
	b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
	b = append(b, p...)
	for pad && len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// fromMedia reads one packet at the media side, or nil after the given time.
func fromMedia(t testing.TB, s *turnsvc.Server, wait time.Duration) ([]byte, net.Addr) {
	t.Helper()
	b := make([]byte, 2048)
	mc := s.MediaConn()
	_ = mc.SetReadDeadline(time.Now().Add(wait))
	n, from, err := mc.ReadFrom(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return b[:n], from
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(timeout); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}
