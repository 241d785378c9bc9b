package leg

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/pion/stun/v4"
)

func TestSTUNAgainstPion(t *testing.T) {
	tid := []byte("abcdefghijkl")
	for _, a := range []string{"192.0.2.7:4321", "[2001:db8::7]:4321", "[::ffff:192.0.2.7]:4321"} {
		addr := netip.MustParseAddrPort(a)
		m := &stun.Message{Raw: successResponse(tid, addr, "password")}
		var mapped stun.XORMappedAddress
		err := m.Decode()
		if err == nil {
			err = m.Parse(&mapped)
		}
		if err == nil {
			err = stun.NewShortTermIntegrity("password").Check(m)
		}
		if err == nil {
			err = stun.Fingerprint.Check(m)
		}
		if err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		if got, _ := netip.AddrFromSlice(mapped.IP); got.Unmap() != addr.Addr().Unmap() || mapped.Port != 4321 {
			t.Fatalf("%s became %v", a, mapped)
		}
	}
	m, err := stun.Build(stun.BindingRequest, stun.TransactionID, stun.NewUsername("a:b"),
		stun.RawAttribute{Type: stun.AttrUseCandidate}, stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{1, 2, 3, 4}},
		stun.NewShortTermIntegrity("password"), stun.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	var got stunMessage
	if err = got.parse(m.Raw); err != nil {
		t.Fatal(err)
	}
	if !got.authentic("password") || got.authentic("other") || string(got.username) != "a:b" ||
		!got.useCandidate || got.priority != 0x01020304 || !bytes.Equal(got.tid, m.TransactionID[:]) {
		t.Fatalf("%+v", got)
	}
}

func TestSTUNIgnoresWhatIsNotAuthenticated(t *testing.T) {
	b := appendAttr(beginSTUN(stunRequest, make([]byte, 12)), attrUsername, []byte("a:b"))
	b = finishSTUN(b, "k")
	b = b[:len(b)-8]                         // without FINGERPRINT
	b = appendAttr(b, attrUseCandidate, nil) // smuggled in behind the integrity
	b[3] = byte(len(b) - stunHeaderSize)
	var m stunMessage
	if err := m.parse(b); err != nil || !m.authentic("k") || m.useCandidate {
		t.Fatalf("%v %v %v", err, m.authentic("k"), m.useCandidate)
	}
}

func FuzzSTUN(f *testing.F) {
	for _, r := range []checkRequest{
		{tid: make([]byte, 12), username: "a:b", priority: 1, role: attrControlled, tieBreaker: 2, key: "k"},
		{tid: make([]byte, 12), username: "a:b", priority: 1, role: attrControlling, tieBreaker: 2, nominate: true, key: "k"},
	} {
		f.Add(r.message())
	}
	f.Add(successResponse(make([]byte, 12), netip.MustParseAddrPort("[2001:db8::1]:2"), "k"))
	f.Add(errorResponse(make([]byte, 12), 487, "Role Conflict", "k"))
	f.Add(buildCheck("a:b", "k", useCandidate, priority, controlling))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m stunMessage
		if m.parse(b) != nil {
			return
		}
		before := bytes.Clone(b)
		m.authentic("k")
		if !bytes.Equal(b, before) {
			t.Fatal("the check changed the message")
		}
		var p stun.Message
		p.Raw = b
		if err := p.Decode(); err != nil {
			t.Fatalf("pion does not take it: %v", err)
		}
	})
}

func FuzzProtectedRecords(f *testing.F) {
	f.Add([]byte{22, 254, 253, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9})
	f.Add([]byte{21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 22, 254, 253, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for out := protectedRecords(b); len(out) > 0; {
			if out[3] == 0 && out[4] == 0 {
				t.Fatal("an unprotected record got through")
			}
			out = out[13+int(out[11])<<8+int(out[12]):]
		}
	})
}
