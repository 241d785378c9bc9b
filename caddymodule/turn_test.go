package caddymodule

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/pion/webrtc/v4"
)

// allocations are those the admin API shows.
func allocations() []allocationJSON { return livingState().turnView().Allocations }

// A viewer and a publisher that may use the relay only, by each transport.
func TestRelayOnly(t *testing.T) {
	s := newSecureSite(t)
	s.mustLoad(loopbackTURN, "\t\t\tturn", "")
	for _, kind := range []string{"udp", "tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			p := broadcast(t, s.url("/whip/"+kind), webrtc.ICETransportPolicyRelay, only(kind))
			v := listen(t, s.url("/whep/"+kind), webrtc.ICETransportPolicyRelay, only(kind))
			unbroken(t, v.await(100))
			if len(v.servers) != 3 {
				t.Errorf("%d servers: %v", len(v.servers), v.servers)
			}
			users := map[string]bool{}
			for _, a := range allocations() {
				if a.Transport != kind {
					t.Errorf("an allocation over %s", a.Transport)
				}
				users[a.Session] = true
			}
			for _, i := range livingState().hub.Sessions() {
				if !users[i.ID] || i.Network != "relay" {
					t.Errorf("session %s: network %s, allocation %v", i.ID, i.Network, users[i.ID])
				}
			}
			for _, r := range []*radio{v, p} {
				if status, _, _ := do(t, http.MethodDelete, r.location, nil); status != 200 {
					t.Errorf("DELETE: %d", status)
				}
			}
			if left := allocations(); len(left) != 0 {
				t.Errorf("after DELETE there are allocations: %v", left)
			}
		})
	}
}

// A media address that no interface has: nothing but the hop in memory leads there.
func TestRelayToForeignAddress(t *testing.T) {
	s := newSite(t)
	s.mustLoad("\twtn {\n\t\tmedia udp/:0\n\t\tpublic_address 203.0.113.99\n"+loopbackTURN+"\n\t}", "\twtn")
	broadcast(t, s.url("/whip/x"), webrtc.ICETransportPolicyAll, noServers)
	v := newListener(t, webrtc.ICETransportPolicyRelay)
	v.skip = "127.0.0.1"
	v.call(s.url("/whep/x"), only("tcp"))
	unbroken(t, v.await(50))
	for _, i := range livingState().hub.Sessions() {
		if i.Role == "subscribe" && i.Local.Addr().String() != "203.0.113.99" {
			t.Errorf("the viewer came to %s", i.Local)
		}
	}
}

// Reloads lose nothing of what is relayed, on the HTTPS port and beside it,
// also when listeners move, the certificate changes and TURN is switched off.
func TestRelaySurvivesReloads(t *testing.T) {
	s := newSecureSite(t)
	s.mustLoad(loopbackTURN, "\t\t\tturn", "")
	broadcast(t, s.url("/whip/x"), webrtc.ICETransportPolicyAll, noServers)
	var viewers []*radio
	for _, kind := range []string{"udp", "tcp", "tls"} {
		viewers = append(viewers, listen(t, s.url("/whep/x"), webrtc.ICETransportPolicyRelay, only(kind)))
	}
	next := func(what string) {
		t.Helper()
		for _, v := range viewers {
			unbroken(t, v.await(60))
		}
		if n := len(allocations()); n < 3 {
			t.Fatalf("%s: %d allocations", what, n)
		}
	}
	next("before")
	for i := range 5 {
		s.mustLoad(fmt.Sprintf("\t\tgop_cache on\n\t\tturn {\n\t\t\tlisten udp/127.0.0.1:0 tcp/127.0.0.1:0\n\t\t\tquota %d\n\t\t}", i+5), "\t\t\tturn", "")
		next("reload")
	}
	s.cert, s.key = certificateFor(t, s.dir, 3, "localhost")
	s.mustLoad(fmt.Sprintf("\t\tturn {\n\t\t\tlisten udp/127.0.0.1:%d\n\t\t\trealm other\n\t\t\tsecret other\n\t\t}", freePort(t, "udp")), "\t\t\tturn", "")
	next("other listeners, secret, realm and certificate")
	s.mustLoad("\t\tturn off", "\t\t\thttp_redirect\n\t\t\ttls", "")
	next("off")
	if r := listen(t, s.url("/whep/x"), webrtc.ICETransportPolicyAll, noServers); len(r.servers) != 0 {
		t.Errorf("TURN is off and offered: %v", r.servers)
	}
	s.mustLoad(loopbackTURN, "\t\t\tturn", "")
	next("on again")
	viewers = append(viewers, listen(t, s.url("/whep/x"), webrtc.ICETransportPolicyRelay, only("tls")))
	next("another viewer")
}

// A media address that moves is still reached by the viewers of before.
func TestRelayAfterMediaMoved(t *testing.T) {
	s := newSite(t)
	at := func() string {
		return fmt.Sprintf("\twtn {\n\t\tmedia udp/127.0.0.1:%d\n%s\n\t}", freePort(t, "udp"), loopbackTURN)
	}
	s.mustLoad(at(), "\twtn")
	broadcast(t, s.url("/whip/x"), webrtc.ICETransportPolicyAll, noServers)
	old := listen(t, s.url("/whep/x"), webrtc.ICETransportPolicyRelay, only("udp"))
	unbroken(t, old.await(50))
	s.mustLoad(at(), "\twtn")
	young := listen(t, s.url("/whep/x"), webrtc.ICETransportPolicyRelay, only("udp"))
	unbroken(t, young.await(50))
	unbroken(t, old.await(50))
}

func TestWorthwhileMedia(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:1 [::1]:1":                               "127.0.0.1:1 [::1]:1",
		"[2001:db8::1]:1 127.0.0.1:1 [::1]:1":               "[2001:db8::1]:1 [::1]:1",
		"203.0.113.1:1 127.0.0.1:1 [::1]:1":                 "203.0.113.1:1 127.0.0.1:1",
		"203.0.113.1:1 [2001:db8::1]:1 127.0.0.1:1 [::1]:1": "203.0.113.1:1 [2001:db8::1]:1 127.0.0.1:1 [::1]:1",
	} {
		var list []netip.AddrPort
		for _, a := range strings.Fields(in) {
			list = append(list, netip.MustParseAddrPort(a))
		}
		if got := strings.Trim(fmt.Sprint(worthwhile(list)), "[]"); got != strings.Trim(want, "[]") {
			t.Errorf("%s: %s", in, got)
		}
	}
}
