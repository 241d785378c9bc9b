package turnsvc_test

import (
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"github.com/talwtn/caddy-wtn/turnsvc"
)

// clock is a settable time.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// TestCredentialCodes answers 401 with what is needed to try again, whatever is wrong.
func TestCredentialCodes(t *testing.T) {
	s := newServer(t, config())
	addr, _ := serve(t, s, "udp")
	good, err := s.Mint("u", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, cred := range map[string]turnsvc.Credential{
		"wrong password":   {Username: good.Username, Password: "nope"},
		"unknown":          {Username: "alice", Password: good.Password},
		"expired":          {Username: "1000000000:u", Password: good.Password},
		"too far":          {Username: "99999999999:u", Password: good.Password},
		"odd spelling":     {Username: "0" + good.Username, Password: good.Password},
		"odd user":         {Username: good.Username + " ", Password: good.Password},
		"huge username":    {Username: good.Username + strings.Repeat("x", 500), Password: good.Password},
		"empty username":   {Username: "", Password: good.Password},
		"minus":            {Username: "-" + good.Username, Password: good.Password},
		"other's password": {Username: strings.Replace(good.Username, ":u", ":v", 1), Password: good.Password},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, s, "udp", addr, "u")
			c.cred = cred
			m := c.want(401, stun.MethodAllocate, transport(17))
			if !m.Contains(stun.AttrRealm) || !m.Contains(stun.AttrNonce) {
				t.Errorf("401 without realm or nonce: %v", m)
			}
		})
	}
	c := newClient(t, s, "udp", addr, "u")
	c.challenge()
	c.realm = "other.example"
	c.want(401, stun.MethodAllocate, transport(17))
}

func TestRequestCodes(t *testing.T) {
	s := newServer(t, config())
	for _, tr := range transports {
		t.Run(tr, func(t *testing.T) {
			addr, _ := serve(t, s, tr)
			c := newClient(t, s, tr, addr, "u-"+tr)
			c.want(437, stun.MethodRefresh)
			c.want(437, stun.MethodCreatePermission, peer(media4))
			c.want(437, stun.MethodChannelBind, channel(0x4000), peer(media4))
			c.want(400, stun.MethodAllocate)
			c.want(442, stun.MethodAllocate, transport(6))
			c.want(442, stun.MethodAllocate, transport(99))
			c.want(440, stun.MethodAllocate, transport(17), attr(stun.AttrRequestedAddressFamily, 9, 0, 0, 0))
			c.want(508, stun.MethodAllocate, transport(17), attr(stun.AttrReservationToken, 1, 2, 3, 4, 5, 6, 7, 8))
			c.want(508, stun.MethodAllocate, transport(17), attr(stun.AttrEvenPort, 0x80))
			c.want(400, stun.MethodAllocate, transport(17), attr(stun.AttrEvenPort, 0), attr(stun.AttrReservationToken, 1, 2, 3, 4, 5, 6, 7, 8))
			m := c.want(420, stun.MethodAllocate, transport(17), attr(0x7ffe, 1), attr(stun.AttrDontFragment))
			var unknown stun.UnknownAttributes
			if unknown.GetFrom(m) != nil || len(unknown) != 2 || unknown[0] != 0x7ffe || unknown[1] != stun.AttrDontFragment {
				t.Errorf("unknown attributes %v", unknown)
			}
			c.allocate(attr(0xfffe, 1)) // comprehension-optional
			c.want(437, stun.MethodAllocate, transport(17))
			c.want(400, stun.MethodCreatePermission)
			c.want(400, stun.MethodCreatePermission, attr(stun.AttrXORPeerAddress, 0, 1))
			c.want(400, stun.MethodChannelBind, channel(0x4000))
			c.want(400, stun.MethodChannelBind, peer(media4))
			for _, n := range []uint16{0, 0x3fff, 0x5000, 0x7fff, 0xffff} {
				c.want(400, stun.MethodChannelBind, channel(n), peer(media4))
			}
			c.bind(0x4000, media4)
			c.bind(0x4000, media4)
			c.want(400, stun.MethodChannelBind, channel(0x4001), peer(media4))
			c.want(0, stun.MethodRefresh, lifetime(0))
			c.want(437, stun.MethodRefresh)
			c.allocate() // the same 5-tuple may be used again
		})
	}
}

// TestRetransmittedAllocate gets the same answer again.
func TestRetransmittedAllocate(t *testing.T) {
	s := newServer(t, config())
	addr, _ := serve(t, s, "udp")
	c := newClient(t, s, "udp", addr, "u")
	c.challenge()
	m := c.signed(stun.MethodAllocate, transport(17))
	first, second := c.exchange(m), c.exchange(m)
	if code(first) != 0 || string(first.Raw) != string(second.Raw) {
		t.Fatalf("first %v, second %v", first, second)
	}
	if n := len(s.Allocations()); n != 1 {
		t.Fatalf("%d allocations", n)
	}
}

// TestOtherUser may not touch an allocation on a shared 5-tuple.
func TestOtherUser(t *testing.T) {
	s := newServer(t, config())
	addr, _ := serve(t, s, "udp")
	c := newClient(t, s, "udp", addr, "owner")
	c.allocate()
	owner := c.cred
	c.cred, _ = s.Mint("thief", time.Hour)
	c.want(441, stun.MethodRefresh, lifetime(0))
	c.want(441, stun.MethodCreatePermission, peer(media4))
	c.want(441, stun.MethodChannelBind, channel(0x4000), peer(media4))
	c.want(437, stun.MethodAllocate, transport(17))
	c.cred = owner
	c.want(0, stun.MethodRefresh)
}

func TestLifetimes(t *testing.T) {
	s := newServer(t, config())
	addr, _ := serve(t, s, "udp")
	for asked, granted := range map[time.Duration]uint32{
		0: 600, time.Second: 600, 10 * time.Minute: 600, 20 * time.Minute: 1200, time.Hour: 3000, 1000 * time.Hour: 3000,
	} {
		c := newClient(t, s, "udp", addr, "u")
		m := c.want(0, stun.MethodAllocate, transport(17), lifetime(asked))
		check := func(m *stun.Message) {
			t.Helper()
			v, err := m.Get(stun.AttrLifetime)
			if err != nil || len(v) != 4 || uint32(v[2])<<8|uint32(v[3]) != granted {
				t.Errorf("asked %v, granted %v, want %d s", asked, v, granted)
			}
		}
		check(m)
		if asked != 0 {
			check(c.want(0, stun.MethodRefresh, lifetime(asked)))
		}
		c.want(0, stun.MethodRefresh, lifetime(0))
	}
}

// TestNonce expires after an hour, is refused when made up or used from another address, and the
// answer carries a new one.
func TestNonce(t *testing.T) {
	var k clock
	s := newServer(t, config(), turnsvc.WithClock(k.now))
	addr, _ := serve(t, s, "udp")
	c := newClient(t, s, "udp", addr, "u")
	c.nonce = stun.Nonce("made-up-nonce-16")
	m := c.want(438, stun.MethodAllocate, transport(17))
	if err := c.nonce.GetFrom(m); err != nil || !m.Contains(stun.AttrRealm) {
		t.Fatalf("438 without nonce or realm: %v", m)
	}
	elsewhere := newClient(t, s, "udp", addr, "v")
	local := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 3)}
	conn, err := net.DialUDP("udp4", local, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	elsewhere.conn, elsewhere.nonce = conn, c.nonce
	elsewhere.want(438, stun.MethodAllocate, transport(17))
	c.cred, _ = s.Mint("u", 12*time.Hour)
	c.allocate()
	k.advance(time.Hour + time.Second)
	if err := c.nonce.GetFrom(c.want(438, stun.MethodRefresh)); err != nil {
		t.Fatal(err)
	}
	c.want(0, stun.MethodRefresh)
}

// TestEstablishedOutlives the credential, the secret and the realm it was made with.
func TestEstablishedOutlives(t *testing.T) {
	var k clock
	conf := config()
	s := newServer(t, conf, turnsvc.WithClock(k.now))
	addr, _ := serve(t, s, "udp")
	c, late := newClient(t, s, "udp", addr, "u"), newClient(t, s, "udp", addr, "late")
	c.allocate()
	k.advance(2 * time.Hour)
	refresh := func(c *client) *stun.Message { // past the nonce too
		if m := c.do(stun.MethodRefresh); code(m) == 438 {
			_ = c.nonce.GetFrom(m)
		}
		return c.do(stun.MethodRefresh)
	}
	if got := code(refresh(c)); got != 0 {
		t.Fatalf("refresh after expiry: %d", got)
	}
	late.want(401, stun.MethodAllocate, transport(17))
	conf.Secrets, conf.Realm = []string{"quite another"}, "new.example"
	if err := s.Apply(conf); err != nil {
		t.Fatal(err)
	}
	c.want(0, stun.MethodRefresh)
	c.bind(0x4000, media4)
}

// TestRotation verifies with the previous secret and mints with the current one.
func TestRotation(t *testing.T) {
	conf := config()
	s := newServer(t, conf)
	addr, _ := serve(t, s, "udp")
	old := newClient(t, s, "udp", addr, "old")
	conf.Secrets = []string{"the next secret", secret}
	if err := s.Apply(conf); err != nil {
		t.Fatal(err)
	}
	old.allocate()
	fresh := newClient(t, s, "udp", addr, "fresh")
	if fresh.cred.Password == old.cred.Password {
		t.Fatal("minted with the old secret")
	}
	fresh.allocate()
	conf.Secrets = conf.Secrets[:1]
	if err := s.Apply(conf); err != nil {
		t.Fatal(err)
	}
	again := newClient(t, s, "udp", addr, "x")
	again.cred = old.cred
	again.want(401, stun.MethodAllocate, transport(17))
}

func TestRevoke(t *testing.T) {
	var k clock
	s := newServer(t, config(), turnsvc.WithClock(k.now))
	for _, tr := range transports {
		t.Run(tr, func(t *testing.T) {
			user := "session-" + tr
			addr, _ := serve(t, s, tr)
			c, other := newClient(t, s, tr, addr, user), newClient(t, s, tr, addr, "other")
			c.allocate()
			c.bind(0x4000, media4)
			other.allocate()
			if err := s.Revoke(user); err != nil {
				t.Fatal(err)
			}
			c.write(channelData(0x4000, []byte("gone"), c.stream))
			for _, a := range s.Allocations() {
				if a.UserID == user {
					t.Errorf("still allocated: %+v", a)
				}
			}
			c.want(401, stun.MethodRefresh)
			c.want(401, stun.MethodAllocate, transport(17))
			if got, _ := fromMedia(t, s, time.Millisecond); got != nil {
				t.Errorf("relayed %q after revocation", got)
			}
			other.want(0, stun.MethodRefresh, lifetime(0))
			if _, err := s.Mint(user, time.Hour); err == nil {
				t.Error("minted for a revoked user")
			}
		})
	}
	k.advance(13 * time.Hour)
	if _, err := s.Mint("session-udp", time.Hour); err != nil {
		t.Errorf("revocation outlives every credential: %v", err)
	}
}

func TestMint(t *testing.T) {
	s := newServer(t, config())
	for _, id := range []string{"", "a:b", "a b", "ä", strings.Repeat("a", 65), "a\x00", "a/b"} {
		if _, err := s.Mint(id, time.Hour); err == nil {
			t.Errorf("minted for %q", id)
		}
		if err := s.Revoke(id); err == nil {
			t.Errorf("revoked %q", id)
		}
	}
	for _, ttl := range []time.Duration{-time.Hour, 0, time.Millisecond, 13 * time.Hour} {
		if _, err := s.Mint("u", ttl); err == nil {
			t.Errorf("minted for %v", ttl)
		}
	}
	c, err := s.Mint("Az-_09", time.Hour)
	if err != nil || c.TTL != time.Hour || !strings.HasSuffix(c.Username, ":Az-_09") || len(c.Password) != 28 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestConfigRefused(t *testing.T) {
	for name, change := range map[string]func(*turnsvc.Config){
		"no secret":       func(c *turnsvc.Config) { c.Secrets = nil },
		"empty secret":    func(c *turnsvc.Config) { c.Secrets = []string{"x", ""} },
		"realm quote":     func(c *turnsvc.Config) { c.Realm = `a"b` },
		"realm long":      func(c *turnsvc.Config) { c.Realm = strings.Repeat("a", 128) },
		"media no port":   func(c *turnsvc.Config) { c.MediaAddrs = []netip.AddrPort{netip.MustParseAddrPort("1.2.3.4:0")} },
		"media any":       func(c *turnsvc.Config) { c.MediaAddrs = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:5004")} },
		"media multicast": func(c *turnsvc.Config) { c.MediaAddrs = []netip.AddrPort{netip.MustParseAddrPort("224.0.0.1:5004")} },
		"media many":      func(c *turnsvc.Config) { c.MediaAddrs = make([]netip.AddrPort, 65) },
		"allocations":     func(c *turnsvc.Config) { c.MaxAllocations = 1 << 20 },
		"negative":        func(c *turnsvc.Config) { c.MaxPerUser = -1 },
		"open, no bind":   func(c *turnsvc.Config) { c.Open = &turnsvc.OpenRelay{} },
		"open, any": func(c *turnsvc.Config) {
			c.Open = &turnsvc.OpenRelay{BindAddr: netip.IPv4Unspecified()}
		},
		"open, ports": func(c *turnsvc.Config) {
			c.Open = &turnsvc.OpenRelay{BindAddr: netip.MustParseAddr("127.0.0.1"), PortMin: 9, PortMax: 8}
		},
	} {
		c := config()
		change(&c)
		if _, err := turnsvc.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
		s := newServer(t, config())
		if s.Apply(c) == nil {
			t.Errorf("%s: applied", name)
		}
	}
}
