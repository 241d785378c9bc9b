package leg

import (
	"net/netip"
	"testing"
)

func TestRoleConflict(t *testing.T) {
	claim := func(role uint16, b byte) func([]byte) []byte { return attr(role, b, b, b, b, b, b, b, b) }
	t.Run("we win", func(t *testing.T) {
		tr := newTransport(t)
		tr.tieBreaker = 1 << 62
		at, _ := serveUDP(t, tr, loopback)
		v := newVendor(t, nil)
		c := call(t, tr, v.addr())
		send(t, v, at, buildCheck(c.Ufrag()+":"+peerUfrag, c.Pwd(), claim(attrControlling, 1), useCandidate))
		if m := v.message(t, stunFailure); m.code != roleConflict || !m.authentic(c.Pwd()) {
			t.Fatalf("answer %d", m.code)
		}
		if !c.leads() || tr.Stats().RoleConflicts != 1 {
			t.Fatal("the role was given away")
		}
	})
	t.Run("the peer wins", func(t *testing.T) {
		tr := newTransport(t)
		tr.tieBreaker = 1 << 62
		at, _ := serveUDP(t, tr, loopback)
		v := newVendor(t, func(m *stunMessage, from netip.AddrPort) []byte {
			if m.controlling {
				return nil
			}
			return success(m, from)
		})
		c := call(t, tr, v.addr())
		send(t, v, at, buildCheck(c.Ufrag()+":"+peerUfrag, c.Pwd(), claim(attrControlling, 255), priority))
		v.message(t, stunSuccess)
		for m := v.message(t, stunRequest); !m.controlled; m = v.message(t, stunRequest) {
			if m.tieBreaker != tr.tieBreaker {
				t.Fatal("another tie-breaker")
			}
		}
		if c.Path() != nil {
			t.Fatal("selected without a nomination of the peer's")
		}
		send(t, v, at, buildCheck(c.Ufrag()+":"+peerUfrag, c.Pwd(), claim(attrControlling, 255), priority, useCandidate))
		eventually(t, "path", func() bool { return c.Path() != nil })
		for m := v.message(t, stunRequest); ; m = v.message(t, stunRequest) { // consent, no nomination
			if m.useCandidate {
				if m.controlled {
					t.Fatal("nominated in the controlled role")
				}
				continue
			}
			if m.controlled {
				break
			}
		}
	})
	t.Run("487", func(t *testing.T) {
		tr := newTransport(t)
		serveUDP(t, tr, loopback)
		v := newVendor(t, func(m *stunMessage, from netip.AddrPort) []byte {
			if m.controlling {
				return errorResponse(m.tid, roleConflict, "Role Conflict", peerPwd)
			}
			return success(m, from)
		})
		call(t, tr, v.addr())
		for m := v.message(t, stunRequest); !m.controlled; m = v.message(t, stunRequest) {
		}
	})
	t.Run("487 forever", func(t *testing.T) {
		tr := newTransport(t)
		serveUDP(t, tr, loopback)
		v := newVendor(t, func(m *stunMessage, from netip.AddrPort) []byte {
			return errorResponse(m.tid, roleConflict, "Role Conflict", peerPwd)
		})
		c := call(t, tr, v.addr())
		for range maxSwitches + 3 {
			v.message(t, stunRequest)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ctl.switches != maxSwitches || !c.leads() {
			t.Fatalf("%d switches", c.ctl.switches)
		}
	})
	t.Run("forged 487", func(t *testing.T) {
		tr := newTransport(t)
		serveUDP(t, tr, loopback)
		v := newVendor(t, func(m *stunMessage, from netip.AddrPort) []byte {
			return errorResponse(m.tid, roleConflict, "Role Conflict", "not the peer's password")
		})
		c := call(t, tr, v.addr())
		v.message(t, stunRequest)
		v.message(t, stunRequest)
		if !c.leads() || tr.Stats().BadIntegrity == 0 {
			t.Fatal("a forged error changed the role")
		}
	})
}

func send(t testing.TB, v *vendor, to netip.AddrPort, b []byte) {
	t.Helper()
	if _, err := v.conn.WriteToUDPAddrPort(b, to); err != nil {
		t.Fatal(err)
	}
}
